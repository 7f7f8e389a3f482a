"""Drift: which model, which stream, since when, how far, and what could be seen at all."""

from __future__ import annotations

from grafana.boards.board import Board
from grafana.boards.panels import PLAIN, Panel, ask, bars, course, now, number, rows, sheet
from grafana.boards.promql import WINDOW, events, increase, least, most, of, rate, recorded, top, total

_MODEL = ("model", "model_version")
_STREAM = ("feature", *_MODEL)
_NAME = "{{model}} {{model_version}}"
_STREAM_NAME = "{{feature}} ({{model}} {{model_version}})"
_NONE = "no model with a reference"
_SHOWN = 10  # lines that can be told apart; the table has more
_LISTED = 50


def board() -> Board:
    """The dashboard."""
    made = Board(
        "drift", "Drift", "Which streams differ from their reference, since when, how far, and what could be seen?"
    )
    made.row("State", *_state())
    made.row("Evidence: is it drift?", *_evidence())
    made.row("Size: does it matter?", *_size())
    made.row("What can be seen at all", *_power())
    made.row("New versions", *_versions())
    made.closed("Over all replicas", *_fleet())
    return made


def _largest(expr: str) -> str:
    return top(_SHOWN, most(expr, *_STREAM))


def _state() -> list[Panel]:
    last = f"time() - ({most(of('drift_last_run_timestamp_seconds'), *_MODEL)} > 0)"
    one = ("instance", *_MODEL)
    return [
        number(
            "Models that drift",
            "Models with a stream over its alarm line; the tables below say which.",
            now(total(most(of("drift_state", 'state="drifting"'), *_MODEL))),
            steps=((None, "green"), (1, "orange")),
            w=4,
            empty="no model",
        ),
        number(
            "Streams that drift",
            "Features, predictions and scores over their line. Many at once: the source or the "
            "preparation changed; one: look at that feature.",
            now(total(most(of("drift_features_drifting"), *_MODEL))),
            steps=((None, "green"), (1, "orange")),
            w=4,
            empty=_NONE,
        ),
        number(
            "Largest evidence",
            "Over the alarm line of its stream; 1 alarms. Between .5 and 1 and rising: watch it.",
            ask(most(of("drift_evidence_ratio"))),
            steps=((None, "green"), (0.5, "orange"), (1, "red")),
            w=4,
            line=True,
            empty=_NONE,
        ),
        number(
            "Largest effect",
            "About the shift of the mean in standard deviations. Below .2 few models notice.",
            ask(most(of("drift_effect"))),
            steps=((None, "green"), (0.2, "orange"), (0.5, "red")),
            w=4,
            line=True,
            empty=_NONE,
        ),
        number(
            "Alarms in the shown time",
            "Alarm lines crossed, notices (info) left out. More than the budget of false alarms allows: they are real.",
            now(events(of("drift_alarms_total", 'severity!="info"'))),
            steps=PLAIN,
            w=4,
            empty=_NONE,
        ),
        number(
            "Last tested",
            "Time since drift was last computed, of the model that waits longest. Long: no rows come "
            "(no traffic, or the SDK is cut off).",
            now(f"max({last})"),
            unit="s",
            steps=((None, "green"), (600, "orange"), (1800, "red")),
            w=4,
            empty="not yet",
        ),
        sheet(
            "Models",
            "learning and provisional: no reference was given, so nobody is paged; build one with `pilotfish "
            "reference build`. Replicas must show the same reference.",
            ("Streams drifting", "short", rows(most(of("drift_features_drifting"), *one))),
            ("Rows in the window", "short", rows(most(of("drift_window_rows"), *one))),
            ("Rows of the reference", "short", rows(most(of("drift_reference_rows"), *one))),
            ("Alarm line (nats)", "short", rows(most(of("drift_evidence_threshold_nats"), *one))),
            ("", "short", rows(f"{most(of('drift_state'), *one, 'state')} == 1")),
            ("", "short", rows(f"{most(of('drift_alert_severity'), *one, 'severity')} == 1")),
            ("", "short", rows(most(of("reference_info"), *one, "reference_id"))),
            order=("model", "model_version", "instance", "state", "severity", "reference_id"),
            h=7,
            empty=_NONE,
        ),
    ]


