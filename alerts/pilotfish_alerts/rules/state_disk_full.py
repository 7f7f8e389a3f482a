"""There is hardly any room left where the agent keeps its state."""

from pilotfish_alerts.rule import Check, Rule, Scenario, Setting, firing

_AGENT = 'job="pilotfish",instance="a:7374"'

RULE = Rule(
    alert="PilotfishStateDiskFull",
    expr=(
        "pilotfish_state_disk_free_bytes < "
        "clamp_min($state_disk_ratio * pilotfish_state_disk_size_bytes, $state_disk_bytes)"
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
        Setting("state_disk_ratio", "0.05", "share of the file system below which it is nearly full"),
        Setting("state_disk_bytes", "104857600", "100 MiB: several times what an agent keeps, however small the disk"),
    ),
    scenarios=(
        Scenario(
            {
                f"pilotfish_state_disk_free_bytes{{{_AGENT}}}": "5e10x10 1073741824x20 5e10x20",
                f"pilotfish_state_disk_size_bytes{{{_AGENT}}}": "1e11x60",
            },
            (Check("14m"), Check("20m", (firing("job=pilotfish instance=a:7374", value="1Gi"),)), Check("40m")),
        ),
        # 5 % of 200 MB are 10 MB: too little to write anything.
        Scenario(
            {
                f"pilotfish_state_disk_free_bytes{{{_AGENT}}}": "1.1e8x10 52428800x20",
                f"pilotfish_state_disk_size_bytes{{{_AGENT}}}": "2e8x60",
            },
            (Check("10m"), Check("20m", (firing("job=pilotfish instance=a:7374", value="50Mi"),))),
        ),
    ),
)
