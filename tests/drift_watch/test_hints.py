"""Hints: each is said when its test holds, and not otherwise (docs/statistics.md, section 13)."""

import pytest

from tests.drift_watch.stories import STORIES, Story, tell, wrong


@pytest.mark.parametrize("story", STORIES, ids=lambda s: s.name)
def test_an_injected_change_is_explained(story: Story) -> None:
    """The words that must be there, and none of a wrong cause."""
    found = tell(story, seed=4)
    assert wrong(story, found) == [], found and found.explanation
