"""Files that a crash leaves whole: written beside, flushed, renamed; what cannot be read is moved aside."""

from __future__ import annotations

import os
import zlib

_MAGIC = b"PFSTATE1"


def write_atomic(path: str, *payload: bytes | memoryview) -> None:
    """Replaces ``path`` by the parts of ``payload``, with a checksum.

    After a crash it holds the old bytes or the new, never a mix.

    Raises:
        OSError: the disk is full, read-only, or refuses; the old file is untouched.
    """
    check = 0
    for piece in payload:
        check = zlib.crc32(piece, check)
    part = f"{path}.part"
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(_MAGIC + check.to_bytes(4, "little"))
            file.writelines(payload)
            file.flush()
            os.fsync(file.fileno())
        os.rename(part, path)
    except OSError:
        _unlink(part)
        raise
    folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_checked(path: str) -> bytes | None:
    """What `write_atomic` wrote; None when there is no such file.

    Raises:
        ValueError: the file is truncated, altered, or of another format.
    """
    try:
        with open(path, "rb") as file:
            raw = file.read()
    except FileNotFoundError:
        return None
    head = len(_MAGIC)
    if raw[:head] != _MAGIC:
        raise ValueError(f"unknown format {raw[:head]!r}, expected {_MAGIC!r}")
    payload = raw[head + 4 :]
    if zlib.crc32(payload).to_bytes(4, "little") != raw[head : head + 4]:
        raise ValueError("checksum does not match: truncated or altered")
    return payload


def quarantine(path: str) -> str:
    """Moves an unreadable file aside, over an older one of its kind; returns the new path."""
    aside = f"{path}.unreadable"
    os.replace(path, aside)
    return aside


def write_text(path: str, text: str) -> None:
    """A small file for people and scripts, replaced as a whole; not flushed: it speaks of this run only."""
    part = f"{path}.part"
    with open(part, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(part, path)


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
