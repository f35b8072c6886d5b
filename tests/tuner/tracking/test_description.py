"""The description of a search's run in MLflow."""

from collections.abc import Callable
from pathlib import Path

from made_search import trial

from tuner.space.spec import SearchSpec
from tuner.tracking.description import ParentRun, search_note


def test_the_description_names_the_searches_with_which_its_scores_compare(
    make_spec: Callable[..., SearchSpec],
) -> None:
    run = ParentRun("http://h:1", "1", "r", frozenset(), None)
    for objective, ground in (({}, "energies"), ({"features": "mine:Deep"}, "mine:Deep")):
        spec = make_spec(objective=objective)
        best = trial(spec, 0, [4.0, 2.0, 1.0], "completed")
        note = search_note(spec, Path("runs/some"), best, [best], run)
        tags = f"of equal tags `data` and `ground`: `{spec.data.dataset}` and `{ground}`."
        assert tags in note
