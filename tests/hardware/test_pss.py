"""Memory with shared pages counted once: on demand, and not of large processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from pilotfish_agent.commands import status
from pilotfish_agent.target.pss import LeftOut, measure
from pilotfish_agent.target.tree import ProcessTree
from pilotfish_core.clock import SystemClock
from tests.hardware.fake_proc import FakeProc

SHARING = """
import mmap, os, sys
kept = mmap.mmap(-1, 16 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for at in range(0, len(kept), 4096): kept[at] = 1
if os.fork(): print("up", flush=True)
sys.stdin.read()
"""


def test_shared_pages_count_once() -> None:
    """A fork of a process of 16 MiB: both have them resident, together they have them once; psutil agrees."""
    process = subprocess.Popen(
        [sys.executable, "-c", SHARING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    tree = ProcessTree(process.pid, None, clock=SystemClock())
    tree.scan()
    found = measure(tree)
    theirs = sum(psutil.Process(m.pid).memory_full_info().pss for m in tree.members)
    tree.close()
    process.communicate()
    assert (found.processes, found.left_out) == (2, ())
    assert found.proportional == pytest.approx(theirs, rel=0.05)
    assert found.resident - found.proportional > 14 << 20


def test_what_is_left_out_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large process is not even opened; one that is not ours, and a kernel without the file, are told."""
    proc = FakeProc(tmp_path)
    proc.spawn(10, 1, 100)
    for pid in (11, 12, 13):
        proc.spawn(pid, 10, pid)
    (tmp_path / "10" / "smaps_rollup").write_text("Rss: 9 kB\nPss:        7 kB\nPss_Anon: 1 kB\n")
    (tmp_path / "13" / "smaps_rollup").write_text("")
    tree = ProcessTree(10, 100, str(tmp_path), clock=SystemClock())
    tree.scan()
    page = os.sysconf("SC_PAGE_SIZE")
    tree.members[1].stat = tree.members[1].stat._replace(resident=2**31)
    found = measure(tree, 2**30)
    assert (found.processes, found.proportional, found.resident) == (1, 7 * 1024, 100 * page)
    assert found.left_out == (LeftOut(11, 2**31, "above_limit"), LeftOut(12, 100 * page, "not_supported"))
    monkeypatch.setattr("os.open", _refused)
    assert {one.why for one in measure(tree).left_out} == {"above_limit", "permission"}
    monkeypatch.undo()
    tree.close()


def _refused(*_: object, **__: object) -> int:
    raise PermissionError


def test_the_screen_tells_both_numbers_and_what_is_missing() -> None:
    """One line a target; without --pss there is none."""
    pss = {"processes": 2, "proportional": 3 << 20, "resident": 5 << 20, "left_out": []}
    assert "pss        serve, 3.0 MiB in 2 processes, 5.0 MiB with shared" in status.screen({"pss": {"serve": pss}})
    pss["left_out"] = [{"pid": 7, "resident": 3 << 30, "why": "above_limit"}]
    assert "without  pid 7 of 3,072.0 MiB: above --pss-limit" in status.screen({"pss": {"serve": pss}})
    many = {**pss, "left_out": [{"pid": 7, "resident": 3 << 30, "why": "permission"}] * 13}
    assert "  and      3 more" in status.screen({"pss": {"serve": many}})
    assert "pss" not in status.screen({})
