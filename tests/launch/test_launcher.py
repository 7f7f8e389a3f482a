"""The launcher's pieces: variables, search path, dispositions, the missing extra."""

import os
import pathlib
import signal
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish_agent.launch import guard, launcher, proc
from tests.launch.box import SCRIPT, Box, read, until

NAMES = st.binary(min_size=1, max_size=8).filter(lambda raw: b"=" not in raw and b"\0" not in raw)
VALUES = st.binary(max_size=8).filter(lambda raw: b"\0" not in raw)


@given(st.lists(st.tuples(NAMES, VALUES)))
def test_variables_keep_order_and_doubles(pairs: list[tuple[bytes, bytes]]) -> None:
    """Whatever execve gave us goes on as it is."""
    environ = launcher.Environ(b"".join(name + b"=" + value + b"\0" for name, value in pairs))
    assert list(zip(environ.keys(), environ.values(), strict=True)) == pairs
    assert len(environ) == len(pairs)


@given(st.binary(max_size=60))
def test_any_block_is_read(block: bytes) -> None:
    """Entries that are no assignments are left out; execve through Python cannot pass them on."""
    environ = launcher.Environ(block)
    assert all(environ.keys())
    assert not any(b"=" in name or b"\0" in name for name in environ.keys())  # noqa: SIM118 - not a dict


def test_a_variable_is_put_in_its_place() -> None:
    """A nested run replaces the socket of the outer one."""
    environ = launcher.Environ(b"A=1\0PILOTFISH_SOCKET=old\0B=2\0")
    environ.put(launcher.SOCKET_VARIABLE, b"new")
    environ.put(b"C", b"3")
    assert environ.keys() == [b"A", b"PILOTFISH_SOCKET", b"B", b"C"]
    assert environ.text("PILOTFISH_SOCKET") == "new"
    assert environ.text("NOT_THERE") == ""


def test_without_proc_the_second_choice_serves(tmp_path: pathlib.Path) -> None:
    """No /proc: the variables Python knows."""
    assert launcher.read_environ(str(tmp_path)).text("PATH") == os.environ["PATH"]


@pytest.mark.parametrize(
    ("program", "path", "found"),
    [
        (b"x", b"/a:/b", [b"/a/x", b"/b/x"]),
        (b"x", b":/b:", [b"x", b"/b/x", b"x"]),
        (b"./x", b"/a", [b"./x"]),
        (b"/x", b"/a", [b"/x"]),
        (b"x", None, [b"/bin/x", b"/usr/bin/x"]),
    ],
)
def test_the_search_is_execvps(program: bytes, path: bytes | None, found: list[bytes]) -> None:
    """PATH in order, an empty entry is the working directory, a slash means no search; execvp(3)."""
    block = b"PATH=" + path + b"\0" if path is not None else b""
    assert launcher.candidates(program, launcher.Environ(block)) == found


@pytest.mark.parametrize(
    ("pipe", "size", "pipe_stays", "size_stays"),
    [(False, False, False, False), (True, False, True, False), (True, True, False, False), (False, True, False, True)],
)
def test_the_dispositions_follow_the_parent(
    tmp_path: pathlib.Path, pipe: bool, size: bool, pipe_stays: bool, size_stays: bool
) -> None:
    """One of the two ignored in the parent: a shell's trap. Both: a Python parent, which hands neither on."""
    mask = (pipe << (signal.SIGPIPE - 1)) | (size << (signal.SIGXFSZ - 1))
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "status").write_text(f"Name:\tx\nSigIgn:\t{mask:016x}\nSigCgt:\t0\n", encoding="ascii")
    kept = [(n, signal.signal(n, signal.SIG_IGN)) for n in (signal.SIGPIPE, signal.SIGXFSZ)]
    try:
        launcher.restore_dispositions(7, str(tmp_path))
        stays = [signal.getsignal(n) == signal.SIG_IGN for n, _ in kept]
    finally:
        for number, handler in kept:
            signal.signal(number, handler)
    assert stays == [pipe_stays, size_stays]


@given(st.binary(max_size=200))
def test_any_proc_file_is_read(content: bytes) -> None:
    """Foreign or odd /proc files are no reason to fail."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        base = pathlib.Path(folder)
        (base / "7").mkdir()
        (base / "7" / "stat").write_bytes(content)
        (base / "7" / "status").write_bytes(b"x\nSigIgn:" + content)
        assert isinstance(proc.start_time(7, folder), int)
        assert proc.alive(7, -5, folder) is False
        assert isinstance(proc.ignored_signals(7, folder), int)


def test_a_process_is_its_pid_and_start() -> None:
    """The same pid with another start time is another process."""
    start = proc.start_time("self")
    assert start > 0
    assert proc.alive(os.getpid(), start)
    assert not proc.alive(os.getpid(), start + 1)


def test_the_extra_is_looked_for_without_importing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard says what is missing before it starts an agent in vain."""
    assert guard.missing_packages() == []
    monkeypatch.setattr(guard, "NEEDED", ("numpy", "no_such_package"))
    assert guard.missing_packages() == ["no_such_package"]


def test_without_the_extra_the_model_runs(box: Box) -> None:
    """One line, and nothing of ours stays beside the model."""
    roots = os.pathsep.join(str(pathlib.Path(__file__).parents[2] / root) for root in ("agent", "core"))
    line = [sys._base_executable, "-S", *SCRIPT[1:], "--", "sh", "-c", "read x; echo $PILOTFISH_SOCKET"]  # type: ignore[attr-defined]
    env = box.env | {"PYTHONPATH": roots}
    with open(box.root / "err", "ab") as err:
        model = subprocess.Popen(line, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=err)
        until(lambda: read(box.root / "err") and not box.ours(), "the line, and the guard to leave")
        out, _ = model.communicate(b"\n", timeout=60)
    assert (model.returncode, out) == (0, f"{box.runtime}/sh/intake.sock\n".encode())
    assert read(box.root / "err").startswith("pilotfish: no monitoring: aiohttp is not installed; ")
    assert read(box.root / "err").count("\n") == 1
