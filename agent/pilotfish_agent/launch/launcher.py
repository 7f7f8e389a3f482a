"""``pilotfish run -- CMD``: becomes CMD, with a guard and an agent beside it. See docs/launch.md.

As PID 1, and with ``--supervise``, it is a child that becomes CMD, and we stay its parent: launch/stub.py.

Up to `exec` nothing is imported but `os`, `_signal`, `fcntl` and the files of this folder: each import would be
time the model waits. Nothing here may stop the model: what fails is one line on stderr.
"""

import os
import sys
import time

from pilotfish_agent.launch import options as command_line
from pilotfish_agent.launch import places
from pilotfish_agent.launch import proc as procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
else:
    import _signal

SOCKET_VARIABLE = b"PILOTFISH_SOCKET"
_DEFAULT_PATH = b"/bin:/usr/bin"  # confstr(_CS_PATH), what execvp(3) takes without PATH
_SKIP = (FileNotFoundError, NotADirectoryError)


class Environ:
    """The variables as execve gave them to us: bytes, order and doubles kept. What `os.execve` takes as a mapping."""

    __slots__ = ("_names", "_values")

    def __init__(self, block: bytes) -> None:
        pairs = [entry.partition(b"=") for entry in block.split(b"\0") if entry.find(b"=") > 0]
        self._names = [name for name, _, _ in pairs]
        self._values = [value for _, _, value in pairs]

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, name: bytes) -> bytes:
        return self._values[self._names.index(name)]

    def keys(self) -> list[bytes]:
        """Names, in order."""
        return self._names

    def values(self) -> list[bytes]:
        """Values, in the order of the names."""
        return self._values

    def text(self, name: str) -> str:
        """One variable as text; empty when unset."""
        key = os.fsencode(name)
        return os.fsdecode(self[key]) if key in self._names else ""

    def put(self, name: bytes, value: bytes) -> None:
        """Sets one variable: in its place when there, else at the end."""
        if name in self._names:
            self._values[self._names.index(name)] = value
        else:
            self._names.append(name)
            self._values.append(value)


def read_environ(proc: str = "/proc") -> Environ:
    """The variables we were started with. ``os.environ`` is the second choice: Python may add LC_CTYPE to it."""
    try:
        fd = os.open(f"{proc}/self/environ", os.O_RDONLY)
    except OSError:
        return Environ(b"\0".join(k + b"=" + v for k, v in os.environb.items()))
    try:
        blocks = []
        while block := os.read(fd, 1 << 17):
            blocks.append(block)
        return Environ(b"".join(blocks))
    finally:
        os.close(fd)


def candidates(program: bytes, environ: Environ) -> list[bytes]:
    """The paths execvp(3) would try, in order."""
    if b"/" in program:
        return [program]
    path = environ[b"PATH"] if b"PATH" in environ.keys() else _DEFAULT_PATH  # noqa: SIM118 - not a dict
    return [(folder + b"/" if folder else b"") + program for folder in path.split(b":")]


def execute(command: list[bytes], environ: Environ) -> OSError:
    """Becomes ``command`` as execvp(3) would; returns only when it cannot, with the reason."""
    failure: OSError = FileNotFoundError(2, "not found")
    for path in candidates(command[0], environ) if command[0] else []:
        try:
            os.execve(path, command, environ)  # type: ignore[arg-type]  # noqa: S606 - keys() and values() are all it asks for
        except _SKIP as error:
            failure = failure if isinstance(failure, PermissionError) else error
        except PermissionError as error:
            failure = error
        except OSError as error:
            if error.errno == 8:  # ENOEXEC: a script without a first line is the shell's
                return _execute_by_shell(path, command, environ)
            return error
    return failure


def _execute_by_shell(path: bytes, command: list[bytes], environ: Environ) -> OSError:
    try:
        os.execve(b"/bin/sh", [b"/bin/sh", path, *command[1:]], environ)  # type: ignore[arg-type]  # noqa: S606
    except OSError as error:
        return error


