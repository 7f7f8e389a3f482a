"""How long a model's start took: only what was seen is told, and each start anew."""

from __future__ import annotations

from collections.abc import Iterator

from pilotfish_agent.pipeline.startup import PHASES, Look, StartUp

A, B = (10, 1), (20, 2)


def run(*looks: Look) -> list[dict[str, float]]:
    """The known phases after each look."""
    start = StartUp()

    def told() -> Iterator[dict[str, float]]:
        for look in looks:
            start.see(look)
            yield dict(start.phases)

    return list(told())


def test_a_start_that_is_watched_has_its_phases() -> None:
    """Load ends with the first port, initialise with the first good answer; later ones change nothing."""
    assert run(
        Look(A, 0.5, listening=False),
        Look(A, 8.5, listening=False),
        Look(A, 9.5, listening=True),
        Look(A, 11.5, answered=0.0),
        Look(A, 12.5, answered=1.0),
        Look(A, 99.5, answered=7.0),
    ) == [{}, {}, {"load": 9.5}, {"load": 9.5}, *[{"load": 9.5, "initialise": 3.0}] * 2]


def test_one_that_served_before_we_came_is_not_measured() -> None:
    """Nothing is known of its start, though it answers now."""
    assert run(Look(A, 500.0, listening=True), Look(A, 501.0, answered=4.0)) == [{}, {}]


def test_one_that_is_young_or_was_waited_for_is() -> None:
    """`attach --port` finds a process when it listens; at the agent's start it may just have begun."""
    assert run(Look(A, 1.5, listening=True)) == [{"load": 1.5}]
    assert run(Look(None), Look(A, 40.0, listening=True)) == [{}, {"load": 40.0}]


def test_an_old_one_that_does_not_listen_yet_is_measured() -> None:
    """Its start is known from the kernel."""
    assert run(Look(A, 200.0, listening=False), Look(A, 201.0, listening=True)) == [{}, {"load": 201.0}]


def test_where_nobody_looks_nothing_is_known() -> None:
    """Neither that it listened nor that it did not."""
    assert run(Look(A, 200.0), Look(A, 300.0, listening=True)) == [{}, {}]


def test_a_probe_of_the_process_before_does_not_count() -> None:
    """The last probe is told until the next one: only another one speaks of this process."""
    old, new = object(), object()
    assert run(
        Look(A, 100.0, listening=True, passed=old),
        Look(None, passed=old),
        Look(B, 2.0, listening=True, passed=old),
        Look(B, 3.0, passed=old),
        Look(B, 6.0, passed=new),
    )[2:] == [{"load": 2.0}, {"load": 2.0}, {"load": 2.0, "initialise": 4.0}]


def test_a_restart_is_measured_anew() -> None:
    """Nothing of the old process stays."""
    found = run(Look(A, 1.0, listening=True), Look(A, 2.0, answered=1.0), Look(B, 1.0, listening=False, answered=1.0))
    assert found[1] == {"load": 1.0, "initialise": 1.0}
    assert found[2] == {}
    assert set(found[1]) < set(PHASES)


def test_nothing_is_left_to_see_once_it_is_ready_or_unknown() -> None:
    """Then samples need not be searched until the process changes."""
    start = StartUp()
    assert not start.over(A)
    start.see(Look(A, 1.0, listening=True))
    assert not start.over(A)
    start.see(Look(A, 2.0, answered=1.0))
    assert start.over(A)
    assert not start.over(None)
    start.see(Look(None))
    assert start.over(None)
    start.see(Look(B, 1.0, listening=True, answered=900.0))
    assert start.phases == {"load": 1.0}, "counts that were not looked at are no answers of this process"
    old = StartUp()
    old.see(Look(A, 500.0, listening=True))
    assert old.over(A)
