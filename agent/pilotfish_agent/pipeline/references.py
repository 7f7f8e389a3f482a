"""Which model is compared with what: the references that were given, and for whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from pilotfish_agent.drift.reference import Reference


@dataclass(frozen=True, slots=True)
class LastRead:
    """How it went when the configuration was last read.

    Attributes:
        ok: nothing was wrong.
        at: when it was last read well, epoch seconds; None: never.
        notices: lines for `status` until the next time.
    """

    ok: bool
    at: float | None
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class References:
    """The references of an agent.

    Attributes:
        given: of `--reference`, for the model called ``model`` or, where that is None, the first one seen.
        model: its name.
        matched: pattern (``fraud*``) and reference of each entry of the section `models`; the first that fits holds,
            before ``given``.
    """

    given: Reference | None = None
    model: str | None = None
    matched: Sequence[tuple[str, Reference]] = ()

    def of(self, name: str, *, first: bool) -> Reference | None:
        """That of the model ``name``; ``first``: no other model has taken ``given``."""
        for pattern, reference in self.matched:
            if fnmatchcase(name, pattern):
                return reference
        return self.given if self.model == name or (self.model is None and first) else None
