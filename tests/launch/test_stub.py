"""`pf-stub`: the model's parent as PID 1 and with ``--supervise``. What else must be the same: test_transparent.py."""

import json
import os
import pathlib
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.launch.box import HERE, SCRIPT, WITH_STAND_IN, Box, read, until
from tests.launch.signals import NAMES
from tests.launch.test_imports import ALLOWED, beyond
from tests.system import needs

MODEL = [sys.executable, "-I", "-S", str(HERE / "signals.py")]
SUPERVISED = ("--supervise",)
NAMESPACE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
in_a_namespace = pytest.mark.skipif(os.geteuid() != 0, reason="a pid namespace of its own needs root")


def last_exit(box: Box, name: str) -> dict[str, object]:
    """How the model ended, as the guard wrote it."""
    found: dict[str, object] = json.loads(read(box.state / name / "last_exit.json"))
    return found


def model_of(box: Box) -> int:
    """The pid which `signals.py` wrote into ``signals``."""
    until(lambda: read(box.root / "signals").startswith("ready"), "the model")
    return int(read(box.root / "signals").split()[1])


@pytest.mark.parametrize("code", [0, 1, 42, 126, 127, 128, 255])
def test_exit_codes(box: Box, code: int) -> None:
    """Passed on, and told to the guard exactly, whatever the kernel's age."""
    assert box.run("sh", "-c", f"sleep 0.2; exit {code}", options=SUPERVISED).returncode == code
    found = last_exit(box, "sh")
    assert (found["code"], found["cause"]) == (code, "exit_nonzero" if code else "exit_zero")


@pytest.mark.parametrize("name", ["HUP", "INT", "ABRT", "KILL", "SEGV", "TERM", "RTMIN"])
def test_deaths(box: Box, name: str) -> None:
    """The stub dies as the model did."""
    number = getattr(signal, "SIG" + name)
    done = box.run(
        "bash", "-c", f"ulimit -c 0; sleep 0.2; trap - {int(number)}; kill -{int(number)} $$", options=SUPERVISED
    )
    assert done.returncode == -number
    assert last_exit(box, "bash")["signal"] == number


def test_each_signal_arrives_once(box: Box) -> None:
    """All that a program may handle, real-time ones too, sent to the stub alone."""
    log = box.root / "signals"
    stub = box.start(*MODEL, str(log), "all", options=SUPERVISED)
    model = model_of(box)
    assert model != stub.pid
    names = [
        *NAMES,
        "ALRM",
        "PIPE",
        "URG",
        "IO",
        "TSTP",
        "TTIN",
        "PWR",
        "SEGV",
        "ABRT",
        "CHLD",
        "XCPU",
        "RTMIN",
        "RTMAX",
    ]
    for count, name in enumerate(names, 2):
        stub.send_signal(getattr(signal, "SIG" + name))
        until(lambda count=count: len(read(log).splitlines()) == count, name)  # type: ignore[misc]
    for _ in range(5):  # these are queued, not merged
        stub.send_signal(signal.SIGRTMIN + 3)
    until(lambda: len(read(log).splitlines()) == len(names) + 6, "five of one kind")
    (box.root / "signals.stop").touch()
    assert stub.wait(30) == 0
    expected = [str(int(getattr(signal, "SIG" + name))) for name in names] + [str(int(signal.SIGRTMIN + 3))] * 5
    assert read(log).split()[2:] == expected


def test_what_is_sent_to_the_group_arrives_once(box: Box) -> None:
    """`kill -- -PGID` of who started it reaches stub and model, which must not hear it twice."""
    log = box.root / "signals"
    stub = subprocess.Popen(
        [*WITH_STAND_IN, *SUPERVISED, "--quiet", "--", *MODEL, str(log)], env=box.env, process_group=0
    )
    model_of(box)
    for count, name in enumerate(("TERM", "INT", "HUP"), 2):
        os.killpg(stub.pid, getattr(signal, "SIG" + name))
        until(lambda count=count: len(read(log).splitlines()) == count, name)  # type: ignore[misc]
    (box.root / "signals.stop").touch()
    assert stub.wait(30) == 0
    assert read(log).split()[2:] == ["SIGTERM", "SIGINT", "SIGHUP"]


