"""Which families leave the page first when there are more series than `limits.series` (published in docs/alerts.md)."""

from __future__ import annotations

from collections.abc import Mapping

DROP_ORDER: tuple[str, ...] = (
    # The widest and least alarming first: bins, slices, per-role and per-part detail, distances.
    "pilotfish_feature_values_total",
    "pilotfish_feature_reference_ratio",
    "pilotfish_quality_value_lower_bound",
    "pilotfish_quality_value_upper_bound",
    "pilotfish_quality_value",
    "pilotfish_process_role_cpu_seconds_total",
    "pilotfish_process_role_resident_memory_bytes",
    "pilotfish_processes",
    "pilotfish_component_cpu_seconds_total",
    "pilotfish_component_resident_memory_bytes",
    "pilotfish_component_restarts_total",
    "pilotfish_drift_distance",
    "pilotfish_feature_missing_total",
    "pilotfish_drift_minimum_detectable_effect",
    "pilotfish_prediction_value",
    "pilotfish_prediction_score",
    "pilotfish_predictions_total",
    "pilotfish_drift_effect",
    # Families named neither here nor in NEVER go between these two groups, the largest first.
)
LAST: tuple[str, ...] = ("pilotfish_signal_unavailable", "pilotfish_drift_evidence_ratio")
NEVER = frozenset(
    {
        # Up, states, requests, and what the generated alerts read.
        "pilotfish_build_info",
        "pilotfish_capture_dropped_total",
        "pilotfish_cgroup_cpu_periods_total",
        "pilotfish_cgroup_cpu_throttled_periods_total",
        "pilotfish_cgroup_memory_bytes",
        "pilotfish_cgroup_memory_limit_bytes",
        "pilotfish_cgroup_memory_reclaimable_bytes",
        "pilotfish_cgroup_oom_kills_total",
        "pilotfish_cgroup_pressure_waiting_seconds_total",
        "pilotfish_collector_success",
        "pilotfish_config_last_reload_successful",
        "pilotfish_drift_alarms_total",
        "pilotfish_drift_alert_severity",
        "pilotfish_drift_features_drifting",
        "pilotfish_drift_last_run_timestamp_seconds",
        "pilotfish_drift_state",
        "pilotfish_drift_window_rows",
        "pilotfish_events_total",
        "pilotfish_gpu_ecc_errors_total",
        "pilotfish_gpu_throttle_seconds_total",
        "pilotfish_gpu_up",
        "pilotfish_gpu_xid_errors_total",
        "pilotfish_host_clock_source_changes_total",
        "pilotfish_host_cpu_seconds_total",
        "pilotfish_host_pressure_stalled_seconds_total",
        "pilotfish_probe_success",
        "pilotfish_process_exits_total",
        "pilotfish_process_restarts_total",
        "pilotfish_reference_info",
        "pilotfish_request_duration_seconds",
        "pilotfish_requests_in_flight",
        "pilotfish_requests_total",
        "pilotfish_series_dropped_total",
        "pilotfish_server_model_state",
        "pilotfish_state_disk_free_bytes",
        "pilotfish_state_disk_size_bytes",
        "pilotfish_target_up",
    }
)


def families_to_drop(sizes: Mapping[str, int], limit: int) -> tuple[str, ...]:
    """Names of the families to leave out, in order, until the rest has at most ``limit`` series.

    Args:
        sizes: series of each family, by name.
        limit: `limits.series`. When what is never dropped is more than that, it is shown all the same.
    """
    excess = sum(sizes.values()) - limit
    if excess <= 0:
        return ()
    listed = (*DROP_ORDER, *LAST)
    others = sorted((n for n in sizes if n not in NEVER and n not in listed), key=lambda n: (-sizes[n], n))
    dropped: list[str] = []
    for name in (*DROP_ORDER, *others, *LAST):
        if excess <= 0:
            break
        if name in sizes:
            dropped.append(name)
            excess -= sizes[name]
    return tuple(dropped)
