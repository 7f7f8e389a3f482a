"""The model's control group is almost full of memory that cannot be dropped."""

from pilotfish_alerts.rule import Check, Rule, Scenario, Setting, firing

_A = '{job="pilotfish",instance="a:7374",target="digits"}'
_B = '{job="pilotfish",instance="b:7374",target="digits"}'

RULE = Rule(
    alert="PilotfishMemoryNearLimit",
    # File cache fills every limit in time and is given back: only what is left without it counts, as for kubelet.
    expr=(
        "(pilotfish_cgroup_memory_bytes - pilotfish_cgroup_memory_reclaimable_bytes)"
        " / pilotfish_cgroup_memory_limit_bytes > $memory_limit_ratio"
    ),
    severity="warning",
    hold="15m",
    summary="{{ $labels.target }} on {{ $labels.instance }} is near its memory limit",
    description=(
        "{{ $labels.target }} holds {{ $value | humanizePercentage }} of its memory limit (limit: "
        "$memory_limit_ratio), cache that can be dropped not counted. At the limit the kernel drops mapped weights "
        "that are in use, and then kills a process. "
        'If pilotfish_process_memory_bytes{kind="anonymous"} grows without end it is a leak; else raise the limit, '
        "or start fewer workers."
    ),
    settings=(
        Setting("memory_limit_ratio", "0.9", "share of the limit; a batch larger than usual needs what is left"),
    ),
    scenarios=(
        Scenario(
            {
                f"pilotfish_cgroup_memory_bytes{_A}": "5e8x10 9.5e8x30 6e8x30",
                f"pilotfish_cgroup_memory_reclaimable_bytes{_A}": "0x70",
                f"pilotfish_cgroup_memory_limit_bytes{_A}": "1e9x70",
                f"pilotfish_cgroup_memory_bytes{_B}": "9.9e8x70",  # full of files it has read
                f"pilotfish_cgroup_memory_reclaimable_bytes{_B}": "5e8x70",
                f"pilotfish_cgroup_memory_limit_bytes{_B}": "1e9x70",
                'pilotfish_cgroup_memory_bytes{job="pilotfish",instance="c:7374",target="digits"}': "9e12x70",
            },
            (
                Check("20m"),
                Check("35m", (firing("job=pilotfish instance=a:7374 target=digits", value="95%"),)),
                Check("60m"),
            ),
        ),
    ),
)
