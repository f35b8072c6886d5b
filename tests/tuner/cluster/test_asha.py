"""ASHA alone, without Ray: which trial is stopped at a rung, and that a resume changes nothing."""

import itertools
import math
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.cluster.asha import Asha, Decision, PromotionAsha, make_halving
from tuner.space.sections import AshaConfig

CONTINUE, STOP, WAIT = Decision.CONTINUE, Decision.STOP, Decision.WAIT
VARIANTS = ("promotion", "delayed_promotion")


def asha_config(
    grace: int = 250,
    last: int = 4000,
    factor: int = 4,
    brackets: int = 1,
    variant: str = "stopping",
) -> AshaConfig:
    return AshaConfig(
        variant=variant,  # type: ignore[arg-type]
        grace_generator_steps=grace,
        max_generator_steps=last,
        reduction_factor=factor,
        brackets=brackets,
    )


def make_asha(config: AshaConfig, seed: int = 0) -> Asha:
    return Asha(config, seed)


def cutoffs(asha: Asha, config: AshaConfig) -> list[float]:
    """What a newcomer would have to reach at each rung."""
    return [asha.cutoff(10**6, rung) for rung in config.rungs]


def test_it_needs_no_framework() -> None:
    frameworks = {"ray", "optuna", "torch", "mlflow"}
    code = f"import sys, tuner.cluster.asha; print({frameworks} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"


# --- Decisions ---------------------------------------------------------------------------------


def test_a_rung_stops_the_worst_and_lets_the_best_pass() -> None:
    asha = make_asha(asha_config())
    assert asha.report(0, 250, 1.0) is CONTINUE  # nobody to compare with
    assert asha.report(1, 250, 2.0) is STOP
    assert asha.report(2, 250, 0.5) is CONTINUE
    assert asha.report(3, 250, 3.0) is STOP
    assert asha.report(4, 250, 0.4) is CONTINUE
    assert asha.report(2, 1000, 0.3) is CONTINUE
    assert asha.report(4, 1000, 0.35) is STOP  # another rung, other scores


def test_ties_continue() -> None:
    asha = make_asha(asha_config())
    assert [asha.report(number, 250, 0.1) for number in range(9)] == [CONTINUE] * 9


@given(scores=st.lists(st.floats(-10, 10), max_size=30), factor=st.integers(2, 10))
def test_a_trial_passes_if_it_is_in_the_best_part_of_those_before_it(
    scores: list[float], factor: int
) -> None:
    """The cutoff is the 1/reduction_factor quantile of the scores before, as NumPy computes it."""
    asha = make_asha(asha_config(10, 10 * factor, factor))
    before: list[float] = []
    for number, score in enumerate(scores):
        rewards = [-earlier for earlier in before]
        passes = not before or -score >= np.percentile(rewards, 100 * (1 - 1 / factor))
        assert asha.report(number, 10, score) is (CONTINUE if passes else STOP)
        before.append(score)


@pytest.mark.parametrize(
    ("num_scores", "factor", "cutoff"), [(1, 4, 0.0), (5, 4, 1.0), (7, 3, 2.0), (3, 2, 1.0)]
)
def test_the_cutoff_of_scores_that_count_up(num_scores: int, factor: int, cutoff: float) -> None:
    """Of 0, 1, ..., n the quantile q is q n."""
    asha = make_asha(asha_config(10, 10 * factor, factor))
    assert asha.cutoff(99, 10) == math.inf
    for number in range(num_scores):
        asha.report(number, 10, float(number))
    assert asha.cutoff(99, 10) == pytest.approx(cutoff, abs=1e-12)


@pytest.mark.parametrize(
    ("num_scores", "tie", "decision"), [(4, 0.1, CONTINUE), (7, 0.2, CONTINUE), (10, 0.3, STOP)]
)
def test_a_tie_with_the_cutoff_is_rounded_as_under_ray(
    num_scores: int, tie: float, decision: Decision
) -> None:
    """To the bit, for searches that resume: of 0.0, 0.1, ..., 0.9 the cutoff is just below 0.3."""
    asha = make_asha(asha_config(10, 30, 3))
    for number in range(num_scores):
        asha.report(number, 10, number / 10)
    assert asha.report(99, 10, tie) is decision


