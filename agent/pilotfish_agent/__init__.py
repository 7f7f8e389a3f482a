"""The agent: intake, hardware, windows, drift, state, web. Only app.py knows all of it.

For notebooks: ``from pilotfish_agent import Reference``, then ``Reference.from_frame(df)`` and ``.check(other)``.
Nothing is imported here: it would stand between the user and the model (`pilotfish run`).
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pilotfish_agent.drift.notebook import Reference

__all__ = ["Reference"]


def __getattr__(name: str) -> object:
    """`Reference`, when it is asked for: the processes beside a model need neither it nor numpy."""
    if name == "Reference":
        from pilotfish_agent.drift.notebook import Reference

        return Reference
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
