"""When the next agent starts."""

from pilotfish_agent.launch.guard import DEATHS, EARLY_SECONDS, FIRST_DELAY, LONGEST_DELAY, Backoff


def test_early_deaths_wait_longer_each_time() -> None:
    """Each death within 10 s of its start doubles the wait, up to the longest."""
    backoff, now, delays = Backoff(), 0.0, []
    for _ in range(DEATHS - 1):
        assert backoff.death(now, now + 1)
        delays.append(backoff.delay)
        now += 1 + backoff.delay
    assert delays[:3] == [FIRST_DELAY, 2 * FIRST_DELAY, 4 * FIRST_DELAY]
    assert delays == sorted(delays)
    assert max(delays) <= LONGEST_DELAY


def test_a_late_death_does_not_count() -> None:
    """An agent that lived for 10 s is replaced at once, whatever was before."""
    backoff = Backoff()
    for at in (0.0, 1.0, 2.0, 3.0):
        backoff.death(at, at + 0.5)
    assert backoff.delay > FIRST_DELAY
    assert backoff.death(4.0, 4.0 + EARLY_SECONDS)
    assert backoff.delay == FIRST_DELAY


def test_ten_deaths_in_five_minutes_end_it() -> None:
    """Then it is off: an agent that always dies costs more than it tells."""
    backoff = Backoff()
    assert all(backoff.death(t, t + 0.1) for t in range(DEATHS - 1))
    assert not backoff.death(20.0, 20.1)


def test_ten_deaths_in_a_day_do_not() -> None:
    """Only those of the last five minutes count."""
    backoff = Backoff()
    assert all(backoff.death(t * 60.0, t * 60.0 + 20) for t in range(100))
