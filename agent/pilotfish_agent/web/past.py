"""`/api/v1/history`: the decimated past as JSON, written fast: a chart asks for thousands of numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from numpy.typing import NDArray

from pilotfish_agent.state.history import History
from pilotfish_agent.web import documents

MOST_NUMBERS: Final = 500_000
"""In one answer: 0.2 s of work, 4 MB; a chart needs 6,000."""
_UNITS: Final = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SPAN: Final = re.compile(r"(\d{1,9})([smhd]?)\Z")


class AskedError(ValueError):
    """The query asks for something that there is not."""


def answer(history: History, query: Mapping[str, str]) -> bytes:
    """The document of a query: ``series`` (ids, by comma), ``span`` (``15m``, ``1h``, ``24h``; ``0`` lists only).

    Raises:
        AskedError: in words for the one who asked.
    """
    span = query.get("span", "1h")
    found = _SPAN.match(span)
    if found is None:
        raise AskedError(f"span {span[:40]!r}: expected a time such as 15m, 1h or 24h; 0 lists the series only")
    seconds = min(int(found[1]) * _UNITS[found[2]], 86400.0)
    asked = query.get("series")
    ids = None if asked is None else [i for i in asked.split(",") if i]
    listed = history.series()
    numbers = (len(listed) if ids is None else len(set(ids))) * (min(seconds, 3600) / 10 + 3 * seconds / 60)
    if numbers > MOST_NUMBERS:
        words = f"{numbers:,.0f} numbers are asked for, at most {MOST_NUMBERS:,} are given at once"
        raise AskedError(f"{words}: name fewer series by ?series=ID,ID, or a shorter span")
    past = history.past(ids, seconds)
    minutes = past.minutes
    head = {
        "series": [s._asdict() for s in listed],
        "left_out": history.left_out,
        "left_out_names": history.left_out_names,
    }
    fine = b'{"at":%b,"values":%b}' % (_list(past.at), _rows(past.ids, past.values))
    parts = (("min", minutes.least), ("max", minutes.most), ("last", minutes.last))
    coarse = b",".join(b'"%b":%b' % (name.encode(), _rows(past.ids, values)) for name, values in parts)
    steps = b'{"10s":%b,"1m":{"at":%b,%b}}' % (fine, _list(minutes.at), coarse)
    return documents.encode(head).rstrip()[:-1] + b',"steps":' + steps + b"}\n"


def _rows(ids: Sequence[str], values: NDArray[Any]) -> bytes:
    return b"{" + b",".join(b'"%b":%b' % (i.encode(), _list(v)) for i, v in zip(ids, values, strict=True)) + b"}"


def _list(values: NDArray[Any]) -> bytes:
    """Seven digits are all that float32 has; seconds since the epoch are whole numbers and have more."""
    form = "%d" if values.dtype.kind == "i" else "%.7g"
    return ("[" + ",".join(map(form.__mod__, values.tolist())) + "]").replace("nan", "null").encode()
