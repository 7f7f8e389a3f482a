"""Overview: are my models well, what changed, who looks after it?"""

from __future__ import annotations

from grafana.boards import hardware_group
from grafana.boards.board import Board
from grafana.boards.panels import ANY_IS_BAD, PLAIN, Panel, ask, bars, course, now, number, rows, sheet
from grafana.boards.promql import alerts, events, increase, most, of, quantile, rate, share, total, up

_MODEL = ("model", "model_version")
_ONE = ("instance", *_MODEL)
_NAME = "{{model}} {{model_version}}"
_COUNT = of("request_duration_seconds", part="count")
_FAILED = of("request_duration_seconds", 'outcome="server_error"', part="count")
_NO_CALLS = "no calls"


def board() -> Board:
    """The dashboard."""
    made = Board("overview", "Overview", "Are the models well, what changed, which alerts fire?")
    made.row("Is it well?", *_well())
    made.row("Models", _models())
    made.row("Traffic", *_traffic())
    made.row("Drift", *_drift())
    made.row("Limits", *_limits())
    made.row("Alerts and agents", *_alerts(), _agents())
    return made


def _well() -> list[Panel]:
    available = f"1 - {share(total(increase(_FAILED)), total(increase(_COUNT)))}"
    drifting = total(most(of("drift_state", 'state="drifting"'), *_MODEL))
    return [
        number(
            "Agents that do not answer",
            "Agents that Prometheus cannot scrape; under `pilotfish run` their model has "
            "ended too. Look at the model's host first, then at `pilotfish status` there.",
            now(f"count({up()}) - {total(up())}"),
            steps=ANY_IS_BAD,
            empty="no agent",
        ),
        number(
            "Processes that are down",
            "Watched processes that do not run while their agent does. Hardware says "
            "how they ended; read their log and restart them.",
            now(f"count({of('target_up')}) - {total(of('target_up'))}"),
            steps=ANY_IS_BAD,
            empty="no process",
        ),
        number(
            "Alerts",
            "Alerts that fire now, listed below with the first thing to do in docs/alerts.md. 0 is also "
            "shown where Prometheus has not loaded `pilotfish rules`.",
            now(f"count({alerts()}) or 0 * max({up()})"),
            steps=ANY_IS_BAD,
            empty="no agent",
        ),
        number(
            "Models that drift",
            "Models with a stream over its alarm line. Open Drift: it shows which, since when "
            "and how far; look for a change upstream before you retrain.",
            now(drifting),
            steps=((None, "green"), (1, "orange")),
            empty="no model",
        ),
        number(
            "Availability",
            "Calls without a server error over the shown time. Below your objective: find the "
            "moment in Traffic, compare with restarts and versions, read the server's log.",
            now(available),
            unit="percentunit",
            steps=((None, "red"), (0.95, "orange"), (0.99, "green")),
            empty=_NO_CALLS,
        ),
        number(
            "Slowest call in 100",
            "The 0.99 quantile of the duration now; the alert's limit is 1 s. If it rises, "
            "look at waiting for a CPU in Hardware and at the sizes in Model.",
            ask(quantile(0.99, "request_duration_seconds")),
            unit="s",
            line=True,
            steps=((None, "green"), (0.5, "orange"), (1, "red")),
            empty=_NO_CALLS,
        ),
    ]


def _models() -> Panel:
    calls = total(rate(_COUNT), *_ONE)
    state = f"{most(of('drift_state'), *_ONE, 'state')} == 1"
    return sheet(
        "Models",
        "One row a model, version and instance. Begin with the row whose error share, duration or drift "
        "stands out, and open Model or Drift for it.",
        ("Calls/s", "reqps", rows(calls)),
        ("Server errors", "percentunit", rows(share(total(rate(_FAILED), *_ONE), calls))),
        ("Slowest in 100", "s", rows(quantile(0.99, "request_duration_seconds", *_ONE))),
        ("Streams drifting", "short", rows(most(of("drift_features_drifting"), *_ONE))),
        ("Largest evidence", "short", rows(most(of("drift_evidence_ratio"), *_ONE))),
        ("", "short", rows(state)),
        order=("model", "model_version", "instance", "state"),
        empty="no model",
        h=7,
    )


