"""Labels and numbers made safe at the door: nothing a model, a request or a file says can break a page.

prometheus_client escapes backslash, quote and newline, but raises on a lone surrogate (one bad label would blank
the whole page) and lets NUL and CR through raw.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping

from pilotfish_core.metrics import Distribution, Kind

LABEL_BYTES = 128
"""Longest label value, in UTF-8 bytes: a page of 10,000 series stays under a few MiB."""

SENTENCE_BYTES = 1024
"""The same of a label of sentences: hosted stores take at most 2,048."""

# C0 and C1 controls, DEL, the two Unicode line separators, lone surrogates and the two non-characters of the
# basic plane: all either invalid UTF-8, invalid in some parser, or able to forge a line.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")
_LABEL_NAME = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*\Z")
_RESERVED = frozenset({"le", "quantile"})


def label(value: object, most: int = LABEL_BYTES) -> str:
    """A label value that every parser reads back as it is: unsafe characters become U+FFFD, long values are cut.

    A cut value ends in ``…`` and 8 hexadecimal digits of the whole value's BLAKE2 hash, so that two long names
    with one beginning stay two series. Applying it twice changes nothing.
    """
    text = value if isinstance(value, str) else str(value)
    if len(text) <= most and text.isascii() and text.isprintable():
        return text
    text = _UNSAFE.sub("\ufffd", text)
    raw = text.encode()
    if len(raw) <= most:
        return text
    digest = hashlib.blake2s(raw, digest_size=4).hexdigest()
    tail = "…" + digest
    return raw[: most - len(tail.encode())].decode(errors="ignore") + tail


def static_labels(labels: Mapping[str, object]) -> dict[str, str]:
    """The labels put on every series: safe values, and only names that Prometheus allows and does not reserve."""
    good = {k: label(v) for k, v in labels.items() if _LABEL_NAME.match(k) and k not in _RESERVED}
    return {k: v for k, v in good.items() if v}


def number(kind: Kind, value: object) -> float | None:
    """The number of a gauge or counter, or None when it must not be shown.

    A gauge may be NaN or infinite: both formats can say so. A counter may be neither, nor negative: `rate` over it
    would be NaN for ever.
    """
    try:
        x = float(value)  # type: ignore[arg-type] # whatever it is, it is tried
    except (TypeError, ValueError, OverflowError):
        return None
    return None if kind == "counter" and not (math.isfinite(x) and x >= 0) else x


def distribution(value: object, bounds: int) -> Distribution | None:
    """A histogram's value, or None when it is none.

    It is none with a wrong number of buckets, a count that is negative or no whole number, or a non-finite sum.
    """
    if not isinstance(value, Distribution) or len(value.counts) != bounds + 1 or not math.isfinite(value.total):
        return None
    return value if all(math.isfinite(n) and n >= 0 and n == int(n) for n in value.counts) else None
