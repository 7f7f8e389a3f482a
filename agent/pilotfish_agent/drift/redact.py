"""Which texts may not leave the process as a category: what looks like a person's or a secret."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

_EMAIL = re.compile(r"[^\s@]+@[^\s@]+\.[^\s@.]{2,}")
_CARD = re.compile(r"(?<!\d)(?:\d[ -]?){12,18}\d(?!\d)")
_PHONE = re.compile(r"(?<![\w.])(?:\+|00)\d[\d ()/.-]{6,}\d|(?<![\w.])\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4}(?!\d)")
# Known prefixes of secrets, JSON web tokens, and long runs of letters and digits mixed.
_TOKEN = re.compile(
    r"(?:sk|pk|ghp|gho|ghs|xox[abp]|AKIA|glpat|eyJ)[-_A-Za-z0-9]{12,}|(?=[A-Za-z0-9+/_=-]*\d)(?=[A-Za-z0-9+/_=-]*[A-Za-z])[A-Za-z0-9+/_=-]{32,}"
)


def _card(text: str) -> bool:
    return any(_luhn(re.sub(r"\D", "", found)) for found in _CARD.findall(text))


def _luhn(digits: str) -> bool:
    """The check digit of payment cards (ISO/IEC 7812): tells cards from other long numbers nine times of ten."""
    twice = [2 * int(d) for d in digits[-2::-2]]
    return (sum(map(int, digits[::-2])) + sum(t - 9 if t > 9 else t for t in twice)) % 10 == 0


REDACTORS: Final[dict[str, Callable[[str], bool]]] = {
    "email": lambda text: _EMAIL.search(text) is not None,
    "card": _card,
    "phone": lambda text: _PHONE.search(text) is not None,
    "token": lambda text: _TOKEN.search(text) is not None,
}


def redacted(text: str) -> bool:
    """Whether any redactor matches, or the text cannot be written as UTF-8."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return any(matches(text) for matches in REDACTORS.values())
