"""What is wrong with options that are no configuration key. The agent asks, never the launcher."""

from collections.abc import Mapping

from pilotfish_core.errors import UsageError

LISTEN = "127.0.0.1:7374"
LISTEN_VARIABLE = "PILOTFISH_LISTEN"


def listen_address(text: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT``, ``[v6]:PORT``, ``:PORT`` or ``PORT``; the host is loopback when not given.

    Raises:
        UsageError: it is none of these.
    """
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise UsageError("--listen", got=text, expected=f"HOST:PORT such as {LISTEN}; port 0 for any that is free")
    return host.strip("[]") or "127.0.0.1", int(port)


def with_variables(options: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """The options, and those which the environment gives in their place: an image sets where it listens."""
    listen = environ.get(LISTEN_VARIABLE)
    return {"listen": listen, **options} if listen else dict(options)


def group_id(text: str) -> int:
    """Number of a group, given by name or number.

    Raises:
        UsageError: there is none of that name.
    """
    import grp

    try:
        return int(text) if text.isdecimal() else grp.getgrnam(text).gr_gid
    except KeyError:
        raise UsageError("--intake-group", got=text, expected="a group of this machine") from None


def problems(options: Mapping[str, str]) -> list[UsageError]:
    """What cannot be done as asked, in the order of the options."""
    found = []
    for name, text in options.items():
        check = {"listen": listen_address, "intake-group": group_id}.get(name)
        try:
            if check is not None:
                check(text)
        except UsageError as error:
            found.append(error)
    return found
