"""Rules -> a Prometheus rule file, a Kubernetes PrometheusRule, and promtool's unit tests of them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from string import Template
from typing import Any

import yaml

from pilotfish_alerts import efficiency, fleet
from pilotfish_alerts.rule import EXPLANATIONS, JOB, LABEL, STREAMS, Check, Firing, Record, Rule, Setting
from pilotfish_core import registry
from pilotfish_core.errors import UsageError

PACKAGE = "pilotfish_alerts.rules"
RUNBOOKS = "https://pilotfish.readthedocs.io/en/stable/alerts/"
"""docs/alerts.md as the project's site has it (`site_url` of mkdocs.yml); `--runbooks` names a copy of one's own."""
_GROUP = "pilotfish"
_RECORDING = (efficiency, fleet)
_VALUE = re.compile(r"\{\{ \$value[^}]*\}\}")
_SAFE_VALUE = re.compile(r"[\w.:/-]+\Z")
_DURATION = re.compile(r"(\d+y)?(\d+w)?(\d+d)?(\d+h)?(\d+m)?(\d+s)?(\d+ms)?\Z")


def rules() -> tuple[Rule, ...]:
    """All rules, by the name of their file."""
    return tuple(module.RULE for _, module in registry.parts(PACKAGE))


def records() -> tuple[Record, ...]:
    """All recording rules, in the order of their groups."""
    return tuple(record for group in _RECORDING for record in group.RECORDS)


def every_setting() -> dict[str, Setting]:
    """What can be changed, by name: of alerts and of recording rules."""
    return {s.name: s for s in (*(s for rule in rules() for s in rule.settings), *fleet.SETTINGS)}


def settings(changed: Mapping[str, str]) -> dict[str, str]:
    """The value of every setting.

    Raises:
        UsageError: a setting that no rule has, or a value that could break out of its place in PromQL.
    """
    defaults = {name: s.default for name, s in every_setting().items()}
    values = dict(defaults)
    for name, value in changed.items():
        if name not in values:
            raise UsageError("--set", got=name, expected="one of " + ", ".join(sorted(values)))
        if not _SAFE_VALUE.match(value):
            raise UsageError(f"--set {name}", got=value, expected="a number or a plain name")
        if _DURATION.match(defaults[name]):
            if not _DURATION.match(value):
                raise UsageError(f"--set {name}", got=value, expected="a duration such as 10m or 1h30m")
        elif name != JOB.name and not _is_number(value):
            raise UsageError(f"--set {name}", got=value, expected="a number above 0")
        values[name] = value
    return values


def prometheus(changed: Mapping[str, str] | None = None, runbooks: str = RUNBOOKS) -> str:
    """The rule file.

    Args:
        changed: settings that differ from their defaults.
        runbooks: address of docs/alerts.md, to which ``runbook_url`` points; empty: there is no such annotation.
    """
    return _dump(_groups(changed or {}, runbooks))


def kubernetes(changed: Mapping[str, str] | None = None, runbooks: str = RUNBOOKS) -> str:
    """The same as a PrometheusRule of the Prometheus operator; its ``spec`` is the rule file."""
    metadata = {"name": "pilotfish", "labels": {"app.kubernetes.io/name": "pilotfish", "role": "alert-rules"}}
    return _dump(
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": metadata,
            "spec": _groups(changed or {}, runbooks),
        }
    )


def promtool_tests(rule_file: str, runbooks: str = RUNBOOKS) -> dict[str, str]:
    """Files for `promtool test rules`, by name: the scenarios of every rule, with the default settings.

    Args:
        rule_file: name of the file that `prometheus` wrote.
        runbooks: as it was given there.
    """
    every = rules()
    values = settings({})
    files: dict[str, list[dict[str, Any]]] = {}
    for rule in every:
        for scenario in rule.scenarios:
            checks = [_expected(rule, check, values, runbooks) for check in scenario.checks]
            series = [{"series": s, "values": v} for s, v in scenario.series.items()]
            test = {"interval": scenario.every, "input_series": series, "alert_rule_test": checks}
            files.setdefault(scenario.every, []).append(test)
    return {
        f"tests-{every}.yml": _dump({"rule_files": [rule_file], "evaluation_interval": every, "tests": tests})
        for every, tests in files.items()
    }


def _groups(changed: Mapping[str, str], runbooks: str) -> dict[str, Any]:
    values = settings(changed)
    alerts = {"name": _GROUP, "rules": [_entry(r, values, runbooks) for r in rules()]}
    recording = [
        {"name": group.GROUP, "interval": group.INTERVAL, "rules": [_record(r, values) for r in group.RECORDS]}
        for group in _RECORDING
    ]
    return {"groups": [alerts, *recording]}


def _record(record: Record, values: Mapping[str, str]) -> dict[str, Any]:
    entry: dict[str, Any] = {"record": record.name, "expr": Template(record.expr).substitute(values)}
    return entry | ({"labels": dict(record.labels)} if record.labels else {})


def _entry(rule: Rule, values: Mapping[str, str], runbooks: str) -> dict[str, Any]:
    entry: dict[str, Any] = {"alert": rule.alert, "expr": Template(rule.expr).substitute(values)}
    if rule.hold:
        entry["for"] = rule.hold
    if rule.keep:
        entry["keep_firing_for"] = Template(rule.keep).substitute(values)
    entry["labels"] = {"severity": rule.severity}
    entry["annotations"] = _annotations(rule, values, runbooks)
    return entry


def _annotations(rule: Rule, values: Mapping[str, str], runbooks: str) -> dict[str, str]:
    # safe_substitute: $labels and $value are Prometheus' own and stay
    words = {"summary": rule.summary, "description": rule.description}
    found = {name: Template(text).safe_substitute(values) for name, text in words.items()}
    return found | ({"runbook_url": f"{runbooks}#{rule.alert.lower()}"} if runbooks else {})


def _expected(rule: Rule, check: Check, values: Mapping[str, str], runbooks: str) -> dict[str, Any]:
    alerts = [
        {
            "exp_labels": {**one.labels, "severity": rule.severity},
            "exp_annotations": {k: _filled(v, one) for k, v in _annotations(rule, values, runbooks).items()},
        }
        for one in check.firing
    ]
    return {"eval_time": check.at, "alertname": rule.alert, "exp_alerts": alerts}


def _filled(text: str, one: Firing) -> str:
    """The words as they must come out: labels from the alert, everything else as the scenario says."""
    text = STREAMS.sub(lambda _: one.texts.get("streams", ""), text)
    text = EXPLANATIONS.sub(lambda _: one.texts.get("explanations", ""), text)
    text = LABEL.sub(lambda m: one.labels.get(m[1], ""), text)
    return _VALUE.sub(lambda _: one.texts["value"], text)


def _is_number(value: str) -> bool:
    try:
        return 0 < float(value) < math.inf
    except ValueError:
        return False


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    """Texts of several lines as literal blocks."""
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


def _dump(document: object) -> str:
    class Dumper(yaml.SafeDumper):  # a class of its own: a representer belongs to the class
        pass

    Dumper.add_representer(str, _text)
    text: str = yaml.dump(document, Dumper=Dumper, sort_keys=False, width=10_000, allow_unicode=True)
    return text
