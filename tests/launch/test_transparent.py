"""`run` is transparent: what the model inherits and what its parent sees are as without it."""

import os
import pathlib
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from tests.launch.box import HERE, SCRIPT, WITH_STAND_IN, Box, read, until
from tests.launch.signals import NAMES

MODEL = [sys.executable, "-I", "-S", str(HERE / "signals.py")]
# What cat is told by the kernel about itself: no interpreter in between changes any of it.
PROBE = [
    "cat",
    "/proc/self/environ",
    "/proc/self/limits",
    "/proc/self/status",
    "/proc/self/cmdline",
    "/proc/self/cgroup",
]
KEPT = (
    "Umask",
    "SigBlk",
    "SigIgn",
    "SigCgt",
    "Groups",
    "Uid",
    "Cpus_allowed",
    "Seccomp",
    "NoNewPrivs",
    "NSsid",
    "CapEff",
)


def inherited(output: bytes) -> tuple[list[bytes], list[bytes], list[bytes]]:
    """(variables but ours, limits, status lines that must not change) of a probe's output."""
    variables, _, rest = output.partition(b"Limit ")
    limits, _, status = rest.partition(b"Name:")
    entries = [v for v in variables.split(b"\0") if v and not v.startswith(b"PILOTFISH_SOCKET=")]
    lines = [line for line in status.split(b"\n") if line.split(b":")[0].decode("latin-1") in KEPT]
    return entries, limits.splitlines(), lines


WAYS: tuple[list[str], ...] = ([], ["--supervise"])  # in place, and below a stub
ways = pytest.mark.parametrize("way", WAYS, ids=["in place", "stub"])


def both(box: Box, way: list[str], prepare: Callable[[], object] | None = None, *shell: str, **env: str) -> list[bytes]:
    """The probe's output bare and under `run`, each started the same way."""
    outputs = []
    for launcher in ([], [*WITH_STAND_IN, *way, "--"]):
        words = [*shell, *launcher, *PROBE] if not shell else [*shell, " ".join([*launcher, *PROBE])]
        done = subprocess.run(words, env=box.env | env, capture_output=True, preexec_fn=prepare, timeout=60)
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout)
    return outputs


def block_some() -> None:
    """As a parent that hands on masks, limits, priority and umask of its own."""
    signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGUSR1, signal.SIGTERM, signal.SIGINT})
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    os.umask(0o027)
    os.nice(3)
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (200, 300))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


@ways
@pytest.mark.parametrize("prepare", [None, block_some])
@pytest.mark.parametrize("env", [{}, {"LC_ALL": "C"}, {"LANG": "C.UTF-8", "EMPTY": "", "ODD": "a=b=\udcff"}])
def test_what_is_inherited_is_the_same(
    box: Box, way: list[str], prepare: Callable[[], None] | None, env: dict[str, str]
) -> None:
    """Variables in their order, limits, masks, dispositions, umask, groups, affinity; only PILOTFISH_SOCKET is new."""
    bare, ours = map(inherited, both(box, way, prepare, **env))
    assert bare == ours
    assert bare[0], "the probe has shown the variables"
    assert len(bare[2]) >= 9, "and the status"


@ways
@pytest.mark.parametrize("trap", ["trap '' PIPE;", "trap '' XFSZ;", "trap '' INT TERM;", "", "trap '' HUP PIPE;"])
def test_a_shell_that_ignores_is_inherited(box: Box, way: list[str], trap: str) -> None:
    """`trap '' PIPE` reaches the model, though Python ignores SIGPIPE itself and hides what was before."""
    bare, ours = both(box, way, None, "bash", "-c", trap + ' eval "$0"; exit $?')
    assert inherited(bare)[2] == inherited(ours)[2]


def test_only_the_socket_is_added(box: Box) -> None:
    """One variable, at the end, and a path in the runtime folder; a nested run replaces it."""
    bare, ours = both(box, [])
    added = set(ours.split(b"Limit ")[0].split(b"\0")) - set(bare.split(b"Limit ")[0].split(b"\0"))
    assert added == {f"PILOTFISH_SOCKET={box.runtime}/cat/intake.sock".encode()}
    nested = box.run(*WITH_STAND_IN, "--quiet", "--instance", "inner", "--", "env")
    assert nested.stdout.count(b"PILOTFISH_SOCKET=") == 1
    assert b"/inner/intake.sock" in nested.stdout


