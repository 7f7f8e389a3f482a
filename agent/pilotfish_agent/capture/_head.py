"""Heads of HTTP/1.1 messages, read strictly: RFC 9112, and a reason for whatever two readers could read in two ways.

A head that came before is found in a table by its bytes: most clients and servers send few different ones.
"""

from __future__ import annotations

import re
from typing import Final

from pilotfish.exchange import MAX_LINE

MAX_HEAD: Final = 64 << 10
"""Bytes of one head that are read."""
MAX_KEPT_HEAD: Final = 16 << 10
"""Bytes of one head that go into a copy."""
TABLE: Final = 512
LONGEST_IN_TABLE: Final = 2_048
"""Each table holds at most 512 heads of 2 KiB: 1 MiB."""
CHUNKED, UNTIL_CLOSE, NEVER = -1, -2, -5
"""Instead of a body's length; `NEVER` in ``fast``: not a message of the short path."""

AFTER_CLOSE: Final = "after_close"
BARE_CR: Final = "bare_cr"
BARE_LF: Final = "bare_lf"
CHUNK_END: Final = "chunk_end"
CHUNK_EXTENSION: Final = "chunk_extension"
CHUNK_LINE: Final = "chunk_line_too_long"
CHUNK_SIZE: Final = "chunk_size"
CODING: Final = "transfer_coding"
CODING_AND_LENGTH: Final = "coding_and_length"
CODING_IN_1_0: Final = "coding_in_http_1_0"
CODINGS: Final = "two_transfer_codings"
EMPTY_LINES: Final = "empty_lines"
FIELD_LINE: Final = "field_line"
FIELD_VALUE: Final = "field_value"
HEAD_TOO_LARGE: Final = "head_too_large"
INTERIM: Final = "too_many_interim_answers"
LENGTH: Final = "content_length"
LENGTHS: Final = "two_content_lengths"
LOOKALIKE: Final = "lookalike_field"
NO_BODY: Final = "length_without_body"
OBS_FOLD: Final = "folded_line"
OPEN: Final = "too_many_open"
REQUEST_LINE: Final = "request_line"
ROOM: Final = "no_room_for_heads"
SPACE: Final = "space_in_field_name"
STATUS_LINE: Final = "status_line"
TRAILER: Final = "trailer"
TUNNEL: Final = "bytes_before_tunnel"
UNASKED: Final = "unasked_answer"
UPGRADE: Final = "unasked_upgrade"
VERSION: Final = "http_version"
REASONS: Final = (
    AFTER_CLOSE, BARE_CR, BARE_LF, CHUNK_END, CHUNK_EXTENSION, CHUNK_LINE, CHUNK_SIZE, CODING, CODING_AND_LENGTH,
    CODING_IN_1_0, CODINGS, EMPTY_LINES, FIELD_LINE, FIELD_VALUE, HEAD_TOO_LARGE, INTERIM, LENGTH, LENGTHS, LOOKALIKE,
    NO_BODY, OBS_FOLD, OPEN, REQUEST_LINE, ROOM, SPACE, STATUS_LINE, TRAILER, TUNNEL, UNASKED, UPGRADE, VERSION,
)  # fmt: skip
"""Why a message is ambiguous: values of ``reason`` in the capture's counts."""
FOREIGN: Final = "foreign"
"""No reason but a verdict: the connection's first line is not HTTP's at all."""

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_VALUE = rb"[\t\x20-\x7e\x80-\xff]"
_FIELDS = rb"(?>" + _TOKEN + rb"++:" + _VALUE + rb"*+\r\n)*+\r\n"
_TARGET = rb"/[\x21-\x7e\x80-\xff]*+|\*|[A-Za-z][A-Za-z0-9+.\-]*+://[\x21-\x7e\x80-\xff]++|(?:\[[0-9A-Fa-f:.]++\]|[^/:\[\]\x00-\x20\x7f]++):[0-9]++"
_ASK = rb"(" + _TOKEN + rb"++) (" + _TARGET + rb") HTTP/1\.([01])\r\n"
_ANSWER = rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: " + _VALUE + rb"*+)?\r\n"
_request = re.compile(_ASK + _FIELDS).fullmatch
_answer = re.compile(_ANSWER + _FIELDS).fullmatch
_ask_line = re.compile(_ASK).fullmatch
_answer_line = re.compile(_ANSWER).fullmatch
_field = re.compile(_TOKEN + rb"++:" + _VALUE + rb"*+").fullmatch
_spaced = re.compile(rb"[^:]*[\t ][^:]*:").match
_bare_lf = re.compile(rb"(?<!\r)\n").search
_other_version = re.compile(_TOKEN + rb"+ [\x21-\x7e\x80-\xff]+ HTTP/(?!1\.[01]\r)[0-9.]+\r\n").fullmatch
_method = re.compile(rb"(?:GET|HEAD|POST|PUT|DELETE|CONNECT|OPTIONS|TRACE|PATCH)[\t ]|[^\n]*HTTP/", re.IGNORECASE).match
_first_byte = re.compile(_TOKEN).match
message_begins = re.compile(rb"(?:GET|HEAD|POST|PUT|DELETE|CONNECT|OPTIONS|TRACE|PATCH) [/*a-zA-Z]").match
"""At the start of a segment: a request begins here."""
_STREAMS = (
    b"text/event-stream", b"application/x-ndjson", b"application/ndjson", b"application/jsonl",
    b"application/x-jsonlines", b"application/json-lines",
)  # fmt: skip


