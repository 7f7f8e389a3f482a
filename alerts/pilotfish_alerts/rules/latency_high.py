"""The slowest calls are slower than allowed."""

from pilotfish_alerts.rule import MINIMUM_CALLS, Check, Rule, Scenario, Setting, firing

_DURATION = 'job="pilotfish",instance="a:7374",target="t",model="m",operation="predict",outcome="success"'
_FIRES = firing("job=pilotfish instance=a:7374 target=t model=m", value="3.333s")

RULE = Rule(
    alert="PilotfishLatencyHigh",
    expr="""\
histogram_quantile($latency_quantile,
  sum without (operation, outcome) (rate(pilotfish_request_duration_seconds_bucket[5m]))
) > $latency_seconds
and sum without (operation, outcome) (increase(pilotfish_request_duration_seconds_count[5m])) >= $minimum_calls
""",
    severity="warning",
    hold="10m",
    summary="{{ $labels.model }} ({{ $labels.target }}): slow calls take {{ $value | humanizeDuration }}",
    description=(
        "The $latency_quantile quantile of the call duration of {{ $labels.model }} on {{ $labels.instance }} has been "
        "{{ $value | humanizeDuration }} for 10 minutes (limit: $latency_seconds s). Look at CPU throttling, waiting "
        "for a CPU, memory and the input sizes of the same time."
    ),
    settings=(
        Setting("latency_seconds", "1", "seconds; set it to what your callers can wait"),
        Setting("latency_quantile", "0.99", "which quantile"),
        MINIMUM_CALLS,
    ),
    scenarios=(
        Scenario(
            {
                f'pilotfish_request_duration_seconds_bucket{{{_DURATION},le="1"}}': "0+50x30 1500+100x40",
                f'pilotfish_request_duration_seconds_bucket{{{_DURATION},le="2.5"}}': "0+98.5x30 2955+100x40",
                f'pilotfish_request_duration_seconds_bucket{{{_DURATION},le="5"}}': "0+100x30 3000+100x40",
                f'pilotfish_request_duration_seconds_bucket{{{_DURATION},le="+Inf"}}': "0+100x30 3000+100x40",
                f"pilotfish_request_duration_seconds_count{{{_DURATION}}}": "0+100x30 3000+100x40",
            },
            (Check("8m"), Check("20m", (_FIRES,)), Check("60m")),
        ),
    ),
)