@ways
def test_descriptors_are_the_same(box: Box, way: list[str]) -> None:
    """An extra inherited descriptor stays at its number, and none of ours is in the model."""
    for extra in ("5<&0", "0<&-", "2>&-", "0<&- 2>&-", "7<&0 0<&- 2>&-"):
        shown = []
        for launcher in ([], [*WITH_STAND_IN, *way, "--"]):
            line = f"exec {' '.join([*launcher, 'ls', '/proc/self/fd'])} {extra}"
            done = subprocess.run(["bash", "-c", line], env=box.env, capture_output=True, stdin=subprocess.DEVNULL)
            shown.append(done.stdout)
        assert shown[0] == shown[1], extra
        assert shown[0]


def test_a_closed_stderr_writes_nowhere(box: Box) -> None:
    """With stderr closed its number belongs to files of ours: no line of ours goes there."""
    done = subprocess.run(
        ["bash", "-c", f"{' '.join(WITH_STAND_IN)} --state-dir /dev/null -- sh -c 'sleep 0.5; echo out' 2>&-"],
        env=box.env,
        capture_output=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"out\n", b"")


@pytest.mark.parametrize("script", [*(f"exit {code}" for code in (0, 1, 2, 42, 126, 127, 128, 255))])
def test_exit_codes_are_the_models(box: Box, script: str) -> None:
    """The parent sees the model's own code."""
    assert box.run("sh", "-c", script).returncode == box.run("sh", "-c", script, launcher=[]).returncode


@pytest.mark.parametrize("name", ["HUP", "INT", "ABRT", "KILL", "SEGV", "TERM"])
def test_deaths_are_the_models(box: Box, name: str) -> None:
    """The raw death, not 128 + N, also where the tests themselves were started with HUP or INT ignored."""
    death = f"import os, resource, signal as s; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); n = s.SIG{name}"
    death += "; n in (s.SIGHUP, s.SIGINT) and s.signal(n, s.SIG_DFL); os.kill(os.getpid(), n)"
    assert box.run(sys.executable, "-c", death).returncode == -getattr(signal, "SIG" + name)


def test_signals_arrive_once_each(box: Box) -> None:
    """Eight kinds sent to the pid that was launched: that pid is the model, and it gets each exactly once."""
    log = box.root / "signals"
    model = box.start(*MODEL, str(log))
    until(lambda: read(log).startswith("ready"), "the model")
    assert read(log) == f"ready {model.pid}\n"
    for count, name in enumerate(NAMES, 2):
        model.send_signal(getattr(signal, "SIG" + name))
        until(lambda count=count: len(read(log).splitlines()) == count, name)  # type: ignore[misc]
    (box.root / "signals.stop").touch()
    assert model.wait(30) == 0
    assert read(log).split()[2:] == ["SIG" + name for name in NAMES]


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (["/nonexistent/x"], 127, b"not found"),
        (["no-such-program"], 127, b"not found"),
        ([""], 127, b"not found"),
        (["/etc/passwd"], 126, b"Permission denied"),
        (["/etc"], 126, b"Permission denied"),
    ],
)
def test_what_cannot_be_started(box: Box, command: list[str], code: int, words: bytes) -> None:
    """127 not found, 126 not executable, one line each, and no agent is started for it."""
    done = box.run(*command)
    assert done.returncode == code
    assert done.stderr.count(b"\n") == 1
    assert words in done.stderr
    assert not box.runtime.exists()


def test_a_script_without_a_first_line_is_the_shells(box: Box) -> None:
    """As execvp(3) does it; and a broken binary is 126."""
    script, broken = box.root / "script", box.root / "broken"
    script.write_text("echo $1; exit 5\n", encoding="ascii")
    broken.write_bytes(b"#!/nonexistent/interpreter\n")
    for path in (script, broken):
        path.chmod(0o755)
    done = box.run(str(script), "word")
    assert (done.returncode, done.stdout) == (5, b"word\n")
    assert box.run(str(broken)).returncode == 127


def test_path_is_the_given_one(box: Box) -> None:
    """CMD is looked up in the PATH of the variables given, an empty entry is the working directory."""
    program = box.root / "prog"
    program.write_text("#!/bin/sh\necho $0 found\n", encoding="ascii")
    program.chmod(0o755)
    done = subprocess.run([*WITH_STAND_IN, "prog"], env=box.env | {"PATH": "/nope:"}, capture_output=True, cwd=box.root)
    assert done.stdout.endswith(b"prog found\n")


