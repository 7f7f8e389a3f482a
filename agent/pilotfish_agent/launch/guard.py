"""``pf-guard``: the forked launcher. Keeps one agent alive until the model ends, then leaves nothing behind.

It never touches the model: no signal, no descriptor, no pipe of its. Standard library only, below 12 MiB.
"""

import os
import select
import sys
import time

from pilotfish_agent.launch import exitstatus, handover, oom, places
from pilotfish_agent.launch import proc as procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from typing import NoReturn

    from pilotfish_agent.launch.launcher import Environ, Job
else:
    import _signal

SILENCE_SECONDS = 10.0  # the contract: a hung agent is killed after this
START_SECONDS = 30.0  # from start to ready: imports on a loaded machine take seconds, not this long
EARLY_SECONDS = 10.0  # a death within this of its start makes the next start wait
FIRST_DELAY, LONGEST_DELAY = 0.05, 30.0
DEATHS, DEATHS_SECONDS = 10, 300.0  # circuit break: this many deaths in this time
STATUS_SECONDS = 0.1  # for the exit status: the kernel knows it once the parent has reaped
TOLD_SECONDS = 0.4  # for the stub's word: it always comes, unless the stub was stopped or killed
FLUSH_SECONDS = 0.7  # for the agent to flush: all of ours is gone within 1 s of the model's end
NEEDED = ("aiohttp", "numpy", "prometheus_client", "structlog", "yaml")  # what `[agent]` brings
_FIRST_FD = 16  # ours live above the numbers the agent is given


class Backoff:
    """When to start the next agent. Pure.

    Attributes:
        delay: seconds until the next start, after `death`.
    """

    __slots__ = ("_deaths", "delay")

    def __init__(self) -> None:
        self.delay = FIRST_DELAY
        self._deaths: list[float] = []

    def death(self, started: float, died: float) -> bool:
        """Counts one death; False when it is time to give up. Times in monotonic seconds."""
        early = died - started < EARLY_SECONDS
        self.delay = min(self.delay * 2, LONGEST_DELAY) if early and self._deaths else FIRST_DELAY
        self._deaths = [t for t in self._deaths if died - t < DEATHS_SECONDS] + [died]
        return len(self._deaths) < DEATHS


def main(job: "Job", pidfd: int, environ: "Environ") -> "NoReturn":
    """Runs in the forked grandchild; never returns into the launcher's code."""
    guard = None
    try:
        _detach(job)
        guard = Guard(job, pidfd, environ)
        guard.work()
    except BaseException as error:  # noqa: BLE001 - nothing of ours may come back into the model's code
        _log(job.log_file, f"guard stopped: {type(error).__name__}: {error}")
    finally:
        if guard is not None:
            guard.end()
        os._exit(0)


def _detach(job: "Job") -> None:
    _signal.pthread_sigmask(_signal.SIG_SETMASK, [])
    for number in _signal.valid_signals() - {_signal.SIGKILL, _signal.SIGSTOP, _signal.SIGCHLD}:
        try:
            _signal.signal(number, _signal.SIG_IGN)  # the model's end is the only reason to go
        except OSError:
            pass  # the C library keeps a few for itself
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
    os.umask(0o077)
    os.chdir("/")
    procfs.introduce("pf-guard")  # not before the model: it frees nothing, and nobody would start the agent again
    procfs.rename_arguments(f"pf-guard {job.instance.name}")


def _log(path: str, text: str) -> None:
    """One line into the agent's log; opened anew each time, because the agent rotates it."""
    fd = _open_log(path)
    try:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        os.write(fd, f"{stamp} [warning] pf-guard: {text}\n".encode("utf-8", "replace"))
    except OSError:
        pass
    finally:
        os.close(fd)


def _open_log(path: str) -> int:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOCTTY | os.O_NONBLOCK  # a pipe without reader: no wait
    try:
        return os.open(path or "/dev/null", flags, 0o600)
    except OSError:
        return os.open("/dev/null", os.O_WRONLY)


