"""What the check lets pass, each with its reason; an entry that nothing needs is a problem itself."""

from __future__ import annotations

from typing import Final

NEVER_HERE: Final[dict[str, str]] = {
    "pilotfish_reasoning_output_tokens_total": "a model of random weights does not reason",
    "pilotfish_series_dropped_total": "a page above its limit would lack what other panels show",
    'level="error"': "nothing in the agent fails",
}
"""What stands in a query -> why that query may give nothing here; its panel must have data by its other queries."""
