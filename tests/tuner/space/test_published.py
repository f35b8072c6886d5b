"""Published points among the initial points of a search, and the trials that ASHA spares."""

from collections.abc import Callable
from typing import Any

import pytest

from tuner.space.published import spared_trials
from tuner.space.spec import SearchSpec

MakeSpec = Callable[..., SearchSpec]
LR = {"low": 1e-5, "high": 1e-2, "log": True}
WIDTH = {"choice": [64, 128]}


def points(*training: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"training": values} for values in training]


@pytest.mark.parametrize(
    ("first", "spared"),
    [
        (points({"critic_lr": 1e-4, "generator_lr": 1e-4}), {0}),
        # The first of two; the others are not at the point, or leave a part of it to the sampler.
        (
            points(
                {"critic_lr": 1e-3, "generator_lr": 1e-4},
                {"critic_lr": 1e-4},
                {"critic_lr": 1e-4, "generator_lr": 1e-4},
                {"critic_lr": 1e-4, "generator_lr": 1e-4},
            ),
            {2},
        ),
        ([], set()),
    ],
)
def test_the_first_initial_point_with_all_published_values_is_spared(
    make_spec: MakeSpec, first: list[dict[str, Any]], spared: set[int]
) -> None:
    sections = {
        "training": {"critic_lr": LR, "generator_lr": LR},
        "networks": {"generator_width": WIDTH},
        "initial_points": first,
    }
    assert spared_trials(make_spec(asha={"spare_published": True}, **sections)) == spared
    assert spared_trials(make_spec(**sections)) == set()


def test_without_a_published_value_among_the_searched_none_is_spared(make_spec: MakeSpec) -> None:
    """Every trial would be, and none stopped."""
    sections = {
        "training": {},
        "networks": {"generator_width": WIDTH},
        "initial_points": [{"networks": {"generator_width": 64}}],
    }
    assert spared_trials(make_spec(asha={"spare_published": True}, **sections)) == set()


def test_a_search_that_fixes_another_value_has_no_point_to_spare(make_spec: MakeSpec) -> None:
    training = {"critic_lr": LR, "generator_lr": 1e-3}
    first = points({"critic_lr": 1e-4})
    spec = make_spec(asha={"spare_published": True}, training=training, initial_points=first)
    assert spared_trials(spec) == set()


def test_each_method_has_a_point_of_its_own(make_spec: MakeSpec) -> None:
    training = {
        "constraint": {"choice": ["gradient_penalty", "clip"]}, "critic_lr": LR,
        "generator_lr": LR, "optimizer": {"choice": ["adam", "rmsprop"]},
    }  # fmt: skip
    clip = {"constraint": "clip", "critic_lr": 5e-5, "generator_lr": 5e-5, "optimizer": "rmsprop"}
    penalty = {"constraint": "gradient_penalty", "critic_lr": 1e-4, "generator_lr": 1e-4}
    first = points({**penalty, "optimizer": "rmsprop"}, clip, {**penalty, "optimizer": "adam"})
    spec = make_spec(asha={"spare_published": True}, training=training, initial_points=first)
    assert spared_trials(spec) == {1, 2}
