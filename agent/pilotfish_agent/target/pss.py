"""Memory of a process tree in which a page that several processes share counts once, for who asks for it.

The kernel's PSS gives each process its share of every page. To tell it the kernel walks all pages of a process and
holds the lock of its memory meanwhile: about 13 ms a GiB, during which page faults and `mmap` of that process wait
(docs/hardware.md). So nothing reads it on a timer, and a process above a limit is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

from pilotfish_agent.target.procfs import parse_fields
from pilotfish_agent.target.tree import Member, ProcessTree

LIMIT = 2**30
"""Resident bytes up to which a process is read, unless told otherwise."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A process whose share was not read.

    Attributes:
        pid: which.
        resident: its bytes, each shared page counted whole.
        why: above_limit, permission or not_supported.
    """

    pid: int
    resident: int
    why: str


@dataclass(frozen=True, slots=True)
class Pss:
    """What was read of a tree.

    Attributes:
        processes: how many were read.
        proportional: bytes, of those.
        resident: bytes of the same with each shared page counted in each.
        left_out: the others.
    """

    processes: int
    proportional: int
    resident: int
    left_out: tuple[LeftOut, ...]


def measure(tree: ProcessTree, limit: int = LIMIT) -> Pss:
    """Reads each living member of a scanned tree once; those that end meanwhile are in neither list."""
    read: list[tuple[int, int]] = []
    left_out = []
    for member in tree.living:
        resident = member.stat.resident
        try:
            if resident > limit:
                left_out.append(LeftOut(member.pid, resident, "above_limit"))
            else:
                read.append((_proportional(member), resident))
        except ProcessLookupError:
            continue
        except PermissionError:
            left_out.append(LeftOut(member.pid, resident, "permission"))
        except FileNotFoundError:
            if not member.files.gone():
                left_out.append(LeftOut(member.pid, resident, "not_supported"))
    return Pss(len(read), sum(p for p, _ in read), sum(r for _, r in read), tuple(left_out))


def _proportional(member: Member) -> int:
    """Bytes; `smaps_rollup` has it in KiB since Linux 4.14."""
    (kibibytes,) = parse_fields(member.files.read_list("smaps_rollup", keep=False), (b"Pss",))
    if kibibytes is None:
        raise ProcessLookupError("no Pss: the process has ended")
    return kibibytes * 1024
