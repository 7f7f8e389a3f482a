"""Messages that two readers could read in two ways, and harmless ones beside them.

A case is a script of one connection, the exchanges that may be told (METHOD target, status, flags; () for what nobody
may believe), and the reasons counted. The relay's bar in benchmarks/capture/smuggling.py runs the same cases.
"""

# ruff: noqa: E501 - a case a line reads better
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from pilotfish.exchange import ABORTED, AMBIGUOUS, OPAQUE, STREAM, UPGRADED

CLIENT, SERVER = "client", "server"
Step = tuple[str, bytes]
Seen = tuple[bytes, int, int]


@dataclass(frozen=True, slots=True)
class Case:
    """One connection.

    Attributes:
        script: who sends what, in order; then the connection ends.
        seen: the exchanges told, in order.
        reasons: framing problems counted, each once.
    """

    name: str
    script: tuple[Step, ...]
    seen: tuple[Seen, ...]
    reasons: tuple[str, ...] = field(default=())


OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
GET: Final = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"
DIM: Final[Seen] = (b"", 0, AMBIGUOUS)
NEXT: Final[Seen] = (b"GET /next", 200, 0)
A: Final[Seen] = (b"POST /a", 200, 0)


def _ask(fields: bytes, body: bytes = b"", line: bytes = b"POST /a HTTP/1.1") -> bytes:
    return line + b"\r\nHost: a\r\n" + fields + b"\r\n" + body


