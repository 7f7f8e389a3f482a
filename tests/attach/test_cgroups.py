"""Control groups and units: the text of `/proc/PID/cgroup` of version 1, 2 and hybrid, and a real group."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish_agent.target import cgroups, processes
from pilotfish_agent.target.cgroups import Mount, in_group, in_unit
from pilotfish_agent.target.locate import Finder, Selector
from tests.attach.group import enter, service

V2 = b"0::/system.slice/fraud.service\n"
V1 = (
    b"9:name=systemd:/system.slice/fraud.service\n4:memory:/system.slice/fraud.service\n"
    b"2:cpu,cpuacct:/system.slice\n1:pids:/\n"
)
HYBRID = b"4:memory:/other\n1:name=systemd:/system.slice/fraud.service\n0::/system.slice/fraud.service\n"
POD = b"0::/kubepods.slice/kubepods-burstable.slice/kubepods-pod7.slice/cri-containerd-ab.scope\n"
USER = b"0::/user.slice/user-1000.slice/user@1000.service/app.slice/fraud.service\n"
TEMPLATE = b"0::/system.slice/system-fraud.slice/fraud@7.service\n"
MOUNTS = [
    Mount("/sys/fs/cgroup/unified", "/", frozenset()),
    Mount("/sys/fs/cgroup/memory", "/", frozenset({"memory"})),
    Mount("/sys/fs/cgroup/cpu,cpuacct", "/docker/ab", frozenset({"cpu", "cpuacct"})),
]


@pytest.mark.parametrize("data", [V1, V2, HYBRID])
def test_a_group_is_found_in_every_layout(data: bytes) -> None:
    """By its own path and by one above it, never by a part of a name."""
    for group in ("/system.slice/fraud.service", "/system.slice", "/system.slice/"):
        assert in_group(group, [])(data)
    for group in ("/system.slice/fraud", "/fraud.service", "/system.slice/fraud.service/below"):
        assert not in_group(group, [])(data)


def test_a_folder_means_its_own_hierarchy() -> None:
    """The path of a mounted hierarchy is that hierarchy's group, and in a container counts from what is mounted."""
    assert in_group("/sys/fs/cgroup/memory/system.slice", MOUNTS)(V1)
    assert not in_group("/sys/fs/cgroup/memory/system.slice/fraud.service", MOUNTS)(HYBRID)
    assert in_group("/sys/fs/cgroup/unified/system.slice/fraud.service", MOUNTS)(HYBRID)
    assert in_group("/sys/fs/cgroup/cpu,cpuacct/below", MOUNTS)(b"3:cpuacct,cpu:/docker/ab/below\n")
    assert not in_group("/sys/fs/cgroup/cpu,cpuacct/below", MOUNTS)(b"3:cpu,cpuacct:/below\n")


@pytest.mark.parametrize(
    ("unit", "data", "found"),
    [
        ("fraud", V1, True),
        ("fraud.service", V2, True),
        ("fraud", HYBRID, True),
        ("fraud", USER, True),
        ("user@1000", USER, True),
        ("user-1000.slice", USER, True),
        ("fraud@7", TEMPLATE, True),
        ("fraud@7.service", TEMPLATE, True),
        ("fraud@", TEMPLATE, True),
        ("fraud@.service", TEMPLATE, True),
        ("fraud@8", TEMPLATE, False),
        ("fraud", TEMPLATE, False),
        ("fraud@", V2, False),
        ("frau", V2, False),
        ("fraud.scope", V2, False),
        ("f.*", V2, False),
        ("cri-containerd-ab.scope", POD, True),
        ("kubepods-pod7.slice", POD, True),
        ("cpu", b"0::/system.slice/_cpu.service\n", True),
        ("fraud", b"", False),
    ],
)
def test_a_unit_is_a_group_of_its_name_anywhere(unit: str, data: bytes, found: bool) -> None:
    """System, user, template and escaped units; a suffix other than .service is given."""
    assert in_unit(unit)(data) is found


@given(st.binary(max_size=200), st.text(max_size=20))
def test_any_text_is_only_no_match(data: bytes, name: str) -> None:
    """Whatever a kernel or a user writes."""
    in_unit(name)(data)
    in_group("/" + name, MOUNTS)(data)
    list(cgroups.lines(data))


@given(st.lists(st.text("abc-_@.x", min_size=1, max_size=8), min_size=1, max_size=5), st.integers(0, 4))
def test_every_prefix_of_a_path_holds_it(parts: list[str], cut: int) -> None:
    """A process is in its group and in all above it."""
    path = "/" + "/".join(parts)
    above = "/" + "/".join(parts[: max(1, cut)])
    assert in_group(above, [])(f"0::{path}\n".encode())
    assert not in_group(path + "/more", [])(f"0::{path}\n".encode())


@pytest.fixture
def group() -> Iterator[tuple[str, str]]:
    """A real control group called NAME.service: (NAME, its folder); skipped where none can be made."""
    with service() as made:
        if made is None:
            pytest.skip("no control group can be made here: needs root and a writable /sys/fs/cgroup")
        yield made


def test_a_unit_is_found_by_its_real_control_group(group: tuple[str, str]) -> None:
    """`--unit NAME` finds the process that stands in NAME.service, and so does the group's path and folder."""
    name, folder = group
    model = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        enter(folder, model.pid)
        key = (model.pid, processes.start_time(model.pid))
        found = [
            Finder(Selector(unit=name))(),
            Finder(Selector(unit=f"{name}.service"))(),
            Finder(Selector(cgroup=f"/{name}.service"))(),
            Finder(Selector(cgroup=folder))(),
            Finder(Selector(unit=name, name="time.sleep", pid=model.pid))(),
        ]
        assert found == [key] * 5
        assert Finder(Selector(unit=f"{name}x"))() is None
    finally:
        model.kill()
        model.wait()
