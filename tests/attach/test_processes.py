"""The parsers of `/proc/net/tcp` and the process table, on a folder that stands for `/proc`."""

from __future__ import annotations

import os
import pathlib
import tempfile

from hypothesis import given, settings
from hypothesis import strategies as st

from pilotfish_agent.target import processes
from pilotfish_agent.target.processes import Processes

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
ROW = "   0: {local}:{port:04X} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 {uid} 0 {inode} 1 0 100\n"


def stat(pid: int, ppid: int, start: int, state: str = "S") -> str:
    """A line of /proc/PID/stat."""
    fields = [state, str(ppid), *["0"] * 17, str(start), *["0"] * 30]
    return f"{pid} (a) b) {' '.join(fields)}\n"


def tree(root: pathlib.Path, parents: dict[int, int]) -> Processes:
    """The table of processes with these parents; each starts at its PID."""
    for pid, ppid in parents.items():
        (root / str(pid)).mkdir()
        (root / f"{pid}/stat").write_text(stat(pid, ppid, pid))
    return Processes(str(root))


def test_sockets_of_both_families_with_their_users(tmp_path: pathlib.Path) -> None:
    """Listening ones of that port only; what comes after the listening ones is not read."""
    (tmp_path / "net").mkdir()
    rows = [("0A", 80, 0, 11), ("0A", 81, 7, 12), ("01", 80, 0, 13), ("0A", 80, 0, 14)]
    text = HEAD + "".join(ROW.format(local="0100007F", state=s, port=p, uid=u, inode=i) for s, p, u, i in rows)
    (tmp_path / "net/tcp").write_text(text)
    (tmp_path / "net/tcp6").write_text(HEAD + ROW.format(local="0" * 32, state="0A", port=80, uid=9, inode=21))
    assert processes.listening(80, str(tmp_path)) == {11, 21}
    assert processes.listening(81, str(tmp_path)) == {12}
    assert processes.users({11, 12, 21}, str(tmp_path)) == [0, 7, 9]
    assert processes.listening(82, "/nonexistent") == frozenset()


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_table_is_only_no_socket(data: bytes) -> None:
    """Whatever stands there."""
    with tempfile.TemporaryDirectory() as folder:
        os.mkdir(f"{folder}/net")
        with open(f"{folder}/net/tcp", "wb") as file:
            file.write(HEAD.encode() + data)
        assert processes.listening(80, folder) == frozenset() or b"0A" in data
        processes.users([0, 1], folder)


def test_ancestors(tmp_path: pathlib.Path) -> None:
    """Roots, chains and the nearest process above all; init is above everything, so it joins nothing."""
    table = tree(tmp_path, {1: 0, 10: 1, 11: 10, 12: 10, 13: 12, 20: 1, 30: 99})
    assert table.chain(13) == [13, 12, 10, 1]
    assert table.roots([13, 12, 11, 20]) == [12, 11, 20]
    assert table.common_ancestor([13, 11]) == 10
    assert table.common_ancestor([12, 13]) == 12
    assert table.common_ancestor([13, 20]) is None
    assert table.common_ancestor([1, 20]) == 1, "a server that is PID 1 of its container"
    assert table.common_ancestor([30]) == 30
    assert table.common_ancestor([]) is None
    assert table.common_ancestor([777]) is None


@settings(deadline=None)
@given(st.dictionaries(st.integers(1, 30), st.integers(0, 30), min_size=1, max_size=20))
def test_no_shape_of_parents_hangs(parents: dict[int, int]) -> None:
    """Not even a ring, which a table read while PIDs are recycled can hold."""
    with tempfile.TemporaryDirectory() as folder:
        table = tree(pathlib.Path(folder), parents)
        pids = list(parents)
        assert set(table.living) == set(pids)
        for pid in pids:
            assert table.chain(pid)[0] == pid
        found = table.common_ancestor(pids)
        assert found is None or all(found in table.chain(pid) for pid in pids)