def restore_dispositions(parent: int, proc: str = "/proc") -> None:
    """Undoes what Python did to signals before our first line: SIGPIPE and SIGXFSZ ignored, SIGINT handled.

    Whether one of the two was ignored before cannot be seen any more, but in the parent it can: a shell under
    ``trap '' PIPE`` ignores that one alone; a Python parent ignores both, and gives its children neither.
    """
    ignored = procfs.ignored_signals(parent, proc)
    pipe = bool(ignored >> (_signal.SIGPIPE - 1) & 1)
    size = bool(ignored >> (_signal.SIGXFSZ - 1) & 1)
    if not pipe or size:
        _signal.signal(_signal.SIGPIPE, _signal.SIG_DFL)
    if not size or pipe:
        _signal.signal(_signal.SIGXFSZ, _signal.SIG_DFL)


def say(line: str) -> None:
    """One line on stderr, if it was open when we were started (else the number may be a file of ours)."""
    if sys.stderr is not None:
        try:
            os.write(2, f"pilotfish: {line}\n".encode("utf-8", "replace"))
        except OSError:
            pass


def run(words: list[str], agent: list[str] | None = None) -> int:
    """``pilotfish run`` with these words after it. Returns only when CMD was not started.

    Args:
        words: options and CMD.
        agent: program and first arguments of the agent, for tests; the handover's path is added.

    Returns:
        The exit code: 0 after --help, 2 for a wrong command line, 126 or 127 for a CMD that cannot be executed.
    """
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)  # Ctrl-C now ends us as it would end CMD
    try:
        asked = command_line.parse(words)
    except command_line.BadOption as wrong:
        from pilotfish_core.errors import UsageError

        say(UsageError(wrong.what, got=wrong.got, expected=wrong.expected, todo="see `pilotfish run --help`").line())
        return 2
    if asked.help:
        os.write(1, command_line.usage().encode())
        return 0
    environ = read_environ()
    parent, told = os.getppid(), -1
    if asked.supervise or os.getpid() == 1:
        from pilotfish_agent.launch import stub

        try:
            told = stub.part(environ, os.path.basename(asked.command[0]))  # from here on we are its child
        except OSError as error:
            say(f"no parent for {asked.command[0]!r}: cannot fork; got {error.strerror}; it is started in place")
    command = [os.fsencode(word) for word in asked.command]
    if any(os.path.isfile(path) and os.access(path, os.X_OK) for path in candidates(command[0], environ)):
        code = _beside(asked, environ, agent, told)
        if code:
            return code
    restore_dispositions(parent)
    return _not_started(asked.command[0], execute(command, environ))


def _beside(asked: command_line.Options, environ: Environ, agent: list[str] | None, told: int) -> int:
    """Puts guard and agent beside us. Non-zero only under --strict: the exit code."""
    quiet = asked.quiet and not asked.strict
    try:
        job = _prepare(asked, environ, agent)
        job.told = told
    except (places.NoPlaceError, OSError) as error:
        if not quiet:
            say(f"no monitoring: no runtime folder; {error}; set PILOTFISH_RUNTIME_DIR to a folder that can be written")
        return 1 if asked.strict else 0
    if asked.strict:
        from pilotfish_agent.launch import strict

        code = strict.check(job, environ)
        if code:
            places.release(job.instance, job.holder)
            return code
    try:
        _fork(job, environ)
    except OSError as error:
        places.release(job.instance, job.holder)
        if not quiet:
            say(f"no monitoring: cannot start the guard; got {error.strerror}; expected a free process and descriptors")
        return 1 if asked.strict else 0
    environ.put(SOCKET_VARIABLE, os.fsencode(f"{job.instance.runtime}/intake.sock"))
    return 0


