"""How the model ended, asked by somebody who is not its parent."""

import json
import os
import pathlib
import signal
import subprocess

import pytest

from pilotfish_agent.launch import exitstatus, proc

ENDS = [("exit 0", 0, "exit_zero"), ("exit 42", 42 << 8, "exit_nonzero"), ("kill -TERM $$", 15, "signal")]


def ended(script: str) -> tuple[int, int, int]:
    """(pid, start time, pidfd) of a child that has ended and waits to be reaped."""
    child = subprocess.Popen(["sh", "-c", "read x; " + script], stdin=subprocess.PIPE)
    start, pidfd = proc.start_time(child.pid), os.pidfd_open(child.pid)
    assert child.stdin is not None
    child.stdin.write(b"\n")
    child.stdin.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    child.returncode = 0  # reaped by hand below
    return child.pid, start, pidfd


@pytest.mark.parametrize(("script", "status", "cause"), ENDS)
def test_a_zombie_tells(script: str, status: int, cause: str) -> None:
    """Before the parent has reaped it, /proc has the raw wait status."""
    pid, start, pidfd = ended(script)
    try:
        assert exitstatus.from_zombie(pid, start) == status
        assert exitstatus.wait(pid, start, -1, 0) == status
        assert exitstatus.cause(status) == cause
        assert exitstatus.from_zombie(pid, start + 1) is None, "another process of the same pid is not it"
    finally:
        os.waitpid(pid, 0)
        os.close(pidfd)


@pytest.mark.parametrize(("script", "status", "cause"), ENDS)
def test_the_kernel_tells_after_the_reaping(script: str, status: int, cause: str) -> None:
    """Since Linux 6.15 a pidfd keeps the status; an older kernel gives no answer, never a wrong one."""
    pid, start, pidfd = ended(script)
    os.waitpid(pid, 0)
    release = tuple(int(n) for n in os.uname().release.split("-")[0].split(".")[:2])
    expected = status if release >= (6, 15) else None
    try:
        assert exitstatus.wait(pid, start, pidfd, 0.01) == expected
        assert exitstatus.cause(expected) in {cause, "unknown"}
    finally:
        os.close(pidfd)


def test_the_living_and_the_gone_tell_nothing() -> None:
    """No status is made up."""
    me, pidfd = os.getpid(), os.pidfd_open(os.getpid())
    assert exitstatus.from_pidfd(pidfd) is None
    assert exitstatus.from_zombie(me, proc.start_time(me)) is None
    assert exitstatus.from_zombie(2**22 + 1, 1) is None
    assert exitstatus.wait(2**22 + 1, 1, -1, 0) is None
    assert exitstatus.cause(None) == "unknown"
    os.close(pidfd)


def test_a_foreign_users_zero_is_no_answer(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel shows 0 to those who may not know: that is not a success."""
    (tmp_path / "7").mkdir()
    text = "7 (a) b) Z " + " ".join(["0"] * 18 + ["55"] + ["0"] * 30)
    (tmp_path / "7" / "stat").write_text(text, encoding="ascii")
    assert exitstatus.from_zombie(7, 55, str(tmp_path)) == 0
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    assert exitstatus.from_zombie(7, 55, str(tmp_path)) is None


@pytest.mark.parametrize(
    ("status", "code", "number", "cause"),
    [
        (0, 0, None, "exit_zero"),
        (256, 1, None, "exit_nonzero"),
        (139, None, 11, "signal"),
        (None, None, None, "unknown"),
    ],
)
def test_the_record_is_json(status: int | None, code: int | None, number: int | None, cause: str) -> None:
    """The file says which process, when, how, and null for what is not known."""
    got = json.loads(exitstatus.record(7, 55, status, 1_700_000_000.5))
    assert got == {
        "pid": 7,
        "start_time": 55,
        "ended": 1_700_000_000.5,
        "cause": cause,
        "status": status,
        "code": code,
        "signal": number,
        "cpu_seconds": None,
        "max_resident_bytes": None,
    }
    assert number is None or signal.Signals(number)


def test_a_parents_word_arrives_whole_or_not_at_all() -> None:
    """Status and what was used; a cut word, or none, is no answer."""
    used = exitstatus.Used()
    used.add(1.25, 0.5, 300)
    used.add(0.25, 0.0, 200)
    reader, writer = os.pipe()
    assert exitstatus.told(reader, 0) is None
    exitstatus.tell(writer, 137 << 8, used)
    got = exitstatus.told(reader, 1)
    assert got is not None
    assert got[0] == 137 << 8
    record = json.loads(exitstatus.record(7, 55, 9, 1.0, "oom", got[1]))
    assert (record["cpu_seconds"], record["max_resident_bytes"], record["cause"]) == (2.0, 300 << 10, "oom")
    os.write(writer, bytes(31))
    assert exitstatus.told(reader, 1) is None
    os.close(writer)
    assert exitstatus.told(reader, 1) is None
    os.close(reader)
