"""``pf-stub``: the model's parent, where one is needed: as PID 1 of a container, or with ``--supervise``.

The kernel protects PID 1 from signals that it does not handle and gives it all orphans; few models are made for that.
So the stub forwards each signal once, reaps, and passes on how the model ended. It does nothing else: guard and agent
are started by its child on the way to becoming the model, exactly as without a stub, and come here as orphans.
Standard library only, below 12 MiB; no thread, no handler: all signals are blocked and taken one by one.
"""

import os
import select

from pilotfish_agent.launch import exitstatus
from pilotfish_agent.launch import proc as procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from typing import NoReturn

    from pilotfish_agent.launch.launcher import Environ
else:
    import _signal

GRACE_SECONDS = 0.95  # for guard and agent after the model's end; the guard needs 0.7
LEAVING_SECONDS = 0.02  # from the guard's last closed descriptor to its end
NAMES_OF_PIDS = (b"LISTEN_PID", b"WATCHDOG_PID")  # of the one process to whom systemd gave sockets or a watchdog
_FIRST_FD = 16  # ours live above the numbers a user may have given
_ALL = _signal.valid_signals()
_TERMINAL_STOPS = (_signal.SIGTSTP, _signal.SIGTTIN, _signal.SIGTTOU)
_SET_CHILD_SUBREAPER = 36  # prctl(2)


def part(environ: "Environ", target: str) -> int:
    """Forks. Returns in the child, which is to become the model; the parent goes on as the stub and ends with it.

    Args:
        environ: variables for the model; those that name our pid will name the child's.
        target: base name of CMD, for our title.

    Returns:
        A descriptor from which one can read how the model ended (`exitstatus.told`); closed by exec.

    Raises:
        OSError: no process or descriptor is to be had; nothing was changed.
    """
    terminal = _open_terminal()
    apart = terminal < 0 or _alone_on(terminal)
    told, tell = os.pipe()
    mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, _ALL)
    children = _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)  # ignored, it would take the status from us
    us = os.getpid()
    try:
        model = os.fork()
    except OSError:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)
        for fd in (told, tell, terminal):
            if fd >= 0:
                os.close(fd)
        raise
    if model:
        _stay(model, tell, terminal, apart, target)
    if apart:
        os.setpgid(0, 0)
        _give(terminal, us, os.getpid())
    os.close(tell)
    if terminal >= 0:
        os.close(terminal)
    for name in NAMES_OF_PIDS:
        if environ.text(name.decode()) == str(us):
            environ.put(name, str(os.getpid()).encode())
    _signal.signal(_signal.SIGCHLD, children)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)
    return told


def _open_terminal() -> int:
    try:
        return os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:
        return -1


def _alone_on(terminal: int) -> bool:
    """Whether the model may have a process group of its own, so that what is sent to our group arrives once.

    Not in a script or a pipeline: whoever shares our group also wants the terminal, and its Ctrl-C.
    """
    return os.getpgrp() == os.getpid() and os.isatty(0) and os.isatty(1) and terminal >= 0


def _give(terminal: int, owner: int, group: int) -> None:
    """Makes ``group`` the terminal's foreground, if ``owner`` is. SIGTTOU is blocked, so we are not stopped for it."""
    try:
        if terminal >= 0 and os.tcgetpgrp(terminal) == owner:
            os.tcsetpgrp(terminal, group)
    except OSError:
        pass  # the terminal hung up, or the group is gone


def _stay(model: int, tell: int, terminal: int, apart: bool, target: str) -> "NoReturn":
    code = 1
    try:
        code = Stub(model, tell, terminal, apart).work(target)
    finally:
        os._exit(code)


