"""The files of a control group: their parsers, where a folder is, and counters over groups that follow each other."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pilotfish_agent.target import groupfs
from pilotfish_agent.target.cgroups import Mount
from pilotfish_agent.target.group import Total
from pilotfish_agent.target.group import _folders as folders


@pytest.mark.parametrize(
    ("root", "path", "found"),
    [
        ("/", "/a/b", ["/m/a/b"]),
        ("/a", "/a/b", ["/m/b"]),
        ("/a/b", "/a/b", ["/m"]),
        ("/a/b", "/a/bc", []),
        ("/a", "/b", []),
        ("/", "/../b", []),  # beside our own group
        ("/../b", "/../b", ["/m"]),
        ("/../b", "/../b/c", ["/m/c"]),
        ("/../..", "/../b", []),  # nothing is mounted there
    ],
)
def test_where_a_group_is_below_a_mount(root: str, path: str, found: list[str]) -> None:
    """Both as seen from our control group namespace."""
    assert list(folders(Mount("/m", root, frozenset()), path, "/m")) == found


names = st.sampled_from(["nr_periods", "nr_throttled", "oom_kill", "total_inactive_file", "a.b"])


@given(st.dictionaries(names, st.integers(0, 1 << 63)), st.sampled_from([b"", b"junk\n", b"per cpu 1 2\n", b"x -1\n"]))
def test_keyed_files_are_read_line_by_line(expected: dict[str, int], junk: bytes) -> None:
    """What is no ``NAME NUMBER`` is left out."""
    data = junk + "".join(f"{name} {number}\n" for name, number in expected.items()).encode()
    assert groupfs.parse_keyed(data) == expected


@given(st.one_of(st.none(), st.integers(1_000, 10**9)), st.integers(1_000, 1_000_000))
def test_cpu_limits_are_cores(quota: int | None, period: int) -> None:
    """In both versions' notation."""
    expected = None if quota is None else quota / period
    assert groupfs.parse_cpu_max(f"{'max' if quota is None else quota} {period}\n".encode()) == expected
    assert groupfs.parse_quota(f"{-1 if quota is None else quota}\n".encode(), f"{period}\n".encode()) == expected


@given(st.integers(0, (1 << 62) - 1))
@example(0)
def test_bytes_are_bytes(value: int) -> None:
    """And no limit is none, as both versions write it."""
    assert groupfs.parse_bytes(b"%d\n" % value) == value
    assert groupfs.parse_bytes(b"max\n") is groupfs.parse_bytes(b"9223372036854771712\n") is None


@given(st.binary(max_size=80))
def test_other_bytes_are_refused_by_name(data: bytes) -> None:
    """Never with another error, never with a number that is not there."""
    for parse in (groupfs.parse_cpu_max, groupfs.parse_bytes):
        try:
            parse(data)
        except ValueError:
            continue
    groupfs.parse_keyed(data)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 100)), min_size=1, max_size=30))
def test_a_total_never_falls_and_counts_each_rise_once(steps: list[tuple[int, int]]) -> None:
    """Groups that follow each other, whatever their files say."""
    total, counters, last = Total(), [0, 1000, 50], None
    expected: float | None = None
    for group, rise in steps:
        # While a group is not ours its counter moves as well: that is not counted.
        counters = [c + (rise if i == group else 7) for i, c in enumerate(counters)]
        if expected is None:
            expected = float(counters[group])
        elif group == last:
            expected += rise
        last = group
        assert total.add(group, float(counters[group])) == expected