def _answer(fields: bytes, body: bytes = b"", line: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return line + b"\r\n" + fields + b"\r\n" + body


def _bad(name: str, request: bytes, reason: str) -> Case:
    """The request is ambiguous; another one and two answers follow, none of which may be told."""
    return Case(name, ((CLIENT, request), (CLIENT, GET), (SERVER, OK + OK)), (DIM,), (reason,))


def _bad_answer(name: str, answer: bytes, reason: str, *, ask: bytes = b"") -> Case:
    """The answer is ambiguous: its request is told without its line, what follows as one more."""
    script = ((CLIENT, ask or _ask(b"Content-Length: 0\r\n")), (SERVER, answer), (CLIENT, GET), (SERVER, OK))
    return Case(name, script, (DIM, DIM), (reason,))


def _good(name: str, request: bytes, seen: Seen = A) -> Case:
    """The request is clear, and so is what follows."""
    return Case(name, ((CLIENT, request + GET), (SERVER, OK + OK)), (seen, NEXT))


def _good_answer(name: str, answer: bytes, status: int = 200, flags: int = 0, line: bytes = b"POST /a") -> Case:
    ask = line + b" HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
    return Case(name, ((CLIENT, ask + GET), (SERVER, answer + OK)), ((line, status, flags), NEXT))


def _chunked(body: bytes) -> bytes:
    return _ask(b"Transfer-Encoding: chunked\r\n", body)


def _chunks(body: bytes) -> bytes:
    return _answer(b"Transfer-Encoding: chunked\r\n", body)


CHUNK: Final = b"Transfer-Encoding: chunked\r\n"
SMUGGLED: Final = b"GET /admin HTTP/1.1\r\nX: y"

LENGTH_AND_CODING = (
    _bad("CL.TE", _ask(b"Content-Length: 6\r\n" + CHUNK, b"0\r\n\r\nG"), "coding_and_length"),
    _bad("TE.CL", _ask(CHUNK + b"Content-Length: 4\r\n", b"1c\r\n" + SMUGGLED + b"\r\n0\r\n\r\n"), "coding_and_length"),
    _bad("CL.0 beside TE", _ask(b"Content-Length: 0\r\n" + CHUNK, b"0\r\n\r\n"), "coding_and_length"),
    _bad("CL.TE in odd case", _ask(b"cOnTeNt-LeNgTh: 6\r\ntRaNsFeR-eNcOdInG: ChUnKeD\r\n", b"0\r\n\r\nG"), "coding_and_length"),
    _bad("TE.TE, chunked first", _ask(CHUNK + b"Transfer-Encoding: x\r\n", b"0\r\n\r\n"), "two_transfer_codings"),
    _bad("TE.TE, chunked last", _ask(b"Transfer-Encoding: x\r\n" + CHUNK, b"0\r\n\r\n"), "two_transfer_codings"),
    _bad("TE.TE, equal", _ask(CHUNK + CHUNK, b"0\r\n\r\n"), "two_transfer_codings"),
    _bad("TE identity", _ask(b"Transfer-Encoding: identity\r\n"), "transfer_coding"),
    _bad("TE xchunked", _ask(b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n"), "transfer_coding"),
    _bad("TE chunked, identity", _ask(b"Transfer-Encoding: chunked, identity\r\n", b"0\r\n\r\n"), "transfer_coding"),
    _bad("TE chunked, chunked", _ask(b"Transfer-Encoding: chunked, chunked\r\n", b"0\r\n\r\n"), "transfer_coding"),
    _bad("TE gzip, chunked", _ask(b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n"), "transfer_coding"),
    _bad("TE quoted", _ask(b'Transfer-Encoding: "chunked"\r\n', b"0\r\n\r\n"), "transfer_coding"),
    _bad("TE with a parameter", _ask(b"Transfer-Encoding: chunked;q=1\r\n", b"0\r\n\r\n"), "transfer_coding"),
    _bad("TE empty", _ask(b"Transfer-Encoding:\r\n", b"0\r\n\r\n"), "transfer_coding"),
    _bad("TE with a vertical tab", _ask(b"Transfer-Encoding:\x0bchunked\r\n", b"0\r\n\r\n"), "field_value"),
    _bad("TE with a trailing comma", _ask(b"Transfer-Encoding: chunked,\r\n", b"0\r\n\r\n"), "transfer_coding"),
    _bad("TE in HTTP/1.0", _ask(CHUNK, b"0\r\n\r\n", b"POST /a HTTP/1.0"), "coding_in_http_1_0"),
    _bad("TE by an underscore", _ask(b"Content-Length: 1\r\nTransfer_Encoding: chunked\r\n", b"G"), "lookalike_field"),
    _bad("CL by an underscore", _ask(b"Content_Length: 5\r\n"), "lookalike_field"),
    _bad("TE behind a space", _ask(b"Content-Length: 5\r\nTransfer-Encoding : chunked\r\n", b"0\r\n\r\n"), "space_in_field_name"),
    _bad("TE behind a tab", _ask(b"Transfer-Encoding\t: chunked\r\n", b"0\r\n\r\n"), "space_in_field_name"),
    _bad("TE behind NUL", _ask(b"Transfer-Encoding\x00: chunked\r\n", b"0\r\n\r\n"), "field_line"),
    _bad("TE before a folded line", _ask(b"Transfer-Encoding:\r\n chunked\r\n", b"0\r\n\r\n"), "folded_line"),
    _bad("TE in a value after a bare CR", _ask(b"X: y\rTransfer-Encoding: chunked\r\n"), "bare_cr"),
    _bad("TE in a value after a bare LF", _ask(b"X: y\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"), "bare_lf"),
    _good("TE with blanks around", _ask(b"Transfer-Encoding: \t chunked \t\r\n", b"0\r\n\r\n")),
    _good("a field that only ends like CL", _ask(b"X-Content-Length: 50\r\nContent-Length: 1\r\n", b"a")),
)  # fmt: skip

LENGTHS = (
    _bad("CL.CL, different", _ask(b"Content-Length: 1\r\nContent-Length: 6\r\n", b"aGET /"), "two_content_lengths"),
    _bad("CL.CL, equal", _ask(b"Content-Length: 1\r\nContent-Length: 1\r\n", b"a"), "two_content_lengths"),
    _bad("CL list, equal", _ask(b"Content-Length: 1, 1\r\n", b"a"), "two_content_lengths"),
    _bad("CL list, different", _ask(b"Content-Length: 1, 6\r\n", b"aGET /"), "two_content_lengths"),
    _bad("CL with a trailing comma", _ask(b"Content-Length: 1,\r\n", b"a"), "two_content_lengths"),
    _bad("CL negative", _ask(b"Content-Length: -1\r\n"), "content_length"),
    _bad("CL with a plus", _ask(b"Content-Length: +1\r\n", b"a"), "content_length"),
    _bad("CL hexadecimal", _ask(b"Content-Length: 0x1\r\n", b"a"), "content_length"),
    _bad("CL with an underscore", _ask(b"Content-Length: 1_0\r\n", b"0123456789"), "content_length"),
    _bad("CL with a blank inside", _ask(b"Content-Length: 1 0\r\n", b"0123456789"), "content_length"),
    _bad("CL with a fraction", _ask(b"Content-Length: 1.0\r\n", b"a"), "content_length"),
    _bad("CL with a suffix", _ask(b"Content-Length: 1a\r\n", b"a"), "content_length"),
    _bad("CL empty", _ask(b"Content-Length:\r\n"), "content_length"),
    _bad("CL beyond 64 bits", _ask(b"Content-Length: 18446744073709551617\r\n", b"a"), "content_length"),
    _bad("CL in foreign digits", _ask(b"Content-Length: \xd9\xa1\r\n", b"a"), "content_length"),
    _bad("CL with NUL", _ask(b"Content-Length: 1\x00\r\n", b"a"), "field_value"),
    _bad("CL folded", _ask(b"Content-Length: 1\r\n 0\r\n", b"0123456789"), "folded_line"),
    _bad("CL behind a space", _ask(b"Content-Length : 6\r\n", b"GET / "), "space_in_field_name"),
    _good("CL with zeros before", _ask(b"Content-Length: 0001\r\n", b"a")),
    _good("CL with blanks around", _ask(b"Content-Length:\t 1 \r\n", b"a")),
    _good("CL on GET", _ask(b"Content-Length: 3\r\n", b"GET", b"GET /a HTTP/1.1"), (b"GET /a", 200, 0)),
    _good("a body like a request", _ask(b"Content-Length: 31\r\n", GET + b"!" * (31 - len(GET)))),
)  # fmt: skip

CHUNKS = (
    _good("chunks", _chunked(b"3\r\nabc\r\n0\r\n\r\n")),
    _good("chunks with extensions", _chunked(b'3;a;b=c;d="e; f"\r\nabc\r\n0;last\r\n\r\n')),
    _good("chunks with trailers", _chunked(b"3\r\nabc\r\n0\r\nX-Sum: 1\r\nX-T: 2\r\n\r\n")),
    _good("chunk size in both cases, zeros before", _chunked(b"00Aa\r\n" + b"x" * 170 + b"\r\n000\r\n\r\n")),
    _bad("chunk size beyond 64 bits", _chunked(b"10000000000000003\r\nabc\r\n0\r\n\r\n"), "chunk_size"),
    _bad("chunk size negative", _chunked(b"-3\r\nabc\r\n0\r\n\r\n"), "chunk_size"),
    _bad("chunk size with a plus", _chunked(b"+3\r\nabc\r\n0\r\n\r\n"), "chunk_size"),
    _bad("chunk size with 0x", _chunked(b"0x3\r\nabc\r\n0\r\n\r\n"), "chunk_size"),
    _bad("chunk size with an underscore", _chunked(b"1_0\r\n0123456789abcdef\r\n0\r\n\r\n"), "chunk_size"),
    _bad("chunk size with a blank before", _chunked(b" 3\r\nabc\r\n0\r\n\r\n"), "chunk_size"),
    _bad("chunk size with a blank behind", _chunked(b"3 \r\nabc\r\n0\r\n\r\n"), "chunk_extension"),
    _bad("chunk size empty", _chunked(b"\r\nabc\r\n0\r\n\r\n"), "chunk_size"),
    _bad("chunk size with junk", _chunked(b"3g\r\nabc\r\n0\r\n\r\n"), "chunk_size"),
    _bad("chunk size with NUL", _chunked(b"3\x00\r\nabc\r\n0\r\n\r\n"), "chunk_size"),
    _bad("chunk size ends with LF", _chunked(b"3\nabc\r\n0\r\n\r\n"), "bare_lf"),
    _bad("chunk size ends with CR", _chunked(b"3\rabc\r\n0\r\n\r\n"), "chunk_extension"),
    _bad("chunk extension without a name", _chunked(b"3;\r\nabc\r\n0\r\n\r\n"), "chunk_extension"),
    _bad("chunk extension ends with LF", _chunked(b"3;a\nabc\r\n0\r\n\r\n"), "bare_lf"),
    _bad("chunk extension with a bare CR", _chunked(b"3;a\rb\r\nabc\r\n0\r\n\r\n"), "chunk_extension"),
    _bad("chunk extension with an open quote", _chunked(b'3;a="b\r\nabc\r\n0\r\n\r\n'), "chunk_extension"),
    _bad("chunk extension without end", _chunked(b"3;" + b"a" * 2_000 + b"\r\nabc\r\n0\r\n\r\n"), "chunk_line_too_long"),
    _bad("chunk longer than its size", _chunked(b"3\r\nabcd\r\n0\r\n\r\n"), "chunk_end"),
    _bad("chunk without an end", _chunked(b"3\r\nabc0\r\n\r\n"), "chunk_end"),
    _bad("chunk ends with LF", _chunked(b"3\r\nabc\n0\r\n\r\n"), "bare_lf"),
    _bad("chunk ends with CR", _chunked(b"3\r\nabc\r0\r\n\r\n"), "chunk_end"),
    _bad("last chunk ends with LF", _chunked(b"3\r\nabc\r\n0\n\n"), "bare_lf"),
    _bad("trailers end with LF", _chunked(b"0\r\nX: y\r\n\n"), "bare_lf"),
    _bad("trailer with CL", _chunked(b"0\r\nContent-Length: 5\r\n\r\n"), "trailer"),
    _bad("trailer with TE", _chunked(b"0\r\nTransfer-Encoding: chunked\r\n\r\n"), "trailer"),
    _bad("trailer without a colon", _chunked(b"0\r\nGET / HTTP/1.1\r\n\r\n"), "trailer"),
    _bad("trailer folded", _chunked(b"0\r\nX: y\r\n z\r\n\r\n"), "trailer"),
    _bad("trailers without end", _chunked(b"0\r\n" + b"X: y\r\n" * 4_000 + b"\r\n"), "trailer"),
)  # fmt: skip

LINES = (
    _bad("bare LF in the first line", b"POST /a HTTP/1.1\nHost: a\r\n\r\n", "bare_lf"),
    _bad("bare LF everywhere", b"POST /a HTTP/1.1\nHost: a\n\n", "bare_lf"),
    _bad("bare LF at the end", b"POST /a HTTP/1.1\r\nHost: a\r\n\n", "bare_lf"),
    _bad("bare CR in the first line", b"POST /a\r HTTP/1.1\r\nHost: a\r\n\r\n", "bare_cr"),
    _bad("bare CR in a name", _ask(b"X\rY: z\r\n"), "bare_cr"),
    _bad("bare CR before the end", b"POST /a HTTP/1.1\r\nHost: a\r\r\n\r\n", "bare_cr"),
    _bad("NUL in the first line", b"POST /a\x00b HTTP/1.1\r\nHost: a\r\n\r\n", "request_line"),
    _bad("NUL in a value", _ask(b"X: a\x00b\r\n"), "field_value"),
    _bad("a control character in a value", _ask(b"X: a\x1bb\r\n"), "field_value"),
    _bad("two blanks in the first line", b"POST  /a HTTP/1.1\r\nHost: a\r\n\r\n", "request_line"),
    _bad("a tab in the first line", b"POST\t/a HTTP/1.1\r\nHost: a\r\n\r\n", "request_line"),
    _bad("a blank at the first line's end", b"POST /a HTTP/1.1 \r\nHost: a\r\n\r\n", "request_line"),
    _bad("a blank in the target", b"POST /a b HTTP/1.1\r\nHost: a\r\n\r\n", "request_line"),
    _bad("HTTP/0.9", b"GET /a\r\n", "request_line"),
    _bad("HTTP/1.2", b"GET /a HTTP/1.2\r\nHost: a\r\n\r\n", "http_version"),
    _bad("HTTP/2.0", b"GET /a HTTP/2.0\r\nHost: a\r\n\r\n", "http_version"),
    _bad("HTTP/1.10", b"GET /a HTTP/1.10\r\nHost: a\r\n\r\n", "http_version"),
    _bad("HTTP/01.1", b"GET /a HTTP/01.1\r\nHost: a\r\n\r\n", "http_version"),
    _bad("http in small letters", b"GET /a http/1.1\r\nHost: a\r\n\r\n", "request_line"),
    _bad("no version", b"GET /a \r\nHost: a\r\n\r\n", "request_line"),
    _bad("a target without a slash", b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", "request_line"),
    _bad("an asterisk for GET", b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", "request_line"),
    _bad("an authority for GET", b"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", "request_line"),
    _bad("a path for CONNECT", b"CONNECT /a HTTP/1.1\r\nHost: a\r\n\r\n", "request_line"),
    _bad("a method with a bracket", b"GET[] /a HTTP/1.1\r\nHost: a\r\n\r\n", "request_line"),
    _bad("a line without a colon", _ask(b"nothing\r\n"), "field_line"),
    _bad("an empty name", _ask(b": x\r\n"), "field_line"),
    _bad("a name in quotes", _ask(b'"X": y\r\n'), "field_line"),
    _bad("a name in other letters", _ask("Hö: y\r\n".encode()), "field_line"),
    _bad("a name with a blank inside", _ask(b"X Y: z\r\n"), "space_in_field_name"),
    _bad("a folded line", _ask(b"X: a\r\n b\r\n"), "folded_line"),
    _bad("a folded line by a tab", _ask(b"X: a\r\n\tb\r\n"), "folded_line"),
    _bad("a fold before the first field", b"GET /a HTTP/1.1\r\n X: y\r\nHost: a\r\n\r\n", "folded_line"),
    _bad("two empty lines before", b"\r\n\r\n" + GET, "empty_lines"),
    Case("an LF before", ((CLIENT, _ask(b"Content-Length: 1\r\n", b"a\n") + GET), (SERVER, OK + OK)), (A, DIM), ("request_line",)),
    _bad("a head beyond 64 KiB", _ask(b"X: " + b"y" * 70_000 + b"\r\n"), "head_too_large"),
    _bad("a first line beyond 64 KiB", b"GET /" + b"y" * 70_000 + b" HTTP/1.1\r\n\r\n", "head_too_large"),
    _bad("fields beyond 64 KiB", _ask(b"X: y\r\n" * 12_000), "head_too_large"),
    _good("one empty line before", b"\r\n" + _ask(b"Content-Length: 0\r\n")),
    _good("absolute form", _ask(b"", line=b"GET http://a/b HTTP/1.1"), (b"GET http://a/b", 200, 0)),
    _good("asterisk form", _ask(b"", line=b"OPTIONS * HTTP/1.1"), (b"OPTIONS *", 200, 0)),
    _good("a method of one's own", _ask(b"", line=b"M-SEARCH /a HTTP/1.1"), (b"M-SEARCH /a", 200, 0)),
    _good("two Host fields", _ask(b"Host: b\r\n", line=b"GET /a HTTP/1.1"), (b"GET /a", 200, 0)),
    _good("a head of 40 KiB", _ask(b"X: " + b"y" * 40_000 + b"\r\n")),
    _good("old text in a value", _ask(b"X: \xe4\xff\r\n")),
)  # fmt: skip

HELLO: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
EARLY: Final = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"
HEAD_ASK: Final = b"HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n"

ANSWERS = (
    _bad_answer("answer with CL and TE", _answer(b"Content-Length: 2\r\n" + CHUNK, b"0\r\n\r\n"), "coding_and_length"),
    _bad_answer("answer with two lengths", _answer(b"Content-Length: 2\r\nContent-Length: 3\r\n", b"ok!"), "two_content_lengths"),
    _bad_answer("answer with a negative length", _answer(b"Content-Length: -2\r\n"), "content_length"),
    _bad_answer("answer with TE gzip", _answer(b"Transfer-Encoding: gzip\r\n"), "transfer_coding"),
    _bad_answer("answer of HTTP/1.0 with TE", _answer(CHUNK, b"0\r\n\r\n", b"HTTP/1.0 200 OK"), "coding_in_http_1_0"),
    _bad_answer("answer with TE to HTTP/1.0", _chunks(b"0\r\n\r\n"), "coding_in_http_1_0", ask=b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
    _bad_answer("answer with a bare LF", b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", "bare_lf"),
    _bad_answer("answer with a bare CR", _answer(b"X: a\rb\r\n"), "bare_cr"),
    _bad_answer("answer folded", _answer(b"X: a\r\n b\r\n"), "folded_line"),
    _bad_answer("answer with a blank before the colon", _answer(b"Content-Length : 2\r\n", b"ok"), "space_in_field_name"),
    _bad_answer("answer with another version", b"HTTP/2 200 OK\r\n\r\n", "status_line"),
    _bad_answer("answer with a status of two digits", b"HTTP/1.1 20 OK\r\n\r\n", "status_line"),
    _bad_answer("answer without a status line", b"ok\r\n", "status_line"),
    _bad_answer("answer after an empty line", b"\r\n" + OK, "status_line"),
    _bad_answer("answer with a bad chunk", _chunks(b"zz\r\n"), "chunk_size"),
    _bad_answer("answer with an unended chunk", _chunks(b"2\r\nok!\r\n0\r\n\r\n"), "chunk_end"),
    _bad_answer("answer with a length in its trailer", _chunks(b"0\r\nContent-Length: 1\r\n\r\n"), "trailer"),
    _bad_answer("answer with a head beyond 64 KiB", _answer(b"X: " + b"y" * 70_000 + b"\r\n"), "head_too_large"),
    _bad_answer("204 with a length", _answer(b"Content-Length: 2\r\n", b"ok", b"HTTP/1.1 204 No"), "length_without_body"),
    _bad_answer("204 with TE", _answer(CHUNK, b"0\r\n\r\n", b"HTTP/1.1 204 No"), "length_without_body"),
    _bad_answer("100 with a length", _answer(b"Content-Length: 2\r\n", b"ok", b"HTTP/1.1 100 Go"), "length_without_body"),
    _bad_answer("a flood of 100", HELLO * 40 + OK, "too_many_interim_answers"),
    _bad_answer("101 nobody asked for", b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", "unasked_upgrade"),
    _good_answer("204", b"HTTP/1.1 204 No Content\r\n\r\n", 204),
    _good_answer("204 of length 0", b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", 204),
    _good_answer("304 with a length", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n", 304),
    _good_answer("304 with TE", b"HTTP/1.1 304 Not Modified\r\n" + CHUNK + b"\r\n", 304),
    _good_answer("100, 102, 103 before", HELLO + b"HTTP/1.1 102 P\r\n\r\nHTTP/1.1 103 E\r\nLink: x\r\n\r\n" + OK),
    _good_answer("chunked answer", _chunks(b"2\r\nok\r\n0\r\nX: y\r\n\r\n")),
    _good_answer("no reason phrase", b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok"),
    _good_answer("events", _answer(b"Content-Type: text/event-stream\r\n" + CHUNK, b"9\r\ndata: x\n\n\r\n0\r\n\r\n"), 200, STREAM),
    _good_answer("lines of JSON", _answer(b"Content-Type: application/x-ndjson; a=b\r\nContent-Length: 3\r\n", b"{}\n"), 200, STREAM),
    _good_answer("500", b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", 500),
    Case("two answers to one request", ((CLIENT, GET), (SERVER, OK + OK), (CLIENT, GET), (SERVER, OK)), (NEXT, DIM), ("unasked_answer",)),
    Case("an answer split by its header", ((CLIENT, GET), (SERVER, _answer(b"X: a\r\nContent-Length: 0\r\n") + OK), (CLIENT, GET), (SERVER, OK)), (NEXT, DIM), ("unasked_answer",)),
    Case("body bytes after HEAD", ((CLIENT, HEAD_ASK), (SERVER, OK), (CLIENT, GET), (SERVER, OK)), ((b"HEAD /a", 200, 0), DIM), ("unasked_answer",)),
    Case("body bytes after 304", ((CLIENT, GET), (SERVER, b"HTTP/1.1 304 N\r\n\r\nok"), (CLIENT, GET), (SERVER, OK)), ((b"GET /next", 304, 0), DIM), ("unasked_answer",)),
    Case("an empty line after an answer", ((CLIENT, GET), (SERVER, OK + b"\r\n"), (CLIENT, GET), (SERVER, OK)), (NEXT, DIM), ("unasked_answer",)),
    Case("an answer before the request", ((SERVER, OK), (CLIENT, GET), (SERVER, OK)), (DIM,), ("unasked_answer",)),
    Case("an answer within a head", ((CLIENT, GET[:9]), (SERVER, OK), (CLIENT, GET[9:])), (DIM,), ("unasked_answer",)),
    Case("408 on a silent connection", ((CLIENT, GET), (SERVER, OK), (SERVER, b"HTTP/1.1 408 T\r\nConnection: close\r\n\r\n")), (NEXT,), ("unasked_answer",)),
    Case("HEAD", ((CLIENT, HEAD_ASK + GET), (SERVER, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + OK)), ((b"HEAD /a", 200, 0), NEXT)),
    Case("HEAD with TE", ((CLIENT, HEAD_ASK + GET), (SERVER, _answer(CHUNK) + OK)), ((b"HEAD /a", 200, 0), NEXT)),
    Case("until the end", ((CLIENT, GET), (SERVER, _answer(b"", b"ok"))), (NEXT,)),
    Case("until the end, requests behind", ((CLIENT, GET + GET), (SERVER, _answer(b"", b"ok" + OK))), (NEXT, (b"GET /next", 0, ABORTED))),
)  # fmt: skip

CLOSE: Final = b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n"
CLOSING: Final = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
GONE: Final[Seen] = (b"GET /next", 0, ABORTED)
LONG: Final = _ask(b"Content-Length: 10\r\nExpect: 100-continue\r\n")
UPGRADE: Final = b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCH: Final = b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n"
CONNECT: Final = b"CONNECT b:443 HTTP/1.1\r\nHost: b:443\r\n\r\n"

CONNECTIONS = (
    Case("a request after close", ((CLIENT, CLOSE + GET), (SERVER, OK + OK)), ((b"GET /a", 200, 0), DIM), ("after_close",)),
    Case("a request after HTTP/1.0", ((CLIENT, b"GET /a HTTP/1.0\r\n\r\n" + GET), (SERVER, OK + OK)), ((b"GET /a", 200, 0), DIM), ("after_close",)),
    Case("HTTP/1.0 kept alive", ((CLIENT, b"GET /a HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n" + GET), (SERVER, OK + OK)), ((b"GET /a", 200, 0), NEXT)),
    Case("an answer after close", ((CLIENT, GET + GET), (SERVER, CLOSING + OK)), (NEXT, DIM), ("after_close",)),
    Case("requests never answered after close", ((CLIENT, GET + GET), (SERVER, CLOSING)), (NEXT, GONE)),
    Case("answers of HTTP/1.0 close", ((CLIENT, GET + GET), (SERVER, _answer(b"Content-Length: 2\r\n", b"ok", b"HTTP/1.0 200 OK") + OK)), (NEXT, DIM), ("after_close",)),
    Case("ambiguous behind two clear ones", ((CLIENT, GET + GET + _ask(b"Content-Length: x\r\n")), (SERVER, OK + OK + OK)), (NEXT, NEXT, DIM), ("content_length",)),
    Case("a bad chunk after an early answer", ((CLIENT, _chunked(b"3\r\nabc")), (SERVER, OK), (CLIENT, b"x" + GET), (SERVER, OK)), (A, DIM), ("chunk_end",)),
    Case("early answer, body follows", ((CLIENT, LONG + b"12345"), (SERVER, EARLY), (CLIENT, b"67890" + GET), (SERVER, OK)), ((b"POST /a", 413, 0), NEXT)),
    Case("early answer, another one", ((CLIENT, LONG + b"12345"), (SERVER, EARLY + OK), (CLIENT, b"67890" + GET), (SERVER, OK)), ((b"POST /a", 413, 0), DIM), ("unasked_answer",)),
    Case("100, then the body", ((CLIENT, LONG), (SERVER, HELLO), (CLIENT, b"1234567890"), (SERVER, OK)), (A,)),
    Case("no 100, a body like a request", ((CLIENT, LONG), (SERVER, EARLY), (CLIENT, b"GET /b HTT"), (CLIENT, GET), (SERVER, OK)), ((b"POST /a", 413, 0), NEXT)),
    Case("cut within a request's body", ((CLIENT, LONG + b"123"),), ((b"POST /a", 0, ABORTED),)),
    Case("cut within a head", ((CLIENT, GET), (SERVER, OK), (CLIENT, GET[:20])), (NEXT,)),
    Case("cut within an answer", ((CLIENT, GET), (SERVER, OK[:-1])), ((b"GET /next", 200, ABORTED),)),
    Case("cut within chunks", ((CLIENT, GET), (SERVER, _chunks(b"2\r\nok\r\n"))), ((b"GET /next", 200, ABORTED),)),
    Case("no answer", ((CLIENT, GET),), (GONE,)),
    Case("upgrade", ((CLIENT, UPGRADE), (SERVER, SWITCH + b"\x81\x02ok"), (CLIENT, GET), (SERVER, OK)), ((b"GET /a", 101, UPGRADED),)),
    Case("upgrade with requests behind", ((CLIENT, UPGRADE + GET), (SERVER, SWITCH + OK)), (DIM, DIM), ("unasked_upgrade",)),
    Case("upgrade refused", ((CLIENT, UPGRADE + GET), (SERVER, OK + OK)), ((b"GET /a", 200, 0), NEXT)),
    Case("tunnel", ((CLIENT, CONNECT), (SERVER, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), (CLIENT, GET), (SERVER, OK)), ((b"CONNECT b:443", 200, UPGRADED),)),
    Case("tunnel refused", ((CLIENT, CONNECT), (SERVER, EARLY), (CLIENT, GET), (SERVER, OK)), ((b"CONNECT b:443", 413, 0), NEXT)),
    Case("bytes before the tunnel", ((CLIENT, CONNECT + GET), (SERVER, EARLY + OK)), ((b"CONNECT b:443", 413, 0), DIM), ("bytes_before_tunnel",)),
    Case("TLS", ((CLIENT, b"\x16\x03\x01\x02\x00\x01" + GET), (SERVER, b"\x16\x03\x03" + OK)), ((b"", 0, OPAQUE),)),
    Case("HTTP/2", ((CLIENT, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04"), (SERVER, b"\x00\x00\x00\x04")), ((b"", 0, OPAQUE),)),
    Case("SSH", ((SERVER, b"SSH-2.0-x\r\n"), (CLIENT, b"SSH-2.0-y\r\n" + GET), (SERVER, OK)), ((b"", 0, OPAQUE),)),
    Case("Redis", ((CLIENT, b"*1\r\n$4\r\nPING\r\n"), (SERVER, b"+PONG\r\n")), ((b"", 0, OPAQUE),)),
    Case("TLS after a request", ((CLIENT, GET), (SERVER, OK), (CLIENT, b"\x16\x03\x01" + GET), (SERVER, OK)), (NEXT, DIM), ("request_line",)),
    Case("too many requests unanswered", ((CLIENT, GET * 300),), ((GONE,) * 128 + (DIM,)), ("too_many_open",)),
)  # fmt: skip

CASES: Final = (*LENGTH_AND_CODING, *LENGTHS, *CHUNKS, *LINES, *ANSWERS, *CONNECTIONS)