def test_pipes_and_substitutions_end_with_the_model(box: Box) -> None:
    """Nobody of ours holds stdin, stdout or, once the model has ended, stderr."""
    line = f"x=$({' '.join(WITH_STAND_IN)} --quiet -- sh -c 'cat; echo err >&2' 2>&1); echo \"[$x]\""
    done = subprocess.run(["bash", "-c", line], env=box.env, input=b"in\n", capture_output=True, timeout=60)
    assert done.stdout == b"[in\nerr]\n"
    big = subprocess.run([*WITH_STAND_IN, "cat"], env=box.env, input=b"x" * 300_000, capture_output=True, timeout=60)
    assert len(big.stdout) == 300_000


def test_quiet_leaves_stderr_as_it_is(box: Box) -> None:
    """--quiet: not one byte of ours, even when something is wrong."""
    done = box.run("sh", "-c", "sleep 0.5; echo mine >&2", options=("--quiet", "--state-dir", "/dev/null/x"))
    assert done.stderr == b"mine\n"


def test_the_model_has_no_children_of_ours(box: Box) -> None:
    """wait(-1) in the model finds nobody, and nobody of ours hangs below it."""
    code = (
        "import os, time; time.sleep(0.3)\n"
        "try: print('child', os.waitpid(-1, os.WNOHANG))\n"
        "except ChildProcessError: print('none')"
    )
    assert box.run(sys.executable, "-I", "-S", "-c", code).stdout == b"none\n"


def session(box: Box, *command: str) -> tuple[int, int]:
    """(pid, master) of a command on a terminal of its own."""
    pid, master = pty.fork()
    if pid == 0:
        try:
            os.execve(command[0], command, box.env)
        finally:
            os._exit(99)
    return pid, master


def test_ctrl_c_reaches_the_model_once(box: Box) -> None:
    """On a terminal the model is in the foreground group, and the agent is not."""
    log = box.root / "signals"
    pid, master = session(box, *WITH_STAND_IN, "--", *MODEL, str(log))
    until(lambda: read(log).startswith("ready"), "the model")
    assert os.tcgetpgrp(master) == os.getpgid(pid)
    until(lambda: len(box.ours()) == 2, "guard and agent")
    os.write(master, b"\x03")
    until(lambda: "SIGINT" in read(log), "Ctrl-C")
    assert all(os.getsid(p) != os.getsid(pid) for p in box.ours())
    (box.root / "signals.stop").touch()
    os.waitpid(pid, 0)
    os.close(master)
    assert read(log).count("SIGINT") == 1


def test_ctrl_z_and_fg(box: Box) -> None:
    """An interactive shell stops the model with Ctrl-Z and takes it back to the foreground with fg."""
    log = box.root / "signals"
    pid, master = session(box, "/bin/bash", "--norc", "--noprofile", "-i")
    line = " ".join([*WITH_STAND_IN, "--quiet", "--", *MODEL, str(log)])
    os.write(master, line.encode() + b"\n")
    until(lambda: read(log).startswith("ready"), "the model")
    model = int(read(log).split()[1])
    os.write(master, b"\x1a")
    until(lambda: "State:\tT" in read(f"/proc/{model}/status"), "the model to stop")
    os.write(master, b"fg\n")
    until(lambda: "SIGCONT" in read(log), "the model to go on")
    until(lambda: os.tcgetpgrp(master) == os.getpgid(model), "the foreground")
    (box.root / "signals.stop").touch()
    until(lambda: not pathlib.Path(f"/proc/{model}").exists(), "the model to end")
    os.write(master, b"exit\n")
    end = time.monotonic() + 20
    while os.waitpid(pid, os.WNOHANG) == (0, 0) and time.monotonic() < end:
        time.sleep(0.01)
    os.close(master)
    assert read(log).count("SIGCONT") == 1


def test_the_script_is_the_launcher(box: Box) -> None:
    """The installed command itself, with whatever agent is there: same bytes, same code."""
    done = box.run("sh", "-c", "echo out; exit 9", launcher=SCRIPT, options=("--quiet", "--listen", "127.0.0.1:0"))
    assert (done.returncode, done.stdout, done.stderr) == (9, b"out\n", b"")