def _evidence() -> list[Panel]:
    ratio = of("drift_evidence_ratio")
    return [
        course(
            "Evidence of drift",
            f"The {_SHOWN} streams with the most evidence in the shown time, over their alarm line. "
            "It alarms at 1; where the climb begins, the shift began: compare with versions and deploys.",
            ask(_largest(ratio), _STREAM_NAME),
            steps=((None, "green"), (1, "red")),
            w=16,
            h=11,
            empty=_NONE,
        ),
        bars(
            "Most evidence now",
            "Streams by evidence over their line. The first names the place to look.",
            now(f"sort_desc(topk({_SHOWN}, {most(ratio, *_STREAM)}))", _STREAM_NAME),
            w=8,
            h=11,
            steps=((None, "green"), (0.5, "orange"), (1, "red")),
            empty=_NONE,
        ),
        course(
            "Streams that drift",
            "How many streams are over their line.",
            ask(most(of("drift_features_drifting"), *_MODEL), _NAME),
            w=12,
            empty=_NONE,
        ),
        course(
            "Alarms",
            "Lines crossed, by severity; info is the notice line. Alarms that come and go: a shift near the "
            "smallest one that is looked for.",
            ask(
                events(of("drift_alarms_total"), "model", "severity", window=WINDOW),
                "{{model}} {{severity}}",
            ),
            bars=True,
            w=12,
            empty=_NONE,
        ),
        sheet(
            "What drifts, in words",
            "What changed, since when, what moved with it and what it looks like: the same text as on the agent's page "
            "and in its log. The most evidence first.",
            ("Evidence", "short", rows(_explained())),
            order=("feature", "explanation", *_MODEL, "instance"),
            h=7,
            empty="nothing drifts",
        ),
    ]


def _explained() -> str:
    labels = ("instance", *_STREAM)
    said = most(of("drift_explanation_info"), *labels, "explanation")
    return f"sort_desc({most(of('drift_evidence_ratio'), *labels)} * on ({', '.join(labels)}) group_right () {said})"


def _size() -> list[Panel]:
    most_evidence = f"topk({_LISTED}, {most(of('drift_evidence_ratio'), *_STREAM)})"
    same = f"and on ({', '.join(_STREAM)})"

    def listed(expr: str) -> str:
        return f"{expr} {same} {most_evidence}"

    return [
        course(
            "Effect",
            f"The {_SHOWN} streams that are farthest from their reference, in chi distance: about the shift of "
            "the mean in standard deviations. Large effect: retrain or repair; small: often nothing to do.",
            ask(_largest(of("drift_effect")), _STREAM_NAME),
            w=12,
            h=10,
            empty=_NONE,
        ),
        course(
            "Distance",
            "Descriptive distances (such as psi) of the last rows from the reference, bias removed; they "
            "never alarm. For comparison with other tools.",
            ask(top(_SHOWN, most(of("drift_distance"), "test", *_STREAM)), "{{test}} " + _STREAM_NAME),
            w=12,
            h=10,
            empty=_NONE,
        ),
        sheet(
            "Streams",
            f"The {_LISTED} streams with the most evidence. Effect below the smallest detectable one is luck: "
            "wait for more rows. Missing values that rise: a broken source.",
            ("Evidence", "short", rows(most_evidence)),
            ("Effect", "short", rows(listed(most(of("drift_effect"), *_STREAM)))),
            ("Smallest detectable", "short", rows(listed(most(of("drift_minimum_detectable_effect"), *_STREAM)))),
            ("Missing/s", "cps", rows(listed(total(rate(of("feature_missing_total")), *_STREAM)))),
            order=("feature", "model", "model_version"),
            h=10,
            empty=_NONE,
        ),
    ]


