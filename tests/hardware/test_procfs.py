"""The parsers of `/proc/PID/*`, and the descriptors kept on it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish_agent.target.procfs import (
    Descriptors,
    ProcessFiles,
    is_exiting,
    parse_boot_time,
    parse_fields,
    parse_soft_limit,
    parse_stat,
)

NUMBERS = st.integers(0, 2**63 - 1)


@given(
    comm=st.binary(min_size=0, max_size=15).filter(lambda b: b"\0" not in b),
    state=st.sampled_from("RSDZTtXxI"),
    values=st.lists(NUMBERS, min_size=49, max_size=49),
)
def test_any_command_name_parses(comm: bytes, state: str, values: list[int]) -> None:
    """Parentheses, spaces, newlines and bytes that are no UTF-8 in the command do not move the other fields."""
    line = b"%d (%b) %b %b\n" % (7, comm, state.encode(), b" ".join(b"%d" % v for v in values))
    stat = parse_stat(line)
    assert stat.comm == comm.decode("utf-8", "backslashreplace")
    assert (stat.state, stat.ppid, stat.start_time, stat.threads) == (state, values[0], values[18], values[16])
    assert stat.cpu == (values[10], values[11])
    assert stat.usage[0] == (values[10] + values[11], values[11], values[6], values[8])
    assert stat.usage[1] == (values[12] + values[13], values[13], values[7], values[9])
    assert stat.resident == values[20] * os.sysconf("SC_PAGE_SIZE")
    assert stat.ended == (state in "ZXx")
    assert stat.exit_code == (values[48] if stat.ended else 0)


@given(st.binary(max_size=200))
def test_no_bytes_break_the_stat_parser(data: bytes) -> None:
    """Whatever stands there is a `Stat` or a ValueError, no other error."""
    with contextlib.suppress(ValueError):
        assert isinstance(parse_stat(data).start_time, int)


@pytest.mark.parametrize("data", [b"", b"1 (a", b"1 (a) S 1 2 3", b"1 a S " + b"1 " * 50, b") ("])
def test_a_cut_stat_line_is_refused(data: bytes) -> None:
    """A line that is cut off is an error, not a process with zeros."""
    with pytest.raises(ValueError, match="not a stat line"):
        parse_stat(data)


def test_the_way_out_is_seen() -> None:
    """A flag of the kernel, set before the state changes."""
    line = b"7 (a) b) S 1 7 7 0 -1 %d 0 0 0 0\n"
    assert not is_exiting(line % 0x400000)
    assert is_exiting(line % 0x400004)
    for bad in (b"", b"7 (a) S 1 7", b"7 (a) S 1 7 7 0 -1 x 0 0\n"):
        with pytest.raises(ValueError):
            is_exiting(bad)


def test_fields_are_found_by_their_whole_name() -> None:
    """A name that ends like another's is not taken for it; a line that is missing is None, not 0."""
    text = b"Name:\tx\nnonvoluntary_ctxt_switches:\t9\nvoluntary_ctxt_switches:\t4\nRssAnon:\t   12 kB"
    wanted = (b"voluntary_ctxt_switches", b"RssAnon", b"VmSwap")
    assert parse_fields(text, wanted) == (4, 12, None)


@given(st.dictionaries(st.sampled_from([b"a", b"ab", b"b", b"cb"]), NUMBERS))
def test_fields_parse_back(values: dict[bytes, int]) -> None:
    """Any set of lines parses back to its numbers."""
    text = b"".join(b"%b:\t%d kB\n" % item for item in values.items())
    assert parse_fields(text, (b"a", b"ab", b"b", b"cb")) == tuple(values.get(k) for k in (b"a", b"ab", b"b", b"cb"))


def test_a_field_without_a_number_is_an_error() -> None:
    """A cut line is told, not read as 0."""
    with pytest.raises(ValueError, match="RssAnon"):
        parse_fields(b"RssAnon:\n", (b"RssAnon",))


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        (b"Max open files            1024                 4096                files\n", 1024),
        (b"Max open files            unlimited            unlimited            files\n", None),
        (b"Max processes             10                   10                   processes\n", None),
    ],
)
def test_the_soft_limit_is_the_first_number(text: bytes, limit: int | None) -> None:
    """Unlimited and absent are None."""
    assert parse_soft_limit(text, b"Max open files") == limit


def test_the_boot_time_is_found() -> None:
    """`btime` of `/proc/stat`, None where it is missing."""
    assert parse_boot_time(b"cpu 1\nbtime 1700000000\nprocesses 5\n") == 1_700_000_000
    assert parse_boot_time(b"cpu 1\n") is None


def test_a_kept_descriptor_reads_the_present_content(tmp_path: Path) -> None:
    """Each read starts at the file's beginning, also when it is longer than one read."""
    (tmp_path / "stat").write_bytes(b"one")
    files = ProcessFiles(str(tmp_path), Descriptors(8))
    assert files.read("stat") == b"one"
    (tmp_path / "stat").write_bytes(b"two" * 20_000)
    assert files.read("stat") == b"two" * 20_000
    files.close()


def test_content_is_parsed_when_it_changes(tmp_path: Path) -> None:
    """The same answer, the same object, until the file says something else."""
    (tmp_path / "io").write_bytes(b"1 2")
    files = ProcessFiles(str(tmp_path), Descriptors(8))
    first = files.parsed("io", bytes.split)
    assert files.parsed("io", bytes.split) is first == [b"1", b"2"]
    (tmp_path / "io").write_bytes(b"1 3")
    assert files.parsed("io", bytes.split) == [b"1", b"3"]
    files.close()


def test_a_size_needs_no_right_to_look_inside(tmp_path: Path) -> None:
    """The folder's own numbers, through a descriptor that is kept, and without one past the budget."""
    (tmp_path / "fd").mkdir()
    for descriptors in (Descriptors(8), Descriptors(1)):
        files = ProcessFiles(str(tmp_path), descriptors)
        assert files.size("fd") == files.size("fd") == os.stat(tmp_path / "fd").st_size
        files.close()
    with pytest.raises(FileNotFoundError):
        ProcessFiles(str(tmp_path), Descriptors(8)).size("fds")


def test_a_used_up_budget_opens_each_time(tmp_path: Path) -> None:
    """Past the budget a read still answers, and keeps nothing open."""
    (tmp_path / "stat").write_bytes(b"one")
    before = len(os.listdir("/proc/self/fd"))
    budget = Descriptors(1)
    files = ProcessFiles(str(tmp_path), budget)
    assert files.read("stat") == files.read("stat") == b"one"
    assert len(os.listdir("/proc/self/fd")) == before + 1
    files.close()
    assert len(os.listdir("/proc/self/fd")) == before
    assert budget.take(), "closing gives back what was taken"


def test_an_empty_file_means_the_process_has_gone(tmp_path: Path) -> None:
    """No file of a live process that is read this way is empty."""
    (tmp_path / "stat").write_bytes(b"")
    files = ProcessFiles(str(tmp_path), Descriptors(8))
    with pytest.raises(ProcessLookupError):
        files.read("stat")
    assert files.gone()
    files.close()
