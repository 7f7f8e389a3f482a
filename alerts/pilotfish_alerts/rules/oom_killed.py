"""The kernel has killed a process of the model for want of memory."""

from pilotfish_alerts.rule import Check, Rule, Scenario, firing

_GROUP = 'pilotfish_cgroup_oom_kills_total{job="pilotfish",instance="a:7374",target="digits"}'
_EXITS = 'pilotfish_process_exits_total{job="pilotfish",instance="%s:7374",target="digits",cause="%s"}'

RULE = Rule(
    alert="PilotfishOomKilled",
    # The group's count has kills of processes that no sample saw; the exits have those of a group that has gone.
    expr=(
        "increase(pilotfish_cgroup_oom_kills_total[10m]) > 0"
        ' or sum without (cause) (increase(pilotfish_process_exits_total{cause="oom"}[10m])) > 0'
    ),
    severity="warning",
    summary="The out-of-memory killer has ended a process of {{ $labels.target }} on {{ $labels.instance }}",
    description=(
        "Processes of {{ $labels.target }} that the kernel killed for want of memory in 10 minutes: "
        "{{ $value | humanize }}. A server whose worker was killed often goes on with fewer, or with requests that "
        "never end: restart it. Then look whether pilotfish_cgroup_memory_bytes was at its limit (raise it, or start "
        "fewer workers), or the host ran out (PilotfishHostMemoryPressure)."
    ),
    scenarios=(
        Scenario(
            {
                _GROUP: "0x20 1x60",
                _EXITS % ("a", "oom"): "0x20 1x60",  # the same kill is one alert
                _EXITS % ("a", "signal"): "0+1x80",
                _EXITS % ("b", "oom"): "0x40 2x40",
            },
            (
                Check("15m"),
                Check("25m", (firing("job=pilotfish instance=a:7374 target=digits", value="1"),)),
                Check("45m", (firing("job=pilotfish instance=b:7374 target=digits", value="2"),)),
                Check("70m"),
            ),
        ),
    ),
)
