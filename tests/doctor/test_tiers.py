"""The three tiers of rights: docs/doctor.md says what each gives, and each is tried."""

from __future__ import annotations

import pytest

from pilotfish_agent.hardware._runner import PACKAGE
from pilotfish_core import registry
from tests.attach.nobody import possible
from tests.doctor.tiers import TIERS, broken, looked, promised
from tests.system import needs

KERNEL = {"pilotfish_process_io_bytes_total": (0,), "pilotfish_exit_records_lost_total": (0, 1)}
"""What this machine has, and the tiers in which it is denied."""


def test_the_table_speaks_of_every_signal() -> None:
    """Of each metric of each collector, in words that are known."""
    found = promised()
    assert set(found) == {m.name for _, part in registry.parts(PACKAGE) for m in part.METRICS}
    assert {word for words in found.values() for word in words} <= {"yes", "part", "no", "as"}


@needs("setpriv", package="util-linux")
@pytest.mark.skipif(not possible(), reason="needs root, to give rights away")
@pytest.mark.parametrize("tier", TIERS)
def test_each_tier_gives_what_the_table_says(tier: int) -> None:
    """As nobody; as root without capabilities beside a model of root without them; as nobody with three."""
    found = looked(tier)
    assert list(broken(tier, found)) == []
    for name, denied in KERNEL.items():
        assert (found[name]["reason"] == "permission") == (tier in denied), found[name]
        assert (found[name]["state"] == "works") == (tier not in denied), found[name]
    assert [found[f"tier {i}"]["state"] == "works" for i in TIERS] == [True, tier != 0, tier == 2]
