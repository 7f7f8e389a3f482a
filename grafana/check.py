"""The static checks of the dashboards: ``python -m grafana.check`` prints what is wrong and exits with 1.

Schema: Grafana's own JSON schema of a classic dashboard. Lint: the rules of Grafana's dashboard-linter. Catalogue:
every metric and label is exported. PromQL: promtool understands every expression. That they draw is proven apart.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft7Validator

from grafana import lint
from grafana.selectors import Selector, parse
from pilotfish_agent import catalogue
from pilotfish_alerts import generate
from pilotfish_core.metrics import Metric

HERE = pathlib.Path(__file__).resolve().parent
DASHBOARDS = HERE / "dashboards"
SCHEMA = HERE / "schema" / "dashboard.jsonschema.json"
EVERYWHERE = frozenset({"job", "instance"})
"""Labels that Prometheus adds."""
FOREIGN: Mapping[str, frozenset[str]] = {
    "up": frozenset(),
    "ALERTS": frozenset({"alertname", "alertstate", "severity", "target", "model", "model_version"}),
    **{record.name: record.own for record in generate.records()},
}
"""What may be drawn though no agent exports it, with its labels: Prometheus' own (ALERTS has those of the alerts'
expressions, too), and what our recording rules make."""
_PARTS = {"histogram": ("_bucket", "_count", "_sum")}
_WORDS = {"$__rate_interval": "5m", "$__interval": "1m", "$__range": "1h"}


def read(folder: pathlib.Path = DASHBOARDS) -> dict[str, dict[str, Any]]:
    """The committed dashboards by file name."""
    return {path.name: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}


def schema_errors(board: Mapping[str, Any]) -> list[str]:
    """What Grafana's schema says against it."""
    found = sorted(_validator().iter_errors(board), key=lambda e: [str(p) for p in e.absolute_path])
    deepest = [max([error, *(error.context or ())], key=lambda e: len(e.absolute_path)) for error in found]
    return [f"{'/'.join(map(str, e.absolute_path))}: {e.message[:200]}" for e in deepest]


def _validator() -> Draft7Validator:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    # An override's matcher and value are anything (`any` in the SDK's TypeScript, `object` in its Python); the JSON
    # schema, generated from the same source, says "object" and refuses the text of every name and unit.
    for noun, key in (("DynamicConfigValue", "value"), ("MatcherConfig", "options")):
        schema["definitions"][noun]["properties"][key] = {}
    return Draft7Validator(schema)


def unknown(board: Mapping[str, Any], metrics: tuple[Metric, ...] | None = None) -> list[str]:
    """Metrics and labels that nothing exports.

    Args:
        board: a dashboard.
        metrics: the catalogue, None for that of this installation.
    """
    known = _exported(catalogue.metrics() if metrics is None else metrics)
    return [word for where, expr in lint.expressions(board) for word in _unknown(where, expr, known)]


def _unknown(where: str, expr: str, known: Mapping[str, frozenset[str]]) -> Iterator[str]:
    try:
        parsed = parse(expr)
    except ValueError:
        return  # lint says it
    labels: set[str] = set(EVERYWHERE)
    for selector in parsed.selectors:
        for name in selector.metrics():
            if name not in known:
                yield f"{where}: nothing exports {name}"
                continue
            labels |= known[name]
            yield from (
                f"{where}: {name} has no label {label}" for label in _asked(selector) - known[name] - EVERYWHERE
            )
    yield from (f"{where}: grouped by {label}, which no metric in it has" for label in parsed.grouped - labels)


def _asked(selector: Selector) -> set[str]:
    return {label for label, _, _ in selector.matchers if label != "__name__"}


def _exported(metrics: tuple[Metric, ...]) -> dict[str, frozenset[str]]:
    found = dict(FOREIGN)
    for metric in metrics:
        labels = frozenset(metric.labels)
        for part in _PARTS.get(metric.kind, ("",)):
            found[metric.name + part] = labels | {"le"} if part == "_bucket" else labels
    return found


def drawn(boards: Mapping[str, Mapping[str, Any]]) -> list[Metric]:
    """The metrics of the catalogue that any of the dashboards asks for."""
    asked = {
        name
        for board in boards.values()
        for _, expr in lint.expressions(board)
        for selector in parse(expr).selectors
        for name in selector.metrics()
    }
    return [m for m in catalogue.metrics() if any(m.name + part in asked for part in _PARTS.get(m.kind, ("",)))]


def promql_errors(boards: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What promtool says of the expressions of all dashboards, asked once."""
    rules: list[dict[str, Any]] = []
    for name, board in boards.items():
        for where, expr in lint.expressions(board):
            if where.startswith("variable"):  # selectors of label_values: a rule must not match everything
                continue
            for word, meaning in _WORDS.items():
                expr = expr.replace(word, meaning)  # noqa: PLW2901 - the same expression, filled in
            rules.append({"record": f"check:{len(rules)}", "expr": expr, "labels": {"at": f"{name}: {where}"[:200]}})
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "rules.yml")
        path.write_text(json.dumps({"groups": [{"name": "dashboards", "rules": rules}]}), encoding="utf-8")
        asked = subprocess.run(("promtool", "check", "rules", str(path)), capture_output=True, text=True, check=False)
    return [] if asked.returncode == 0 else [line for line in asked.stderr.splitlines() if line.strip()]


def problems(boards: Mapping[str, Mapping[str, Any]], *, promtool: bool = True) -> list[str]:
    """Everything that is wrong with them."""
    found = [
        f"{name}: {word}"
        for name, board in boards.items()
        for word in (*schema_errors(board), *lint.hits(board), *unknown(board))
    ]
    return found + (promql_errors(boards) if promtool else [])


def main() -> int:
    """Prints what is wrong with the committed dashboards."""
    boards = read()
    found = problems(boards)
    for line in found:
        print(line, file=sys.stderr)
    return 1 if found or not boards else 0


if __name__ == "__main__":
    sys.exit(main())
