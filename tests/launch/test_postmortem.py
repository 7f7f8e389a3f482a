"""How a unit's model ended, as systemd tells `ExecStopPost=`."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess

import pytest

from pilotfish_agent.launch import exitstatus, postmortem
from tests.launch.box import SCRIPT, Box, read, until

POST_MORTEM = [*SCRIPT[:-1], "post-mortem"]


@pytest.mark.parametrize(
    ("result", "code", "status", "expected"),
    [
        ("success", "exited", "0", (0, "exit_zero")),
        ("exit-code", "exited", "42", (42 << 8, "exit_nonzero")),
        ("signal", "killed", "TERM", (15, "signal")),
        ("core-dump", "dumped", "SEGV", (11 | 0x80, "signal")),
        ("oom-kill", "killed", "KILL", (9, "oom")),
        ("oom-kill", "killed", "TERM", (15, "signal")),  # another of the unit was; systemd then stopped this one
        ("oom-kill", "exited", "1", (1 << 8, "exit_nonzero")),
        ("watchdog", "killed", "ABRT", (6, "signal")),
        ("signal", "killed", "RTMIN+1", (35, "signal")),
        ("signal", "killed", "WHATEVER", (None, "signal")),
        ("resources", "", "", None),
        ("exit-code", "exited", "many", None),
    ],
)
def test_what_systemd_tells(result: str, code: str, status: str, expected: tuple[int | None, str] | None) -> None:
    """The main process' own end: a result of the unit is not always its."""
    assert postmortem.told({"SERVICE_RESULT": result, "EXIT_CODE": code, "EXIT_STATUS": status}) == expected


def ask(box: Box, *words: str, **told: str) -> subprocess.CompletedProcess[str]:
    """`pilotfish post-mortem` with what systemd would tell it."""
    return subprocess.run([*POST_MORTEM, *words], env=box.env | told, capture_output=True, text=True, timeout=60)


def record(box: Box, name: str) -> dict[str, object]:
    """What stands in the state folder."""
    return dict(json.loads(read(box.state / name / "last_exit.json")))


def test_systemds_word_stays(box: Box) -> None:
    """The guard still flushes when ExecStopPost= runs: it writes first, and who ended when stays its."""
    model = box.start("sleep", "600", options=("--instance", "fraud"), STAND_IN="deaf")
    until(lambda: box.agents("fraud"), "an agent")
    model.kill()
    model.wait()
    done = ask(box, "--instance", "fraud", SERVICE_RESULT="oom-kill", EXIT_CODE="killed", EXIT_STATUS="KILL")
    assert (done.returncode, done.stderr) == (0, "")
    until(lambda: not box.ours(), "the guard to leave")
    got = record(box, "fraud")
    assert (got["pid"], got["cause"], got["signal"], got["code"]) == (model.pid, "oom", 9, None)
    assert got["start_time"]


def test_the_guard_was_killed_too(box: Box) -> None:
    """Then its lock still names the process."""
    model = box.start("sleep", "600", options=("--instance", "fraud"))
    until(lambda: box.agents("fraud"), "an agent")
    for pid in box.ours():
        os.kill(pid, signal.SIGKILL)
    model.kill()
    model.wait()
    done = ask(box, "--instance", "fraud", SERVICE_RESULT="oom-kill", EXIT_CODE="killed", EXIT_STATUS="KILL")
    assert (done.returncode, done.stderr) == (0, "")
    got = record(box, "fraud")
    assert (got["pid"], got["cause"]) == (model.pid, "oom")


@pytest.mark.parametrize(
    ("words", "told", "code", "says"),
    [
        (("--instance", "fraud"), {}, 2, "run it by ExecStopPost= of the model's unit"),
        ((), {"EXIT_CODE": "exited", "EXIT_STATUS": "0"}, 2, "--instance NAME"),
        (("--instance", "fraud"), {"EXIT_CODE": "exited", "EXIT_STATUS": "0"}, 1, "no state of instance fraud"),
    ],
)
def test_one_line_where_it_cannot(box: Box, words: tuple[str, ...], told: dict[str, str], code: int, says: str) -> None:
    """By hand, without an instance, or for one that never ran."""
    environ = {k: v for k, v in box.env.items() if not k.startswith(("XDG_", "HOME"))}
    done = subprocess.run([*POST_MORTEM, *words], env=environ | told, capture_output=True, text=True, timeout=60)
    assert done.returncode == code
    assert len(done.stderr.splitlines()) == 1
    assert says in done.stderr


def test_an_ending_is_news_once(tmp_path: pathlib.Path) -> None:
    """Each is counted by one agent; what cannot be understood is none."""
    folder = str(tmp_path)
    assert postmortem.news(folder) is None
    for ended in (1.0, 2.0):
        exitstatus.save(folder, exitstatus.record(7, 70, 9, ended, "oom"))
        news = postmortem.news(folder)
        assert news is not None
        assert news.words() == (
            f"the model's process before this one, PID 7, was ended by the kernel, for want of memory, "
            f"1970-01-01 00:00:0{ended:.0f} UTC"
        )
        assert postmortem.news(folder) is None
    for bad in ("", "[]", "{}", '{"pid": "x"}', "[" * 3000, '{"pid": 1, "start_time": 1, "ended": null}'):
        (tmp_path / "last_exit.json").write_text(bad)
        assert postmortem.news(folder) is None
    exitstatus.save(folder, exitstatus.record(7, 70, 0, 3.0))
    quiet = postmortem.news(folder)
    assert quiet is not None
    assert quiet.words() == ""
