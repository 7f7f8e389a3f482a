"""The alerts: what Prometheus' own tool says of them, and that each tells a person what to do."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from pilotfish_agent import catalogue
from pilotfish_alerts import generate
from pilotfish_alerts.rule import Rule
from pilotfish_core import registry
from pilotfish_core.errors import UsageError
from pilotfish_exporters._budget import NEVER
from tests.system import needs

RULES = generate.rules()
DOCS = Path(__file__).parents[2] / "docs" / "alerts.md"
each_rule = pytest.mark.parametrize("rule", RULES, ids=lambda r: r.alert)


def promtool(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs promtool in ``folder``."""
    return subprocess.run(("promtool", *arguments), cwd=folder, capture_output=True, text=True, timeout=110)


def play(folder: Path) -> subprocess.CompletedProcess[str]:
    """Plays all scenarios against ``rules.yml`` in ``folder``."""
    files = generate.promtool_tests("rules.yml")
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return promtool(folder, "test", "rules", *files)


def write(folder: Path, rules_text: str) -> Path:
    (folder / "rules.yml").write_text(rules_text, encoding="utf-8")
    return folder


@needs("promtool", package="prometheus")
@pytest.mark.parametrize("changed", [{}, {"job": "serving", "latency_seconds": "0.25"}])
def test_promtool_accepts_the_rules(tmp_path: Path, changed: dict[str, str]) -> None:
    """`check rules --lint=all --lint-fatal`, with the defaults and with other limits."""
    folder = write(tmp_path, generate.prometheus(changed))
    done = promtool(folder, "check", "rules", "--lint=all", "--lint-fatal", "rules.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(RULES) + len(generate.records())} rules found" in done.stdout + done.stderr


@needs("promtool", package="prometheus")
def test_every_rule_fires_stays_quiet_and_resolves_as_its_stories_say(tmp_path: Path) -> None:
    """`promtool test rules` plays the scenarios of every rule."""
    folder = write(tmp_path, generate.prometheus())
    done = play(folder)
    assert done.returncode == 0, done.stdout + done.stderr


@needs("promtool", package="prometheus")
@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ('pilotfish_drift_alert_severity{severity="critical"} == 1', "vector(0) == 1"),  # never fires
        ("pilotfish_target_up == 0", "pilotfish_target_up >= 0"),  # always fires
        ("for: 2m", "for: 9m"),  # comes too late
        (
            'unless pilotfish_events_total{level="error"} offset 15m',
            "unless pilotfish_events_total",
        ),  # misses one
        ("calls of {{ $labels.model }}", "calls of {{ $labels.job }}"),  # names the wrong thing
    ],
)
def test_a_broken_rule_fails_its_stories(tmp_path: Path, was: str, becomes: str) -> None:
    """The stories would notice: each mutant of the file is refused."""
    text = generate.prometheus()
    assert was in text
    folder = write(tmp_path, text.replace(was, becomes))
    assert play(folder).returncode != 0