@pytest.mark.parametrize(("command", "code"), [("/nonexistent/x", 127), ("no-such-program", 127), ("/etc/passwd", 126)])
def test_what_cannot_be_started(box: Box, command: str, code: int) -> None:
    """As without a stub."""
    done = box.run(command, options=SUPERVISED)
    assert (done.returncode, done.stderr.count(b"\n")) == (code, 1)
    assert not box.runtime.exists()


def test_the_stub_is_thin(box: Box) -> None:
    """Named, below 12 MiB, and it holds nothing of the model's: its end of a pipe, its working directory."""
    reader, writer = os.pipe()
    with open(box.root / "err", "ab") as err:
        stub = subprocess.Popen(
            [*WITH_STAND_IN, *SUPERVISED, "--", "sh", "-c", "exec >&-; exec sleep 60"],
            env=box.env,
            stdout=writer,
            stderr=err,
        )
    os.close(writer)
    until(lambda: "watching" in read(box.root / "err"), "the agent")
    assert os.read(reader, 1) == b"", "the model has closed its stdout, and nobody else holds it"
    os.close(reader)
    assert read(f"/proc/{stub.pid}/comm") == "pf-stub\n"
    assert read(f"/proc/{stub.pid}/cmdline").rstrip("\0") == "pf-stub sh"
    assert int(read(f"/proc/{stub.pid}/status").partition("VmRSS:")[2].split()[0]) < 12 * 1024
    assert os.readlink(f"/proc/{stub.pid}/cwd") == "/"
    stub.terminate()
    assert stub.wait(30) == -signal.SIGTERM


def test_it_imports_next_to_nothing(box: Box) -> None:
    """Beyond what a launch without it needs: `_ctypes` for one system call, `resource` at a death."""
    names = beyond(box, *SCRIPT[1:], "--supervise", "--quiet", "--", "sh", "-c", "kill $$")
    assert "pilotfish_agent.launch.stub" in names
    others = {name for name in names if name not in ALLOWED and not name.startswith("pilotfish_agent")}
    assert others <= {"_ctypes", "resource", "_struct", "struct"}


def test_a_killed_agent_is_replaced(box: Box) -> None:
    """By the guard, as ever; the model knows nothing, and all is gone after it."""
    log = box.root / "signals"
    stub = box.start(*MODEL, str(log), options=SUPERVISED)
    model = model_of(box)
    name = pathlib.Path(sys.executable).name
    for count in (1, 2):
        until(lambda count=count: len(box.agents(name)) == count, f"agent {count}")  # type: ignore[misc]
        os.kill(box.agents(name)[-1][0], signal.SIGKILL)
    until(lambda: len(box.agents(name)) == 3, "the third agent")
    assert stub.poll() is None
    os.kill(model, 0)
    (box.root / "signals.stop").touch()
    assert stub.wait(30) == 0
    assert not box.ours(), "the stub leaves last"
    assert read(log).split()[2:] == []


def test_orphans_of_the_model_are_reaped(box: Box) -> None:
    """With --supervise too: what the model left behind becomes the stub's, and no zombie."""
    script = "for i in 1 2 3 4 5; do (sleep 0.1 & ) ; done; sleep 0.6; ps -o stat= --ppid $PPID; echo $PPID"
    done = box.run("sh", "-c", script, options=SUPERVISED)
    assert done.returncode == 0
    assert b"Z" not in done.stdout


USES = """
import os, time
def spin(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end: pass
if os.fork() == 0:
    kept = b"x" * (64 << 20)
    spin(.2)
    os._exit(0)
os.wait()
read, write = os.pipe()
if os.fork() == 0:
    if os.fork() == 0:
        spin(.3)
    os._exit(0)
os.wait()
os.close(write)
os.read(read, 1)
time.sleep(.2)
"""


