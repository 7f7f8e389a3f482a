"""What the page shows of one thing."""

from __future__ import annotations

from typing import Literal, NamedTuple

Tone = Literal["", "warning", "critical"]


class Vital(NamedTuple):
    """One number in words.

    Attributes:
        name: what it is of.
        value: in words.
        note: more, in smaller letters: of what, since when, why it matters.
        tone: how it is marked; the words must say it too.
    """

    name: str
    value: str
    note: str = ""
    tone: Tone = ""


class Group(NamedTuple):
    """Numbers of one area, under one heading."""

    title: str
    vitals: tuple[Vital, ...]
