"""A search is given more: relative to what it has, and the same however often it is resumed."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tuner import search
from tuner.driver.extend import extensions
from tuner.errors import BadInput
from tuner.space import SearchSpec

MakeSpec = Callable[..., SearchSpec]


@pytest.fixture
def document(tmp_path: Path, make_spec: MakeSpec) -> Callable[..., dict[str, Any]]:
    """A search in its folder; a search space of the same name, with a section of its own."""

    def make(saved: dict[str, Any], **given: Any) -> dict[str, Any]:
        (tmp_path / "search").mkdir(exist_ok=True)
        spec = make_spec(search={"sampler": "random", **saved})
        (tmp_path / "search" / "spec.yaml").write_text(spec.to_yaml())
        results = {"runs_dir": str(tmp_path)}
        return {"name": "search", "results": results, "search": given}

    return make


@pytest.mark.parametrize(
    ("saved", "given", "texts", "overrides"),
    [
        ({"num_trials": 20}, {"num_trials": 20}, ["trials=20"], ["search.num_trials=40"]),
        # What a --set gave it stays, and what the file has besides is not added.
        ({"num_trials": 5}, {"num_trials": 20}, ["trials=2"], ["search.num_trials=7"]),
        (
            {"num_trials": 5, "time_budget_s": 60.0},
            {"num_trials": 20},
            ["time=30"],
            ["search.num_trials=5", "search.time_budget_s=90.0"],
        ),
        (
            {"generator_steps": 1000},
            {"time_budget_s": 9, "generator_steps": 1000},
            ["steps=500"],
            ["search.time_budget_s=null", "search.generator_steps=1500"],
        ),
        (
            {"num_trials": 5, "time_budget_s": 60.0},
            {"num_trials": 5, "time_budget_s": 60},
            ["trials=1", "time=0.5"],
            ["search.num_trials=6", "search.time_budget_s=60.5"],
        ),
    ],
)
def test_more_is_added_to_what_the_search_has(
    document: Callable[..., dict[str, Any]],
    saved: dict[str, Any],
    given: dict[str, Any],
    texts: list[str],
    overrides: list[str],
):
    assert extensions(document(saved, **given), texts) == overrides


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("trials=0", "must be one of trials, time, steps, gpu-hours, then = and how many more"),
        ("trials=1.5", "such as trials=20, got 'trials=1.5'"),
        ("time=inf", "got 'time=inf'"),
        ("trials", "got 'trials'"),
        ("n=1", "got 'n=1'"),
        ("time=5", "the search has no time_budget_s: give --resume --set search.time_budget_s="),
    ],
)
def test_what_cannot_be_extended_is_refused(
    document: Callable[..., dict[str, Any]], text: str, fault: str
):
    with pytest.raises(BadInput, match="--extend") as refused:
        extensions(document({"num_trials": 5}), [text])
    assert fault in str(refused.value)


def test_a_search_that_is_not_there_is_not_extended(tmp_path: Path):
    missing = {"name": "other", "results": {"runs_dir": str(tmp_path)}}
    with pytest.raises(BadInput, match="holds no search to extend: start it, or name it by --name"):
        extensions(missing, ["trials=1"])
    with pytest.raises(BadInput, match="name: is required"):
        extensions({}, ["trials=1"])


def test_the_command_that_resumes_has_the_values_and_no_extension(
    document: Callable[..., dict[str, Any]], tmp_path: Path
):
    document({"num_trials": 5})
    space = tmp_path / "space.yaml"
    space.write_text("name: search\nsearch: {num_trials: 5}\n")
    given = [str(space), "--runs-dir", str(tmp_path), "--local"]
    for extension in (["--extend", "trials=2"], ["--extend=trials=2"]):
        arguments = [*given[:1], *extension, *given[1:]]
        args: argparse.Namespace = search.parser().parse_args(arguments)
        assert search._extend(args, arguments) == [*given, "--set", "search.num_trials=7"]
        assert (args.set, args.resume) == (["search.num_trials=7"], True)