def _traffic() -> list[Panel]:
    whole = total(rate(_COUNT), *_MODEL)
    return [
        course(
            "Calls a second",
            "Finished calls by model and version. A fall to 0 with calls in flight means that the "
            "model hangs; without them, that nobody calls.",
            ask(whole, _NAME),
            unit="reqps",
            w=8,
            empty=_NO_CALLS,
        ),
        course(
            "Share of server errors",
            "Over the line at 5 % the alert fires after 5 minutes. Compare with versions "
            "and restarts, then read the server's log.",
            ask(share(total(rate(_FAILED), *_MODEL), whole), _NAME),
            unit="percentunit",
            steps=((None, "green"), (0.05, "red")),
            w=8,
            empty=_NO_CALLS,
        ),
        course(
            "Slowest call in 100",
            "The 0.99 quantile; over the line at 1 s the alert fires after 10 minutes. Model has the other quantiles.",
            ask(quantile(0.99, "request_duration_seconds", *_MODEL), _NAME),
            unit="s",
            steps=((None, "green"), (1, "red")),
            w=8,
            empty=_NO_CALLS,
        ),
    ]


def _drift() -> list[Panel]:
    return [
        course(
            "Largest evidence of drift",
            "Of each model's streams, evidence over the alarm line; at 1 it alarms "
            "within the promised budget of false alarms. Drift shows which streams.",
            ask(most(of("drift_evidence_ratio"), *_MODEL), _NAME),
            steps=((None, "green"), (1, "red")),
            w=12,
            empty="no model with a reference",
        ),
        course(
            "Streams that drift",
            "How many streams of a model are over their line. Many at once: the source or the "
            "preparation changed. One: look at that feature.",
            ask(most(of("drift_features_drifting"), *_MODEL), _NAME),
            w=6,
            empty="no model with a reference",
        ),
        bars(
            "Drift alarms in the shown time",
            "Lines crossed, by severity: info is the earlier notice line. Alarms "
            "that come and go mean a shift near the smallest one that is looked for.",
            now(events(of("drift_alarms_total"), "severity"), "{{severity}}"),
            w=6,
            steps=PLAIN,
            empty="no model with a reference",
        ),
    ]


def _limits() -> list[Panel]:
    return [
        number(
            "Held back by its CPU limit",
            "Of the process that is throttled most: the share of CPU periods in which it stood still. Over a quarter "
            "the alert fires: fewer threads or a higher limit (Hardware).",
            ask(most(hardware_group.throttled("instance", "target"))),
            unit="percentunit",
            steps=((None, "green"), (0.1, "orange"), (0.25, "red")),
            line=True,
            w=6,
            empty="no CPU limit",
        ),
        number(
            "Memory, nearest to its limit",
            "Of the control group that is fullest, without cache that can be dropped. At 100 % the kernel kills: see "
            "memory by kind in Hardware for what grows.",
            ask(hardware_group.filled()),
            unit="percentunit",
            steps=((None, "green"), (0.8, "orange"), (0.9, "red")),
            line=True,
            w=6,
            empty="no memory limit",
        ),
        number(
            "Killed for memory in the shown time",
            "Processes that the kernel killed in the models' control groups; a server whose worker is gone lives on. "
            "Raise the limit or lower the number of workers.",
            now(events(of("cgroup_oom_kills_total"))),
            steps=ANY_IS_BAD,
            w=6,
            empty="not readable",
        ),
        number(
            "Busiest GPU",
            "Share of the time in which any kernel ran. 100 % is not yet saturated: Hardware has what its SMs and "
            "tensor cores do.",
            ask(most(of("gpu_utilization_ratio"))),
            unit="percentunit",
            steps=PLAIN,
            line=True,
            w=6,
            empty="no GPU",
        ),
    ]


def _alerts() -> list[Panel]:
    found = most(alerts(), "alertname", "severity", "instance", "target", "model", "model_version")
    return [
        sheet(
            "Alerts that fire",
            "What to do stands under the alert's name in docs/alerts.md. Nothing is shown where "
            "Prometheus has not loaded `pilotfish rules`.",
            ("", "short", rows(found)),
            w=10,
            order=("alertname", "severity", "model", "model_version", "target", "instance"),
            empty="no alert fires",
        ),
    ]


def _agents() -> Panel:
    one = ("instance",)
    return sheet(
        "Agents",
        "One row an agent. Settings taken 0: `pilotfish status` there names the faults. Different versions: "
        "an upgrade is under way or was forgotten.",
        ("", "short", rows(most(of("build_info"), *one, "version"))),
        ("Answers", "short", rows(most(up(), *one))),
        ("Settings taken", "short", rows(most(of("config_last_reload_successful"), *one))),
        ("Memory", "bytes", rows(total(of("component_resident_memory_bytes"), *one))),
        ("CPU cores", "short", rows(total(rate(of("component_cpu_seconds_total")), *one))),
        order=("instance", "version"),
        w=14,
        empty="no agent",
    )
