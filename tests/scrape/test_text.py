"""The reader of Prometheus text against the library's, and where it is more patient."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from pilotfish_agent.scrape._text import Page, Series, names, read
from tests.scrape.pages import PAGES, page

NAMES = st.from_regex(r"[a-z_:][a-z0-9_:]{0,8}", fullmatch=True)
VALUES = st.floats(allow_nan=False).map(lambda x: x + 0.0)
LABELS = st.dictionaries(
    st.from_regex(r"[a-z_][a-z0-9_]{0,5}", fullmatch=True),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=10),
    max_size=4,
)


class Everything:
    """Every name is wanted."""

    def __contains__(self, name: object) -> bool:
        return True


def flat(page: Page) -> set[tuple[str, tuple[tuple[str, str], ...], float]]:
    """All series."""
    return {(n, tuple(sorted(labels.items())), value) for n, found in page.series.items() for labels, value in found}


def oracle(text: str) -> set[tuple[str, tuple[tuple[str, str], ...], float]]:
    """All series as the library reads them."""
    found = (s for family in text_string_to_metric_families(text) for s in family.samples)
    return {(s.name, tuple(sorted(s.labels.items())), s.value) for s in found if not math.isnan(s.value)}


def escaped(text: str) -> str:
    """As the format wants it."""
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


@pytest.mark.parametrize("name", PAGES)
def test_real_pages_are_read_as_the_library_reads_them(name: str) -> None:
    """Series for series."""
    plain = re.sub("(?m)^#.*\n", "", page(name))  # by the type it would rename counters of the old format
    assert flat(read(page(name), Everything())) == oracle(plain)


@settings(max_examples=50)  # the oracle is slow
@given(st.lists(st.tuples(NAMES, LABELS, VALUES), max_size=8))
def test_any_good_text_is_read_as_the_library_reads_it(series: list[tuple[str, dict[str, str], float]]) -> None:
    """Names, escapes, infinities."""
    text = "".join(
        name + "{" + ",".join(f'{k}="{escaped(v)}"' for k, v in labels.items()) + "} " + repr(value) + "\n"
        for name, labels, value in series
    )
    found = read(text, Everything())
    expected = {(n, tuple(sorted(labels.items())), v) for n, labels, v in series}
    assert flat(found) == expected
    assert found.unread == 0
    assert names(text) == {n for n, _, _ in series}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a 1", ({}, 1.0)),
        ("  a\t1  ", ({}, 1.0)),
        ("a{} 1 1700000000000", ({}, 1.0)),
        ('a{x="1",} +Inf', ({"x": "1"}, math.inf)),
        ('a { x = "}" , y="a,b" } 1e3', ({"x": "}", "y": "a,b"}, 1000.0)),
        ('a{x="\\\\n\\n\\""} 0', ({"x": '\\n\n"'}, 0.0)),
        ('a_total{x="1"} 4 # {trace_id="abc"} 0.5 1.7e9', ({"x": "1"}, 4.0)),
        ("a 1\r", ({}, 1.0)),
    ],
)
def test_what_servers_write(line: str, expected: Series) -> None:
    """Timestamps, exemplars, trailing commas, Windows line ends."""
    (found,) = read(line + "\n", Everything()).series.values()
    assert found == [expected]


@pytest.mark.parametrize("line", ["a", "a{", 'a{x="1} 2', "a{x=1} y", "a one", '{"quoted.name"} 1', "1a 2", "=", "a{}"])
def test_a_bad_line_costs_that_line(line: str) -> None:
    """The others are read."""
    found = read(f"good 1\n{line}\ngood 2\n", Everything())
    assert found.series == {"good": [({}, 1.0), ({}, 2.0)]}
    assert found.unread == 1


def test_a_hostile_line_takes_no_time() -> None:
    """A megabyte of opening quotes, braces and backslashes is read in linear time (the suite's timeout would tell)."""
    for part in ('a{x="', 'a{"\\', "a{{{{", 'a{x="1",' * 3, "a " * 4):
        read((part * (2**20 // len(part)))[: 2**20] + "\n", Everything())