def test_with_a_reduction_factor_of_one_none_is_stopped_before_the_last_rung() -> None:
    config = asha_config(250, 4000, 1)
    assert config.rungs == (250, 4000)
    asha = make_asha(config)
    for number in range(5):
        assert asha.report(number, 250, float(number)) is CONTINUE
    assert [asha.report(number, 4000, float(number)) for number in range(5)] == [STOP] * 5


def test_the_last_rung_ends_a_trial_however_good() -> None:
    asha = make_asha(asha_config())
    decisions = [asha.report(0, rung, 0.1) for rung in (250, 1000, 4000, 5000)]
    assert decisions == [CONTINUE, CONTINUE, STOP, STOP]


def test_a_report_without_a_score_never_stops_and_leaves_no_mark() -> None:
    config = asha_config()
    asha = make_asha(config)
    asha.report(0, 250, 1.0)
    before = cutoffs(asha, config)
    for steps in (10, 50, 250, 300, 1000, 4000, 5000):
        assert asha.report(1, steps, None) is CONTINUE
    assert cutoffs(asha, config) == before


def test_a_rung_reported_again_after_a_restart_is_counted_once() -> None:
    config = asha_config()
    asha = make_asha(config)
    asha.report(0, 250, 1.0)
    asha.report(1, 250, 0.0)
    before = cutoffs(asha, config)
    assert asha.report(1, 250, 9.0) is CONTINUE  # the decision was made
    assert cutoffs(asha, config) == before


def test_a_report_counts_at_the_highest_rung_that_it_reached() -> None:
    config = asha_config()
    asha = make_asha(config)
    assert asha.report(0, 200, 1.0) is CONTINUE
    assert cutoffs(asha, config) == [math.inf] * 3  # no rung reached
    asha.report(0, 1100, 2.0)
    assert cutoffs(asha, config) == [math.inf, 2.0, math.inf]
    asha.report(0, 1200, 3.0)  # only where the trial is not recorded yet
    assert cutoffs(asha, config) == [3.0, 2.0, math.inf]


# --- A resume ----------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    config=st.sampled_from(
        [
            asha_config(),
            asha_config(brackets=2),
            asha_config(1, 100, 2, 6),
            asha_config(1, 1000, 10),
        ]
    ),
    data=st.data(),
)
def test_rungs_filled_again_from_the_study_decide_as_the_unbroken_search(
    config: AshaConfig, data: st.DataObject
) -> None:
    """Trials climb in any order; somewhere the search is killed and its rungs are made again."""
    num_trials = 12
    unbroken = resumed = make_asha(config, seed=5)
    scores: dict[int, dict[int, float]] = {number: {} for number in range(num_trials)}
    alive = list(range(num_trials))
    killed_at = data.draw(st.integers(0, 30), label="killed after so many reports")
    for report in range(60):
        if not alive:
            break
        if report == killed_at:
            resumed = make_asha(config, seed=5)
            order = data.draw(st.permutations(range(num_trials)))
            resumed.refill({number: scores[number] for number in order})
            for number in alive:  # each reports the rung that it was saved at once more
                if scores[number]:
                    rung = max(scores[number])
                    assert resumed.report(number, rung, scores[number][rung]) is CONTINUE
        number = data.draw(st.sampled_from(alive))
        rung = config.rungs[len(scores[number])]
        score = data.draw(st.floats(-1, 1) | st.just(0.5))
        decision = unbroken.report(number, rung, score)
        if resumed is not unbroken:
            assert resumed.report(number, rung, score) is decision
        scores[number][rung] = score
        if decision is STOP:
            alive.remove(number)


# --- Brackets ----------------------------------------------------------------------------------