def test_what_the_model_and_its_orphans_used_is_recorded(box: Box) -> None:
    """CPU of all that was below it, whoever waited, and the memory of the largest."""
    assert box.start(sys.executable, "-I", "-S", "-c", USES, options=SUPERVISED).wait(60) == 0
    found = last_exit(box, pathlib.Path(sys.executable).name)
    assert isinstance(found["cpu_seconds"], float)
    assert isinstance(found["max_resident_bytes"], int)
    assert 0.5 <= found["cpu_seconds"] < 5
    assert 64 << 20 <= found["max_resident_bytes"] < 128 << 20


def test_sockets_of_a_service_manager_are_the_models(box: Box) -> None:
    """LISTEN_PID and WATCHDOG_PID name the process that was started; the model is another one."""
    script = 'exec "$@"'
    words = [
        "sh",
        "-c",
        f"export LISTEN_PID=$$ LISTEN_FDS=1 WATCHDOG_PID=$$; {script}",
        "sh",
        *WITH_STAND_IN,
        "--supervise",
        "--",
    ]
    done = subprocess.run(
        [*words, "sh", "-c", "echo $$ $LISTEN_PID $WATCHDOG_PID $LISTEN_FDS"],
        env=box.env,
        capture_output=True,
        timeout=60,
    )
    us, listen, watchdog, count = done.stdout.split()
    assert us == listen == watchdog
    assert count == b"1"
    other = box.run("sh", "-c", "echo $LISTEN_PID", options=SUPERVISED, env={"LISTEN_PID": "1"})
    assert other.stdout == b"1\n"


def test_a_model_that_waits_sees_no_child_of_ours(box: Box) -> None:
    """The guard becomes the stub's child."""
    code = (
        "import os, time\ntime.sleep(.3)\ntry:\n  print(os.waitpid(-1, 0))\nexcept ChildProcessError:\n  print('none')"
    )
    assert box.run(sys.executable, "-I", "-S", "-c", code, options=SUPERVISED).stdout == b"none\n"


@in_a_namespace
@needs("unshare", package="util-linux")
class TestPidOne:
    """In a pid namespace of its own, as in a container; no option is needed."""

    def start(self, box: Box, *command: str) -> "subprocess.Popen[bytes]":
        """The namespace's parent; the stub is its child."""
        return subprocess.Popen(
            [*NAMESPACE, *WITH_STAND_IN, "--quiet", "--", *command], env=box.env, stdout=subprocess.PIPE
        )

    def stub(self, parent: "subprocess.Popen[bytes]") -> int:
        """Its pid out here."""
        until(lambda: read(f"/proc/{parent.pid}/task/{parent.pid}/children").strip(), "the stub")
        pid = int(read(f"/proc/{parent.pid}/task/{parent.pid}/children"))
        until(lambda: read(f"/proc/{pid}/comm") == "pf-stub\n", "its name")
        return pid

    def test_sigterm_ends_a_model_without_handler(self, box: Box) -> None:
        """As PID 1 itself it would ignore it; 128 + 15 as PID 1 cannot die of a signal."""
        parent = self.start(box, "sleep", "60")
        os.kill(self.stub(parent), signal.SIGTERM)
        assert parent.wait(30) == 143
        assert parent.communicate()[0] == b""

    def test_a_model_that_handles_it_decides(self, box: Box) -> None:
        """Its own code, exactly told."""
        parent = self.start(box, "sh", "-c", "trap 'exit 33' TERM; echo ready; while :; do sleep 0.1; done")
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        os.kill(self.stub(parent), signal.SIGTERM)
        assert parent.wait(30) == 33
        parent.stdout.close()
        assert last_exit(box, "sh")["code"] == 33

    def test_fifty_orphans_leave_no_zombie(self, box: Box) -> None:
        """All of them come to PID 1."""
        script = (
            "for i in $(seq 50); do (sleep 0.2 & ) ; done; sleep 1; ps -eo stat=,args= | grep -c '^Z' ; ps -o ppid= $$"
        )
        parent = self.start(box, "sh", "-c", script)
        out = parent.communicate(timeout=60)[0]
        assert parent.returncode == 0
        assert out.split() == [b"0", b"1"]

    def test_the_agent_flushes_before_the_namespace_ends(self, box: Box) -> None:
        """PID 1's end is the end of all: it waits for the agent."""
        parent = self.start(box, "sh", "-c", "sleep 1; kill -9 $$")
        parent.communicate(timeout=60)
        assert parent.returncode == 137
        assert read(box.state / "sh" / "flushed") == "yes"
        assert last_exit(box, "sh")["signal"] == 9


