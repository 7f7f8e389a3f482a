"""Wrong data files for `reference build` and `replay`: what each says, and its exit code.

A table of small generated files, so that tests and benchmarks count the same ones.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

ROWS = 300
BUILD: Literal["reference build"] = "reference build"
REPLAY: Literal["replay"] = "replay"


@dataclass(frozen=True, slots=True)
class BadFile:
    """One wrong file.

    Attributes:
        name: what is wrong, unique with ``command``.
        command: reference build, or replay (against `GOOD_CSV`'s reference).
        content: the file, or how it is made; None: ``place`` stands for it.
        args: further arguments.
        exit_code: 2 bad input, 4 not enough rows.
        words: all of them stand in the one line on stderr.
        suffix: of the file's name.
        place: a path to use in place of a file; ``.`` is the folder itself.
    """

    name: str
    command: Literal["reference build", "replay"]
    content: bytes | Callable[[], bytes] | None
    args: tuple[str, ...]
    exit_code: int
    words: tuple[str, ...]
    suffix: str = ".csv"
    place: str = ""


def good_csv(rows: int = ROWS) -> bytes:
    """Columns ts, a (numbers) and c (three classes)."""
    lines = [f"{1_700_000_000 + 2 * i},{(i * 7919 % 1000) / 10},{'xyz'[i % 3]}" for i in range(rows)]
    return ("ts,a,c\n" + "\n".join(lines) + "\n").encode()


def good_jsonl(rows: int = ROWS) -> bytes:
    """The same as JSON lines."""
    lines = []
    for i in range(rows):
        features = {"a": (i * 7919 % 1000) / 10, "c": "xyz"[i % 3]}
        lines.append(json.dumps({"ts": 1_700_000_000.0 + 2 * i, "features": features}))
    return ("\n".join(lines) + "\n").encode()


def with_row(row: bytes, at: int = 17, *, lines: bytes | None = None, header: int = 1) -> bytes:
    """A good file whose row number ``at`` is another."""
    parts = (lines if lines is not None else good_csv()).split(b"\n")
    parts[at - 1 + header] = row
    return b"\n".join(parts)


def with_json(row: bytes, at: int = 17) -> bytes:
    """A good JSON lines file whose row number ``at`` is another."""
    return with_row(row, at, lines=good_jsonl(), header=0)


def long_line() -> bytes:
    """A row of 17 MiB: longer than what is held of a line."""
    return with_row(b"1700000000," + b"9" * (17 << 20) + b",x")


def write(bad: BadFile, folder: str) -> str:
    """The path of the wrong file, made in ``folder``."""
    if bad.content is None:
        return folder if bad.place == "." else bad.place
    path = os.path.join(folder, "data" + bad.suffix)
    with open(path, "wb") as file:
        file.write(bad.content() if callable(bad.content) else bad.content)
    return path


def argv(bad: BadFile, data: str, reference: str, output: str) -> list[str]:
    """The command line after ``pilotfish``."""
    if bad.command == BUILD:
        return ["reference", "build", data, "-o", output, *bad.args]
    return ["replay", data, "--reference", reference, *bad.args]


def _both(
    name: str,
    content: bytes | Callable[[], bytes] | None,
    words: tuple[str, ...],
    *,
    args: tuple[str, ...] = (),
    exit_code: int = 2,
    suffix: str = ".csv",
    place: str = "",
) -> tuple[BadFile, BadFile]:
    """The same file is wrong for both commands."""
    return (
        BadFile(name, BUILD, content, args, exit_code, words, suffix, place),
        BadFile(name, REPLAY, content, args, exit_code, words, suffix, place),
    )


BAD_FILES: tuple[BadFile, ...] = (
    # The file as a whole
    *_both("no such file", None, ("No such file",), place="/nowhere/data.csv"),
    *_both("a directory", None, ("directory",), place="."),
    *_both("an unreadable file", None, ("cannot be read",), place="/proc/self/mem"),
    *_both("an empty file", b"", ("empty file", "expected")),
    *_both("an empty JSON lines file", b"", ("empty file",), suffix=".jsonl"),
    *_both("a header without rows", b"ts,a,c\n", ("a header without rows",), exit_code=4),
    *_both("blank lines only", b"\n\n\n", ("no rows",), exit_code=4, suffix=".jsonl"),
    *_both("a truncated gzip", gzip.compress(good_csv(), mtime=0)[:-300], ("gzip", "whole file"), suffix=".csv.gz"),
    *_both(
        "a corrupt gzip",
        gzip.compress(good_csv(), mtime=0)[:60] + b"\xff" * 40 + gzip.compress(good_csv(), mtime=0)[100:],
        ("gzip",),
        suffix=".csv.gz",
    ),
    *_both("a damaged Parquet file", b"PAR1" + b"\0" * 200, ("damaged Parquet", "a whole file")),
    *_both("a Parquet file that is none", good_csv(), ("no Parquet file", "PAR1"), suffix=".parquet"),
    *_both("a Parquet file in gzip", gzip.compress(b"PAR1" + b"\0" * 200), ("inside gzip", "unpack")),
    *_both("an Excel file", b"PK\x03\x04" + b"\0" * 200, ("ZIP",)),
    *_both("UTF-16 text", good_csv().decode().encode("utf-16"), ("UTF-16", "UTF-8")),
    *_both("a JSON array", b"[" + good_jsonl().replace(b"\n", b",")[:-1] + b"]", ("JSON array", "jq"), suffix=".json"),
    # The header
    *_both("a column twice", good_csv().replace(b"ts,a,c", b"a,a,c"), ("'a'", "twice")),
    *_both("a column without a name", good_csv().replace(b"ts,a,c", b"ts,,c"), ("no name",)),
    *_both("a name of ours", good_csv().replace(b"ts,a,c", b"ts,@score,c"), ("@score", "--ignore")),
    *_both("semicolons", good_csv().replace(b",", b";"), ("one column", "commas")),
    *_both("a header that is not UTF-8", good_csv().replace(b"ts,a,c", b"ts,a,\xff\xfe"), ("header", "UTF-8")),
    # Rows
    *_both("too many cells", with_row(b"1700000000,1,x,y"), ("row 17", "4 cells", "3 cells", "1 of 300 rows is bad")),
    *_both("too few cells", with_row(b"1700000000,1"), ("row 17", "2 cells", "--skip-bad")),
    *_both("not UTF-8", with_row(b"1700000000,1,\xe9t\xe9"), ("row 17", "column 'c'", "UTF-8")),
    *_both("a NUL byte", with_row(b"1700000000,1,x\0y"), ("row 17", "column 'c'", "NUL")),
    *_both("a stray quote", with_row(b'1700000000,1,"x"y'), ("row 17", "RFC 4180")),
    *_both("an open quote", with_row(b'1700000000,1,"x'), ("row 17", "1 of 17 rows")),
    *_both("a line without end", long_line, ("row 17", "16,777,216 bytes")),
    *_both("a time that is none", with_row(b"yesterday,1,x"), ("row 17", "column 'ts'", "'yesterday'", "RFC 3339")),
    *_both("milliseconds", with_row(b"1700000000000,1,x"), ("row 17", "column 'ts'", "epoch seconds")),
    *_both("a missing time", with_row(b",1,x"), ("row 17", "column 'ts'")),
    *_both(
        "a text among numbers",
        with_row(b"1700000000,abc,x"),
        ("row 17", "column 'a'", "'abc'", "a number"),
        args=("--numeric", "a"),
    ),
    # JSON lines
    *_both("no JSON", with_json(b"{nope"), ("row 17", "an object a line"), suffix=".jsonl"),
    *_both("a number for a record", with_json(b"17"), ("row 17", "got 17"), suffix=".jsonl"),
    *_both("two records on a line", with_json(b'{"ts":1} {"ts":2}'), ("row 17",), suffix=".jsonl"),
    *_both(
        "a nested object",
        with_json(b'{"ts":1700000000,"features":{"a":{"b":1},"c":"x"}}'),
        ("row 17", "'a'"),
        suffix=".jsonl",
    ),
    *_both(
        "features that are none", with_json(b'{"ts":1700000000,"features":[1,2]}'), ("'features'",), suffix=".jsonl"
    ),
    *_both("an empty record", with_json(b"{}"), ("row 17", "features or a prediction"), suffix=".jsonl"),
    *_both("a record without time", with_json(b'{"features":{"a":1,"c":"x"}}'), ("row 17", "'ts'"), suffix=".jsonl"),
    *_both(
        "a JSON line that is not UTF-8",
        with_json(b'{"ts":1,"features":{"a":1,"c":"\xff"}}'),
        ("row 17", "UTF-8"),
        suffix=".jsonl",
    ),
    *_both("nested beyond reason", with_json(b'{"a":' * 100_000), ("row 17", "too deep"), suffix=".jsonl"),
    *_both(
        "a time that is a list",
        with_json(b'{"ts":[1],"features":{"a":1,"c":"x"}}'),
        ("row 17", "'ts'"),
        suffix=".jsonl",
    ),
    *_both(
        "several models",
        with_json(b'{"ts":1700000000,"model":"b","features":{"a":1,"c":"x"}}', 1).replace(
            b'"ts": 1700000002.0', b'"model": "a", "ts": 1700000002.0'
        ),
        ("several models", "--model"),
        suffix=".jsonl",
    ),
    *_both(
        "a prediction of another shape",
        b'{"ts":1700000000,"features":{"a":1,"c":"x"},"prediction":[0.5,0.5]}\n'
        + with_json(b'{"ts":1700000000,"features":{"a":1,"c":"x"},"prediction":[0.5]}'),
        ("row 18", "'prediction'", "2 numbers"),
        suffix=".jsonl",
    ),
    # Options that do not fit the file
    *_both(
        "no such time column", good_csv(), ("--time-column", "'tz'", "one of ts, a, c"), args=("--time-column", "tz")
    ),
    *_both("no such prediction", good_csv(), ("--prediction-column", "'y'"), args=("--prediction-column", "y")),
    *_both("no such column to ignore", good_csv(), ("no such column", "'b'"), args=("--ignore", "b")),
    *_both(
        "two kinds at once", good_csv(), ("exclude one another", "a"), args=("--numeric", "a", "--categorical", "a")
    ),
    *_both(
        "a CSV option for JSON", good_jsonl(), ("--time-column", "ts"), args=("--time-column", "ts"), suffix=".jsonl"
    ),
    # One command only
    BadFile("too few rows", BUILD, good_csv(199), (), 4, ("too few rows", "got 199", "200")),
    BadFile("nothing to watch", BUILD, good_csv(), ("--ignore", "a,c"), 2, ("no column is left",)),
    BadFile("all bad", BUILD, b"ts,a,c\n" + b"x\n" * 9, ("--skip-bad",), 4, ("none of its 9 rows",)),
    BadFile(
        "a column of the reference is missing", REPLAY, good_csv().replace(b"ts,a,c", b"ts,a,d"), (), 2, ("'c'", "lack")
    ),
    BadFile(
        "a feature of the reference is missing", REPLAY, good_jsonl().replace(b'"a"', b'"b"'), (), 2, ("'a'",), ".jsonl"
    ),
    BadFile("no times", REPLAY, good_csv().replace(b"ts,a,c", b"n,a,c"), (), 2, ("no times", "--rows-per-tick 100")),
    BadFile("a tick that is none", REPLAY, good_csv(), ("--tick", "soon"), 2, ("--tick", "'soon'", "duration")),
    BadFile("a budget that is none", REPLAY, good_csv(), ("--false-alarms", "few"), 2, ("--false-alarms", "1 per 30d")),
    BadFile("no rows a tick", REPLAY, good_csv(), ("--rows-per-tick", "0"), 2, ("--rows-per-tick", "got 0")),
)
