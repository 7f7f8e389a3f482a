"""What is assembled from the parts: example, schema, metrics."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import ModuleType

import pytest

from pilotfish_agent import catalogue, config, yaml_tree
from pilotfish_core.config import Budget, FreeSection, ListSection, Option, Secret, secret
from pilotfish_core.metrics import Metric

ALL = [
    pytest.param(option, default, id=f"{name}{'[]' * isinstance(section, ListSection)}.{key}")
    for name, section in catalogue.sections().items()
    if not isinstance(section, FreeSection)
    for key, option, default in catalogue.declared(section)
]


@pytest.mark.parametrize(("option", "default"), ALL)
def test_every_option_is_documented(option: Option, default: object, request: pytest.FixtureRequest) -> None:
    """Help is a sentence, the example parses, and an option with a default shows that default (but in a list)."""
    assert option.help.endswith(".")
    root, problems = yaml_tree.parse(option.example.encode(), "example")
    assert root is not None
    assert not problems
    parsed = option.parse(yaml_tree.plain(root))
    if default is not None and default != () and "[]" not in request.node.name:
        assert parsed == default


def test_example_passes_check(tmp_path: Path) -> None:
    """The example file is good as printed, and with everything that is commented out put in."""
    text = catalogue.example()
    everything = re.sub(r"^  # (\w+: .*)$", r"  \1", text, flags=re.MULTILINE)
    for number, content in enumerate((text, everything)):
        path = tmp_path / f"{number}.yaml"
        path.write_text(content)
        assert config.load(str(path), {}, {}).problems == ()
    single = [p for p in ALL if "[]" not in str(p.id)]
    assert len(config.load(str(path), {}, {}).origins) == len(single) + 2  # two labels


def test_example_changes_nothing(tmp_path: Path) -> None:
    """Taking the example as it is leaves every value at its default."""
    (tmp_path / "p.yaml").write_text(catalogue.example())
    given = config.load(str(tmp_path / "p.yaml"), {}, {})
    assert given.sections == config.load(None, {}, {}, default_path="/nonexistent").sections


def test_schema_holds_every_key() -> None:
    """The schema knows what the loader knows, and is JSON."""
    schema = json.loads(json.dumps(catalogue.schema()))
    for name, section in catalogue.sections().items():
        keys = schema["properties"][name]
        keys = keys.get("items", keys).get("properties", {})
        assert set(keys) == (
            set() if isinstance(section, FreeSection) else {k for k, _, _ in catalogue.declared(section)}
        )
    assert schema["properties"]["drift"]["properties"]["tick"]["default"] == "10s"


def test_metrics_of_all_parts() -> None:
    """Parts of every layer are found without a list."""
    names = [m.name for m in catalogue.metrics()]
    assert names == sorted(set(names))
    assert {
        "pilotfish_build_info",
        "pilotfish_drift_evidence_ratio",
        "pilotfish_events_total",
        "pilotfish_observations_total",
        "pilotfish_process_cpu_seconds_total",
        "pilotfish_target_up",
    } <= set(names)


def module(name: str, *metrics: Metric) -> ModuleType:
    """A part that declares these."""
    made = ModuleType(name)
    made.METRICS = metrics  # type: ignore[attr-defined]
    return made


def test_same_metric_twice() -> None:
    """A re-export counts once; two different declarations of a name are refused."""
    one = Metric("pilotfish_a", "gauge", "A.")
    assert catalogue.merged([module("x", one), module("y", one)]) == (one,)
    with pytest.raises(ValueError, match="pilotfish_a is declared twice, differently, again in y"):
        catalogue.merged([module("x", one), module("y", Metric("pilotfish_a", "gauge", "B."))])


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, ""),
        (1.5, "1.5"),
        (("a", "b"), "[a, b]"),
        ({"a": 1}, "{a: 1}"),
        (Budget(1, 60.0, "1 per 1m"), "1 per 1m"),
        (Secret("x"), "<secret>"),
    ],
)
def test_words(value: object, words: str) -> None:
    """A value prints as a user would write it."""
    assert catalogue.words(value) == words


def test_secret_option_is_masked() -> None:
    """A secret's value is masked whatever its type."""
    assert catalogue.words("hunter2", Option(secret, "Word.", "x", secret=True)) == "<secret>"
