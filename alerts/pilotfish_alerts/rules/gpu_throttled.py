"""Heat, or the power supply, holds a GPU's clocks down."""

from pilotfish_alerts.rule import Check, Rule, Scenario, Setting, firing

_THROTTLE = 'pilotfish_gpu_throttle_seconds_total{job="pilotfish",instance="a:7374",uuid="GPU-1",gpu="0",reason='

RULE = Rule(
    alert="PilotfishGpuThrottled",
    # Not by the power limit (`power`): a well-used GPU is there most of the time. Newer drivers count heat twice.
    expr=(
        "max without (reason) (rate(pilotfish_gpu_throttle_seconds_total"
        '{reason=~"thermal|sw_thermal|hw_thermal|hw_power_brake"}[5m])) > $gpu_throttled_ratio'
    ),
    severity="warning",
    hold="10m",
    summary="GPU {{ $labels.gpu }} of {{ $labels.instance }} is slowed down by heat or by its power supply",
    description=(
        "GPU {{ $labels.gpu }} ({{ $labels.uuid }}) on {{ $labels.instance }} has had its clocks held down in "
        "{{ $value | humanizePercentage }} of the time for 10 minutes (limit: $gpu_throttled_ratio). The reason is in "
        "pilotfish_gpu_throttle_seconds_total: thermal, sw_thermal, hw_thermal: look at fans, air and dust; "
        "hw_power_brake: at the power supply. Until then the model is slower than it was measured."
    ),
    settings=(
        Setting("gpu_throttled_ratio", "0.1", "share of time; below it the model loses less than latency varies by"),
    ),
    scenarios=(
        Scenario(
            {
                _THROTTLE + '"sw_thermal"}': "0x10 0+30x30 900x20",
                _THROTTLE + '"thermal"}': "0x10 0+30x30 900x20",
                _THROTTLE + '"power"}': "0+60x60",
            },
            (
                Check("9m"),
                Check("30m", (firing("job=pilotfish instance=a:7374 uuid=GPU-1 gpu=0", value="50%"),)),
                Check("58m"),
            ),
        ),
    ),
)
