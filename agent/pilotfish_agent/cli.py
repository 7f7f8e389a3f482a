"""``pilotfish COMMAND ...``. The `run` path imports the launcher and nothing else; see docs/launch.md."""


def main(argv: list[str]) -> int:
    """Runs one command; the exit code: 0 good, 2 usage or bad input, 1 anything else."""
    if argv[:1] == ["run"]:
        from pilotfish_agent.launch.launcher import run

        return run(argv[1:])
    from pilotfish_agent.dispatch import dispatch

    return dispatch(argv)