@needs("promtool", package="prometheus")
def test_the_prometheusrule_holds_the_same_rules(tmp_path: Path) -> None:
    """Its spec is a rule file that promtool accepts, equal to the plain one."""
    document = yaml.safe_load(generate.kubernetes())
    assert (document["apiVersion"], document["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    assert document["spec"] == yaml.safe_load(generate.prometheus())
    folder = write(tmp_path, yaml.safe_dump(document["spec"]))
    assert promtool(folder, "check", "rules", "--lint=all", "--lint-fatal", "rules.yml").returncode == 0


@each_rule
def test_a_rule_has_a_story_in_which_it_fires_and_resolves_and_one_moment_of_quiet(rule: Rule) -> None:
    """Fires, does not fire before, resolves after: in one story; the watchdog only ever fires."""
    if rule.always:
        assert all(check.firing for scenario in rule.scenarios for check in scenario.checks)
        return
    stories = [[bool(check.firing) for check in scenario.checks] for scenario in rule.scenarios]
    assert any(story[0] is False and True in story and story[-1] is False for story in stories)


@each_rule
def test_a_rule_speaks_to_a_person(rule: Rule) -> None:
    """A short summary, a description that says what to do, a known severity, a name with our prefix."""
    assert re.fullmatch(r"Pilotfish[A-Z]\w+", rule.alert)
    assert len(rule.summary) <= 110
    assert not rule.summary.endswith(".")
    assert rule.description.endswith(".")
    assert len(rule.description) > 80
    assert rule.severity in {"none", "info", "warning", "critical"}


@each_rule
def test_the_runbook_of_a_rule_exists(rule: Rule) -> None:
    """`runbook_url` (with `--runbooks`) points at a heading of docs/alerts.md that says what to do."""
    sections = re.split(r"^## ", DOCS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    section = next(s for s in sections if s.startswith(rule.alert + "\n"))
    assert "**Means**" in section
    assert "**Do**" in section
    assert f"Severity: {rule.severity}" in section
    for setting in rule.settings:
        assert f"`{setting.name}`" in section


def test_no_runbook_is_left_without_its_rule() -> None:
    """What is gone from the rules is gone from the docs."""
    headings = re.findall(r"^## (Pilotfish\w+)$", DOCS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert sorted(headings) == sorted(rule.alert for rule in RULES)


def test_names_are_unique_and_a_file_is_a_rule() -> None:
    """The folder is the registry."""
    assert len({rule.alert for rule in RULES}) == len(RULES) == len(registry.names(generate.PACKAGE))


def test_severities_that_page_are_warning_and_critical_only() -> None:
    """The drift severity `info`, learning and provisional references page nobody."""
    text = generate.prometheus()
    assert 'pilotfish_drift_alert_severity{severity="info"}' not in text
    paging = {r.alert for r in RULES if r.severity in {"warning", "critical"}}
    assert {"PilotfishDriftWarning", "PilotfishDriftCritical", "PilotfishTargetDown", "PilotfishDown"} <= paging
    assert not {"PilotfishTooFewRows", "PilotfishReferenceProvisional"} & paging


def entries(text: str) -> dict[str, Any]:
    groups = yaml.safe_load(text)["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


def test_settings_reach_the_expression_and_the_words() -> None:
    """`--set` changes both, and nothing else."""
    plain, changed = entries(generate.prometheus()), entries(generate.prometheus({"error_ratio": "0.01"}))
    assert "> 0.01" in changed["PilotfishErrorRatioHigh"]["expr"]
    assert "(limit: 0.01)" in changed["PilotfishErrorRatioHigh"]["annotations"]["description"]
    assert [name for name, rule in plain.items() if rule != changed[name]] == ["PilotfishErrorRatioHigh"]


def test_a_drift_alert_stays_as_long_as_it_is_told() -> None:
    """`--set drift_keep` is the time after the end; both drift alerts, and nothing else, go by it."""
    plain, changed = entries(generate.prometheus()), entries(generate.prometheus({"drift_keep": "2s"}))
    other = {name: rule["keep_firing_for"] for name, rule in changed.items() if rule != plain[name]}
    assert other == {"PilotfishDriftCritical": "2s", "PilotfishDriftWarning": "2s"}


def test_the_runbook_address_can_be_the_operators_own() -> None:
    """An air-gapped site has its own copy of the docs; else it is the project's site; without any there is no link."""
    assert all(
        rule["annotations"]["runbook_url"] == f"{generate.RUNBOOKS}#{name.lower()}"
        for name, rule in entries(generate.prometheus()).items()
    )
    assert not any("runbook_url" in r["annotations"] for r in entries(generate.prometheus(runbooks="")).values())
    changed = entries(generate.prometheus(runbooks="http://wiki/alerts"))
    assert changed["PilotfishDown"]["annotations"]["runbook_url"] == "http://wiki/alerts#pilotfishdown"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("nope", "1", "expected one of agent_memory_bytes"),
        ("error_ratio", "0.1} or vector(1)", "a number or a plain name"),
        ("job", 'x"} == 1 or up{a="', "a number or a plain name"),
        ("error_ratio", "high", "a number above 0"),
        ("latency_seconds", "-1", "a number above 0"),
        ("latency_seconds", "nan", "a number above 0"),
        ("drift_keep", "10", "a duration such as 10m"),
        ("drift_keep", "soon", "a duration such as 10m"),
    ],
)
def test_a_wrong_setting_is_refused_in_one_line(name: str, value: str, words: str) -> None:
    """What, the value, what was expected; a value cannot break out of its place in PromQL."""
    with pytest.raises(UsageError, match=re.escape(words)) as caught:
        generate.prometheus({name: value})
    assert "\n" not in str(caught.value)


def test_no_template_is_left_unfilled() -> None:
    """A `$name` that is neither a setting nor Prometheus' own is a typing error."""
    for entry in entries(generate.prometheus()).values():
        assert "$" not in entry["expr"]
        words = " ".join(entry["annotations"].values())
        assert set(re.findall(r"\$(\w+)", words)) <= {"labels", "value", "i", "s"}


def test_what_a_rule_reads_never_leaves_the_page() -> None:
    """Above `limits.series` other families go: an alert is not silenced by a model with many features."""
    texts = [entry["expr"] for entry in entries(generate.prometheus()).values()]
    read = {re.sub(r"_(bucket|count|sum)$", "", n) for text in texts for n in re.findall(r"pilotfish_\w+", text)}
    assert read <= NEVER


def test_every_metric_that_a_rule_reads_is_declared_with_the_labels_it_uses() -> None:
    """A renamed metric must not leave a silent alert behind."""
    declared = {m.name: {*m.labels, "job", "instance", "le"} for m in catalogue.metrics()}
    own = {"up", "process_resident_memory_bytes"}
    for entry in entries(generate.prometheus()).values():
        for name, matchers in re.findall(r"\b((?:pilotfish|process)_\w+|up\b)(?:\{([^}]*)\})?", entry["expr"]):
            base = re.sub(r"_(bucket|count|sum)$", "", name)
            assert base in declared or name in own, name
            used = set(re.findall(r"(\w+)=", matchers))
            assert used <= declared.get(base, {"job"}), (name, used)
