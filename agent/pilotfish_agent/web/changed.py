"""Why a stream is said to have changed, as HTML: the agent's own text, its hints marked, and the bins that moved."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from html import escape
from typing import Any

from pilotfish_agent.web import words
from pilotfish_core.nouns import DriftResult

BINS = 3


def why(result: DriftResult, *, bins: bool) -> str:
    """Empty where nothing is said; ``bins``: with those that moved most."""
    if not result.explanation:
        return ""
    return f"<p>{_marked(result)}</p>{_bins(result) if bins else ''}"


def _marked(result: DriftResult) -> str:
    """The text as it is in log and API; what the change looks like stands out."""
    text = escape(result.explanation)
    for hint in result.hints:
        text = text.replace(escape(hint), f"<strong>{escape(hint)}</strong>", 1)
    return text


def _bins(result: DriftResult) -> str:
    if not result.bins:
        return ""
    # A name of its own that is the same the next time: the script keeps open what was opened.
    key = hashlib.blake2s(f"{result.model}\0{result.feature}".encode(errors="replace"), digest_size=6).hexdigest()
    shares = "".join(f'<th scope="col" class="num">{name}</th>' for name in ("Expected", "Observed"))
    head = f'<tr><th scope="col">Bin</th>{shares}</tr>'
    rows = "".join(_row(b) for b in result.bins[:BINS])
    return (
        f'<details id="bins-{key}"><summary>Bins that moved most</summary><table>'
        f'<caption class="unseen">Share of the reference and of the rows since the change began</caption>'
        f"<thead>{head}</thead><tbody>{rows}</tbody></table></details>"
    )


def _row(bin_: Mapping[str, Any]) -> str:
    shares = "".join(f'<td class="num">{words.percent(float(bin_[k]))}</td>' for k in ("expected", "observed"))
    return f'<tr><th scope="row">{escape(str(bin_["words"]))}</th>{shares}</tr>'