def _power() -> list[Panel]:
    smallest = of("drift_minimum_detectable_effect")
    return [
        course(
            "Smallest detectable effect",
            "Of the streams that see least and most: shifts below this are not found within 20000 rows; the table "
            "above has each. Too large for you: give a larger reference, or a larger budget of false alarms.",
            ask(most(smallest, *_MODEL), f"{_NAME} sees least"),
            ask(least(smallest, *_MODEL), f"{_NAME} sees most"),
            w=12,
            empty=_NONE,
        ),
        course(
            "Rows in the window",
            "Weight of the rows that the numbers above describe. Few: they are rough.",
            ask(most(of("drift_window_rows"), *_MODEL), _NAME),
            w=12,
            empty=_NONE,
        ),
    ]


def _versions() -> list[Panel]:
    pair = ("baseline", *_MODEL)
    none = "no second version has come since the agent started"
    return [
        sheet(
            "New version against the one before",
            "same: no difference found so far; changed: surely, by less than the minimum effect; different: by more. "
            "Different is no alarm: it may be what you wanted. Look at the streams on the right before all "
            "traffic goes to the new version.",
            ("", "short", rows(f"{most(of('version_state'), *pair, 'state')} == 1")),
            ("Largest effect", "short", rows(most(of("version_effect"), *pair))),
            order=("model", "model_version", "baseline", "state"),
            w=12,
            empty=none,
        ),
        bars(
            "Where the versions differ most",
            "Streams of the new version by their effect against the version before, at the last look. An effect below "
            ".1 rarely matters.",
            now(
                f"sort_desc(topk({_SHOWN}, {most(of('version_effect'), 'feature', *pair)}))",
                "{{feature}} ({{model}} {{baseline}} -> {{model_version}})",
            ),
            w=12,
            steps=((None, "green"), (0.1, "orange"), (0.5, "red")),
            empty=none,
        ),
    ]


def _fleet() -> list[Panel]:
    psi = most(recorded("feature:psi1h"), *_STREAM)
    values = total(increase(of("feature_values_total")), "bin", *_STREAM)
    worst = f"and on ({', '.join(_STREAM)}) topk(1, {psi})"
    shares = f"{values} / on ({', '.join(_STREAM)}) group_left () (sum by ({', '.join(_STREAM)}) ({values}) > 0)"
    off = "drift.bins is off, or the recording rules are not loaded"

    def distance(title: str, name: str, todo: str) -> Panel:
        series = most(recorded(f"feature:{name}"), *_STREAM)
        return course(title, todo, ask(top(_SHOWN, series), _STREAM_NAME), w=8, h=9, empty=off)

    return [
        distance(
            "PSI",
            "psi1h",
            "Population stability index of the last hour, all replicas added up (choose all instances). By custom "
            "below .1 is no change and above .25 is a large one; no budget of false alarms stands behind it.",
        ),
        distance(
            "Jensen-Shannon",
            "js1h",
            "Jensen-Shannon divergence of the last hour from the reference in nats, all replicas added up: 0 is "
            "equal, .69 has nothing in common. Compare streams with it.",
        ),
        distance(
            "KS",
            "ks1h",
            "Largest difference of the cumulated shares, numbers only, all replicas added up. A small number that "
            "one replica cannot tell from chance may be real here.",
        ),
        sheet(
            "Where the values of the farthest stream lie",
            "Shares of each bin now and in the reference, of the stream with the largest PSI. Bins that grew "
            "say where the values went.",
            ("Share in the shown time", "percentunit", rows(f"{shares} {worst}")),
            (
                "Share in the reference",
                "percentunit",
                rows(f"{most(of('feature_reference_ratio'), 'bin', *_STREAM)} {worst}"),
            ),
            order=("feature", "bin", "model", "model_version"),
            w=16,
            h=10,
            empty=off,
        ),
        course(
            "Values an hour",
            "Values that the distances rest on: the stream with the fewest and the one with the most. Below 1000 no "
            "distance is computed.",
            ask(least(recorded("feature:rows1h"), *_MODEL), f"{_NAME} fewest"),
            ask(most(recorded("feature:rows1h"), *_MODEL), f"{_NAME} most"),
            w=8,
            h=10,
            empty=off,
        ),
    ]
