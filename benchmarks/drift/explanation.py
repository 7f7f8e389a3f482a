"""What alarms say of injected changes: the words that must be there, and no hint of a wrong cause."""

from __future__ import annotations

from benchmarks.bars import Result, bar
from tests.drift_watch.stories import HINTS, STORIES, tell, wrong

SEEDS = tuple(range(7_401, 7_406))


@bar("explanations: injected changes told in the right words", ">= 98 % of all, no hint of a wrong cause")
def explanations() -> Result:
    """A table of changes, each with what its explanation must hold; every hint it does not call for is wrong."""
    told = problems = hints = 0
    for seed in SEEDS:
        for story in STORIES:
            found = wrong(story, tell(story, seed))
            told += 1
            problems += bool(found)
            hints += sum(p.startswith("wrongly") for p in found)
    words = f"{told - problems} of {told} right, {hints} wrong hints of {len(HINTS)} kinds"
    measured = f"{words} ({len(STORIES)} changes x seeds {SEEDS[0]}..{SEEDS[-1]})"
    return Result(measured, problems <= 0.02 * told and hints == 0)
