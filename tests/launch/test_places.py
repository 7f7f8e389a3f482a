"""Names, locks and folders of instances."""

import os
import pathlib
import stat
import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish_agent.launch import places, proc

ME = (os.getpid(), proc.start_time("self"))
DEAD = (2**22 + 5, 1)


@pytest.fixture
def tmp_path() -> Iterator[pathlib.Path]:
    """Short: a socket's path has 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="pf", dir="/tmp") as folder:
        yield pathlib.Path(folder)


@pytest.fixture
def base(tmp_path: pathlib.Path) -> str:
    """A runtime folder."""
    return str(tmp_path / "r")


def claim(base: str, name: str = "m", holder: tuple[int, int] = ME, state: str = "") -> places.Instance:
    """A claim with its state beside the runtime folder."""
    return places.claim(name, [base], [state or base + ".state"], holder)


def drop(*instances: places.Instance) -> None:
    """What the kernel does when a guard is killed."""
    for instance in instances:
        for fd in instance.fds:
            os.close(fd)


@given(st.text(), st.integers(1, 10**6))
def test_a_name_is_always_a_file_name(text: str, number: int) -> None:
    """Whatever a model is called, its instance is a harmless file name of at most 40 characters."""
    name = places.numbered(places.safe_name(text), number)
    assert 0 < len(name) <= places.LONGEST_NAME
    assert set(name) <= places._ALLOWED
    assert name[0] not in ".-"


def test_two_of_one_name_get_two_names(base: str) -> None:
    """The second is -2, the third -3; a freed number is the lowest free again."""
    first, second, third = claim(base), claim(base), claim(base)
    assert [i.name for i in (first, second, third)] == ["m", "m-2", "m-3"]
    assert len({i.state for i in (first, second, third)}) == 3
    places.release(second, ME)
    drop(second)
    again = claim(base)
    assert again.name == "m-2"
    drop(first, third, again)


def test_long_names_keep_their_number(base: str) -> None:
    """The number is never cut off."""
    instances = [claim(base, "x" * 60) for _ in range(2)]
    assert [i.name for i in instances] == ["x" * 40, "x" * 38 + "-2"]
    drop(*instances)


def test_a_dead_model_whose_guard_flushes_hands_its_name_on(base: str) -> None:
    """A restart finds its state: the name is taken at once, its lock is waited for, and a third goes elsewhere."""
    old = claim(base, holder=DEAD)
    new = claim(base)
    assert (new.name, new.state) == (old.name, old.state)
    assert len(new.busy) == 2
    assert claim(base).name == "m-2"
    places.release(old, DEAD)
    assert os.path.exists(f"{new.runtime}/lock"), "the successor's name is not removed"
    drop(old)
    assert all(places.try_lock(fd) for fd in new.busy)


def test_a_living_model_keeps_its_name_without_its_guard(base: str) -> None:
    """kill -9 of a guard frees no name while the model runs."""
    drop(claim(base))
    second = claim(base)
    assert second.name == "m-2"
    drop(second)


def test_a_pid_of_another_namespace_is_believed_only_by_its_lock(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two containers that share /run: the pid says nothing, the lock does."""
    monkeypatch.setattr(proc, "pid_namespace", lambda: "pid:[1]")
    other = claim(base, holder=DEAD)
    monkeypatch.undo()
    mine = claim(base)
    assert mine.name == "m-2"
    drop(other, mine)
    third = claim(base)
    assert third.name == "m"
    drop(third)


def test_one_state_is_never_shared(tmp_path: pathlib.Path) -> None:
    """Two runtime folders (a session's and a temporary one) with one state folder: the second name is -2."""
    state = str(tmp_path / "state")
    first, second = claim(str(tmp_path / "a"), state=state), claim(str(tmp_path / "b"), state=state)
    assert [first.name, second.name] == ["m", "m-2"]
    drop(first, second)