class RequestHead:
    """What a request's head says of its framing; ``reason``: why it cannot be said, else None."""

    __slots__ = ("close", "fast", "is_connect", "is_head", "length", "line", "minor", "raw", "reason", "upgrade")

    def __init__(self, raw: bytes, reason: str | None = None) -> None:
        self.raw = _kept(raw)
        self.reason = reason
        self.line = b""
        self.length = 0
        self.fast = NEVER
        self.minor = 1
        self.close = self.is_connect = self.is_head = self.upgrade = False


class AnswerHead:
    """What an answer's head says of its framing; ``reason``: why it cannot be said, else None."""

    __slots__ = ("close", "empty", "fast", "length", "raw", "reason", "status", "stream")

    def __init__(self, raw: bytes, reason: str | None = None) -> None:
        self.raw = _kept(raw)
        self.reason = reason
        self.status = 0
        self.length = UNTIL_CLOSE
        self.fast = NEVER
        self.close = self.empty = self.stream = False


OWN: Final = b"(our own)"
"""Line of requests that Pilotfish itself sends: they are paired with their answers, and then forgotten."""
_own_word = [b""]


def set_own(word: str) -> None:
    """Requests whose head holds ``word`` are our own: a secret of this agent, so that no client can hide behind it."""
    _own_word[0] = word.lower().encode()
    requests.clear()


requests: dict[bytes, RequestHead] = {}
answers: dict[bytes, AnswerHead] = {}
"""The tables; the capture process has one thread."""


def request_head(raw: bytes) -> RequestHead:
    """A request's head, from its first byte to the empty line's end."""
    head = requests.get(raw)
    if head is None:
        head = _read_request(raw)
        if len(raw) <= LONGEST_IN_TABLE:
            if len(requests) >= TABLE:
                requests.clear()
            requests[raw] = head
    return head


def answer_head(raw: bytes) -> AnswerHead:
    """An answer's head, likewise."""
    head = answers.get(raw)
    if head is None:
        head = _read_answer(raw)
        if len(raw) <= LONGEST_IN_TABLE:
            if len(answers) >= TABLE:
                answers.clear()
            answers[raw] = head
    return head


def early(part: bytes | bytearray, seen: int, *, asked: bool) -> str | None:
    """Why a head that is not whole yet is none; the same as is said of it when it is whole.

    ``part`` is its beginning, of which ``seen`` bytes were looked at before; ``asked``: a request's, else an answer's.
    """
    if asked and not _first_byte(part):
        return FOREIGN
    first = part.find(b"\n", 0)
    if first < 0:
        return None
    if first >= seen:
        reason = _line_reason(bytes(part[: first + 1]), asked=asked)
        if reason is not None:
            return reason
    return BARE_LF if _bare_lf(part, max(first + 1, seen - 1)) else None


def _line_reason(line: bytes, *, asked: bool) -> str | None:
    """Why ``line``, up to the first LF, is no first line."""
    if (_ask_line if asked else _answer_line)(line):
        return None
    if asked and (not _first_byte(line) or line == b"PRI * HTTP/2.0\r\n" or not _method(line)):
        return FOREIGN
    if not line.endswith(b"\r\n"):
        return BARE_LF
    if b"\r" in line[:-2]:
        return BARE_CR
    if not asked:
        return STATUS_LINE
    return VERSION if _other_version(line) else REQUEST_LINE


def _head_reason(raw: bytes, *, asked: bool) -> str:
    """Why a whole head is none."""
    first = raw.find(b"\n")
    reason = _line_reason(raw[: first + 1], asked=asked)
    if reason is not None:
        return reason
    if _bare_lf(raw, first + 1):
        return BARE_LF
    for line in raw[first + 1 : -4].split(b"\r\n"):
        if _field(line):
            continue
        if line[:1] in (b" ", b"\t"):
            return OBS_FOLD
        if b"\r" in line:
            return BARE_CR
        name, colon, _ = line.partition(b":")
        if not colon or not name:
            return FIELD_LINE
        if _spaced(line):
            return SPACE
        return FIELD_VALUE if _field(name + b":") else FIELD_LINE
    return FIELD_LINE


