"""The agent: the composition root. Only this file knows all parts; see docs/architecture.md for who does what.

The event loop serves HTTP. Everything that takes CPU (draining, drift, sampling) is one step of the pipeline in a
thread that keeps time; the intake's socket has a thread of its own, because the kernel queues eleven datagrams only.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar
from urllib.parse import urlsplit

from pilotfish_agent import memory, reload
from pilotfish_agent.capture.supervisor import Supervisor
from pilotfish_agent.config import Settings
from pilotfish_agent.control import Control, Request
from pilotfish_agent.decode._runner import Decoders
from pilotfish_agent.gpu.supervisor import Supervisor as GpuSupervisor
from pilotfish_agent.hardware._context import HostContext
from pilotfish_agent.hardware._runner import Runner
from pilotfish_agent.http_client import own_word
from pilotfish_agent.intake.listener import Intake
from pilotfish_agent.launch.values import LISTEN, listen_address
from pilotfish_agent.pipeline.components import Components
from pilotfish_agent.pipeline.model import Terms
from pilotfish_agent.pipeline.pace import Pace
from pilotfish_agent.pipeline.references import LastRead, References
from pilotfish_agent.pipeline.step import Identity, Pipeline
from pilotfish_agent.pipeline.targets import Watched
from pilotfish_agent.probe._runner import Prober
from pilotfish_agent.scrape._runner import Scraper
from pilotfish_agent.state import files
from pilotfish_agent.state.history import History
from pilotfish_agent.state.store import Store
from pilotfish_agent.surroundings import Surroundings
from pilotfish_agent.target.exit_feed import Feed
from pilotfish_agent.target.processes import holder_of
from pilotfish_agent.web import server
from pilotfish_core.errors import PilotfishError, UnavailableError, UsageError
from pilotfish_core.events import Event, Events
from pilotfish_exporters.prometheus import Exporter

CONFIG_BAD = Event("config_bad", "error", "The configuration has an error; what is good is in force.")
PORT_TAKEN = Event("port_taken", "warning", "The listen address cannot be bound; tried again.")
INTAKE_BAD = Event("intake_bad", "error", "The intake socket cannot be made; the SDK's rows are not received.")
ADDRESS_UNWRITTEN = Event("address_unwritten", "error", "The address file cannot be written; commands find no agent.")
STARTED = Event("started", "info", "The agent watches.")
STOPPED = Event("stopped", "info", "The agent leaves.")
STEP_FAILED = Event("step_failed", "error", "A step of the pipeline failed; the next one is tried.")
MEMORY_SHORT = Event("memory_short", "error", "The agent is at its memory ceiling; it saves and starts anew.")
RELOADED = Event("reloaded", "info", "Configuration and references were read anew; words say what has changed.")
RELOAD_FAILED = Event("reload_failed", "error", "A reload found something wrong; everything stays as it was.")
EVENTS = (
    CONFIG_BAD,
    PORT_TAKEN,
    INTAKE_BAD,
    ADDRESS_UNWRITTEN,
    STARTED,
    STOPPED,
    STEP_FAILED,
    MEMORY_SHORT,
    RELOADED,
    RELOAD_FAILED,
)

FAILED_SECONDS = 0.5
"""From a failed step to the next one."""
ALIVE_SECONDS = 2.0
"""How often the event loop shows that it runs; without that the guard hears no heartbeat."""
LATE_SECONDS = 1.0
"""By how much it may be late."""
LISTEN_RETRY = 5.0
SHARED = ".shared"
"""Folder beside those of the instances, whose names never begin with a dot."""
FAILURES = 10
"""Failed steps in a row after which the agent ends, so that the guard starts it with a clean slate."""
START_ANEW = 75  # EX_TEMPFAIL of sysexits.h: the guard starts it again

_T = TypeVar("_T")


class Agent:
    """One running agent.

    Args:
        around: what it was given.
        events: where things are told.
    """

    def __init__(self, around: Surroundings, events: Events) -> None:
        self._around = around
        self._events = events
        self._store = Store()
        self._history = History(around.settings.section("sample").interval)
        self._address: str | None = None
        self._served: server.Served | None = None
        self._failures = 0
        self._told = ""
        handover, settings = around.handover, around.settings
        self._components = Components(None if around.heart.alone else os.getppid(), handover.restarts)
        self._intake = Intake(handover.intake, group=handover.options.get("intake-group"), events=events)
        self._capture = Supervisor(
            settings.section("capture"),
            handover.intake,
            events=events,
            port=settings.section("target").port,
            own=own_word(),
            scraped=frozenset(port for one in settings.section("scrape") if (port := urlsplit(one.url).port)),
        )
        who = around.targets[0].name  # the model's server is asked, so what it says speaks of the target
        self._scraper = Scraper(settings.section("scrape"), who, clock=around.clock, events=events)
        self._prober = Prober(settings.section("probe"), who, clock=around.clock, events=events)
        self._gpus = GpuSupervisor(settings.section("gpu"), settings.section("sample").interval, events=events)
        self._exits = Feed.of("/sys")
        host = HostContext(around.clock, state=handover.state_dir or None, exits=self._exits, gpus=self._gpus)
        self._machine = Runner(host, events=events)
        self._pipeline = self._compose(host)
        self._exporter = Exporter()
        self._exporter.configure(settings.section("labels"), settings.section("limits").series)
        self._app = server.build_app(
            self._store.latest, self._exporter, history=self._history, not_ready=self._not_ready, events=events
        )
        actions = {"reload": self._reload, "accept": self._accept}
        self._control = Control(f"{handover.runtime_dir}/control.sock", actions, events)
        self._changing = asyncio.Lock()
        self._pace = Pace(self._step)
        self._stop = asyncio.Event()
        self._alive = around.clock.monotonic()  # when the loop was
        self._tasks: set[asyncio.Task[Mapping[str, str]]] = set()
        self._exit_code = 0

    def _compose(self, host: HostContext) -> Pipeline:
        around, handover, settings = self._around, self._around.handover, self._around.settings
        model = settings.section("model")
        decoders = self._decoders()
        own = frozenset(p for p in self._components.pids.values() if p is not None)
        targets = [Watched(w, host=host, events=self._events, exclude=own) for w in around.targets]
        identity = Identity(
            instance=handover.instance,
            target=targets[0].name,
            model=model.name or handover.instance,
            started=around.clock.wall(),
            notices=tuple(around.notices),
            by_target=len(targets) > 1 and model.name is None,
        )
        read_at = around.clock.wall() if around.config_ok else None
        last_read = LastRead(around.config_ok, read_at, tuple(around.faults))
        terms = _terms(settings, targets[0].name, handover.state_dir)
        return Pipeline(
            identity,
            terms,
            around.references or References(),
            last_read,
            interval=settings.section("sample").interval,
            source=self._intake,
            decoders=decoders,
            targets=targets,
            components=self._components,
            capture=self._capture,
            gpus=self._gpus,
            outside=(
                self._machine.collect,
                self._scraper.readings,
                self._prober.readings,
                lambda: server.samples(self._app),
            ),
            store=self._store,
            history=self._history,
            listen=lambda: self._address,
            clock=around.clock,
            events=self._events,
        )

    def _decoders(self) -> Decoders:
        """Those that the configuration names; all where it names one that there is not."""
        try:
            return Decoders(self._around.settings.section("decode"), events=self._events)
        except PilotfishError as error:
            self._events.emit(CONFIG_BAD, error=error.line())
            self._around.heart.warn(error.line())
            self._around.faults.append(error.line())
            self._around.config_ok = False
            return Decoders(events=self._events)

    async def run(self) -> int:
        """Until the model ends or a signal comes; the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        if self._around.handover.model_pidfd >= 0:
            loop.add_reader(self._around.handover.model_pidfd, self._stop.set)
        self._loop: asyncio.AbstractEventLoop = loop
        self._pace.start()
        self._intake.hurry = self._pace.hurry
        self._take_in()
        await self._control.start()
        self._capture.start()
        self._gpus.start()
        await self._in_pipeline(self._step)
        await self._listen()
        self._told = self._watching()
        log = self._around.handover.log_file or ("stderr" if self._around.heart.alone else "nowhere")
        self._around.heart.ready(f"{self._told}, log {log}")
        self._events.emit(STARTED, targets=[t.name for t in self._around.targets])
        tasks = [asyncio.create_task(w()) for w in (self._listen_again, self._scraper.run, self._prober.run)]
        try:
            await self._keep_time()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._end()
        return self._exit_code

    def _take_in(self) -> None:
        """For this user alone where the group cannot be had; processes are watched even where there is no intake."""
        for group in dict.fromkeys((self._intake.group, None)):
            self._intake.group = group
            try:
                self._intake.start()
            except PilotfishError as error:  # `/-/ready` says what is missing
                self._events.emit(INTAKE_BAD, error=error.line())
                if error.line() not in (*self._around.notices, *self._around.faults):
                    self._around.heart.warn(error.line())
            else:
                return

    async def _keep_time(self) -> None:
        """The pipeline's thread keeps time; the loop shows that it runs, until it is time to leave."""
        self._pace.hurry()
        while not self._stop.is_set():
            self._alive = self._around.clock.monotonic()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), ALIVE_SECONDS)

    def _step(self) -> float:
        """One step, in the pipeline's thread; seconds until the next one."""
        around = self._around
        try:
            self._pipeline.step()
            self._failures = 0
        except Exception as error:  # noqa: BLE001 - the agent's one boundary: a fault costs a step, not the agent
            self._failures += 1
            self._events.emit(STEP_FAILED, error=f"{type(error).__name__}: {error}", exc_info=True)
            if self._failures >= FAILURES:
                self._leave(1)
            return FAILED_SECONDS
        if self._told:  # who hears of it has been told that we are ready
            if around.clock.monotonic() - self._alive < ALIVE_SECONDS + LATE_SECONDS:
                around.heart.beat()
            if (now := self._watching()) != self._told:
                self._told = now
                around.heart.tell(now)
        self._mind_memory()
        return self._pipeline.rest()

    def _mind_memory(self) -> None:
        verdict = memory.verdict(self._components.resident(), self._around.settings.section("limits").memory)
        if verdict == "tight":
            memory.give_back()
        elif verdict == "over":
            self._events.emit(MEMORY_SHORT, resident=self._components.resident())
            self._leave(START_ANEW)

    def _leave(self, code: int) -> None:
        """From the pipeline's thread."""
        self._exit_code = code
        self._loop.call_soon_threadsafe(self._stop.set)

    # -- changes while it runs

    def _hang_up(self) -> None:
        """SIGHUP: nobody waits for the answer, the log has it."""
        task = asyncio.get_running_loop().create_task(self._reload({}))
        self._tasks.add(task)
        task.add_done_callback(self._hung_up)

    def _hung_up(self, task: asyncio.Task[Mapping[str, str]]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and not isinstance(task.exception(), PilotfishError | None):
            self._events.emit(STEP_FAILED, error=repr(task.exception()))

    async def _reload(self, _: Request) -> Mapping[str, str]:
        around = self._around
        async with self._changing:
            try:
                taken = await asyncio.to_thread(reload.read, around.origin, around.settings, self._still_runs)
            except PilotfishError as error:
                self._events.emit(RELOAD_FAILED, error=error.line())
                await self._in_pipeline(partial(self._pipeline.not_reloaded, error.line()))
                raise
            settings = taken.settings
            later = [f"{name} has changed: restart the agent for it" for name in taken.restart]
            terms = _terms(settings, around.targets[0].name, around.handover.state_dir)
            last_read = LastRead(ok=True, at=around.clock.wall(), notices=(*settings.warnings, *later))
            changed = await self._in_pipeline(partial(self._pipeline.reload, terms, taken.references, last_read))
            around.settings = settings
            self._exporter.configure(settings.section("labels"), settings.section("limits").series)
            words = "; ".join([*changed, *later]) or "read anew; nothing that concerns evidence has changed"
            self._events.emit(RELOADED, words=words)
            return {"words": words}

    async def _accept(self, request: Request) -> Mapping[str, str]:
        model = request.get("model")
        return await self._in_pipeline(partial(self._pipeline.accept, None if model is None else str(model)))

    async def _in_pipeline(self, work: Callable[[], _T]) -> _T:
        """Between two steps: models are touched by one thread alone."""
        return await asyncio.wrap_future(self._pace.do(work))

    def _still_runs(self) -> None:
        if self._stop.is_set():
            raise UnavailableError("the agent is ending")

    # -- listening

    async def _listen(self) -> bool:
        wanted = self._around.handover.options.get("listen", LISTEN)
        try:
            host, port = listen_address(wanted)
        except UsageError:  # told at the start; metrics where nobody looks are better than none
            host, port = listen_address(LISTEN)
        try:
            self._served = await server.serve(self._app, host, port)
        except OSError as error:
            why = os.strerror(error.errno) if error.errno and error.errno in errno.errorcode else error
            line = f"--listen: cannot bind {wanted}: {why}{holder_of(port)}; retrying"
            self._events.emit(PORT_TAKEN, address=wanted, error=str(error))
            self._around.heart.warn(line)
            return False
        self._address = self._served.address
        try:
            files.write_text(self._around.handover.address_file, self._address + "\n")
        except OSError as error:
            self._events.emit(ADDRESS_UNWRITTEN, address=self._address, error=str(error))
            self._around.heart.warn(f"{error.filename}: {error.strerror}; `pilotfish status` will not find this agent")
        return True

    async def _listen_again(self) -> None:
        while self._served is None:
            await asyncio.sleep(LISTEN_RETRY)
            await self._listen()

    def _watching(self) -> str:
        where = f"metrics on http://{self._address}/metrics" if self._address else "no address yet"
        snapshot = self._store.latest()
        targets = snapshot.status.targets if snapshot is not None else ()
        seen = ", ".join(f"PID {t['pid']} ({t['name']})" for t in targets if t["up"])
        missing = ", ".join(str(t["name"]) for t in targets if not t["up"])
        what = [f"watching {seen}"] * bool(seen) + [f"waiting for {missing}"] * bool(missing)
        return ", ".join([*what, where])

    def _not_ready(self) -> list[str]:
        return [] if self._intake.listening else ["intake does not listen"]

    async def _end(self) -> None:
        self._events.emit(STOPPED)
        self._around.heart.leave()
        await self._control.stop()
        self._capture.stop()  # what it has seen comes before the last step
        self._gpus.stop()
        try:
            finished = self._pace.do(self._pipeline.finish)
            self._pace.stop()  # the next thing that it does
            await asyncio.wrap_future(finished)
        except Exception as error:  # noqa: BLE001 - whatever it is, the rest must still be closed
            self._events.emit(STEP_FAILED, error=f"{type(error).__name__}: {error}")
        if (ending := self._pipeline.ending) is not None and ending.cause == "oom":
            self._around.heart.ended(ending.cause)
        self._intake.stop()
        self._machine.close()
        self._exits.close()
        if self._served is not None:
            await self._served.stop()


def _terms(settings: Settings, target: str, folder: str) -> Terms:
    """What the configuration says of models."""
    model = settings.section("model")
    return Terms(
        target=target,
        drift=settings.section("drift"),
        features=settings.section("features"),
        task=model.task,
        version=model.version,
        max_features=settings.section("limits").features,
        folder=folder or None,
        shared=os.path.join(os.path.dirname(folder), SHARED) if folder else None,
    )


if __name__ == "__main__":
    sys.exit("start it by `pilotfish run` or `pilotfish attach`")
