"""There is hardly any room left where the agent keeps its state."""

from pilotfish_alerts.rule import Check, Rule, Scenario, Setting, firing

_AGENT = 'job="pilotfish",instance="a:7374"'

RULE = Rule(
    alert="PilotfishStateDiskFull",
    expr=(
        "pilotfish_state_disk_free_bytes < "
        "clamp_max($state_disk_ratio * pilotfish_state_disk_size_bytes, $state_disk_bytes)"
    ),
    severity="warning",
    hold="5m",
    summary="The disk that holds the agent's state on {{ $labels.instance }} is nearly full",
    description=(
        "{{ $value | humanize1024 }}B are free where the agent on {{ $labels.instance }} keeps references and "
        "evidence. When it is full, watching goes on, but a restart begins from the last state that could be written. "
        "Make room, or move it with --state-dir."
    ),
    settings=(
        Setting("state_disk_ratio", "0.1", "share of the file system below which it is nearly full"),
        Setting("state_disk_bytes", "1073741824", "1 GiB: more is room enough, however large the disk"),
    ),
    scenarios=(
        Scenario(
            {
                f"pilotfish_state_disk_free_bytes{{{_AGENT}}}": "5e10x10 536870912x20 5e10x20",
                f"pilotfish_state_disk_size_bytes{{{_AGENT}}}": "1e11x60",
            },
            (Check("14m"), Check("20m", (firing("job=pilotfish instance=a:7374", value="512Mi"),)), Check("40m")),
        ),
        # A twentieth of a large disk is room enough, a small one that is half empty is not full.
        Scenario(
            {
                f"pilotfish_state_disk_free_bytes{{{_AGENT}}}": "1e11x30",
                f"pilotfish_state_disk_size_bytes{{{_AGENT}}}": "4e12x30",
                'pilotfish_state_disk_free_bytes{job="pilotfish",instance="b:7374"}': "33554432x10 4194304x20",
                'pilotfish_state_disk_size_bytes{job="pilotfish",instance="b:7374"}': "67108864x30",
            },
            (Check("10m"), Check("20m", (firing("job=pilotfish instance=b:7374", value="4Mi"),))),
        ),
    ),
)
