"""The learning curves, for made-up searches."""

from collections.abc import Callable, Sequence

import pytest
from made_search import facts, trial

from tuner.page.figures import curves
from tuner.space.spec import SearchSpec


@pytest.mark.parametrize(
    ("w1", "is_drawn"),
    [
        ([1.0, 0.9, 0.8], False),  # far above the floor of 0.2: the curves would be squashed
        ([1.0, 0.5, 0.3], True),
        ([1.0, 0.5, 0.1], True),  # better than real samples
        ([100.0, 20.0, 10.0], False),
        ([10.0, 2.0, 1.0], True),  # on a log axis
    ],
)
def test_the_floor_is_drawn_where_it_leaves_room_for_the_curves(
    make_spec: Callable[..., SearchSpec], w1: Sequence[float], is_drawn: bool
) -> None:
    spec = make_spec()
    figure = curves(facts(spec, [trial(spec, 0, w1, "completed")]), "generator_steps")
    assert figure is not None
    drawn = "floor: real samples" in [trace.name for trace in figure.data]
    said = [note.text for note in figure.layout.annotations]
    assert drawn == is_drawn
    assert said == ["floor: real samples score 0.2, below this figure"] * (not is_drawn)
