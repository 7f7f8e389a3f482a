"""The command line of ``pilotfish run``, read without argparse, which would import `re` before the model starts.

Only the form is judged here: a bad value (a port, a reference) never stops the model, so the agent judges it.
"""

VALUED = {
    "config": "F",
    "listen": "ADDR",
    "instance": "NAME",
    "model": "NAME",
    "model-version": "V",
    "capture": "auto|tap|relay|off",
    "port": "N",
    "relay-listen": "ADDR",
    "reference": "REF",
    "state-dir": "D",
    "log-file": "F",
    "intake-group": "GROUP",
}
HELP = {
    "config": "configuration file, else $PILOTFISH_CONFIG or /etc/pilotfish/pilotfish.yaml",
    "listen": "where to serve /metrics and the page (127.0.0.1:7374; port 0: any free one)",
    "instance": "name of this agent (else the model's name, else CMD's)",
    "model": "name of the model where the traffic names none",
    "model-version": "its version",
    "capture": "how traffic is seen from outside; auto: a tap where it may, never a relay",
    "port": "the model's TCP port, where its own ports cannot be seen",
    "relay-listen": "where the relay listens, with --capture relay",
    "reference": "a built reference, or a data file of which one is built",
    "state-dir": "where state is kept",
    "log-file": "where the agent's log goes",
    "intake-group": "the group that may send to intake.sock",
}
PATHS = ("config", "reference", "state-dir", "log-file")
KEYS = {
    "model": "model.name",
    "model-version": "model.version",
    "port": "target.port",
    "capture": "capture.mode",
    "relay-listen": "capture.relay_listen",
}
SWITCHES = {
    "supervise": "stay CMD's parent, as PID 1 always does: forward signals, reap",
    "strict": "validate first, and refuse",
    "quiet": "no line of ours on stderr",
    "help": "this text",
}


class Options:
    """What was asked for.

    Attributes:
        values: option name without dashes to its text, only those given; the last one wins.
        strict: refuse where `run` would go on with what is good.
        quiet: nothing of ours on stderr.
        help: only the usage is wanted.
        supervise: a parent of the model is wanted, see launch/stub.py.
        command: CMD and its arguments.
    """

    __slots__ = ("command", "help", "quiet", "strict", "supervise", "values")

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.strict = False
        self.quiet = False
        self.supervise = False
        self.help = False
        self.command: list[str] = []


class BadOption(Exception):  # noqa: N818 - turned into the user's UsageError by the launcher, whose import is dear
    """A wrong command line: what, got, expected."""

    def __init__(self, what: str, got: str | None, expected: str) -> None:
        super().__init__(what, got, expected)
        self.what = what
        self.got = got
        self.expected = expected


def parse(words: list[str]) -> Options:
    """``[--name VALUE | --name=VALUE | --switch]... [--] CMD...``; the first word without a dash starts CMD.

    Raises:
        BadOption: an unknown option, a value that is missing or too much, or no CMD.
    """
    options = Options()
    at = 0
    while at < len(words) and words[at].startswith("-") and words[at] != "--":
        at = _one(options, words, at)
    options.command = words[at + 1 :] if words[at : at + 1] == ["--"] else words[at:]
    if not options.command and not options.help:
        raise BadOption("run: no command to start", None, "pilotfish run [options] -- CMD ...")
    return options


def _one(options: Options, words: list[str], at: int) -> int:
    word = "--help" if words[at] == "-h" else words[at]
    name, given, value = word[2:].partition("=")
    known = word.startswith("--")
    if known and name in SWITCHES:
        if given:
            raise BadOption(f"run: --{name} takes no value", value, f"--{name}")
        setattr(options, name, True)
        return at + 1
    if not known or name not in VALUED:
        raise BadOption("run: unknown option", word, _nearest(name))
    if not given:
        if at + 1 >= len(words) or words[at + 1] == "--":
            raise BadOption(f"run: --{name} needs a value", None, f"--{name} {VALUED[name]}")
        value = words[at + 1]
    if not value or "\0" in value:
        raise BadOption(f"run: --{name} is empty", value, f"--{name} {VALUED[name]}")
    options.values[name] = value
    return at + (1 if given else 2)


def _nearest(name: str) -> str:
    import difflib

    names = sorted([*VALUED, *SWITCHES])
    near = difflib.get_close_matches(name, names, 1, 0.6)
    return f"--{near[0]}" if near else "one of " + ", ".join(f"--{n}" for n in names)


def usage() -> str:
    """The help text."""
    lines = ["usage: pilotfish run [options] -- CMD ...", "", "Starts CMD in place with the agent beside it.", ""]
    for name, value in VALUED.items():
        lines.append(f"  {f'--{name} {value}':<31}  {HELP[name]}")
    lines += [f"  {f'--{name}':<31}  {text}" for name, text in SWITCHES.items()]
    lines += ["", "CMD keeps its exit code; 127: not found, 126: not executable, 2: wrong options. See docs/launch.md."]
    return "\n".join(lines) + "\n"


def absolute(values: dict[str, str]) -> dict[str, str]:
    """The values with paths made absolute: guard and agent do not stay in the model's working directory."""
    import os

    def place(path: str) -> str:
        try:
            return os.path.abspath(path)
        except OSError:  # the working directory was removed: the agent will say what it cannot find
            return path

    return {name: place(value) if name in PATHS else value for name, value in values.items()}


def config_flags(values: dict[str, str]) -> dict[str, str]:
    """Those options which stand above a configuration key, by its dotted name."""
    return {KEYS[name]: value for name, value in values.items() if name in KEYS}
