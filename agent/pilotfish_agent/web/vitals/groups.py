"""All groups of vital signs, in the order in which they are read: calls, process, limits, costs, host."""

from __future__ import annotations

from collections.abc import Iterator

from pilotfish_agent.web.numbers import Numbers
from pilotfish_agent.web.vitals import calls, control_group, cost, host, process
from pilotfish_agent.web.vitals._vital import Group


def groups(numbers: Numbers) -> Iterator[Group]:
    """Those that have anything to show: absent is not zero. GPUs have a table of their own."""
    trees = numbers.snapshot.status.targets or (numbers.snapshot.status.target,)
    names = [str(tree.get("name")) for tree in trees]
    found = [
        Group("Calls", tuple(calls.vitals(numbers))),
        Group("Process" if len(trees) == 1 else "Processes", tuple(process.vitals(numbers, trees))),
        *(
            Group("Control group" if len(trees) == 1 else f"Control group of {name}", tuple(vitals))
            for name in names
            for vitals in (control_group.vitals(numbers, name),)
        ),
        Group("What a call costs", tuple(cost.vitals(numbers))),
        Group("Host", tuple(host.vitals(numbers))),
    ]
    return (group for group in found if group.vitals)
