"""Every error a user can meet. Each says what, the value it got, what was expected and what to do.

PilotfishError
├── UsageError        exit 2: a wrong command line
├── ConfigError       exit 2: a wrong configuration (file, line, key)
├── DataError         exit 2: a wrong data file (row, column)
│   └── EmptyDataError    exit 4: a header without rows
└── UnavailableError  exit 1: something of the machine is missing or refuses
"""

from __future__ import annotations


class PilotfishError(Exception):
    """One line for the user: ``what: got VALUE; expected EXPECTATION; DO THIS``."""

    exit_code = 1

    def __init__(self, what: str, *, got: object = None, expected: str = "", todo: str = "") -> None:
        self.what = what
        self.got = got
        self.expected = expected
        self.todo = todo
        super().__init__(self.line())

    def line(self) -> str:
        """The whole message on one line, newlines of foreign values escaped."""
        parts = [self.what]
        if self.got is not None:
            parts.append(f"got {_short(self.got)}")
        if self.expected:
            parts.append(f"expected {self.expected}")
        if self.todo:
            parts.append(self.todo)
        return "; ".join(parts)


class UsageError(PilotfishError):
    """The command line is wrong."""

    exit_code = 2


class ConfigError(PilotfishError):
    """The configuration is wrong; ``what`` starts with ``FILE:LINE: KEY``."""

    exit_code = 2


class DataError(PilotfishError):
    """A data file is wrong; ``what`` names the row (from 1, the header not counted) and the column."""

    exit_code = 2


class EmptyDataError(DataError):
    """A data file holds a header but no rows, or too few of them."""

    exit_code = 4


class UnavailableError(PilotfishError):
    """Something outside of us is missing, taken or refuses."""


def _short(value: object, limit: int = 120) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
