"""Texts, lists of objects and latency from a log to streams."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from pilotfish_agent.drift.builder import ReferenceBuilder, build
from pilotfish_agent.drift.options import Config
from pilotfish_agent.drift.readers import DataFile
from pilotfish_agent.drift.reference import Reference
from pilotfish_agent.drift.watch import DriftWatch
from pilotfish_core.nouns import ObservationBatch

PROSE = "The quick brown fox jumps over the lazy dog, again and again."
ROWS = 600


def reference(path: Path, records: list[dict[str, Any]]) -> Reference:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return build(DataFile(str(path)), ReferenceBuilder(), created=0.0)


def counted(made: Reference, batch: ObservationBatch) -> dict[str, dict[str, int]]:
    """Bins that are not empty, by stream, of one batch of a running agent."""
    watch = DriftWatch("m", made, Config())
    watch.add(batch, 1e9)
    watch.finish(1e9 + 10)
    assert watch.comparison is not None
    streams = watch.comparison.streams
    parts = zip(streams.streams, streams.parts(watch.comparison.counted), strict=True)
    return {s.name: {b: int(n) for b, n in zip(s.bins(), part, strict=True) if n} for s, part in parts}


def test_prose_is_told_by_its_length_and_script(tmp_path: Path) -> None:
    """A category stays one; of language no word is in the reference."""
    rng = np.random.default_rng(1)
    prompts = [PROSE + " x" * int(rng.integers(50)) if i % 7 else "Да, конечно " * 9 for i in range(ROWS)]
    records = [{"features": {"prompt": p, "tone": "calm" if i % 2 else "rude"}} for i, p in enumerate(prompts)]
    made = reference(tmp_path / "log.jsonl", records)
    assert {f.name: f.kind for f in made.features} == {
        "prompt.length": "numeric",
        "prompt.script": "categorical",
        "tone": "categorical",
    }
    assert made.columns == ("tone", "prompt")
    assert "fox" not in made.to_json()
    live = ObservationBatch("m", None, "sdk", 3, {"prompt": [PROSE, None, "Да, конечно " * 9], "tone": ["calm"] * 3})
    assert counted(made, live)["prompt.script"] == {"latin": 1, "cyrillic": 1, "missing": 1}


def test_generated_answers_are_told_by_refusal_and_repetition(tmp_path: Path) -> None:
    """As decoders tell them; the words are no classes."""
    answers = [f"{PROSE} {i}" if i % 5 else "I'm sorry, but I can't help with that request today." for i in range(ROWS)]
    made = reference(
        tmp_path / "log.jsonl", [{"prediction": a, "features": {"a": 1.5 * i}} for i, a in enumerate(answers)]
    )
    names = {f.name for f in made.features}
    assert names >= {"output.length", "output.script", "output.refusal", "output.repetition"}
    assert "@prediction" not in names
    live = ObservationBatch("m", None, "sdk", 2, {"a": [1.0, 2.0]}, prediction=answers[:2])
    assert counted(made, live)["output.refusal"] == {"false": 1, "true": 1}


def test_objects_are_counted_and_named(tmp_path: Path) -> None:
    """Boxes an image: number and label of the answer, and of a feature whose lists vary in length."""
    rng = np.random.default_rng(2)
    records: list[dict[str, Any]] = []
    for _ in range(ROWS):
        found = [{"label": str(rng.choice(["car", "dog"])), "box": [0, 1, 2, 3]} for _ in range(rng.poisson(2))]
        records.append({"prediction": found, "features": {"tokens": list(range(int(rng.integers(9))))}})
    made = reference(tmp_path / "log.jsonl", records)
    assert {f.name for f in made.features} == {"output.count", "output.label", "tokens.count"}
    label = made.feature("output.label")
    assert label is not None
    assert set(label.levels or ()) == {"car", "dog"}
    assert int(label.counts[-1]) == sum(not record["prediction"] for record in records)  # an empty list names none


def test_latency_is_watched_where_it_was_measured() -> None:
    """A row without one is not missing: calls that answer many rows are measured once."""
    rng = np.random.default_rng(3)
    latency = rng.lognormal(-3, 0.3, 1_000)
    latency[::2] = np.nan
    builder = ReferenceBuilder()
    builder.add(ObservationBatch("m", None, "sdk", 1_000, {"a": rng.normal(size=1_000)}, latency=latency.tolist()))
    made = builder.reference(created=0.0).feature("@latency")
    assert made is not None
    assert (made.rows, int(made.counts[made.special["missing"]])) == (500, 0)
