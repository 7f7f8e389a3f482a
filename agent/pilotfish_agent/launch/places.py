"""Where an instance lives: its name, its lock, its runtime and state folders.

A name belongs to the process whose pid and start time stand in ``<runtime>/<name>/lock``; claims of one runtime
folder are serialised by a lock on the folder itself, held for microseconds. The guard of a model keeps ``lock``
itself locked until it is gone, so the guard of the next model of that name knows when to begin.
"""

import os
import time

from pilotfish_agent.launch import proc as procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Get = Callable[[str], str]  # a variable's value, or an empty text

LONGEST_NAME = 40
LONGEST_SOCKET = 107  # sizeof(sun_path) - 1, unix(7)
_SOCKET = "control.sock"  # the longest of ours
_ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
_MUTEX_SECONDS = 0.25  # a claim takes microseconds: whoever holds it longer is stopped


class NoPlaceError(Exception):
    """No runtime folder could be made; the text says what was tried."""


class Instance:
    """A claimed name.

    Attributes:
        name: the instance's name.
        runtime: its runtime folder, made.
        state: its state folder, made; empty when none could be made.
        fds: open descriptors which hold its locks: whoever keeps them holds the name.
        busy: those of them which a predecessor still holds (its model is dead, its guard flushes).
        problem: why there is no state folder where one was asked for; empty when all is well.
    """

    __slots__ = ("busy", "fds", "name", "problem", "runtime", "state")

    def __init__(self, name: str, runtime: str) -> None:
        self.name = name
        self.runtime = runtime
        self.state = ""
        self.problem = ""
        self.fds: list[int] = []
        self.busy: list[int] = []


def safe_name(text: str) -> str:
    """``text`` as an instance name: other characters become ``_``, cut to 40, no leading dot or dash."""
    name = "".join(c if c in _ALLOWED else "_" for c in text).lstrip(".-")[:LONGEST_NAME]
    return name or "model"


def numbered(name: str, number: int) -> str:
    """``name`` for the first, ``name-2`` for the second, still within 40 characters."""
    suffix = f"-{number}" if number > 1 else ""
    return name[: LONGEST_NAME - len(suffix)] + suffix


def runtime_bases(get: "Get", run: str = "/run") -> list[str]:
    """The folders to look in or to make, best first; `status` and its like look into the same ones."""
    chosen = get("PILOTFISH_RUNTIME_DIR")
    session, temp, user = get("XDG_RUNTIME_DIR"), get("TMPDIR"), f"pilotfish-{os.geteuid()}"
    bases = [chosen] if chosen else []
    bases += [] if chosen else [f"{run}/pilotfish"]
    bases += [f"{session}/pilotfish"] if session and not chosen else []
    bases += [f"{temp}/{user}"] if temp else []
    return [os.path.abspath(base) for base in [*bases, f"/tmp/{user}"]]  # noqa: S108 - ownership is checked


def state_bases(get: "Get", chosen: str = "", var: str = "/var/lib") -> list[str]:
    """The folders to keep state in, best first."""
    chosen = chosen or get("PILOTFISH_STATE_DIR")
    home = get("XDG_STATE_HOME") or (f"{get('HOME')}/.local/state" if get("HOME") else "")
    bases = [chosen] if chosen else []
    bases += [f"{var}/pilotfish"]
    bases += [f"{home}/pilotfish"] if home else []
    return [os.path.abspath(base) for base in [*bases, f"/tmp/pilotfish-{os.geteuid()}.state"]]  # noqa: S108


def claim(wanted: str, runtimes: list[str], states: list[str], holder: tuple[int, int], *, group: str = "") -> Instance:
    """Takes the lowest free name of ``wanted``, ``wanted-2``, ... for the process ``holder`` (pid, start time).

    Raises:
        NoPlaceError: none of ``runtimes`` can be used.
    """
    tried = []
    longest = (safe_name(wanted) + "-4194304")[:LONGEST_NAME]  # the highest pid is the highest number
    for base in runtimes:
        if len(os.fsencode(f"{base}/{longest}/{_SOCKET}")) > LONGEST_SOCKET:
            tried.append(f"{base}: too long for a socket's path")
            continue
        try:
            _private_folder(base, 0o711 if group else 0o700)
            return _claim_in(base, safe_name(wanted), states, holder, group)
        except OSError as error:
            tried.append(f"{base}: {error.strerror}")
    raise NoPlaceError(", ".join(tried))


