"""The counter of kills for want of memory, in our own control group."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress

import pytest

from pilotfish_agent.launch.oom import Kills
from tests.launch.box import WITH_STAND_IN, Box, until
from tests.launch.test_stub import last_exit
from tests.limits import little_memory


def tree(folder: pathlib.Path, cgroup: str, path: str, text: str) -> pathlib.Path:
    """A frozen `/proc` and `/sys/fs/cgroup` with one counter."""
    (folder / "proc" / "self").mkdir(parents=True)
    (folder / "proc" / "self" / "cgroup").write_text(cgroup)
    file = folder / "cgroup" / path
    file.parent.mkdir(parents=True)
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    ("cgroup", "path", "text"),
    [
        ("0::/a.slice/b.service\n", "a.slice/b.service/memory.events", "low 0\noom 1\noom_kill {}\n"),
        ("0::/\n", "memory.events", "oom 7\noom_kill {}\noom_group_kill 3\n"),
        (
            "5:cpu,cpuacct:/x\n4:memory:/docker/1\n0::/\n",
            "memory/docker/1/memory.oom_control",
            "under_oom 0\noom_kill {}\n",
        ),
    ],
)
def test_only_a_rise_says_anything(tmp_path: pathlib.Path, cgroup: str, path: str, text: str) -> None:
    """Version 2, a container's own namespace, and version 1."""
    file = tree(tmp_path, cgroup, path, text.format(4))
    kills = Kills(str(tmp_path / "proc"), str(tmp_path / "cgroup"))
    assert kills.rise() == 0
    file.write_text(text.format(6))
    assert (kills.rise(), kills.rise()) == (2, 0)
    file.write_text("")
    assert kills.rise() == 0
    file.write_text(text.format(7))
    kills.note(1)
    assert not kills.unexplained(), "somebody else's end explains it"
    file.write_text(text.format(8))
    kills.note()
    assert kills.unexplained()
    os.close(kills.fd)


@pytest.mark.parametrize("cgroup", ["", "0::/../other\n", "0::/none\n", "4:memory:/none\n", "\xff:::\n"])
def test_without_a_counter_nothing_is_known(tmp_path: pathlib.Path, cgroup: str) -> None:
    """No guess, no descriptor."""
    tree(tmp_path, cgroup, "x", "")
    kills = Kills(str(tmp_path / "proc"), str(tmp_path / "cgroup"))
    assert kills.fd == -1
    assert kills.rise() == 0
    assert Kills(str(tmp_path / "nowhere")).fd == -1


@pytest.mark.parametrize(("inherited", "now"), [(0, 800), (900, 900)])
def test_a_place_in_the_queue_is_only_raised(inherited: int, now: int) -> None:
    """Whoever's launcher goes before everybody (Kubernetes' BestEffort) is not to outlive it."""
    code = (
        "from pathlib import Path; from pilotfish_agent.launch.proc import introduce\n"
        "place = Path('/proc/self/oom_score_adj')\n"
        f"place.write_text('{inherited}'); introduce('pf-it', 800)\n"
        "print(place.read_text().strip(), Path('/proc/self/comm').read_text().strip())"
    )
    done = subprocess.run((sys.executable, "-c", code), capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(now), "pf-it"]


@pytest.fixture
def small() -> Iterator[pathlib.Path]:
    """A memory group of version 1 with little memory."""
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(little_memory(f"pf-launch-{os.getpid()}", 80 << 20))
        except OSError:
            pytest.skip("needs root and a memory control group of version 1 in which groups can be made")
        yield folder


EATS = "import time; time.sleep(1); kept = []\nwhile True: kept.append(b'x' * (1 << 20))"


@pytest.mark.parametrize("script", [EATS, "import os, time; time.sleep(1); os.kill(os.getpid(), 9)"])
def test_the_guard_knows_where_the_agent_does_not(box: Box, small: pathlib.Path, script: str) -> None:
    """The kernel takes the agent first, then the model: the guard has the counter. A kill by hand is a signal."""
    enter = f'echo $$ > {small}/cgroup.procs; exec "$@"'
    run = (*WITH_STAND_IN, "--instance", "fat", "--", sys.executable, "-I", "-S", "-c", script)
    environ = {**box.env, "STAND_IN": "hang"}
    model = subprocess.Popen(("sh", "-c", enter, "sh", *run), env=environ, stderr=subprocess.DEVNULL)
    assert model.wait(60) == -signal.SIGKILL
    until(lambda: not box.ours(), "our processes to leave")
    assert last_exit(box, "fat")["cause"] == ("oom" if script is EATS else "signal")


def test_the_agent_comes_back_when_memory_ran_out(box: Box, small: pathlib.Path) -> None:
    """The kernel takes the agent before any worker, and spares the guard, which starts the agent again."""
    enter = f'echo $$ > {small}/cgroup.procs; exec "$@"'
    eats = f"{sys.executable} -I -S -c \"import time; kept = b'x' * (45 << 20); time.sleep(60)\""
    run = (*WITH_STAND_IN, "--instance", "fat", "--", "sh", "-c", f"read word; {eats} & {eats} & exec sleep 60")
    model = subprocess.Popen(
        ("sh", "-c", enter, "sh", *run), env=box.env, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert model.stdin is not None
    until(lambda: box.agents("fat"), "the agent")
    model.stdin.write(b"eat\n")
    model.stdin.close()
    until(lambda: [restarts for _, restarts in box.agents("fat") if restarts], "an agent of the same guard")
    for pid in (small / "cgroup.procs").read_text().split():
        with suppress(ProcessLookupError):  # the kernel may still be at it
            os.kill(int(pid), signal.SIGKILL)
    model.wait()