class Stub:
    """One model's parent.

    Args:
        model: its pid.
        tell: where how it ended is to be told.
        terminal: our controlling terminal, -1 without.
        apart: the model has a process group of its own.
    """

    def __init__(self, model: int, tell: int, terminal: int, apart: bool) -> None:
        self._model = model
        self._apart = apart
        self._stopped = False
        self._used = exitstatus.Used()
        self._tell, self._terminal = self._keep(tell, terminal)

    @staticmethod
    def _keep(*fds: int) -> list[int]:
        import fcntl

        kept = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FIRST_FD) if fd >= 0 else -1 for fd in fds]
        procfs.keep_only([fd for fd in kept if fd >= 0])
        return kept

    def work(self, target: str) -> int:
        """Until the model has ended and those beside it are gone; dies as it did, or returns its exit code."""
        procfs.introduce("pf-stub")
        procfs.rename_arguments(f"pf-stub {target}")
        os.chdir("/")
        if os.getpid() != 1:
            _adopt_orphans()
        status = self._attend()
        exitstatus.tell(self._tell, status, self._used)
        self._see_off()
        _give(self._terminal, self._model, os.getpgrp())
        return _end_like(status)

    def _attend(self) -> int:
        """Takes signals until the model has ended; its wait status."""
        while True:
            came = _signal.sigwaitinfo(_ALL)
            if came.si_signo != _signal.SIGCHLD:
                self._forward(came.si_signo, by_kernel=came.si_code > 0)
                continue
            if came.si_code <= 0:  # sent by somebody; a child's own may have been merged with it
                self._send(_signal.SIGCHLD)
            status = self._reap()
            if status is not None:
                return status

    def _reap(self) -> int | None:
        """Takes every child that has ended; the model's wait status when it is among them."""
        ended = None
        while True:
            try:
                pid, status, used = os.wait4(-1, os.WNOHANG | os.WUNTRACED)
            except ChildProcessError:
                return ended
            if pid == 0:
                return ended
            if not os.WIFSTOPPED(status):
                self._used.add(used.ru_utime, used.ru_stime, used.ru_maxrss)
            if pid == self._model:
                if os.WIFSTOPPED(status):
                    self._stop_too(os.WSTOPSIG(status))
                else:
                    ended = status

    def _see_off(self) -> None:
        """Waits for the guard to leave, and takes what is left of it."""
        poll = select.poll()
        poll.register(self._tell, 0)  # an error: nobody can read it, the guard is gone or was never there
        if not poll.poll(0) and poll.poll(GRACE_SECONDS * 1000):
            _signal.sigtimedwait([_signal.SIGCHLD], LEAVING_SECONDS)
        self._reap()

    def _send(self, number: int) -> None:
        try:
            os.kill(self._model, number)
        except OSError:
            pass  # it ended just now, or has become another user's

    # -- the terminal ------------------------------------------------------------------------------------------

    def _forward(self, number: int, *, by_kernel: bool) -> None:
        if by_kernel and self._terminal >= 0:
            return  # the terminal's own go to its whole foreground group: the model has it
        if number == _signal.SIGCONT and self._terminal >= 0:
            stopped, self._stopped = self._stopped, False
            if self._apart:
                _give(self._terminal, os.getpgrp(), self._model)
            if stopped:
                if self._apart:
                    os.killpg(self._model, number)
                return  # else the shell has sent it to the whole group
        self._send(number)

    def _stop_too(self, number: int) -> None:
        """The model was stopped by the terminal (Ctrl-Z): so are we, by the same signal, that the shell sees it."""
        if self._terminal < 0 or number not in _TERMINAL_STOPS:
            return
        _signal.signal(number, _signal.SIG_DFL)
        os.kill(os.getpid(), number)
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, [number])  # here we are stopped
        _signal.pthread_sigmask(_signal.SIG_BLOCK, [number])
        self._stopped = _signal.SIGCONT in _signal.sigpending()
        if not self._stopped and number == _signal.SIGTSTP and self._apart:
            # PID 1, or no shell above us: nobody would ever continue it, and without us the kernel would not stop it.
            os.killpg(self._model, _signal.SIGCONT)


def _adopt_orphans() -> None:
    """prctl(PR_SET_CHILD_SUBREAPER): what the model leaves behind is reaped here. Without it, by whoever was to."""
    try:
        import _ctypes

        prctl = _ctypes.dlsym(_ctypes.dlopen(None, os.RTLD_NOW), "prctl")  # type: ignore[arg-type]  # None: ourselves
        _ctypes.call_function(prctl, (_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
    except (ImportError, OSError, AttributeError):
        pass


def _end_like(status: int) -> int:
    """The exit code to end with. A death by signal is ours too; as PID 1 it cannot be, so it is 128 + N."""
    if not os.WIFSIGNALED(status):
        return os.WEXITSTATUS(status)
    number = os.WTERMSIG(status)
    if os.getpid() != 1:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # one core file is enough
        if number != _signal.SIGKILL:
            _signal.signal(number, _signal.SIG_DFL)
        os.kill(os.getpid(), number)
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, [number])
    return 128 + number
