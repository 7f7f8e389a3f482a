"""Recording rules: KS, PSI and Jensen-Shannon over all replicas of a model, from the bin counters (docs/fleet.md).

Each is the distance of the values of the last hour from the reference, for one model version and one reference:
replicas with another reference have other bins and are a group of their own. These are descriptions, not tests: no
budget of false alarms is kept here.
"""

from __future__ import annotations

from typing import Final

from pilotfish_alerts.rule import Record, Setting

GROUP: Final = "pilotfish-fleet"
INTERVAL: Final = "1m"
"""An hour hardly moves in a minute, and the sums over all replicas are the dearest of all rules."""
MINIMUM_ROWS: Final = Setting(
    "fleet_minimum_rows",
    "1000",
    "values of a feature in an hour, over all replicas, below which its distances are mostly chance",
)
_OF_FEATURE: Final = "job, model, model_version, reference_id, feature"
_OF_BIN: Final = f"{_OF_FEATURE}, bin"
_LEAST: Final = "1e-4"
"""PSI of an empty bin would be infinite."""
_TINY: Final = "1e-300"
"""An empty bin adds nothing to Jensen-Shannon: 0 * ln(0) would be no number, 0 * ln(this) is 0."""
_NUMBERS: Final = '{bin=~"[0-9]: [(<>].*"}'
"""The bins of numbers, in the order of their digit: neither categories nor missing and infinite values."""
_BINS: Final = 10


def _psi() -> str:
    now, before = (f"clamp_min(pilotfish:feature_bin:{s}, {_LEAST})" for s in ("share1h", "reference_share"))
    return _enough(f"sum without (bin) (({now} - {before}) * ln({now} / {before}))")


def _js() -> str:
    now, before = "pilotfish:feature_bin:share1h", "pilotfish:feature_bin:reference_share"
    middle = f"clamp_min(({now} + {before}) / 2, {_TINY})"
    first, second = (f"{s} * ln(clamp_min({s}, {_TINY}) / {middle})" for s in (now, before))
    return _enough(f"sum without (bin) ({first} + {second}) / 2")


def _below(last: int) -> Record:
    """How much more of the numbers lies in the first bins, up to ``last``, than in the reference."""

    def part(series: str) -> str:
        some = series + _NUMBERS.replace("0-9", f"0-{last}")
        return f"sum without (bin) ({some}) / (sum without (bin) ({series}{_NUMBERS}) > 0)"

    expr = f"{part('pilotfish:feature_bin:share1h')} - {part('pilotfish:feature_bin:reference_share')}"
    return Record("pilotfish:feature_below:difference1h", expr, _OF_FEATURE, {"below": str(last)})


def _enough(expr: str) -> str:
    return f"{expr} and pilotfish:feature:rows1h >= $fleet_minimum_rows"


RECORDS: Final = (
    Record(
        "pilotfish:feature_bin:increase1h",
        f"sum by ({_OF_BIN}) (increase(pilotfish_feature_values_total[1h]))",
        _OF_BIN,
    ),
    Record("pilotfish:feature:rows1h", "sum without (bin) (pilotfish:feature_bin:increase1h)", _OF_FEATURE),
    Record(
        "pilotfish:feature_bin:share1h",
        "pilotfish:feature_bin:increase1h / ignoring (bin) group_left () (pilotfish:feature:rows1h > 0)",
        _OF_BIN,
    ),
    # Each replica tells the same: never the sum.
    Record("pilotfish:feature_bin:reference_share", f"max by ({_OF_BIN}) (pilotfish_feature_reference_ratio)", _OF_BIN),
    Record("pilotfish:feature:psi1h", _psi(), _OF_FEATURE),
    Record("pilotfish:feature:js1h", _js(), _OF_FEATURE),
    *(_below(last) for last in range(_BINS - 1)),
    Record(
        "pilotfish:feature:ks1h",
        _enough("max without (below) (abs(pilotfish:feature_below:difference1h))"),
        _OF_FEATURE,
    ),
)
SETTINGS: Final = (MINIMUM_ROWS,)
