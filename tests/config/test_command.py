"""``pilotfish config``: what it prints and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pilotfish_agent import catalogue, config
from pilotfish_agent.dispatch import dispatch


@pytest.fixture(autouse=True)
def _no_system_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "DEFAULT_PATH", "/nonexistent/pilotfish.yaml")
    monkeypatch.delenv("PILOTFISH_CONFIG", raising=False)


def test_check_good(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A good file: one line, exit 0."""
    (tmp_path / "p.yaml").write_text("model: {name: fraud}\n")
    assert dispatch(["config", "check", str(tmp_path / "p.yaml")]) == 0
    out, err = capsys.readouterr()
    assert out == f"{tmp_path}/p.yaml: good, 1 key set, everything else at its default\n"
    assert err == ""


def test_check_without_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    """No file anywhere is a good configuration, and it says so."""
    assert dispatch(["config", "check"]) == 0
    assert capsys.readouterr().out.startswith("no configuration file: good, 0 keys set")


def test_check_bad(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every problem is one line on stderr; exit 2; nothing on stdout."""
    (tmp_path / "p.yaml").write_text("modle: {name: fraud}\nsample: {interval: 1}\n")
    assert dispatch(["config", "check", "--config", str(tmp_path / "p.yaml")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    first, second = err.splitlines()
    assert first == f"pilotfish: {tmp_path}/p.yaml:1: unknown section `modle`; did you mean `model`?"
    assert second == (
        f"pilotfish: {tmp_path}/p.yaml:2: sample.interval; got '1'; "
        "expected a duration such as 500ms, 10s, 5m, 1h30m or 30d"
    )


def test_warnings_do_not_fail(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown variable is one warning, and the configuration is still good."""
    monkeypatch.setenv("PILOTFISH_MODEL_NAM", "x")
    assert dispatch(["config", "check"]) == 0
    assert capsys.readouterr().err == (
        "pilotfish: warning: environment: unknown variable PILOTFISH_MODEL_NAM is ignored; "
        "did you mean PILOTFISH_MODEL_NAME?\n"
    )


def test_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Every key with its value and origin: default, FILE:LINE, variable."""
    (tmp_path / "p.yaml").write_text("labels:\n  team: risk\ndrift: {tick: 2s}\n")
    monkeypatch.setenv("PILOTFISH_LIMITS_SERIES", "500")
    assert dispatch(["config", "show", "--config", str(tmp_path / "p.yaml")]) == 0
    rows = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()}
    assert rows["labels.team"] == ["risk", f"{tmp_path}/p.yaml:2"]
    assert rows["drift.tick"] == ["2s", f"{tmp_path}/p.yaml:3"]
    assert rows["limits.series"] == ["500", "PILOTFISH_LIMITS_SERIES"]
    assert rows["limits.memory"] == ["160MiB", "default"]
    assert rows["target.port"] == ["(not", "set)", "default"]
    assert (rows["features.ignore"][0], rows["features.types"][0]) == ("[]", "{}")


def test_show_json_of_a_bad_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is in force is shown beside the problems; exit 2."""
    (tmp_path / "p.yaml").write_text("log: {level: loud, format: json}\n")
    assert dispatch(["config", "show", "--json", "--config", str(tmp_path / "p.yaml")]) == 2
    out, err = capsys.readouterr()
    keys = json.loads(out)["keys"]
    assert keys["log.level"] == {"value": "info", "origin": "default"}
    assert keys["log.format"] == {"value": "json", "origin": f"{tmp_path}/p.yaml:1"}
    assert len(err.splitlines()) == 1


def test_example_and_schema(capsys: pytest.CaptureFixture[str]) -> None:
    """Both go to stdout as they are."""
    assert dispatch(["config", "example"]) == 0
    assert capsys.readouterr().out == catalogue.example()
    assert dispatch(["config", "example", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out) == catalogue.schema()


def test_no_action(capsys: pytest.CaptureFixture[str]) -> None:
    """Without an action: usage, exit 2, one line."""
    assert dispatch(["config"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
