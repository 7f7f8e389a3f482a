"""The demo driver: what it counts as found, and that nothing of it stays."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from examples.digits import demo
from examples.digits.demo import DemoError, Place, Story, parse


def item(feature: str, severity: str = "none", verdict: str = "stable") -> dict[str, Any]:
    """One of `/api/v1/drift`."""
    explanation = f"{feature}: moved"
    return {"feature": feature, "severity": severity, "verdict": verdict, "evidence": 20.0, "explanation": explanation}


def test_an_alarm_after_the_shift_is_found() -> None:
    """The seconds count from the shift; exit 0."""
    story = Story()
    story.take([item("a")], 5.0)
    story.shifted_at = 60.0
    assert story.take([item("a", "warning", "drifting"), item("b")], 67.2) == [item("a", "warning", "drifting")]
    assert story.outcome() == ("demo: drift found 7.2 s after the shift, 0 alarms before", 0)
    assert story.after == {"a": "a: moved"}


def test_an_alarm_before_the_shift_fails_the_demo() -> None:
    """Also when the shift is found later; an alarm that lasts is not the later one's find."""
    story = Story()
    story.take([item("a", "critical", "drifting")], 5.0)
    story.shifted_at = 60.0
    story.take([item("a", "critical", "drifting")], 61.0)
    assert story.outcome() == ("demo: drift not found, 1 alarm before", 1)
    story.take([item("a", "critical", "drifting"), item("b", "warning", "drifting")], 62.0)
    assert story.outcome() == ("demo: drift found 2.0 s after the shift, 1 alarm before", 1)


def test_notices_find_nothing() -> None:
    """Severity info is no alarm."""
    story = Story(shifted_at=60.0)
    assert story.take([item("a", "info", "changed")], 61.0) == []
    assert story.outcome() == ("demo: drift not found, 0 alarms before", 1)


def test_the_end_before_the_shift_is_a_failure() -> None:
    """Nothing was shown."""
    assert Story().outcome() == ("demo: ended before the shift, 0 alarms before", 1)


def test_the_detector_judges_once_it_has_a_verdict() -> None:
    """Not while its tables are built."""
    story = Story()
    story.take([item("a", verdict="not_enough_data")], 1.0)
    assert story.judged_at is None
    story.take([item("a")], 2.0)
    story.take([item("a")], 3.0)
    assert story.judged_at == 2.0


def test_the_strongest_alarms_are_shown_and_the_others_counted(capsys: pytest.CaptureFixture[str]) -> None:
    """A shift of everything alarms everywhere: six say what it is."""
    story = Story(shifted_at=1.0)
    first = [item(f"f{i}", "warning") | {"evidence": float(i)} for i in range(4)]
    demo.show(story, story.take(first, 2.0), 2.0)
    assert [line.split()[4] for line in capsys.readouterr().out.splitlines()] == ["f3:", "f2:", "f1:", "f0:"]
    demo.show(story, story.take(first + [item(f"g{i}", "critical") for i in range(5)], 3.0), 3.0)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[-1].endswith("3 more alarms, on the page")
    demo.show(story, [], 4.0)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("environment", "arguments", "seconds", "shift", "after"),
    [
        ({}, [], None, "frozen", 60.0),
        ({"DEMO_SECONDS": "150", "DEMO_SHIFT": "noise"}, [], 150.0, "noise", 60.0),
        ({"DEMO_SECONDS": "50"}, [], 50.0, "frozen", 20.0),
        ({"DEMO_SECONDS": "150"}, ["--seconds", "90", "--shift-after", "9"], 90.0, "frozen", 9.0),
        ({"DEMO_SECONDS": "", "DEMO_SHIFT": ""}, ["--shift", "rotation"], None, "rotation", 60.0),
    ],
)
def test_options(
    environment: dict[str, str], arguments: list[str], seconds: float | None, shift: str, after: float
) -> None:
    """Flags are above the environment; a short demo shifts earlier."""
    options = parse(arguments, environment)
    assert (options.seconds, options.shift, options.shift_after) == (seconds, shift, after)


def test_an_unknown_shift_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """With the ones there are."""
    with pytest.raises(SystemExit):
        parse([], {"DEMO_SHIFT": "fog"})
    assert "fog" in capsys.readouterr().err


def test_a_server_that_ends_is_told(tmp_path: Path) -> None:
    """Not waited for."""
    with subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE, text=True) as process:
        with pytest.raises(DemoError, match="model server did not start"):
            demo.server_address(process)
        process.wait()
        with pytest.raises(DemoError, match="agent did not start"):
            demo.agent_address(Place(tmp_path), process)


def test_the_demo_keeps_its_state_in_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the caller's agent is configured to do."""
    monkeypatch.setenv("PILOTFISH_DRIFT_TICK", "1h")
    environment = Place(tmp_path).environment
    assert "PILOTFISH_DRIFT_TICK" not in environment
    assert environment["PILOTFISH_RUNTIME_DIR"].startswith(str(tmp_path))
    assert environment["PILOTFISH_STATE_DIR"].startswith(str(tmp_path))


@pytest.fixture
def own() -> Iterator[Path]:
    """A temporary folder with a name short enough for a socket below it."""
    with tempfile.TemporaryDirectory(prefix="pf-", dir="/tmp") as folder:
        yield Path(folder)


def start(own: Path, *arguments: str) -> subprocess.Popen[str]:
    """The demo with its temporary folder below ours."""
    environment = os.environ | {"TMPDIR": str(own), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "examples.digits.demo", *arguments]
    return subprocess.Popen(
        command, cwd=demo.ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def leftovers(own: Path) -> list[str]:
    """Processes whose command names the demo's folder, or whose environment does, and files in it."""
    found = [str(path) for path in own.rglob("*")]
    for process in psutil.process_iter():
        try:
            if any(str(own) in text for text in (*process.cmdline(), *process.environ().values())):
                found += [] if process.pid == os.getpid() else [f"{process.pid} {process.cmdline()}"]
        except psutil.Error:
            continue
    return found


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_whole_demo(own: Path) -> None:
    """Found after the shift, no alarm before it, the pixel is named, and nothing stays."""
    with start(own, "--seconds", "50", "--shift-after", "20", "--shift", "frozen") as process:
        output, _ = process.communicate()
    assert process.returncode == 0, output
    assert re.fullmatch(r"demo: drift found \d+\.\d s after the shift, 0 alarms before", output.splitlines()[-1])
    assert re.search(r"ALARM \((warning|critical)\) pixel_27: '?0'? ", output)
    assert leftovers(own) == []


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing(number: signal.Signals, own: Path) -> None:
    """Ctrl-C, or a service manager's SIGTERM, ends everything it started."""
    with start(own) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "rows" in line and " s  " in line:
                break
        children = psutil.Process(process.pid).children(recursive=True)
        assert children
        process.send_signal(number)
        output = process.stdout.read()
    assert process.returncode == 1
    assert output.splitlines()[-1] == "demo: ended before the shift, 0 alarms before"
    deadline = time.monotonic() + 10
    while (left := leftovers(own)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == []
