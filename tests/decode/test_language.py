"""Texts: only what describes them is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish_agent import language


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("Hello, world", "latin"),
        ("Größe und Übermut", "latin"),
        ("Привет, мир", "cyrillic"),
        ("Καλημέρα", "greek"),
        ("שלום", "hebrew"),
        ("مرحبا", "arabic"),
        ("नमस्ते दुनिया", "devanagari"),
        ("สวัสดี", "thai"),
        ("こんにちは世界", "kana"),
        ("안녕하세요", "hangul"),
        ("你好,世界", "han"),
        ("ሰላም", "other"),
        ("42 + 1 = 43", "none"),
        ("", "none"),
    ],
)
def test_scripts(text: str, script: str) -> None:
    """The script that most letters are of."""
    assert language.script(text) == script


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("I'm sorry, but I can't help with that.", True),
        ("I cannot assist with this request.", True),
        ("I’m unable to provide medical advice.", True),  # noqa: RUF001 - as it is written
        ("Sorry, I am not able to do that.", True),
        ("As an AI language model, I don't have opinions.", True),
        ("The capital is Oslo. I can help with more.", False),
        ("Sorry for the delay! Here is your answer.", False),
        ("", False),
    ],
)
def test_refusals(text: str, refusal: bool) -> None:
    """Wordings of the common assistants, at the beginning."""
    assert language.refused(text) is refusal


def test_repetition() -> None:
    """A loop is near one, prose is at zero, a few words cannot repeat."""
    assert language.repetition("the same four words " * 50) > 0.9
    assert language.repetition(" ".join(f"word{i}" for i in range(200))) == 0.0
    assert language.repetition("no no no no") == 0.0


def test_language_is_not_kept() -> None:
    """Of a column of texts the short ones are categories; of the others length and script are."""
    long = "A sentence that is longer than any category would be, really."
    assert language.columns("x", ["red", None, long]) == {
        "x": ["red", None, None],
        "x.length": pytest.approx([float("nan"), float("nan"), float(len(long))], nan_ok=True),
        "x.script": [None, None, "latin"],
    }
    assert set(language.columns("x", [long, None])) == {"x.length", "x.script"}
    assert language.columns("x", ["red", None]) == {"x": ["red", None]}


@given(st.text(max_size=400))
def test_any_text(text: str) -> None:
    """Descriptions are bounded, whatever the text."""
    assert 0.0 <= language.repetition(text) <= 1.0
    assert isinstance(language.refused(text), bool)
    assert language.script(text) in language.SCRIPTS
