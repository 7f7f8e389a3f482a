"""Models are what servers' successes name, never what clients ask for."""

from pilotfish_agent.decode._part import Route
from pilotfish_agent.pipeline import attribution
from pilotfish_agent.pipeline.attribution import OTHER, Names, Who

PREDICT = Route("tensorflow_serving", "predict")


def asks(model: str, version: str | None = None) -> Route:
    return Route("tensorflow_serving", "predict", model, version)


def test_a_success_makes_the_name_in_a_path_a_model() -> None:
    """A failure does not, until a success has."""
    names = Names("mine", None)
    assert names.asked(80, asks("a"), good=False, now=0.0) == Who("mine", None, named=False)
    assert names.asked(80, asks("a", "3"), good=True, now=0.0) == Who("a", "3")
    assert names.asked(80, asks("a"), good=False, now=0.0) == Who("a", "3")
    assert names.asked(80, asks("a", "9"), good=False, now=0.0) == Who("a", "3"), "nobody answered as version 9"


def test_the_only_model_of_a_place_is_meant() -> None:
    """With two, the agent's own name is; another port and another protocol are other places."""
    names = Names("mine", None)
    names.answered(80, PREDICT.protocol, "a", None, 0.0)
    assert names.asked(80, PREDICT, good=True, now=0.0) == Who("a", None)
    assert names.asked(80, asks("nobody's"), good=False, now=0.0) == Who("a", None)
    assert not names.asked(81, PREDICT, good=True, now=0.0).named
    assert not names.asked(80, Route("openai", "chat"), good=True, now=0.0).named
    assert not names.asked(80, None, good=True, now=0.0).named
    names.answered(80, PREDICT.protocol, "b", None, 0.0)
    assert not names.asked(80, PREDICT, good=True, now=0.0).named
    assert (names.only(80), names.only(81)) == ("mine", "mine")


def test_the_version_in_force_is_meant() -> None:
    """While two versions answer it may be either: none is named. The old one is forgotten a minute after its last."""
    names = Names("mine", "7")
    assert names.asked(80, None, good=True, now=0.0).version == "7", "of the configuration"
    names.answered(80, PREDICT.protocol, "a", "1", 0.0)
    assert names.asked(80, PREDICT, good=True, now=1.0).version == "1"
    names.answered(80, PREDICT.protocol, "a", "2", 1.0)
    assert names.asked(80, PREDICT, good=True, now=2.0).version is None
    names.answered(80, PREDICT.protocol, "a", "2", 61.0)
    assert names.asked(80, PREDICT, good=True, now=61.5).version == "2"


def test_names_are_bounded() -> None:
    """Names and versions without end share one."""
    names = Names("mine", None)
    found = {names.asked(80, asks(f"m{i}"), good=True, now=0.0).model for i in range(50)}
    assert len(found) == attribution.MAX_MODELS + 1
    assert OTHER in found
    versions = {names.answered(80, "p", "m0", str(i), 0.0).version for i in range(50)}
    assert len(versions) == attribution.MAX_VERSIONS + 1
    assert OTHER in versions


def test_an_sdk_knows_its_own_name() -> None:
    """Rows without a name are the agent's own model's."""
    names = Names("mine", "7")
    assert names.sender("", None, 0.0) == Who("mine", "7", named=False)
    assert names.sender("a", "1", 0.0) == Who("a", "1")