class Job:
    """What the forked guard works on; made before the fork, so that nothing is passed but memory.

    Attributes:
        instance: the claimed name with its locks.
        holder: pid and start time of the model.
        asked: the command line, paths absolute.
        agent: program and first arguments of the agent.
        problems: lines for stderr and for the agent.
        told: where the stub tells how the model ended; -1 without a stub.
        launched_ns: epoch nanoseconds.
        cwd: working directory, empty when it was removed.
    """

    __slots__ = ("agent", "asked", "cwd", "holder", "instance", "launched_ns", "problems", "told")

    def __init__(self, asked: command_line.Options, instance: places.Instance, holder: tuple[int, int]) -> None:
        self.asked = asked
        self.instance = instance
        self.holder = holder
        self.agent: list[str] = []
        self.problems: list[str] = []
        self.told = -1
        self.launched_ns = time.time_ns()
        self.cwd = ""

    @property
    def target(self) -> str:
        """Base name of CMD."""
        return os.path.basename(self.asked.command[0])

    @property
    def log_file(self) -> str:
        """Where the agent's log goes; empty when there is no place for it."""
        state = self.instance.state
        return self.asked.values.get("log-file", f"{state}/agent.log" if state else "")

    def handover(self, *, heartbeat_fd: int = -1, model_pidfd: int = -1, restarts: int = 0) -> bytes:
        """The serialised `Handover`; imported here because the model need not wait for it."""
        from pilotfish_agent.launch.handover import Handover

        return Handover(
            instance=self.instance.name,
            runtime_dir=self.instance.runtime,
            state_dir=self.instance.state,
            log_file=self.log_file,
            target=self.target,
            cwd=self.cwd,
            model_pid=self.holder[0],
            model_start=self.holder[1],
            launched_ns=self.launched_ns,
            heartbeat_fd=heartbeat_fd,
            model_pidfd=model_pidfd,
            restarts=restarts,
            command=self.asked.command,
            path=[folder for folder in sys.path[1:] if folder.startswith("/")],
            problems=self.problems,
            options=self.asked.values,
        ).to_bytes()


def _prepare(asked: command_line.Options, environ: Environ, agent: list[str] | None) -> Job:
    values = asked.values = command_line.absolute(asked.values)
    holder = (os.getpid(), procfs.start_time("self"))
    wanted = values.get("instance") or values.get("model") or environ.text("PILOTFISH_MODEL_NAME")
    chosen_state = values.get("state-dir", "")
    instance = places.claim(
        wanted or os.path.basename(asked.command[0]),
        places.runtime_bases(environ.text),
        places.state_bases(environ.text, chosen_state),
        holder,
        group=values.get("intake-group", ""),
    )
    job = Job(asked, instance, holder)
    job.agent = agent or [sys.executable, "-I", _entry(), "agent"]
    if instance.problem and (chosen_state or not instance.state):
        job.problems.append(f"state folder: {instance.problem}; using {instance.state or 'none'}")
        if not asked.quiet:
            say(job.problems[0])
    try:
        job.cwd = os.getcwd()
    except OSError:
        pass
    return job


def _entry() -> str:
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return f"{here}/__main__.py"


def _fork(job: Job, environ: Environ) -> None:
    """Double fork: the guard is nobody's child here, the model never hears of it."""
    try:
        pidfd = os.pidfd_open(os.getpid())
    except OSError:  # before Linux 5.3, or forbidden: the guard looks at pid and start time
        pidfd = -1
    middle = os.fork()
    if middle == 0:
        code = 1
        try:
            os.setsid()
            if os.fork() == 0:
                from pilotfish_agent.launch import guard

                guard.main(job, pidfd, environ)
            code = 0
        finally:
            os._exit(code)
    try:
        status = os.waitpid(middle, 0)[1]
    except ChildProcessError:  # SIGCHLD is ignored here: it is gone, how it went nobody knows
        status = 0
    if status:
        raise OSError(11, "the second fork failed")


def _not_started(program: str, failure: OSError) -> int:
    if isinstance(failure, FileNotFoundError | NotADirectoryError):
        say(f"cannot run {program!r}: not found; expected a program in PATH or a path to one; check the name")
        return 127
    say(f"cannot run {program!r}: {failure.strerror}; expected an executable file; check its mode and first line")
    return 126
