"""The table of a search's trials is read as it was written, and ranks as the study does."""

import itertools
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.config import ObjectiveConfig, TrialConfig
from tuner.results import table as results
from tuner.results.ranking import best_of, is_finished, placed, ranked
from tuner.results.rows import COLUMNS, read_trials
from tuner.study.trial import Trial

CONFIGS = {
    "w1": TrialConfig(),
    "critic_estimate": TrialConfig(objective=ObjectiveConfig(name="critic_estimate")),
}
HEADING = ",".join(COLUMNS)
NUMBERS = st.integers(-2, 2).map(float)
TRIALS = st.lists(
    st.tuples(
        st.sampled_from((None, "completed", "stopped", "diverged", "failed")),
        NUMBERS,  # w1
        NUMBERS,  # the own critic's estimate
        st.none() | NUMBERS,  # w1_final
    ),
    max_size=12,
)


def trial(number: int, metric: str, drawn: tuple) -> Trial:
    status, w1, estimate, w1_final = drawn
    metrics = {"generator_steps": 4000.0, "w1": w1, "critic_estimate": estimate}
    final = w1_final is not None and {"w1_final": w1_final, "w1_final_stderr": 0.1}
    scores = {4000: metrics[metric]}
    return Trial(
        number, CONFIGS[metric], {}, scores, status, metrics,
        final=(final or None) if status == "completed" else None,
    )  # fmt: skip


@given(drawn=TRIALS, metric=st.sampled_from(sorted(CONFIGS)), num=st.integers(0, 3))
def test_a_search_and_its_table_have_the_same_best_and_are_as_far(
    drawn: list[tuple], metric: str, num: int
) -> None:
    trials = [trial(number, metric, one) for number, one in enumerate(drawn)]
    with tempfile.TemporaryDirectory() as folder:
        results.write_trials(Path(folder, "trials.csv"), trials)
        rows = read_trials(Path(folder, "trials.csv"), metric)
    assert [row.cells["trial_id"] for row in rows] == [t.trial_id for t in trials]
    for order in (ranked, placed):
        assert [row.number for row in order(rows)] == [t.number for t in order(trials)]
    if (first := best_of(trials)) is not None:
        row = best_of(rows)
        assert row is not None
        assert (row.number, row.score) == (first.number, first.score)
    for asked, is_over_budget in itertools.product((len(trials), 99, None), (True, False)):
        finished = [
            is_finished(some, num_trials=asked, is_over_budget=is_over_budget, num_finalists=num)
            for some in (trials, rows)
        ]
        has_ended = all(t.status is not None for t in trials)
        all_in_final = all(t.final is not None for t in ranked(trials)[:num])
        is_over = asked == len(trials) or is_over_budget
        assert finished == [has_ended and all_in_final and is_over] * 2


def test_the_final_comes_before_the_rungs_and_then_the_better_score() -> None:
    finals_and_w1 = ((None, 0.1), (0.9, 0.5), (0.6, 0.7), (0.6, 0.6), (None, 0.05))
    trials = [
        trial(number, "w1", ("completed", w1, 0.0, final))
        for number, (final, w1) in enumerate(finals_and_w1)
    ]
    assert [t.number for t in placed(trials)] == [3, 2, 1, 4, 0]
    assert [t.number for t in ranked(trials)] == [4, 0, 1, 3, 2]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "it has no column trial_id, status, generator_steps, w1, w1_final"),
        ("trial_id,status,w1\n0,completed,1\n", "it has no column generator_steps, w1_final"),
        (f"{HEADING}\nfirst,completed\n", "invalid literal for int.*'first'"),
        (f"{HEADING}\n0,completed,4000,low\n", "could not convert string to float: 'low'"),
        (f"{HEADING}\n0{',' * 99}\n", "a line of it has more cells than the heading"),
        (f'{HEADING}\n0,"{"x" * 200_000}"\n', "field larger than field limit"),
    ],
)
def test_what_is_no_table_of_trials_is_refused(tmp_path: Path, content: str, why: str) -> None:
    (tmp_path / "trials.csv").write_text(content)
    with pytest.raises(ValueError, match=why):
        read_trials(tmp_path / "trials.csv")
