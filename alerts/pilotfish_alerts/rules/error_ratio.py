"""Too many calls end in a server error."""

from pilotfish_alerts.rule import MINIMUM_CALLS, Check, Rule, Scenario, Setting, firing

_CALLS = 'pilotfish_request_duration_seconds_count{job="pilotfish",instance="a:7374",target="t",model="m",outcome='
_FIRES = firing("job=pilotfish instance=a:7374 target=t model=m", value="10%")

RULE = Rule(
    alert="PilotfishErrorRatioHigh",
    expr="""\
sum without (operation, outcome) (rate(pilotfish_request_duration_seconds_count{outcome="server_error"}[5m]))
  / sum without (operation, outcome) (rate(pilotfish_request_duration_seconds_count[5m]))
  > $error_ratio
and sum without (operation, outcome) (increase(pilotfish_request_duration_seconds_count[5m])) >= $minimum_calls
""",
    severity="critical",
    hold="5m",
    summary="{{ $labels.model }} ({{ $labels.target }}): {{ $value | humanizePercentage }} of the calls fail",
    description=(
        "{{ $value | humanizePercentage }} of the calls of {{ $labels.model }} on {{ $labels.instance }} have ended in "
        "a server error for 5 minutes (limit: $error_ratio). Read the model server's log; compare with the last deploy."
    ),
    settings=(
        Setting("error_ratio", "0.05", "share of server errors; 5 % is far beyond any usual objective"),
        MINIMUM_CALLS,
    ),
    scenarios=(
        Scenario(
            {
                _CALLS + '"success"}': "0+90x20 1890+100x40",
                _CALLS + '"server_error"}': "0+10x20 200+0x40",
            },
            (Check("4m"), Check("15m", (_FIRES,)), Check("35m")),
        ),
        # 2 of 4 calls in 5 minutes fail: too few to say anything.
        Scenario({_CALLS + '"success"}': "0+0.4x40", _CALLS + '"server_error"}': "0+0.4x40"}, (Check("30m"),)),
        # Clients' own errors are not the model's.
        Scenario({_CALLS + '"success"}': "0+50x40", _CALLS + '"client_error"}': "0+50x40"}, (Check("30m"),)),
    ),
)
