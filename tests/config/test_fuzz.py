"""Any bytes, variables and flags give Settings and one-line problems, never an uncaught exception."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pilotfish_agent import catalogue, config

SECTIONS = catalogue.sections()
KEYS = [f"{name}.{key}" for name, s in SECTIONS.items() if isinstance(s, type) for key, _, _ in catalogue.declared(s)]
WORDS = [word for key in KEYS for word in key.split(".")]
MARKS = [*": ,[]{}'\"|>?%#\\\t\n\x00", ": ", ":\n", "\n  ", "\n- ", "&a ", "*a", "!x ", "---\n", "...\n", "\\x0"]
VALUES = ["1s", "1 per 30d", "0", "nan", "true", "~", "auto", "\ufeff", "é"]
PIECES = st.sampled_from([*WORDS, *MARKS, *VALUES])
SOUP = st.lists(PIECES, max_size=40).map(lambda p: "".join(p).encode())
ANYTHING = st.text(max_size=60).filter(lambda t: "\x00" not in t)


def judge(found: config.Settings) -> None:
    """Every section is there, every problem is one line with an answer."""
    assert set(found.sections) == set(catalogue.sections())
    for problem in found.problems:
        assert "\n" not in problem.what
        assert problem.expected or problem.todo


@given(st.binary(max_size=300) | SOUP)
@example(b"sample: {interval: 1\xc2\x85s}")
@example(b"a: b: c")
@example(b"? \n? ")
@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_any_file(tmp_path: Path, data: bytes) -> None:
    """A configuration file may hold anything."""
    path = tmp_path / "p.yaml"
    path.write_bytes(data)
    judge(config.load(str(path), {}, {}))


@given(st.dictionaries(st.sampled_from(KEYS).map(lambda k: "PILOTFISH_" + k.replace(".", "_").upper()), ANYTHING))
@settings(max_examples=200, deadline=None)
def test_any_variables(environ: dict[str, str]) -> None:
    """So may the environment."""
    judge(config.load(None, environ, {}, default_path="/nonexistent"))


@given(st.dictionaries(st.sampled_from(KEYS), ANYTHING))
@settings(max_examples=200, deadline=None)
def test_any_flags(flags: dict[str, str]) -> None:
    """And the command line."""
    judge(config.load(None, {}, flags, default_path="/nonexistent"))
