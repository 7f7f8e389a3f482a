"""A unit's sandbox as seccomp rules, so that an agent can be run in it where systemd does not.

What it says by other means (folders, capabilities, users) a container's configuration says too, see `bundle`.
"""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

EPERM = 1
PROT_WRITE, PROT_EXEC = 2, 4
FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16, "AF_PACKET": 17}


@functools.cache
def sets() -> Mapping[str, tuple[str, ...]]:
    """systemd's own sets of system calls: name -> calls and other sets."""
    words = ["systemd-analyze", "syscall-filter", "--no-pager"]
    text = subprocess.run(words, capture_output=True, text=True, timeout=20, check=True).stdout
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in text.splitlines():
        if line.startswith("@"):
            current = found.setdefault(line.strip(), [])
        elif line.startswith("    ") and not line.strip().startswith("#"):
            current.append(line.strip())
    return {name: tuple(members) for name, members in found.items()}


def calls(names: Sequence[str]) -> frozenset[str]:
    """Every system call of these sets and calls."""
    known = sets()
    return frozenset(c for name in names for c in (calls(known[name]) if name.startswith("@") else (name,)))


def allowed(filters: Sequence[str]) -> frozenset[str]:
    """What the lines of SystemCallFilter= leave: the first one is a list of what is allowed, ``~`` takes away."""
    left = calls(["@default"])
    for line in filters:
        names = line.removeprefix("~").split()
        left = left - calls(names) if line.startswith("~") else left | calls(names)
    return left


def seccomp(service: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The filter of a unit's [Service], as a container's configuration has it."""
    names = allowed(service["SystemCallFilter"]) - {"socket", "mmap", "mprotect", "pkey_mprotect"}
    families = [FAMILIES[word] for line in service["RestrictAddressFamilies"] for word in line.split()]
    rules = [{"names": sorted(names), "action": "SCMP_ACT_ALLOW"}]
    rules += [_rule("socket", 0, number) for number in families]
    # MemoryDenyWriteExecute=: no mapping that is both, and nothing becomes executable later.
    rules += [_masked("mmap", PROT_WRITE | PROT_EXEC, value) for value in (0, PROT_WRITE, PROT_EXEC)]
    rules += [_masked(name, PROT_EXEC, 0) for name in ("mprotect", "pkey_mprotect")]
    return {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": EPERM, "syscalls": rules}


def _rule(name: str, index: int, value: int) -> dict[str, Any]:
    return {
        "names": [name],
        "action": "SCMP_ACT_ALLOW",
        "args": [{"index": index, "value": value, "op": "SCMP_CMP_EQ"}],
    }


def _masked(name: str, mask: int, value: int) -> dict[str, Any]:
    """Allowed where the protection (the third argument), of which only ``mask`` counts, is this."""
    argument = {"index": 2, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}
    return {"names": [name], "action": "SCMP_ACT_ALLOW", "args": [argument]}
