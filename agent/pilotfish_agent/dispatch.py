"""All commands but `run`: ``commands/<name>.py`` is one each, the folder is the registry. See docs/launch.md."""

from __future__ import annotations

import argparse
import ast
import importlib.util
import os
import sys
from typing import NoReturn

from pilotfish_core import registry
from pilotfish_core.errors import PilotfishError, UnavailableError, UsageError

COMMANDS = "pilotfish_agent.commands"
RUN_HELP = "starts CMD in place with the agent beside it"


class _Parser(argparse.ArgumentParser):
    """argparse prints a usage block and calls it an error; here an error is one line. Its own hook for that."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog.removeprefix('pilotfish ')}: {message}", todo=f"see `{self.prog} --help`")


def dispatch(argv: list[str]) -> int:
    """Runs ``argv``; prints a `PilotfishError` as one line. Returns the exit code."""
    try:
        code = _dispatch(argv)
        sys.stdout.flush()
    except PilotfishError as error:
        return _fail(error)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output left (`| head`): nothing to say, and nobody to say it to
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    return code


def _dispatch(argv: list[str]) -> int:
    if not argv or argv[0] in {"-h", "--help", "help"}:
        print(_overview())  # noqa: T201 - a command prints
        return 0 if argv else 2
    if argv[0] == "--version":
        from importlib.metadata import version

        print(f"pilotfish {version('pilotfish')}")  # noqa: T201 - a command prints
        return 0
    name = argv[0].replace("-", "_")
    if name not in registry.names(COMMANDS):
        raise UsageError("unknown command", got=argv[0], expected=_expected(argv[0]), todo="see `pilotfish --help`")
    try:
        command = registry.load(COMMANDS, name)
        parser = _Parser(prog=f"pilotfish {argv[0]}", description=command.HELP)
        command.configure(parser)
        code = command.run(parser.parse_args(argv[1:]))
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("pilotfish"):
            raise
        raise UnavailableError(
            f"{argv[0]}: {error.name} is not installed", todo='pip install "pilotfish[agent]"'
        ) from error
    return int(code)


def _fail(error: PilotfishError) -> int:
    print(f"pilotfish: {error.line()}".replace("\n", " "), file=sys.stderr)  # noqa: T201 - the one error line
    return error.exit_code


def _expected(word: str) -> str:
    import difflib

    names = ["run", *(n.replace("_", "-") for n in registry.names(COMMANDS))]
    near = difflib.get_close_matches(word, names, 1, 0.5)
    return near[0] if near else "one of " + ", ".join(sorted(names))


def _overview() -> str:
    lines = ["usage: pilotfish COMMAND ...", "", f"  {'run':12s} {RUN_HELP}"]
    lines += [f"  {name.replace('_', '-'):12s} {_help(name)}" for name in registry.names(COMMANDS)]
    return "\n".join([*lines, "", "pilotfish COMMAND --help says more; --version the version."])


def _help(name: str) -> str:
    """A command's HELP, read from its source: importing all of them is slow, and needs the extra to be installed."""
    spec = importlib.util.find_spec(f"{COMMANDS}.{name}")
    if spec is None or spec.origin is None:  # a third party's
        return ""
    with open(spec.origin, encoding="utf-8") as file:
        body = ast.parse(file.read()).body
    for node in body:
        if isinstance(node, ast.Assign) and "HELP" in [getattr(target, "id", None) for target in node.targets]:
            return str(ast.literal_eval(node.value))
    return ""
