"""Finding the target among real processes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pilotfish_agent.target import processes
from pilotfish_agent.target.locate import Finder, Key, Selector
from tests.agent.live import until

SLEEP = "import time; time.sleep(600)"
WORKERS = """
import os, socket, time
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
os.fork(); os.fork(); time.sleep(600)
"""
REUSE = """
import os, socket, sys, time
port = 0
for _ in range(2):
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    server.bind(("127.0.0.1", port))
    server.listen()
    port = server.getsockname()[1]
    if os.fork() == 0:
        time.sleep(600)
    server.close()
print(port, flush=True)
time.sleep(600)
"""
SERVER = "import socket,time; s=socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); " + SLEEP


@contextmanager
def program(code: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A Python program in a session of its own; all of it ends with the block."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def port_of(process: subprocess.Popen[str]) -> int:
    """What it printed."""
    assert process.stdout is not None
    return int(process.stdout.readline())


def key(pid: int) -> Key:
    """Its PID and start time."""
    started = processes.start_time(pid)
    assert started is not None
    return pid, started


def test_a_recycled_pid_is_another_process() -> None:
    """A PID given by the user is the process that had it then."""
    with program(SLEEP) as model:
        find = Finder(Selector(pid=model.pid))
        assert find() == key(model.pid)
    assert find() is None
    other = Finder(Selector(pid=os.getpid()))
    assert other() == key(os.getpid())
    other._born = 1  # as if it had been another process then
    assert other() is None


@pytest.mark.parametrize(("code", "owners"), [(WORKERS, 4), (REUSE, 2)])
def test_workers_on_one_port_have_one_root(code: str, owners: int) -> None:
    """Several owners of a port: the process above them all, whether or not it has a socket itself."""
    with program(code) as parent:
        port = port_of(parent)
        until(lambda: len(processes.listeners(port)) == owners, "the workers")
        find = Finder(Selector(port=port))
        assert find() == key(parent.pid)
        assert find.notice == ""
        assert not find.moved()
        assert processes.holder_of(port).startswith(" (held by ")


def test_a_port_nobody_listens_on_is_no_error() -> None:
    """It is waited for."""
    with program(SERVER) as model:
        port = port_of(model)
    find = Finder(Selector(port=port))
    until(lambda: find() is None, "its end")
    assert find.refused is None
    assert find.notice == ""


def test_selectors_are_anded() -> None:
    """Each narrows the choice; one that does not hold leaves nothing."""
    with program(SERVER, "twin-one") as one, program(SERVER, "twin-one") as two:
        ports = [port_of(one), port_of(two)]
        for process, port in zip((one, two), ports, strict=True):
            assert Finder(Selector(name="twin-one", port=port))() == key(process.pid)
            assert Finder(Selector(pid=process.pid, port=port, name="twin"))() == key(process.pid)
        assert Finder(Selector(pid=one.pid, port=ports[1]))() is None
        assert Finder(Selector(pid=one.pid, name="nothing-like-it"))() is None


def test_of_several_the_oldest_with_a_notice() -> None:
    """The choice is told, and stays the same from look to look."""
    with program(SLEEP, "triplet-x") as first:
        until(lambda: processes.start_time(first.pid), "the first")
        time_of_first = key(first.pid)[1]
        with program(SLEEP, "triplet-x") as second, program(SLEEP, "triplet-x"):
            until(lambda: Finder(Selector(name="triplet-x"))() is not None, "them")
            find = Finder(Selector(name="triplet-x"))
            until(lambda: (find(), "3 processes" in find.notice)[1], "all three")
            assert find() == (first.pid, time_of_first)
            assert f"PID {first.pid}" in find.notice
            assert second.pid > 0


def test_a_matching_worker_of_a_matching_parent_is_no_second_match() -> None:
    """A tree is one match: its root."""
    with program(WORKERS, "forker-y") as parent:
        port = port_of(parent)
        until(lambda: len(processes.listeners(port)) == 4, "the workers")
        find = Finder(Selector(name="forker-y"))
        assert find() == key(parent.pid)
        assert find.notice == ""


def test_a_name_never_finds_ourselves_nor_those_above_us() -> None:
    """The words of our own command line hold the expression, and so may those of the shell that started us."""
    line = processes.read("/proc/self/cmdline").replace(b"\0", b" ").decode("utf-8", "backslashreplace").strip()
    found = Finder(Selector(name="^" + re.escape(line) + "$"))()
    assert found is None or found[0] != os.getpid()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
def test_a_port_of_another_user_names_the_right_it_needs() -> None:
    """As nobody, without capabilities: --port says why not and what instead; pid and name need no right."""
    with program(SERVER, "of-root-z") as model:
        port = port_of(model)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            find = Finder(Selector(port=port))
            found = find()
            words = find.refused.line() if find.refused is not None else ""
            others = [Finder(Selector(pid=model.pid))(), Finder(Selector(name="of-root-z"))()]
            os.write(writer, f"{found}|{words}|{[o and o[0] for o in others]}".encode())
            os._exit(0)
        os.waitpid(child, 0)
        os.close(writer)
        with os.fdopen(reader) as answers:
            answer = answers.read().split("|")
        assert answer[0] == "None"
        assert answer[1] == (
            f"--port {port}; got 'a socket of uid 0, whose process uid 65534 may not look at'; "
            "expected to run as the same user, or CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH; "
            "or find it by --pid, --name, --cgroup or --unit, which need no right"
        )
        assert answer[2] == str([model.pid, model.pid])


HIDDEN = """
import os, sys
from pilotfish_agent.target.locate import Finder, Selector
os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
find = Finder(Selector(pid=int(sys.argv[1])))
print(find(), find.notice)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a /proc of its own: needs root")
@pytest.mark.parametrize("hidepid", [1, 2])
def test_a_proc_that_hides_the_model_is_told(hidepid: int) -> None:
    """Else `attach` would wait for ever, and nobody would know why."""
    mount = f'mount -t proc -o hidepid={hidepid} proc /proc && exec "$@"'
    words = ("unshare", "--mount", "sh", "-c", mount, "sh", sys.executable, "-c", HIDDEN, str(os.getpid()))
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    if "mount:" in done.stderr or "unshare:" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.stdout.startswith(f"None --pid {os.getpid()}: /proc shows no processes of other users (hidepid)"), done