class Guard:
    """One model's guard.

    Args:
        job: what the launcher prepared.
        pidfd: of the model; -1 where the kernel has none.
        environ: the model's variables, for the agent.
    """

    def __init__(self, job: "Job", pidfd: int, environ: "Environ") -> None:
        self._job = job
        self._environ = environ
        self._backoff = Backoff()
        self._agent = 0
        self._agent_fd = self._pipe = -1
        self._restarts = 0
        self._log_file = job.log_file
        self._keep_descriptors(pidfd)
        self._note = os.memfd_create("pilotfish-handover", os.MFD_CLOEXEC)
        self._note = self._above(self._note)
        self._messages = handover.Messages()
        self._started = self._heard = 0.0
        self._ready = False
        self._cause = ""  # of the model's end, as the agent says
        self._kills = oom.Kills()
        if self._kills.fd >= 0:
            self._kills.fd = self._above(self._kills.fd)

    def _keep_descriptors(self, pidfd: int) -> None:
        """Keeps stderr, the pidfd, the stub's pipe and the locks; closes all else."""
        instance = self._job.instance
        self._stderr = -1
        if sys.stderr is not None and not self._job.asked.quiet:
            self._stderr = self._copy(2)
        self._pidfd = self._copy(pidfd) if pidfd >= 0 else -1
        busy = [instance.fds.index(fd) for fd in instance.busy]
        instance.fds = [self._copy(fd) for fd in instance.fds]
        instance.busy = [instance.fds[i] for i in busy]
        self._told = self._copy(self._job.told) if self._job.told >= 0 else -1
        mine = (self._stderr, self._pidfd, self._told, *instance.fds)
        procfs.keep_only([fd for fd in mine if fd >= 0])

    @staticmethod
    def _copy(fd: int) -> int:
        import fcntl

        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FIRST_FD)

    def _above(self, fd: int) -> int:
        """The same file at a number above those the agent is given."""
        if fd >= _FIRST_FD:
            return fd
        copy = self._copy(fd)
        os.close(fd)
        return copy

    # -- the model ---------------------------------------------------------------------------------------------

    def _model_ended(self, seconds: float = 0.0, *others: int) -> bool:
        """Waits at most ``seconds`` for the model's end or for something to read in ``others``."""
        poll = select.poll()
        for fd in (self._pidfd, *others):
            if fd >= 0:
                poll.register(fd, select.POLLIN)
        if self._pidfd < 0:
            poll.poll(min(seconds, 0.1) * 1000)
            return not procfs.alive(*self._job.holder)
        return any(fd == self._pidfd for fd, _ in poll.poll(max(seconds, 0.0) * 1000))

    # -- the work ----------------------------------------------------------------------------------------------

    def work(self) -> None:
        """Returns when the model has ended, or when there is nothing more to guard."""
        missing = [] if self._job.agent[1:2] != ["-I"] else missing_packages()
        if missing:
            self._say(
                f"no monitoring: {missing[0]} is not installed; expected the packages of the agent; "
                'pip install "pilotfish[agent]"'
            )
            return
        while self._job.instance.busy:
            if self._model_ended(0.02):
                return
            self._job.instance.busy = [fd for fd in self._job.instance.busy if not places.try_lock(fd)]
        while self._start():
            if self._watch() or not self._bury():
                return
            until = time.monotonic() + self._backoff.delay
            while (left := until - time.monotonic()) > 0:
                if self._model_ended(left):
                    return

    def _start(self) -> bool:
        """Starts one agent; False when that will never work."""
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._pipe, writer = self._above(reader), self._above(writer)
        log = self._above(_open_log(self._log_file))
        self._write_note()
        actions = [(os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)]
        actions += [(os.POSIX_SPAWN_DUP2, writer, handover.HEARTBEAT_FD)]
        actions += [(os.POSIX_SPAWN_DUP2, self._pidfd, handover.PIDFD_FD)] if self._pidfd >= 0 else []
        actions += [(os.POSIX_SPAWN_DUP2, self._note, handover.HANDOVER_FD)]
        command = [*self._job.agent, f"/dev/fd/{handover.HANDOVER_FD}"]
        try:
            self._agent = os.posix_spawn(
                command[0],
                command,
                self._environ,  # type: ignore[arg-type]  # keys() and values() are all it asks for
                file_actions=actions,
                setpgroup=0,
                setsigmask=[],
                setsigdef=_signal.valid_signals() - {_signal.SIGKILL, _signal.SIGSTOP},
            )
        except OSError as error:
            self._say(f"no monitoring: cannot start the agent; got {error.strerror}: {command[0]}")
            _log(self._log_file, f"cannot start the agent: {error}")
            return False
        finally:
            os.close(writer)
            os.close(log)
        self._agent_fd = self._above(os.pidfd_open(self._agent)) if self._pidfd >= 0 else -1
        self._messages = handover.Messages()
        self._started = self._heard = time.monotonic()
        self._ready = False
        return True

    def _write_note(self) -> None:
        note = self._job.handover(
            heartbeat_fd=handover.HEARTBEAT_FD,
            model_pidfd=handover.PIDFD_FD if self._pidfd >= 0 else -1,
            restarts=self._restarts,
        )
        os.ftruncate(self._note, 0)
        os.pwrite(self._note, note, 0)

    def _watch(self) -> bool:
        """Until the model ends (True) or the agent does (False); a silent agent is killed."""
        while True:
            limit = SILENCE_SECONDS if self._ready else START_SECONDS
            left = self._heard + limit - time.monotonic()
            asked = time.monotonic()
            if self._model_ended(left, self._pipe, self._agent_fd):
                return True
            self._listen()
            if self._agent_gone():
                return False
            self._kills.note()
            now = time.monotonic()
            if now - asked > max(left, 0.0) + 2.0:
                self._heard = now  # we were stopped ourselves (a frozen container): its silence proves nothing
            elif now - self._heard >= limit:
                _log(self._log_file, f"agent {self._agent} said nothing for {limit:.0f} s: killed")
                os.kill(self._agent, _signal.SIGKILL)
                self._heard = now

    def _listen(self) -> None:
        try:
            data = os.read(self._pipe, 1 << 16)
        except OSError:
            return
        if not data:  # it closed the pipe: the end of the process or of its good sense; the silence limit decides
            os.close(self._pipe)
            self._pipe = -1
            return
        self._heard = time.monotonic()
        for kind, text in self._messages.feed(data):
            if kind == "W":
                self._say(text)
            elif kind == "R":
                self._ready = True
                self._say(text)
                self._close_stderr()
            elif kind == "E":
                self._cause = text

    def _agent_gone(self) -> bool:
        """Whether the agent has ended; it stays a zombie until `_bury`, so that its group's number stays ours."""
        return os.waitid(os.P_PID, self._agent, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _bury(self) -> bool:
        """Reaps the agent with its workers; False when it shall not be started again."""
        code = self._reap()
        self._kills.note(code == -_signal.SIGKILL)
        self._restarts += 1
        if code == handover.CANNOT_RUN:  # it has said why
            _log(self._log_file, "the agent cannot run here: given up")
            return False
        again = self._backoff.death(self._started, time.monotonic())
        what = f"restart {self._restarts} in {self._backoff.delay:.2f} s" if again else "given up"
        _log(self._log_file, f"the agent ended with {code}: {what}")
        if not again:
            self._say(f"no monitoring: {DEATHS} agents ended; got {code}; see {self._log_file or 'its log'}")
        return again

    def _reap(self) -> int:
        """The agent's exit code (negative: signal), once it is a zombie."""
        try:
            os.killpg(self._agent, _signal.SIGKILL)  # its workers
        except OSError:
            pass
        status = os.waitpid(self._agent, 0)[1]
        self._agent = 0
        for fd in (self._agent_fd, self._pipe):
            if fd >= 0:
                os.close(fd)
        self._agent_fd = self._pipe = -1
        return os.waitstatus_to_exitcode(status)

    # -- the end -----------------------------------------------------------------------------------------------

    def end(self) -> None:
        """The model has ended, or we give up: the agent flushes, how the model ended is written, nothing stays."""
        deadline = time.monotonic() + FLUSH_SECONDS
        self._close_stderr()
        if self._agent:
            os.kill(self._agent, _signal.SIGTERM)
        ending = self._ending() if self._model_ended() else None
        if ending is not None:
            self._record(ending)
        knows, by_us = bool(self._agent) and self._ready, False
        while self._agent and not self._agent_gone():
            if time.monotonic() >= deadline:
                os.kill(self._agent, _signal.SIGKILL)
                by_us = True
            poll = select.poll()
            if self._agent_fd >= 0:
                poll.register(self._agent_fd, select.POLLIN)
            poll.poll(50 if self._agent_fd >= 0 else 10)
        if self._agent:
            if self._pipe >= 0:
                self._listen()
            code = self._reap()
            knows = knows and code == 0
            self._kills.note(code == -_signal.SIGKILL and not by_us)
        else:
            self._kills.note()
        if not knows and self._kills.unexplained():
            self._cause = "oom"
        if ending is not None and self._cause == "oom" and (ending[1] or 0) & 0x7F == _signal.SIGKILL:
            self._record(ending, self._cause)
        places.release(self._job.instance, self._job.holder)

    def _ending(self) -> "tuple[float, int | None, exitstatus.Used | None]":
        """When and how the model ended, and what it used."""
        ended = time.time()
        pid, start = self._job.holder
        told = exitstatus.told(self._told, TOLD_SECONDS) if self._told >= 0 else None
        if told is not None:
            return ended, *told
        return ended, exitstatus.wait(pid, start, self._pidfd, STATUS_SECONDS), None

    def _record(self, ending: "tuple[float, int | None, exitstatus.Used | None]", why: str = "") -> None:
        ended, status, used = ending
        folder = self._job.instance.state
        if not folder:
            return
        try:
            exitstatus.save(folder, exitstatus.record(*self._job.holder, status, ended, why, used))
        except OSError as error:
            _log(self._log_file, f"how the model ended could not be written: {error}")

    # -- stderr ------------------------------------------------------------------------------------------------

    def _say(self, text: str) -> None:
        """One line on the user's stderr while we have it, unless that would make us wait."""
        if self._stderr < 0:
            return
        poll = select.poll()
        poll.register(self._stderr, select.POLLOUT)
        if any(event & select.POLLOUT for _, event in poll.poll(0)):
            try:
                os.write(self._stderr, f"pilotfish: {text}\n".encode("utf-8", "replace")[: handover.LONGEST])
            except OSError:
                pass

    def _close_stderr(self) -> None:
        if self._stderr >= 0:
            os.close(self._stderr)
            self._stderr = -1


def missing_packages() -> list[str]:
    """Those of `NEEDED` which the agent could not import; found without importing `importlib.util`."""
    from importlib.machinery import PathFinder

    return [name for name in NEEDED if PathFinder.find_spec(name) is None]