#: The brackets of the first 60 trials, from searches that began under Ray's scheduler: a resume
#: must draw them alike for ever.
DRAWN = [
    (asha_config(250, 4000, 4, 2), 0,
     "010110001000000010101000001110000000000100101010101000100000"),
    (asha_config(1, 1000, 10, 3), 7,
     "010200001100000001120010100000111000000110000100000100002010"),
    (asha_config(1, 1000, 10, 3), 2**31,
     "111012010002002011000001100101010020210011101001010010000010"),
    (asha_config(1, 100, 2, 6), 5,
     "110101104100201001100000001110000010110001002201000120010000"),
    (asha_config(1, 243, 3, 4), 0,
     "020220001000000010201000003130000010100100201020201000100000"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("config", "seed", "drawn"),
    DRAWN,
    ids=[f"{config.brackets} of seed {seed}" for config, seed, _ in DRAWN],
)
def test_the_brackets_of_known_searches(config: AshaConfig, seed: int, drawn: str) -> None:
    asha = make_asha(config, seed)
    assert "".join(str(asha.bracket(number)) for number in range(len(drawn))) == drawn


@pytest.fixture
def three_brackets() -> Callable[[int], Asha]:
    return lambda seed: make_asha(asha_config(1, 1000, 10, 3), seed)


def test_a_trials_bracket_follows_from_the_seed_and_its_number_alone(
    three_brackets: Callable[[int], Asha],
) -> None:
    asha = three_brackets(7)
    expected = [asha.bracket(number) for number in range(50)]
    np.random.seed(1)  # noqa: NPY002 - the global generator, which Ray's own scheduler draws from
    again = three_brackets(7)
    assert [again.bracket(number) for number in reversed(range(50))] == expected[::-1]
    assert [again.bracket(number) for number in range(50)] == expected
    other = three_brackets(8)
    assert [other.bracket(number) for number in range(50)] != expected


def test_the_global_generator_is_not_moved(three_brackets: Callable[[int], Asha]) -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    asha = three_brackets(7)
    for number in range(50):
        asha.report(number, 1, 0.0)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_brackets_are_drawn_with_odds_that_fall_by_e(three_brackets: Callable[[int], Asha]) -> None:
    asha = three_brackets(0)
    odds = np.exp([0.0, -1.0, -2.0])
    drawn = np.bincount([asha.bracket(number) for number in range(4000)], minlength=3) / 4000
    assert drawn == pytest.approx(odds / odds.sum(), abs=0.03)


def test_a_trial_of_a_later_bracket_passes_the_early_rungs(
    three_brackets: Callable[[int], Asha],
) -> None:
    asha = three_brackets(7)
    late = [number for number in range(100) if asha.bracket(number) == 2]
    assert [asha.report(n, 1, float(n)) for n in late] == [CONTINUE] * len(late)
    assert [asha.report(n, 10, float(n)) for n in late] == [CONTINUE] * len(late)
    assert [asha.report(n, 100, float(n)) for n in late] == [CONTINUE] + [STOP] * (len(late) - 1)


def test_brackets_do_not_compare_their_trials(three_brackets: Callable[[int], Asha]) -> None:
    asha = three_brackets(7)
    first, second = (next(n for n in range(100) if asha.bracket(n) == b) for b in (0, 1))
    assert asha.report(first, 10, 0.0) is CONTINUE
    assert asha.report(second, 10, 1.0) is CONTINUE


def test_a_spared_trial_continues_to_the_last_rung_and_counts_for_the_others() -> None:
    config = asha_config()
    first, last = config.rungs[0], config.rungs[-1]
    decisions = {}
    for spared in (frozenset(), frozenset({3})):
        asha = Asha(config, 0, spared)
        decisions[spared] = [asha.report(n, first, float(n)) for n in range(4)]
        assert asha.report(3, last, 3.0) is Decision.STOP
        decisions[spared] += [asha.report(4, first, 0.5)]
    plain, spares = decisions.values()
    assert plain[3] is Decision.STOP
    assert spares[3] is Decision.CONTINUE
    assert [*plain[:3], plain[4]] == [*spares[:3], spares[4]]


# --- Promotion ---------------------------------------------------------------------------------


def promoting(variant: str = "promotion", **given: int) -> PromotionAsha:
    asha = make_halving(asha_config(variant=variant, **given), seed=0)
    assert isinstance(asha, PromotionAsha)
    return asha


class Workers:
    """Some workers, each with a trial: a report frees its worker, unless the trial continues."""

    def __init__(self, asha: PromotionAsha, config: AshaConfig, num: int, num_trials: int) -> None:
        self.asha, self.rungs, self.left = asha, config.rungs, num_trials
        self.scores: dict[int, dict[int, float]] = {}
        self.waiting: set[int] = set()
        self.jobs: list[str] = []
        self.running: list[int] = []
        for _ in range(num):
            self.take_up()

    def take_up(self) -> None:
        if (number := self.asha.promote(self.waiting)) is not None:
            self.waiting.remove(number)
            self.jobs.append(f"{number} from {max(self.scores[number])}")
        elif self.left:
            self.left -= 1
            number = len(self.scores)
            self.scores[number] = {}
            self.jobs.append(f"{number} new")
        else:
            return
        self.running.append(number)

    def report(self, number: int, score: float | None) -> None:
        """The next rung of a trial, or that it diverged."""
        rung = self.rungs[len(self.scores[number])]
        decision = self.asha.report(number, rung, score)
        if score is not None:
            self.scores[number][rung] = score
        if decision is CONTINUE and score is not None:
            self.jobs.append(f"{number} from {rung}")
            return
        self.running.remove(number)
        if decision is WAIT:
            self.waiting.add(number)
        self.take_up()


def algorithm_2(
    reports: list[tuple[int, float | None]], rungs: tuple[int, ...], factor: int, num_trials: int,
    num_workers: int, is_delayed: bool,
) -> list[str]:  # fmt: skip
    """The jobs of the paper's get_job, called for each free worker, from all reports so far."""
    scores: list[dict[int, float]] = [{} for _ in rungs]
    promoted: list[set[int]] = [set() for _ in rungs]
    at, jobs, started = dict[int, int](), list[str](), 0

    def get_job() -> None:
        nonlocal started
        for k in reversed(range(len(rungs) - 1)):
            top_k = sorted(scores[k].items(), key=lambda item: (item[1], item[0]))
            top_k = top_k[: len(scores[k]) // factor]
            promotable = [number for number, _ in top_k if number not in promoted[k]]
            if is_delayed and len(scores[k]) / (len(promoted[k]) + 1) < factor:
                continue
            if promotable:
                promoted[k].add(promotable[0])
                at[promotable[0]] = k + 1
                jobs.append(f"{promotable[0]} from {rungs[k]}")
                return
        if started < num_trials:
            at[started] = 0
            jobs.append(f"{started} new")
            started += 1

    for _ in range(num_workers):
        get_job()
    for number, score in reports:
        if score is not None:
            scores[at[number]][number] = score
        get_job()
    return jobs


@pytest.mark.parametrize("variant", VARIANTS)
@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_workers_get_the_jobs_of_the_papers_algorithm(variant: str, data: st.DataObject) -> None:
    """Scores come in any order, many of them equal; some trials diverge and leave no mark."""
    config = asha_config(1, 16, data.draw(st.integers(2, 4)), variant=variant)
    num_workers, num_trials = data.draw(st.integers(1, 4)), data.draw(st.integers(4, 30))
    asha = make_halving(config, 0)
    assert isinstance(asha, PromotionAsha)
    workers, reports = Workers(asha, config, num_workers, num_trials), []
    while workers.running:
        number = data.draw(st.sampled_from(workers.running))
        score = data.draw(st.sampled_from([0.0, 1.0, 1.0, 2.0]) | st.floats(-1, 3) | st.none())
        reports.append((number, score))
        workers.report(number, score)
    factor, is_delayed = config.reduction_factor, variant == "delayed_promotion"
    assert workers.jobs == algorithm_2(
        reports, config.rungs, factor, num_trials, num_workers, is_delayed
    )


def test_the_best_quarter_of_a_rung_is_promoted_the_highest_rung_first() -> None:
    """Of trials in no order; delay waits for three more where one was promoted too soon."""
    scores = (5.0, 4.0, 3.0, 6.0, 2.0, 7.0, 1.0, 9.0)

    def jobs(variant: str) -> list[str]:
        workers = Workers(promoting(variant), asha_config(), 1, 8)
        for _ in range(12):
            for number in workers.running:
                workers.report(number, scores[number])
        return [job for job in workers.jobs if "new" not in job]

    # At the fourth trial number 2 is the best, then number 4, and number 6 of seven.
    assert jobs("promotion") == ["2 from 250", "4 from 250", "6 from 250"]
    assert jobs("delayed_promotion") == ["2 from 250", "6 from 250"]


def test_a_trial_that_arrives_early_is_not_lost_and_one_that_is_lucky_to_be_first_does_not_pass():
    asha = promoting()
    assert asha.report(0, 250, 9.0) is WAIT  # the stopping variant lets the first one pass
    assert asha.report(1, 250, 1.0) is WAIT
    assert [asha.report(number, 250, 5.0) for number in (2, 3)] == [WAIT, WAIT]
    assert asha.promote({0, 1, 2, 3}) == 1
    assert asha.promote({0, 2, 3}) is None


def test_a_trial_is_promoted_only_once_no_worker_has_it() -> None:
    asha = promoting()
    for number in range(8):
        asha.report(number, 250, float(number))
    # The fourth was not the best, and so waits: number 0 is, but its worker still saves it.
    assert asha.promote({1, 2, 3, 4, 5, 6, 7}) == 1
    assert asha.promote({2, 3, 4, 5, 6, 7}) is None
    assert asha.promote({0, 2}) == 0


def test_one_reports_its_rung_again_after_a_restart_and_is_counted_once() -> None:
    asha = promoting()
    decisions = [asha.report(number, 250, float(number)) for number in (3, 2, 1, 0)]
    assert decisions == [WAIT, WAIT, WAIT, CONTINUE]
    assert asha.report(0, 250, 0.0) is CONTINUE
    assert asha.report(3, 250, 3.0) is WAIT
    for number in (4, 5, 6):
        assert asha.report(number, 250, 10.0) is WAIT
    assert asha.promote({1, 2, 3, 4, 5, 6}) is None  # seven are there, not eight


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_best_of_the_highest_rung_is_promoted_where_no_trial_would_complete(
    variant: str,
) -> None:
    asha = promoting(variant)
    for number in range(3):
        asha.report(number, 250, float(3 - number))
    assert asha.promote({0, 1, 2}) is None
    assert asha.promote({0, 1, 2}, is_last=True) == 2
    assert asha.report(2, 1000, 1.0) is WAIT
    assert asha.promote({0, 1, 2}, is_last=True) == 2  # and not number 1, of the rung below
    assert asha.report(2, 4000, 1.0) is STOP


@pytest.mark.parametrize("variant", VARIANTS)
@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_rungs_filled_again_promote_as_the_unbroken_search(
    variant: str, data: st.DataObject
) -> None:
    config = asha_config(1, 16, 2, brackets=data.draw(st.integers(1, 3)), variant=variant)
    unbroken, resumed = (make_halving(config, 5) for _ in range(2))
    waiting: set[int] = set()
    scores: dict[int, dict[int, float]] = {}
    new = itertools.count(3)
    running = list(range(3))
    for _ in range(data.draw(st.integers(1, 40), label="reports")):
        number = running.pop(data.draw(st.integers(0, len(running) - 1)))
        rung = config.rungs[len(scores.setdefault(number, {}))]
        score = data.draw(st.sampled_from([0.0, 1.0, 2.0]) | st.floats(-1, 3))
        decision = unbroken.report(number, rung, score)
        scores[number][rung] = score
        if decision is CONTINUE:
            running.append(number)
        else:
            waiting |= {number} if decision is WAIT else set()
            if (promoted := unbroken.promote(waiting)) is not None:
                waiting.remove(promoted)
            running.append(next(new) if promoted is None else promoted)
    order = data.draw(st.permutations(list(scores)))
    resumed.refill({number: scores[number] for number in order}, waiting)
    free = set(waiting)
    while (number := unbroken.promote(free)) is not None:
        assert resumed.promote(free) == number
        free.remove(number)
    assert resumed.promote(free) is None


def test_brackets_promote_their_trials_apart() -> None:
    config = asha_config(1, 1000, 10, 3, "promotion")
    asha = make_halving(config, 7)
    of = [[n for n in range(300) if asha.bracket(n) == bracket][:10] for bracket in range(3)]
    assert [asha.report(n, 1, float(n)) for n in of[1]] == [CONTINUE] * 10  # it begins higher
    for bracket in (0, 1):
        assert {asha.report(n, 10, float(n)) for n in of[bracket][:9]} == {WAIT}
    assert asha.promote(range(300)) is None  # 18 at this rung, nine of each bracket
    assert asha.report(of[1][9], 10, 1e9) is WAIT
    assert asha.promote(range(300)) == of[1][0]


def test_a_spared_trial_never_waits_and_takes_the_place_of_one_that_is_promoted() -> None:
    for variant, also in (("promotion", True), ("delayed_promotion", False)):
        asha = make_halving(asha_config(variant=variant), 0, frozenset({3}))
        assert [asha.report(n, 250, float(n)) for n in range(4)] == [WAIT, WAIT, WAIT, CONTINUE]
        assert (asha.promote({0, 1, 2}) == 0) is also


def test_without_halving_none_waits() -> None:
    asha = promoting(factor=1)
    assert [asha.report(n, 250, float(n)) for n in range(5)] == [CONTINUE] * 5
