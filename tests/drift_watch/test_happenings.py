"""What happened beside the data: versions, starts, and whose rows they are."""

from __future__ import annotations

import numpy as np
import pytest

from pilotfish_agent.drift import happenings, mix
from pilotfish_agent.drift.happenings import Happenings
from pilotfish_agent.drift.mix import Mix

HOUR = 3600.0


def told(known: Happenings) -> list[str]:
    return [h.words for h in known.between(-1e18, 1e18)]


def test_a_version_is_news_when_it_is_new_or_back_after_a_while() -> None:
    """The first one is no change; two that share the traffic are one; a rollback is a change again."""
    known = Happenings()
    for at, version in enumerate(["7", "7", "8", "7", "8", "7", "8"]):
        known.version(version, float(at))
    assert told(known) == ["model_version 7 -> 8"]
    known.version("8", HOUR)
    known.version("7", HOUR + 1)
    assert told(known) == ["model_version 7 -> 8", "model_version 8 -> 7"]


def test_versions_and_happenings_are_bounded() -> None:
    """Versions that count up for ever keep the newest."""
    known = Happenings()
    for i in range(1000):
        known.version(f"v{i}", float(i))
    assert len(told(known)) == happenings.MOST
    assert told(known)[-1] == "model_version v998 -> v999"


def test_a_version_of_any_text_stays_on_one_line() -> None:
    """Foreign names are made printable and cut."""
    known = Happenings()
    known.version("a\nb", 0.0)
    known.version("x" * 300, 1.0)
    assert all(w.isprintable() and len(w) < 200 for w in told(known))


def test_only_known_kinds() -> None:
    """A kind is a word of four."""
    with pytest.raises(ValueError, match="expected one of version, start, artifact, config"):
        Happenings().add(0.0, "deploy", "x")  # type: ignore[arg-type]


def test_it_goes_on_after_a_restart() -> None:
    """Those of before come first; the version of before is the one to compare with."""
    known, again = Happenings(), Happenings()
    known.version("7", 0.0)
    known.add(1.0, "config", "drift.min_effect .1 -> .2")
    again.add(50.0, "start", "digits started")
    again.load(known.dump())
    again.version("8", 60.0)
    assert told(again) == ["drift.min_effect .1 -> .2", "digits started", "model_version 7 -> 8"]


def test_a_start_that_is_told_again_is_the_same() -> None:
    """The agent restarted, the process did not."""
    known = Happenings()
    known.add(100.0, "start", "digits started")
    known.add(101.0, "start", "digits started")
    known.add(50.0, "config", "x")
    assert told(known) == ["x", "digits started"]


def fill(seen: Mix, ticks: int, share: float, at: float = 0.0) -> float:
    rng = np.random.default_rng(1)
    for _ in range(ticks):
        seen.add({"tenant": np.where(rng.random(100) < share, "a", "b").tolist(), "region": ["eu"] * 100})
        seen.close(at)
        at += 10.0
    return at


def test_a_share_that_moved_is_named() -> None:
    """The value that gained, with both shares; nothing where none moved, or where there are too few rows."""
    seen = Mix()
    began = fill(seen, 50, 0.2)
    fill(seen, 50, 0.2, began)
    assert seen.moved(began) == ""
    later = fill(seen, 50, 0.6, began + 500.0)
    assert seen.moved(began + 500.0).startswith("tenant 'a' 20")
    assert seen.moved(later - 10.0) == "", "100 rows say nothing"
    assert seen.moved(later + 1e6) == ""
    assert Mix().moved(0.0) == ""


def test_values_are_bounded_redacted_and_need_not_be_texts() -> None:
    """A slice with a value a user, or of personal data, is not told apart."""
    seen = Mix()
    seen.add({"user": [f"u{i}" for i in range(1000)]})
    seen.close(0.0)
    assert len(seen._places) == mix.MOST
    other = Mix()
    other.add({"mail": ["jo@example.org"] * 5, "n": [1.0, None, 3], "ok": ["x"]})
    assert list(other._places) == [("ok", "x")]


def test_a_long_time_is_remembered_in_bounded_memory() -> None:
    """Old ticks are thinned out."""
    seen = Mix()
    fill(seen, 3 * mix.TICKS, 0.5)
    assert len(seen._opened) <= mix.TICKS
    assert seen._opened == sorted(seen._opened)