def _claim_in(base: str, wanted: str, states: list[str], holder: tuple[int, int], group: str) -> Instance:
    mutex = os.open(base, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # Somebody stopped in the middle of a claim must not stop us: our pid makes the name unique then.
        first = 1 if _lock_within(mutex, _MUTEX_SECONDS) else holder[0]
        for number in range(max(first, 1), max(first, 1) + 1000):
            instance = _take(base, numbered(wanted, number), states, holder, group)
            if instance is not None:
                return instance
    finally:
        os.close(mutex)
    raise NoPlaceError(f"{base}: 1000 instances of {wanted}")


def _take(base: str, name: str, states: list[str], holder: tuple[int, int], group: str) -> Instance | None:
    instance = Instance(name, f"{base}/{name}")
    _instance_folder(instance.runtime, group)
    fd = os.open(f"{instance.runtime}/lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    instance.fds.append(fd)
    free = try_lock(fd)
    if not _belongs_to_the_dead(os.pread(fd, 200, 0), free=free):
        os.close(fd)
        return None
    if not free:
        instance.busy.append(fd)
    if not _take_state(instance, states):
        for held in instance.fds:
            os.close(held)
        return None
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{holder[0]} {holder[1]} {procfs.pid_namespace()}\n".encode(), 0)
    return instance


def _belongs_to_the_dead(content: bytes, *, free: bool) -> bool:
    words = content.decode("ascii", "replace").split()
    if len(words) < 2 or not (words[0].isdecimal() and words[1].isdecimal()):
        return free
    if len(words) > 2 and words[2] != procfs.pid_namespace():
        return free  # a pid of another namespace tells nothing here: only its guard's lock does
    return not procfs.alive(int(words[0]), int(words[1]))


def _take_state(instance: Instance, states: list[str]) -> bool:
    """False when the state of that name is in use by an instance of another runtime folder."""
    tried = []
    for base in states:
        folder = f"{base}/{instance.name}"
        try:
            os.makedirs(base, 0o700, exist_ok=True)
            _private_folder(folder, 0o700)
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            tried.append(f"{folder}: {error.strerror}")
            continue
        instance.fds.append(fd)
        if not try_lock(fd):
            if not instance.busy:
                return False
            instance.busy.append(fd)
        instance.state = folder
        break
    instance.problem = ", ".join(tried)
    return True


def _private_folder(path: str, mode: int) -> None:
    """Makes ``path``, or takes the one there when nobody else could have put things into it.

    Raises:
        OSError: it cannot be made, or it is not ours to use.
    """
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        pass
    except FileNotFoundError:
        os.makedirs(path, mode, exist_ok=True)
    found = os.lstat(path)
    is_folder = found.st_mode & 0o170000 == 0o040000
    if not is_folder or found.st_uid not in {os.geteuid(), 0} or found.st_mode & 0o002:
        raise PermissionError(1, "not a folder of our own that others cannot write to")
    if not os.access(path, os.W_OK | os.X_OK):
        raise PermissionError(13, "not writable")
    if mode & ~found.st_mode & 0o111 and found.st_uid == os.geteuid():
        os.chmod(path, found.st_mode & 0o777 | mode)


def _instance_folder(path: str, group: str) -> None:
    _private_folder(path, 0o700)
    if not group:
        return
    try:
        import grp

        os.chown(path, -1, int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid)
        os.chmod(path, 0o710)  # noqa: S103 - the group reaches the socket, and lists nothing
    except (KeyError, OSError, ImportError):
        pass  # the agent, which sets the socket's group, says what is wrong with it


def try_lock(fd: int) -> bool:
    """Takes the lock of an open file if nobody holds it; flock(2)."""
    import fcntl

    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _lock_within(fd: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not try_lock(fd):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def release(instance: Instance, holder: tuple[int, int]) -> None:
    """Empties the runtime folder, and removes it with the name unless a successor has taken it already."""
    try:
        for name in os.listdir(instance.runtime):
            if name != "lock":
                _remove(f"{instance.runtime}/{name}")
        mutex = os.open(os.path.dirname(instance.runtime), os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return
    try:
        words = os.pread(instance.fds[0], 200, 0).split()[:2]
        if _lock_within(mutex, _MUTEX_SECONDS) and words == [b"%d" % holder[0], b"%d" % holder[1]]:
            _remove(f"{instance.runtime}/lock")
            os.rmdir(instance.runtime)
    except OSError:
        pass
    finally:
        os.close(mutex)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass
