"""The agent's HTTP: the page, /metrics, health and the API. Reads Snapshots only; nothing here changes anything."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from aiohttp import web
from aiohttp.typedefs import Middleware

from pilotfish_agent.state.history import History
from pilotfish_agent.web import documents, live, numbers, page, past, view
from pilotfish_agent.web.assets import ICON, assets
from pilotfish_agent.web.connections import Connections, Limits
from pilotfish_core.events import Event, Events
from pilotfish_core.metrics import Sample
from pilotfish_core.nouns import Snapshot
from pilotfish_exporters.prometheus import Exporter

HTTP_FAILED = Event("http_failed", "error", "An HTTP answer failed; the client got a 500.")
EVENTS = (HTTP_FAILED,)

_TEXT = "text/plain; charset=utf-8"
_JSON = "application/json"
_HTML = "text/html; charset=utf-8"
_PATHS = "/ /metrics /-/healthy /-/ready /api/v1/{status,drift,alerts,history,distributions,view,live}"
_CONNECTIONS = web.AppKey("connections", Connections)
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def build_app(
    snapshots: Callable[[], Snapshot | None],
    exporter: Exporter,
    *,
    history: History | None = None,
    not_ready: Callable[[], Sequence[str]] = tuple,
    events: Events | None = None,
    limits: Limits | None = None,
) -> web.Application:
    """The application.

    Args:
        snapshots: the latest Snapshot, None before the first.
        exporter: renders /metrics.
        history: of Snapshots; None: there is none.
        not_ready: why the agent is not ready yet, apart from a missing Snapshot; empty when it is.
        events: where a failed answer is reported.
        limits: what clients may hold; `serve` keeps them.
    """
    app = web.Application(middlewares=[_guard(events)], client_max_size=1024)
    app[_CONNECTIONS] = Connections(limits)
    site = _Site(snapshots, exporter, history or History(), not_ready)
    viewers = live.Live(app[_CONNECTIONS], snapshots, site.event, events)
    app.cleanup_ctx.append(site.lifetime)
    app.on_shutdown.append(viewers.close)
    app.on_response_prepare.append(_safe_headers)
    app.router.add_get("/", site.front)
    app.router.add_get("/favicon.ico", site.icon)
    assets()  # reads the files now, not on the loop
    app.router.add_get("/assets/{name}", site.asset)
    app.router.add_get("/metrics", site.metrics)
    app.router.add_get("/-/healthy", site.healthy)
    app.router.add_get("/-/ready", site.ready)
    app.router.add_get("/api/v1/status", site.status)
    app.router.add_get("/api/v1/drift", site.drift)
    app.router.add_get("/api/v1/alerts", site.alerts)
    app.router.add_get("/api/v1/history", site.history)
    app.router.add_get("/api/v1/distributions", site.distributions)
    app.router.add_get("/api/v1/view", site.view)
    app.router.add_get("/api/v1/live", viewers.answer, allow_head=False)
    return app


def samples(app: web.Application) -> Iterator[Sample]:
    """What the server says of itself."""
    return live.samples(app[_CONNECTIONS])


@dataclass(frozen=True, slots=True)
class Served:
    """A listening server.

    Attributes:
        address: ``host:port`` as bound.
        connections: those open now.
    """

    address: str
    connections: Connections
    _server: asyncio.Server
    _runner: web.AppRunner

    async def stop(self) -> None:
        """Stops listening, closes every connection, frees the port."""
        self._server.close()
        await self._runner.cleanup()
        await self._server.wait_closed()


async def serve(app: web.Application, host: str, port: int) -> Served:
    """Listens at ``host:port`` (0: any free port).

    Raises:
        OSError: the address is taken or not ours.
    """
    silent = logging.getLogger("pilotfish.http")  # aiohttp's own log lines say what a client sent
    silent.addHandler(logging.NullHandler())
    silent.propagate = False
    runner = web.AppRunner(
        app,
        access_log=None,
        logger=silent,
        handle_signals=False,
        shutdown_timeout=0.5,
        lingering_time=0,  # the body of a refused request is never read
        auto_decompress=False,
        max_line_size=4096,
        max_field_size=8190,
        max_headers=64,
    )
    await runner.setup()
    connections = app[_CONNECTIONS]
    assert runner.server is not None
    try:
        server = await asyncio.get_running_loop().create_server(
            connections.factory(runner.server), host, port, backlog=128
        )
    except BaseException:
        await runner.cleanup()
        raise
    bound = server.sockets[0].getsockname()
    name = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
    return Served(f"{name}:{bound[1]}", connections, server, runner)


class _Site:
    """The handlers. What takes time is made in one thread, once a Snapshot, and kept until the next."""

    def __init__(
        self,
        snapshots: Callable[[], Snapshot | None],
        exporter: Exporter,
        history: History,
        not_ready: Callable[[], Sequence[str]],
    ) -> None:
        self._snapshots = snapshots
        self._exporter = exporter
        self._history = history
        self._not_ready = not_ready
        self._kept: dict[str, tuple[Snapshot | None, bytes]] = {}
        self._pool: ThreadPoolExecutor | None = None

    async def lifetime(self, _: web.Application) -> AsyncIterator[None]:
        """One thread: two scrapes of one Snapshot share the work."""
        self._pool = ThreadPoolExecutor(1, "pf-render")
        yield
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _made(self, name: str, snapshot: Snapshot | None, make: Callable[[], bytes]) -> bytes:
        kept = self._kept.get(name)
        if kept is not None and kept[0] is snapshot and snapshot is not None:
            return kept[1]
        body = await asyncio.get_running_loop().run_in_executor(self._pool, make)
        self._kept[name] = (snapshot, body)
        return body

    async def front(self, _: web.Request) -> web.Response:
        """GET /."""
        snapshot = self._snapshots()
        waiting = tuple(self._not_ready())
        body = await self._made("front", snapshot, lambda: page.html(snapshot, waiting, self._rises()))
        return web.Response(body=body, headers={"Content-Type": _HTML, "Content-Security-Policy": page.POLICY})

    async def icon(self, _: web.Request) -> web.Response:
        """GET /favicon.ico."""
        headers = {"Content-Type": "image/svg+xml", "Cache-Control": "max-age=86400"}
        return web.Response(body=ICON.encode(), headers=headers)

    async def asset(self, request: web.Request) -> web.Response:
        """GET /assets/NAME: the name holds the content's hash, so it may be kept for good."""
        found = assets().get(request.match_info["name"])
        if found is None:
            raise web.HTTPNotFound
        packed = "gzip" in request.headers.get("Accept-Encoding", "")
        headers = {
            "Content-Type": found.type,
            "Cache-Control": "public, max-age=31536000, immutable",
            "Vary": "Accept-Encoding",
        }
        if packed:
            headers["Content-Encoding"] = "gzip"
        return web.Response(body=found.packed if packed else found.body, headers=headers)

    async def metrics(self, request: web.Request) -> web.Response:
        """GET /metrics."""
        snapshot = self._snapshots()
        if snapshot is None:
            return _text(503, "no sample yet: the first one comes within sample.interval\n")
        accept = ",".join(request.headers.getall("Accept", []))
        encoding = ",".join(request.headers.getall("Accept-Encoding", []))
        done = self._exporter.cached(snapshot, accept=accept, accept_encoding=encoding)
        if done is None:
            work = partial(self._exporter.render, snapshot, accept=accept, accept_encoding=encoding)
            done = await asyncio.get_running_loop().run_in_executor(self._pool, work)
        headers = {"Content-Type": done.content_type, "Vary": "Accept, Accept-Encoding"}
        if done.encoding:
            headers["Content-Encoding"] = done.encoding
        return web.Response(body=done.body, headers=headers)

    async def healthy(self, _: web.Request) -> web.Response:
        """GET /-/healthy: the loop runs, else nobody would answer."""
        return _text(200, "ok\n")

    async def ready(self, _: web.Request) -> web.Response:
        """GET /-/ready: 200, or 503 with one reason a line."""
        reasons = [*self._not_ready()]
        if self._snapshots() is None:
            reasons.append("no sample yet")
        return _text(503, "".join(r + "\n" for r in reasons)) if reasons else _text(200, "ready\n")

    async def status(self, _: web.Request) -> web.Response:
        """GET /api/v1/status."""
        return await self._document("status", lambda snapshot: documents.status(snapshot, self._rises()))

    async def drift(self, _: web.Request) -> web.Response:
        """GET /api/v1/drift."""
        return await self._document("drift", documents.drift)

    async def alerts(self, _: web.Request) -> web.Response:
        """GET /api/v1/alerts."""
        return await self._document("alerts", lambda snapshot: snapshot.alerts)

    async def history(self, request: web.Request) -> web.Response:
        """GET /api/v1/history."""
        work = partial(past.answer, self._history, request.query)
        try:
            body, status = await asyncio.get_running_loop().run_in_executor(self._pool, work), 200
        except past.AskedError as error:
            body, status = documents.encode({"error": str(error)}), 400
        return web.Response(status=status, body=body, headers={"Content-Type": _JSON})

    async def view(self, _: web.Request) -> web.Response:
        """GET /api/v1/view: what `/api/v1/live` sends, for whom it does not reach."""
        snapshot, waiting = self._snapshots(), tuple(self._not_ready())
        body = await self._made("view", snapshot, lambda: documents.encode(view.view(snapshot, waiting, self._rises())))
        return web.Response(body=body, headers={"Content-Type": _JSON})

    async def event(self, snapshot: Snapshot | None) -> bytes:
        """The same as an event of `/api/v1/live`."""
        waiting = tuple(self._not_ready())
        return await self._made("event", snapshot, lambda: live.event(view.view(snapshot, waiting, self._rises())))

    def _rises(self) -> numbers.Rises:
        return self._history.rises(numbers.COUNTERS, numbers.LATELY_S)

    async def distributions(self, request: web.Request) -> web.Response:
        """GET /api/v1/distributions: which streams there are; with ``?model=&feature=``, one of them bin by bin."""
        model, feature = request.query.get("model"), request.query.get("feature")
        if model is None or feature is None:
            return await self._document("distributions", view.streams)
        snapshot = self._snapshots()
        found = None if snapshot is None else view.distribution(snapshot, model, feature)
        error = {"error": "no such stream; /api/v1/distributions without a query lists them"}
        body = documents.encode(error if found is None else found)
        return web.Response(status=404 if found is None else 200, body=body, headers={"Content-Type": _JSON})

    async def _document(self, name: str, make: Callable[[Snapshot], object]) -> web.Response:
        snapshot = self._snapshots()
        if snapshot is None:
            return web.Response(
                status=503, body=documents.encode({"error": "no sample yet"}), headers={"Content-Type": _JSON}
            )
        body = await self._made(name, snapshot, lambda: documents.encode(make(snapshot)))
        return web.Response(body=body, headers={"Content-Type": _JSON})


