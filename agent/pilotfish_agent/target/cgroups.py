"""Whether a process is in a control group or a systemd unit, by its `/proc/PID/cgroup` (man 7 cgroups).

Each line there is ``ID:CONTROLLERS:PATH``: one for each hierarchy of version 1, and one with empty CONTROLLERS for
version 2; a hybrid system has both. systemd makes a folder for each unit, named like it, somewhere below its slice:
``/system.slice/fraud.service``, ``/system.slice/system-fraud.slice/fraud@7.service``,
``/user.slice/user-1000.slice/user@1000.service/app.slice/fraud.service``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pilotfish_agent.target.processes import read

Match = Callable[[bytes], bool]
_OPTIONS = frozenset({"rw", "ro", "xattr", "clone_children", "noprefix", "none", "all", "cpuset_v2_mode"})
"""What stands among the controllers of a mount and is none."""
_SUFFIXES = (".service", ".scope", ".slice")  # the kinds of unit that have processes


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted hierarchy: where, which of its groups is mounted there, its controllers (none in version 2)."""

    point: str
    root: str
    controllers: frozenset[str]


def matcher(group: str | None, unit: str | None, proc: str = "/proc") -> Match | None:
    """Tells whether the content of a `/proc/PID/cgroup` is in the group and in the unit; None when neither is given."""
    tests = [in_group(group, list(mounts(proc)))] if group is not None else []
    tests += [in_unit(unit)] if unit is not None else []
    return (lambda data: all(test(data) for test in tests)) if tests else None


def in_group(group: str, mounted: list[Mount]) -> Match:
    """A match for a control group or any below it, given as its path in the hierarchy or as its folder."""
    wanted, controllers = _resolve(group.rstrip("/"), mounted)

    def match(data: bytes) -> bool:
        return any(
            path == wanted or path.startswith(f"{wanted}/")
            for of, path in lines(data)
            if controllers is None or of == controllers
        )

    return match


def _resolve(group: str, mounted: list[Mount]) -> tuple[str, frozenset[str] | None]:
    """(path in the hierarchy, controllers of the hierarchy; None: in any)."""
    for mount in sorted(mounted, key=lambda m: -len(m.point)):
        if group.startswith(f"{mount.point}/"):
            return mount.root.rstrip("/") + group.removeprefix(mount.point), mount.controllers
    return group, None


def in_unit(unit: str) -> Match:
    """A match for a unit, wherever its slice is."""
    names = unit_groups(unit)

    def match(data: bytes) -> bool:
        return any(names.fullmatch(part) for _, path in lines(data) for part in path.split("/"))

    return match


def unit_groups(unit: str) -> re.Pattern[str]:
    """The names that the unit's control group can have.

    ``fraud`` and ``fraud.service`` are one; a scope or a slice is given with its suffix. ``fraud@`` is any instance of
    the template. systemd puts ``_`` before a name that the kernel could take for a file of its own
    (``cpu.service``; systemd's cg_escape).
    """
    name = unit if unit.endswith(_SUFFIXES) else f"{unit}.service"
    before, template, after = name.partition("@.")
    words = f"{re.escape(before)}@[^/]+[.]{re.escape(after)}" if template else re.escape(name)
    return re.compile(f"_?{words}")


def lines(data: bytes) -> Iterator[tuple[frozenset[str], str]]:
    """(controllers, path) of each line."""
    for line in data.decode("utf-8", "backslashreplace").splitlines():
        number, _, rest = line.partition(":")
        controllers, found, path = rest.partition(":")
        if number.isdigit() and found:
            yield frozenset(controllers.split(",")) - {""}, path


def mounts(proc: str = "/proc", pid: str = "self") -> Iterator[Mount]:
    """The hierarchies that a process has mounted: `/proc/PID/mountinfo`, whose optional fields end at ``-``."""
    for line in read(f"{proc}/{pid}/mountinfo").decode("utf-8", "backslashreplace").splitlines():
        before, _, after = line.partition(" - ")
        fields, kinds = before.split(), after.split()
        if len(fields) < 5 or len(kinds) < 3 or kinds[0] not in {"cgroup", "cgroup2"}:
            continue
        options = kinds[2].split(",") if kinds[0] == "cgroup" else []
        named = frozenset(o for o in options if o not in _OPTIONS and not o.startswith("release_agent="))
        yield Mount(_unescaped(fields[4]), _unescaped(fields[3]), named)


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), text)
