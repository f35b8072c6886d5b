"""The words of a report, of made-up searches: each sentence as its numbers have it."""

from collections.abc import Callable

from made_search import facts, trial

from tuner.page.answer import answer
from tuner.page.text import trials
from tuner.retrain.retrained import Retrained
from tuner.space.spec import SearchSpec

MakeSpec = Callable[..., SearchSpec]


def test_the_top_says_what_the_trials_did_and_who_was_ahead(make_spec: MakeSpec) -> None:
    spec = make_spec()
    cut = trial(spec, 1, [3.0]).with_metrics({"generator_steps": 700.0})
    some = facts(spec, [trial(spec, 0, [4.0, 2.0, 0.21], "completed"), cut, trial(spec, 2, [5.0])])
    found = answer(some, [], [])
    headline, text = found["verdict"]
    assert headline == "There is no trial of the papers' default point to set the best beside."
    assert "score 0.2 ± 0.098 there (the floor), which the best cannot be told from." in text
    assert text.endswith(
        "The time budget ended trial 00001 while it was ahead of the best: 3 against 4, both at "
        "step 250."
    )
    assert found["stats"][0] == ("trials", "3 of 4", "1 completed, 1 stopped, 1 out of time")


def test_luck_is_told_as_the_command_tells_it(make_spec: MakeSpec) -> None:
    some = facts(make_spec(), [trial(make_spec(), 0, [4.0, 2.0, 1.0], "completed")])
    seeds = Retrained("00000", 4000, (2.0, 2.1, 2.2, 1.9, 1.8))
    text, luck = answer(some, [], [seeds])["luck"]
    assert text.startswith("Trained again with 5 other seeds to step 4,000, its w1 was 2 ± 0.2")
    assert luck.startswith(
        "The score in the search, 1, is 1 below the mean of the fresh seeds, outside"
    )
    assert luck.endswith("it was a lucky draw, so expect the mean instead.")


def test_the_own_critics_pick_is_told(make_spec: MakeSpec) -> None:
    some = facts(make_spec(), [trial(make_spec(), n, [4.0 + n]) for n in range(2)])
    notes = trials(some)["critic_notes"]
    assert notes[1].startswith("At step 250, of 2 trials, the lowest own estimate is that of trial")