def test_the_folders_are_private(base: str) -> None:
    """0700 by whatever umask, and nothing stays after the release but the state."""
    old = os.umask(0)
    try:
        instance = claim(base)
    finally:
        os.umask(old)
    for folder in (base, instance.runtime, instance.state):
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    pathlib.Path(instance.runtime, "intake.sock").write_text("x", encoding="ascii")
    places.release(instance, ME)
    assert os.listdir(base) == []
    assert os.path.isdir(instance.state)
    drop(instance)


def test_a_group_may_pass_but_not_list(base: str) -> None:
    """With an intake group its members reach the socket."""
    instance = places.claim("m", [base], [base + ".state"], ME, group=str(os.getegid()))
    assert stat.S_IMODE(os.stat(base).st_mode) == 0o711
    assert stat.S_IMODE(os.stat(instance.runtime).st_mode) == 0o710
    drop(instance)
    unknown = places.claim("m", [base], [base + ".state"], ME, group="no such group")
    assert unknown.runtime, "a wrong group stops nothing"
    drop(unknown)


def test_a_folder_others_can_write_to_is_not_taken(tmp_path: pathlib.Path) -> None:
    """What somebody prepared under our name in a temporary folder is left alone, links too."""
    open_to_all, link, good = tmp_path / "open", tmp_path / "link", tmp_path / "good"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    link.symlink_to(good)
    instance = places.claim("m", [str(open_to_all), str(link), str(good)], [str(tmp_path / "s")], ME)
    assert instance.runtime == f"{good}/m"
    drop(instance)


def test_a_long_path_falls_back(tmp_path: pathlib.Path) -> None:
    """A socket has 107 bytes: the next folder is taken."""
    instance = places.claim("m", [str(tmp_path / ("x" * 90)), str(tmp_path / "r")], [str(tmp_path / "s")], ME)
    assert instance.runtime == f"{tmp_path}/r/m"
    drop(instance)


def test_no_folder_at_all_is_said(tmp_path: pathlib.Path) -> None:
    """The error names every folder that was tried and why not."""
    (tmp_path / "file").write_text("", encoding="ascii")
    with pytest.raises(places.NoPlaceError, match=r"file: .*own.*, .*too long"):
        places.claim("m", [str(tmp_path / "file"), str(tmp_path / ("x" * 90))], [], ME)


def test_without_a_state_folder_there_is_a_reason(tmp_path: pathlib.Path) -> None:
    """Monitoring goes on without state, and says why."""
    (tmp_path / "file").write_text("", encoding="ascii")
    instance = places.claim("m", [str(tmp_path / "r")], [str(tmp_path / "file")], ME)
    assert instance.state == ""
    assert "file" in instance.problem
    drop(instance)


def test_a_claim_waits_for_nobody_for_long(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody stopped in the middle of a claim: a name with our pid is taken instead."""
    os.mkdir(base, 0o700)
    monkeypatch.setattr(places, "_MUTEX_SECONDS", 0.02)
    fd = os.open(base, os.O_RDONLY)
    assert places.try_lock(fd)
    instance = claim(base)
    assert instance.name == f"m-{ME[0]}"
    os.close(fd)
    drop(instance)


def test_the_folders_follow_the_variables() -> None:
    """/run, then the session's, then the temporary one; a chosen one first."""
    uid = os.geteuid()
    get = {"XDG_RUNTIME_DIR": "/s", "TMPDIR": "/t", "HOME": "/h"}.get
    assert places.runtime_bases(lambda n: get(n, "")) == [
        "/run/pilotfish",
        "/s/pilotfish",
        f"/t/pilotfish-{uid}",
        f"/tmp/pilotfish-{uid}",
    ]
    assert places.runtime_bases(lambda n: "/c" if n == "PILOTFISH_RUNTIME_DIR" else "") == [
        "/c",
        f"/tmp/pilotfish-{uid}",
    ]
    assert places.state_bases(lambda n: get(n, ""))[:2] == ["/var/lib/pilotfish", "/h/.local/state/pilotfish"]
    assert places.state_bases(lambda _: "", "/chosen")[0] == "/chosen"
    assert places.state_bases(lambda n: "/x" if n == "XDG_STATE_HOME" else "")[1] == "/x/pilotfish"