def _read_request(raw: bytes) -> RequestHead:
    found = _request(raw)
    if found is None:
        return RequestHead(raw, _head_reason(raw, asked=True))
    method, target, minor = found.groups()
    is_connect = method == b"CONNECT"
    if is_connect != (target[:1] not in b"/*" and b"://" not in target) or (target == b"*" and method != b"OPTIONS"):
        return RequestHead(raw, REQUEST_LINE)
    lower = raw.lower()
    length, reason = _length(lower, minor)
    head = RequestHead(raw, reason)
    head.line = OWN if _own_word[0] and _own_word[0] in lower else raw[: min(found.end(2), MAX_LINE)]
    head.length = 0 if length is None else length
    head.minor = 0 if minor == b"0" else 1
    head.is_connect = is_connect
    head.is_head = method == b"HEAD"
    head.upgrade = b"\r\nupgrade:" in lower
    head.close = _closes(lower, head.minor)
    if reason is None and not (is_connect or head.is_head or head.close or head.length < 0):
        head.fast = head.length
    return head


def _read_answer(raw: bytes) -> AnswerHead:
    found = _answer(raw)
    if found is None:
        return AnswerHead(raw, _head_reason(raw, asked=False))
    minor, digits = found.groups()
    lower = raw.lower()
    length, reason = _length(lower, minor)
    status = int(digits)
    if reason is None and length and (status < 200 or status == 204):
        reason = NO_BODY
    head = AnswerHead(raw, reason)
    head.status = status
    head.empty = status in (204, 304)
    head.length = 0 if head.empty or status < 200 else UNTIL_CLOSE if length is None else length
    head.close = _closes(lower, 0 if minor == b"0" else 1)
    kind = lower.find(b"\r\ncontent-type:")
    head.stream = kind >= 0 and lower[kind + 15 : kind + 80].lstrip(b" \t").startswith(_STREAMS)
    if reason is None and status >= 200 and head.length >= 0 and not (head.close or head.stream):
        head.fast = head.length
    return head


def _length(lower: bytes, minor: bytes) -> tuple[int | None, str | None]:
    """(length of the body, `CHUNKED`, or None when nothing says; why that is ambiguous)."""
    if b"_" in lower and (b"\r\ncontent_length:" in lower or b"\r\ntransfer_encoding:" in lower):
        return None, LOOKALIKE
    at = lower.find(b"\r\ncontent-length:")
    coding = lower.find(b"\r\ntransfer-encoding:")
    if coding >= 0:
        return CHUNKED, _coding_reason(lower, coding, minor) if at < 0 else CODING_AND_LENGTH
    if at < 0:
        return None, None
    value = lower[at + 17 : lower.index(b"\r", at + 17)].strip(b" \t")
    if lower.find(b"\r\ncontent-length:", at + 17) >= 0 or b"," in value:
        return None, LENGTHS
    if not value.isdigit() or len(value) > 18:  # 18 digits: below 2^63, whatever a reader counts with
        return None, LENGTH
    return int(value), None


def _coding_reason(lower: bytes, at: int, minor: bytes) -> str | None:
    if lower.find(b"\r\ntransfer-encoding:", at + 20) >= 0:
        return CODINGS
    if minor == b"0":
        return CODING_IN_1_0
    return None if lower[at + 20 : lower.index(b"\r", at + 20)].strip(b" \t") == b"chunked" else CODING


def _closes(lower: bytes, minor: int) -> bool:
    """The connection ends after this message."""
    at = lower.find(b"\r\nconnection:")
    if at < 0:
        return not minor
    if lower.startswith(b" keep-alive\r\n", at + 13) and lower.find(b"\r\nconnection:", at + 13) < 0:
        return False
    options = set()
    while at >= 0:
        value = lower[at + 13 : lower.index(b"\r", at + 13)]
        options |= {option.strip(b" \t") for option in value.split(b",")}
        at = lower.find(b"\r\nconnection:", at + 13)
    return b"close" in options or (not minor and b"keep-alive" not in options)


def _kept(raw: bytes) -> bytes:
    """The part of a head that a copy holds: whole lines."""
    return raw if len(raw) <= MAX_KEPT_HEAD else raw[: raw.rfind(b"\r\n", 0, MAX_KEPT_HEAD - 2) + 2] + b"\r\n"


NO_HEAD: Final = RequestHead(b"")
NO_ANSWER: Final = AnswerHead(b"")
"""Of what is no request or answer, or none that can be read."""
