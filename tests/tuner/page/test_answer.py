"""The text of a report, for made-up searches whose numbers are known."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from made_search import facts, trial

from tuner.page.answer import answer
from tuner.page.text import trials
from tuner.retrain.retrained import Retrained
from tuner.space.spec import SearchSpec
from tuner.study import FinalScore, Readings, Repeats

MakeSpec = Callable[..., SearchSpec]


def test_the_top_section_compares_the_best_and_counts_the_trials(make_spec: MakeSpec) -> None:
    spec = make_spec()
    cut = trial(spec, 1, [3.0]).with_metrics({"generator_steps": 700.0})
    some = facts(spec, [trial(spec, 0, [4.0, 2.0, 0.21], "completed"), cut, trial(spec, 2, [5.0])])
    values = answer(some, [], [])
    headline, text = values["verdict"]
    assert headline == ("No trial had a published point, so the best is not compared with one.")
    assert "Real samples score 0.2 ± 0.098 at the same precision (the floor): the best" in text
    assert "the best does not differ from it by more than the error." in text
    assert text.endswith(
        "The budget ended trial 00001 while it was ahead of the best: 3 against 4, both at "
        "step 250."
    )
    assert values["stats"][0] == ("trials", "3 of 4", "1 completed, 1 stopped, 1 out of budget")


def test_luck_is_described_as_by_the_command(make_spec: MakeSpec) -> None:
    some = facts(make_spec(), [trial(make_spec(), 0, [4.0, 2.0, 1.0], "completed")])
    seeds = Retrained("00000", 4000, (2.0, 2.1, 2.2, 1.9, 1.8))
    text, luck = answer(some, [], [seeds])["luck"]
    assert text.startswith("Trained again with 5 other seeds to step 4,000, its mean w1 was")
    assert "its mean w1 was 2 ± 0.2" in text
    assert luck.startswith(
        "The score in the search, 1, is 1 below the mean of the fresh seeds, outside"
    )
    assert luck.endswith("it was a lucky draw, so expect the mean instead.")


def test_after_fresh_seeds_the_headline_is_their_mean_with_its_error(make_spec: MakeSpec) -> None:
    some = facts(make_spec(), [trial(make_spec(), 0, [4.0, 2.0, 1.0], "completed", final=1.1)])
    before = answer(some, [], [])["best"]
    assert (before["w1"], before["error"], before["unit"]) == ("1.1", "0.039", "w1 in the final")
    seeds = Retrained("00000", 4000, (2.0, 2.1, 2.2, 1.9, 1.8))
    after = answer(some, [], [seeds])["best"]
    unit = "mean w1 of 5 fresh seeds at step 4,000"
    assert (after["w1"], after["error"], after["unit"]) == ("2", "0.2", unit)


def test_after_further_seeds_of_the_final_the_headline_is_their_mean(make_spec: MakeSpec) -> None:
    best = trial(make_spec(), 0, [4.0, 2.0, 1.0], "completed", final=1.1)
    repeats = Repeats({1: 2.0, 2: 2.1, 3: 2.2, 4: 1.9, 5: 1.8}, 3.0, 2.0)
    best = replace(best, repeats=repeats, final={**(best.final or {}), **repeats.values})
    values = answer(facts(make_spec(), [best]), [], [])
    shown = values["best"]
    unit = "mean w1 of 5 further seeds in the final"
    assert (shown["w1"], shown["error"], shown["unit"]) == ("2", "0.2", unit)
    assert (
        "Its configuration won: mean w1 2 ± 0.2 (95%) of 5 further seeds by the final. In the "
        "final the w1 of its own training, whose generator is kept, is 1.1 ± 0.039 (95%)."
    ) in values["verdict"][1]
    text, luck = values["luck"]
    mean = "mean w1 2 ± 0.2 (95%) of 5 further seeds by the final"
    assert text == f"The final trained it again: {mean}."
    assert luck.endswith("it was a lucky draw, so expect the mean instead.")
    assert values["luck_command"] is None
    assert "4 s the final" in values["stats"][2][2]  # 2 s of scoring, 2 s of the further seeds


@pytest.mark.parametrize(
    ("real", "verdict"),
    [
        # Its readings on the real samples are those of the best, but for a tenth of the error.
        ([0.9, -0.9], "the best lies above that, by 0.9 ± 0.2."),
        ([-9.0, 9.0], "the best does not lie above that by more than the error (0.9 ± 20)."),
    ],
)
def test_the_final_is_shown_with_its_own_floor(
    make_spec: MakeSpec, real: list[float], verdict: str
) -> None:
    best = trial(make_spec(), 0, [4.0, 2.0, 1.0], "completed", final=1.1)
    parts = {"real": [1.0] * 128 + [-1.0] * 128, "generated": [0.0], "critics": [1.0]}
    of_floor = {**parts, "real": [real[0]] * 128 + [real[1]] * 128}
    scale = 16.0  # of 256 readings, the mean has a 16th of their deviation
    best = replace(best, final_readings=scaled(parts, scale))
    floor = FinalScore(0.2, 1.0, 3.0, 2.0, scaled(of_floor, scale))
    text = answer(facts(make_spec(), [best], final_floor=floor), [], [])["verdict"][1]
    assert f"The final's critics score real samples 0.2 ± 2 (its floor): {verdict}" in text


def scaled(readings: Readings, factor: float) -> Readings:
    return {part: [factor * value for value in values] for part, values in readings.items()}


def test_what_w1_cannot_tell_is_said_in_a_sentence_each(make_spec: MakeSpec) -> None:
    spec = make_spec(objective={"metrics": "mine:Fid"})
    best = trial(spec, 0, [4.0, 2.0, 1.0], "completed", final=1.1)
    verdict = answer(facts(spec, [best]), [], [])["verdict"]
    assert len(verdict) == 2  # of an earlier version, which measured none of it
    found = {
        "copy_ratio": 0.98, "copy_ratio_low": 0.91, "copy_ratio_high": 1.04,
        "w1_final_train": 1.35, "w1_pixels": 2.5, "w1_pixels_stderr": 0.05, "metrics/fid": 31.25,
    }  # fmt: skip
    best = replace(best, final={**(best.final or {}), **found})
    text = answer(facts(spec, [best]), [], [])["verdict"][2]
    assert text.startswith(
        "Memorising: its samples lie 0.98 times as far from the nearest training sample as unseen "
        "real samples do (0.91 to 1.04, 95%), each relative to the nearest "
    )
    assert "held-out sample: no sign that it repeats them. " in text
    assert (
        "on the real samples that they were trained on their estimate is 1.35, 0.25 above" in text
    )
    assert "Between pixels: its distance is 2.5 ± 0.098 (95%)" in text
    assert text.endswith("By mine:Fid: fid 31.25, on the data of the final; none ranks.")


def test_the_energies_are_explained_only_where_images_are_compared_by_them(
    make_spec: MakeSpec,
) -> None:
    def texts(objective: dict[str, str], found: dict[str, float]) -> tuple[int, bool]:
        spec = make_spec(objective=objective)
        best = trial(spec, 0, [4.0, 2.0, 1.0], "completed", final=1.1)
        best = replace(best, final={**(best.final or {}), **found})
        values = answer(facts(spec, [best, trial(spec, 1, [5.0])]), [], [])
        return len(values["ground_texts"]), values["ground_picture"] is not None

    of_features = {"w1_pixels": 2.5, "w1_pixels_stderr": 0.05}
    assert texts({}, of_features) == (5, True)
    assert texts({"features": "mine:Features"}, of_features) == (0, False)
    assert texts({}, {}) == (0, False)  # vectors, small images


@pytest.mark.parametrize(
    ("high", "verdict"), [(0.99, "it repeats them, at least in part."), (0.1, "it repeats them.")]
)
def test_copies_of_training_samples_are_reported(
    make_spec: MakeSpec, high: float, verdict: str
) -> None:
    best = trial(make_spec(), 0, [4.0, 2.0, 1.0], "completed", final=1.1)
    found = {"copy_ratio": high / 2, "copy_ratio_low": high / 3, "copy_ratio_high": high}
    best = replace(best, final={**(best.final or {}), **found})
    assert verdict in answer(facts(make_spec(), [best]), [], [])["verdict"][2]


def test_without_a_final_the_critics_overfitting_is_that_of_the_best_rung(
    make_spec: MakeSpec,
) -> None:
    some = facts(make_spec(), [trial(make_spec(), 0, [4.0, 2.0, 1.0], "completed")])
    some.search.reports[0][4000]["w1_train"] = 0.9
    text = answer(some, [], [])["verdict"][2]
    assert "their estimate is 0.9, 0.1 below the w1 of 1, which is of unseen ones." in text


def test_the_parts_of_the_cpu_time_add_up(make_spec: MakeSpec) -> None:
    some = facts(make_spec(), [trial(make_spec(), 0, [4.0, 2.0, 1.0], "completed", final=1.1)])
    (card,) = [stat for stat in answer(some, [], [])["stats"] if stat[0].startswith("CPU")]
    assert card[1:] == ("202 s", "200 s training, 0 s scoring, 2 s the final")


def test_the_own_critics_pick_is_described(make_spec: MakeSpec) -> None:
    some = facts(make_spec(), [trial(make_spec(), n, [4.0 + n]) for n in range(2)])
    notes = trials(some)["critic_notes"]
    assert notes[1].startswith("At step 250, of 2 trials, the lowest own estimate is that of trial")


@pytest.mark.parametrize(
    ("objective", "text"),
    [
        ({}, "between the energies of images with sides of 16 pixels or more, and between all"),
        ({"ground": "pixels"}, "between the samples as they are."),
        ({"features": "mine:Features"}, "between the features mine:Features of the samples."),
    ],
)
def test_the_lead_says_between_what_w1_is_measured(
    make_spec: MakeSpec, objective: dict[str, str], text: str
) -> None:
    """True of digits of 8x8 pixels, too, which no ground metric maps."""
    spec = make_spec(objective=objective)
    lead = answer(facts(spec, [trial(spec, 0, [4.0])]), [], [])["lead"]
    assert f"It is measured {text}" in lead