def _text(status: int, text: str) -> web.Response:
    return web.Response(status=status, body=text.encode(errors="replace"), headers={"Content-Type": _TEXT})


def _guard(events: Events | None) -> Middleware:
    """A middleware: tells the connection of its phases, and turns every failure into a short answer."""

    @web.middleware
    async def guard(request: web.Request, handler: _Handler) -> web.StreamResponse:
        connection = request.app[_CONNECTIONS].of(request.protocol)
        if connection is not None:
            connection.started()
        try:
            if request.version.major != 1:  # the line in front would promise what it asked for
                return _text(505, "HTTP/1.0 or HTTP/1.1 here\n")
            return await handler(request)
        except web.HTTPMethodNotAllowed as refused:
            allow = ", ".join(sorted(refused.allowed_methods))
            answer = _text(405, f"method not allowed here, only {allow}\n")
            answer.headers["Allow"] = allow
            return answer
        except web.HTTPNotFound:
            return _text(404, f"nothing here; there is {_PATHS}\n")
        except web.HTTPException as other:
            return _text(other.status, f"{other.reason}\n")
        except Exception as error:  # noqa: BLE001 - the one boundary of HTTP: a client never sees a traceback
            if events is not None:
                events.emit(HTTP_FAILED, path=request.path[:100], error=f"{type(error).__name__}: {error}"[:200])
            return _text(500, "internal error; the agent's log says more\n")
        finally:
            if connection is not None:
                connection.finished()

    return guard


async def _safe_headers(_: web.Request, response: web.StreamResponse) -> None:
    """What every answer carries: no framing, no guessing of types, no caching, no version of the server."""
    response.headers["Server"] = "pilotfish"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["X-Frame-Options"] = "DENY"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