class TestTerminal:
    """On a terminal, with job control."""

    @pytest.fixture
    def terminal(self, box: Box) -> Iterator[tuple[int, int]]:
        """An interactive shell: (its pid, the other end of its terminal)."""
        pid, fd = pty.fork()
        if pid == 0:
            os.execvpe("bash", ["bash", "--norc", "--noprofile", "-i"], box.env | {"PS1": "$ ", "TERM": "dumb"})
        yield pid, fd
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(fd)

    def line(self, box: Box, model: list[str]) -> bytes:
        """What is typed."""
        return (" ".join([*WITH_STAND_IN, *SUPERVISED, "--quiet", "--", *model]) + "\n").encode()

    @pytest.mark.parametrize("pipeline", ["", " | cat"])
    def test_ctrl_c_arrives_once(self, box: Box, terminal: tuple[int, int], pipeline: str) -> None:
        """And the model may read from the terminal: it is in front."""
        log = box.root / "signals"
        os.write(terminal[1], self.line(box, [*MODEL, str(log)]).rstrip() + pipeline.encode() + b"\n")
        model = model_of(box)
        until(lambda: os.tcgetpgrp(terminal[1]) == os.getpgid(model), "the model in front")
        os.write(terminal[1], b"\x03")
        until(lambda: "SIGINT" in read(log), "Ctrl-C")
        time.sleep(0.1)
        (box.root / "signals.stop").touch()
        until(lambda: os.tcgetpgrp(terminal[1]) == terminal[0], "the shell in front again")
        assert read(log).split()[2:] == ["SIGINT"]

    def test_ctrl_z_and_fg(self, box: Box, terminal: tuple[int, int]) -> None:
        """The shell sees the stop; `fg` puts the model in front again, and it goes on."""
        os.write(
            terminal[1], self.line(box, ["sh", "-c", f"'echo ready $$ > {box.root}/signals; cat > {box.root}/typed'"])
        )
        model = model_of(box)
        until(lambda: os.tcgetpgrp(terminal[1]) == os.getpgid(model), "the model in front")
        os.write(terminal[1], b"before\n")
        until(lambda: read(box.root / "typed") == "before\n", "what was typed")
        os.write(terminal[1], b"\x1a")
        until(lambda: os.tcgetpgrp(terminal[1]) == terminal[0], "the shell in front")
        until(lambda: " T " in read(f"/proc/{model}/stat"), "the model stopped")
        os.write(terminal[1], b"fg\n")
        until(lambda: os.tcgetpgrp(terminal[1]) == os.getpgid(model), "the model in front")
        os.write(terminal[1], b"after\n\x04")
        until(lambda: os.tcgetpgrp(terminal[1]) == terminal[0], "the shell in front at the end")
        assert read(box.root / "typed") == "before\nafter\n"
        os.write(terminal[1], f"echo code $? > {box.root}/code\n".encode())
        until(lambda: read(box.root / "code") == "code 0\n", "the exit code")

    def test_ctrl_z_without_a_shell_stops_nothing(self, box: Box) -> None:
        """As PID 1 with a terminal there is nobody to continue it; bare, the kernel would not stop it either."""
        log = box.root / "signals"
        pid, fd = pty.fork()
        if pid == 0:
            words = [*WITH_STAND_IN, *SUPERVISED, "--quiet", "--", *MODEL, str(log)]
            os.execve(words[0], words, box.env)
        model = model_of(box)
        until(lambda: os.tcgetpgrp(fd) == model, "the model in front")
        os.write(fd, b"\x1a")
        until(lambda: "SIGCONT" in read(log), "the model to be continued")
        (box.root / "signals.stop").touch()
        assert os.waitpid(pid, 0)[1] == 0
        os.close(fd)
