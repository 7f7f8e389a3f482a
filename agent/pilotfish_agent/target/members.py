"""One reading of each member of a tree: who has gone meanwhile is left out, who may not be read refuses the sum."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from pilotfish_agent.target.ledger import Key
from pilotfish_agent.target.tree import Member, ProcessTree
from pilotfish_core.metrics import Reason

T = TypeVar("T")


class Refused(Exception):  # noqa: N818 - a private answer, never seen outside
    """A file of a member that lives could not be read."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


def per_member(tree: ProcessTree, read: Callable[[Member], T], members: Iterable[Member] | None = None) -> dict[Key, T]:
    """``read`` of every member (or of ``members``); those that have gone since the scan are left out.

    Raises:
        Refused: one could not be read for another cause: a sum over the others would be a wrong number.
    """
    found: dict[Key, T] = {}
    for member in tree.members if members is None else members:
        try:
            found[member.key] = read(member)
        except ProcessLookupError:
            continue
        except PermissionError:
            raise Refused("permission") from None
        except FileNotFoundError:
            if member.files.gone():
                continue
            raise Refused("not_supported") from None
    return found
