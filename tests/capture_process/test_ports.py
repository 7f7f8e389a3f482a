"""Which ports a process tree listens on."""

import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from pilotfish_agent.capture.ports import Listening, PortFinder, descendants, listeners, other_network, sockets
from pilotfish_agent.capture.settings import MAX_PORTS
from tests.capture_process.watched import Model, until


def test_a_kept_socket_tells_the_same_and_is_made_anew_when_it_fails() -> None:
    """One that has been closed under our feet, or timed out, costs one answer by a fresh one."""
    kept = Listening()
    with Model() as one:
        port = one.open()
        for _ in range(2):
            assert port in kept().values()
        assert kept._kernel is not None
        os.close(kept._kernel.detach())
        assert port in kept().values()
        assert kept() == listeners()
    kept.close()


def test_ports_of_a_process_are_found_and_no_others() -> None:
    """IPv4 and IPv6; a port that is ignored stays away, one that is closed goes."""
    with Model() as one, Model() as other:
        fourth, sixth, foreign = one.open(), one.open(6), other.open()
        assert {fourth, sixth, foreign} <= set(listeners().values())
        finder = PortFinder()
        assert finder.look([one.process.pid]).ports == tuple(sorted((fourth, sixth)))
        assert PortFinder((sixth,)).look([one.process.pid]).ports == (fourth,)
        one.close(fourth)
        assert finder.look([one.process.pid]).ports == (sixth,)
        assert finder.look([other.process.pid]).ports == (foreign,), "another target is looked for anew"


def test_children_of_any_thread_count() -> None:
    """A server that forks its workers from a thread."""
    fork = "threading.Thread(target=lambda: print(subprocess.Popen(['sleep', '60']).pid, flush=True)).start()"
    code = f"import subprocess, sys, threading; {fork}; sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert list(descendants([parent.pid])) == [parent.pid, child]
        os.kill(child, signal.SIGKILL)
        parent.kill()


def test_our_own_sockets_are_never_the_models() -> None:
    """This process (the agent) and what it starts are no members, even when the root is its parent."""
    with socket.create_server(("127.0.0.1", 0)) as mine:
        assert os.getpid() not in set(descendants([os.getppid()]))
        assert mine.getsockname()[1] not in PortFinder().look([os.getpid()]).ports


def test_at_most_eight_ports_are_watched() -> None:
    """The lowest ones; the rest is counted."""
    code = (
        "import socket, sys; s = [socket.create_server(('127.0.0.1', 0)) for _ in range(10)];"
        "print(*sorted(x.getsockname()[1] for x in s), flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        ports = tuple(map(int, child.stdout.readline().split()))
        found = PortFinder().look([child.pid])
        assert found.ports == ports[:MAX_PORTS]
        assert found.beyond == 2
        child.kill()


def test_a_process_with_many_descriptors_is_read_in_parts() -> None:
    """Without budget a call reads a few of them and says so; it gets there all the same."""
    code = (
        "import os, socket, sys; f = [os.dup(0) for _ in range(600)]; s = socket.create_server(('127.0.0.1', 0));"
        "print(s.getsockname()[1], flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        port = int(child.stdout.readline())
        finder = PortFinder(budget=0.0)
        assert not finder.look([child.pid]).whole
        found = until(lambda: finder.look([child.pid]).ports, "the port")
        assert found == (port,)
        child.kill()


def test_without_sock_diag_the_table_is_read(tmp_path: pathlib.Path) -> None:
    """Another proc file system: listening sockets stand first, what follows them is not read."""
    (tmp_path / "net").mkdir()
    row = "   {n}: 0100007F:{port:04X} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 0 0 {inode} 1 0\n"
    table = "  sl  local_address ...\n" + row.format(n=0, port=8501, state="0A", inode=77)
    table += row.format(n=1, port=8501, state="01", inode=78) + row.format(n=2, port=9, state="0A", inode=79)
    (tmp_path / "net" / "tcp").write_text(table)
    (tmp_path / "5" / "fd").mkdir(parents=True)
    (tmp_path / "5" / "fd" / "3").symlink_to("socket:[77]")
    assert listeners(str(tmp_path)) == {77: 8501}
    assert PortFinder(proc=str(tmp_path)).look([5]).ports == (8501,)


@given(st.binary(max_size=300))
def test_any_answer_of_the_kernel_ends(data: bytes) -> None:
    """Cut or senseless ones are an error that leads to the table."""
    try:
        sockets(data)
    except (OSError, struct.error):
        pass


def test_this_process_is_in_its_own_network() -> None:
    """And one that has ended is in none."""
    assert not other_network(os.getpid())
    assert not other_network(2**22 - 1)
