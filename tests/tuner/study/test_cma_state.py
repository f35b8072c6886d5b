"""An optimiser of CMA-ES is unpickled only where it is one; nothing else in its place is run."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cmaes
import numpy as np
import pytest

from tuner.errors import BadInput
from tuner.space.spec import SearchSpec
from tuner.study import cma_state
from tuner.study.study import Study

LR = {"low": 1e-5, "high": 1e-2, "log": True}
SEARCHED = {"critic_lr": LR, "generator_lr": LR, "n_critic": {"low": 1, "high": 5}}


class Touches:
    """A pickle that makes a file where it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def attributes(pickled: bytes, length: int = 2045) -> dict[str, str]:
    """As Optuna splits them."""
    text = pickled.hex()
    pieces = [text[at : at + length] for at in range(0, max(1, len(text)), length)]
    return {"cma:generation": 3, **{f"cma:optimizer:{i}": piece for i, piece in enumerate(pieces)}}


def optimiser() -> cmaes.CMA:
    found = cmaes.CMA(mean=np.zeros(3), sigma=1.0, bounds=np.array([[-1.0, 1.0]] * 3), seed=1)
    for _ in range(3):
        asked = [found.ask() for _ in range(found.population_size)]
        found.tell([(x, float(x @ x)) for x in asked])
    return found


def test_an_optimiser_as_optuna_keeps_it_is_accepted(tmp_path: Path):
    found = attributes(pickle.dumps(optimiser()))
    assert len(found) > 2, "too short to be split"
    cma_state.check(tmp_path / "study.log", {0: found, 1: {}, 2: {"cma:generation": 0}})


def with_attribute(value: object) -> bytes:
    """An optimiser that holds something else besides, as deep as one likes."""
    found = optimiser()
    found.__dict__["_more"] = value
    return pickle.dumps(found)


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda path: pickle.dumps(Touches(path)), "holds pathlib"),
        (lambda path: with_attribute({"deep": [Touches(path)]}), "holds pathlib"),
        (lambda path: with_attribute(os.system), "holds posix.system, which no optimiser has"),
        (lambda path: with_attribute(eval), "holds builtins.eval, which no optimiser has"),
        (lambda path: with_attribute(np.load), "holds numpy.load, which no optimiser has"),
        (lambda path: with_attribute(np.array([Touches(path)])), "holds an array of 'O8'"),
        (lambda path: with_attribute(np.zeros(2, "f8,i4")), "holds an array of 'V12'"),
        (lambda path: pickle.dumps({"a": 1}), "holds no optimiser"),
        (lambda path: pickle.dumps(np.zeros(3)), "holds no optimiser"),
        (lambda path: pickle.dumps(optimiser())[:-40], "pickle data was truncated"),
        (lambda path: b"", "cannot be read (EOFError"),
    ],
)
def test_anything_else_is_refused_and_not_run(
    tmp_path: Path, make: Callable[[Path], bytes], what: str
):
    made = tmp_path / "made"
    pieces = attributes(make(made))
    with pytest.raises(
        BadInput, match=r"trial 00007: cma:optimizer must be CMA-ES's state"
    ) as caught:
        cma_state.check(tmp_path / "study.log", {3: {}, 7: pieces})
    (fault,) = caught.value.faults
    assert what in fault.what
    assert fault.what.endswith("or start another search by --name")
    assert not made.exists()


def test_an_array_of_another_size_than_it_says_is_refused(tmp_path: Path):
    whole = pickle.dumps(np.arange(3.0))
    pickled = whole.replace(b"K\x03\x85", b"K\x7f\x85")  # a shape of (127,)
    assert pickled != whole
    with pytest.raises(BadInput, match="holds an array of another size than it says"):
        cma_state.check(tmp_path, {0: attributes(pickled)})


@pytest.mark.parametrize("broken", ["a piece is gone", "no hexadecimal digits"])
def test_pieces_that_do_not_fit_together_are_refused(tmp_path: Path, broken: str):
    found = attributes(pickle.dumps(optimiser()))
    if broken == "a piece is gone":
        del found["cma:optimizer:0"]
    else:
        found["cma:optimizer:1"] = "xyz"
    with pytest.raises(BadInput, match=r"cannot be read \((KeyError|ValueError): "):
        cma_state.check(tmp_path, {0: found})


def test_a_stand_in_cannot_be_changed_by_what_it_reads(tmp_path: Path):
    """BUILD with attributes of a name itself, not of what it makes."""
    for name in ("cmaes._cma\nCMA", "numpy\ndtype", "numpy._core.multiarray\nscalar"):
        pickled = b"c" + name.encode() + b"\n(N}X\x08\x00\x00\x00__init__K\x01stb."
        with pytest.raises(BadInput, match=r"cannot be read \(TypeError"):
            cma_state.check(tmp_path, {0: attributes(pickled)})
    cma_state.check(tmp_path, {0: attributes(pickle.dumps(optimiser()))})


def test_a_study_whose_journal_was_tampered_with_is_not_opened(
    tmp_path: Path, make_spec: Callable[..., SearchSpec]
):
    """The journal's own lines, of a search that came far enough for CMA-ES to keep its state."""
    spec = make_spec(training=SEARCHED, search={"num_trials": 20, "sampler": "cmaes"})
    path, made = tmp_path / "study.log", tmp_path / "made"
    study = Study(path, spec)
    while (trial := study.ask()) is not None:
        score = trial.config.training.critic_lr
        study.end(trial.number, "completed", {"generator_steps": 4000.0}, score)
    assert Study(path, spec).ask() is None
    text = path.read_text()
    assert "cma:optimizer:1" in text, "CMA-ES has kept nothing yet"

    lines = [json.loads(line) for line in text.splitlines()]
    states = [line for line in lines if "cma:optimizer:0" in line.get("system_attrs", {})]
    kept = states[-1]["system_attrs"]
    for key in [key for key in kept if key.startswith("cma:optimizer")]:
        del kept[key]
    kept.update(attributes(pickle.dumps(Touches(made))))
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(BadInput, match=r"study\.log: 1 fault\n.*holds pathlib.*which no optimiser"):
        Study(path, spec)
    assert not made.exists()
