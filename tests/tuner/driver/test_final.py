"""The final trains the configurations of the best trials again: each seed once."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from final_scores import final_score

from trainables.checkpoint import GENERATOR, Identity, load_whole
from trainables.config import DataConfig
from trainables.data import Data, load
from trainables.trial import settings_restored
from tuner.cluster.interruption import Interruption
from tuner.cluster.local import LocalExecutor
from tuner.display.text import in_final_text
from tuner.driver import session
from tuner.driver.final import run_final
from tuner.record.listener import Listener
from tuner.record.record import Record
from tuner.results import is_scored, read_trials, write_trials
from tuner.retrain.origin import fresh_seeds
from tuner.study import FinalScore, Study, Trial

NUM_SEEDS = 3


@pytest.fixture(scope="module")
def data() -> Data:
    return load(DataConfig(dataset="eight_gaussians"))


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Pictures and the final's critics take most of the time, and have tests of their own."""
    monkeypatch.setattr("trainables.trial.save_samples", lambda _, __, path: path.touch())
    monkeypatch.setattr("tuner.cluster.local.score_checkpoint", mean_weight)
    monkeypatch.setattr("tuner.cluster.local.score_real_samples", lambda *_: final_score(0.1, 0.1))
    with settings_restored():
        yield


@pytest.fixture
def run_session(
    make_spec: Callable[..., Any], open_record: Callable[..., Any], data: Data, tmp_path: Path
) -> Callable[..., Record]:
    """Run a session of a small search; with its final, unless it is interrupted."""

    def run(
        fault: str = "none",
        *,
        run_dir: Path = tmp_path,
        name: str = "session",
        interrupt_at: int = 0,
        **sections: Mapping[str, Any],
    ) -> Record:
        arguments = {"fault": fault, "marks": str(tmp_path)}
        small: dict[str, dict[str, Any]] = {
            "data": {"dataset": "eight_gaussians"},
            "networks": {"generator": "faulty:Generator", "generator_args": arguments,
                         "critic_width": 16, "critic_depth": 1, "latent_dim": 4},
            "training": {"batch_size": 16, "n_critic": 1,
                         "critic_lr": {"low": 1e-4, "high": 1e-2, "log": True}},
            "objective": {"critic_steps": 2, "final_critic_steps": 2, "final_num_critics": 1,
                          "final_cones": False, "final_trials": 2, "final_seeds": NUM_SEEDS},
            "search": {"num_trials": 3, "sampler": "random"},
            "asha": {"grace_generator_steps": 5, "max_generator_steps": 20, "reduction_factor": 2},
            "reporting": {"report_every_generator_steps": 5,
                          "checkpoint_every_generator_steps": 5},
            "resources": {"retries_per_trial": 0},
        }  # fmt: skip
        run_dir.mkdir(exist_ok=True)
        merged = {key: {**small.get(key, {}), **sections.get(key, {})} for key in small | sections}
        spec = make_spec(**merged)
        record, _ = open_record(spec, run_dir)
        interrupted = Interruption()
        executor = LocalExecutor(spec.resources, lambda text: None)
        executor.load(data)
        executor.run_trials(record, str(run_dir / "ray" / name), interrupted)
        record.listeners.append(_Interrupts(interrupted, interrupt_at))
        run_final(executor, record, str(run_dir / "ray"), name, interrupted)
        return record

    return run


def mean_weight(checkpoint: str, name: str, *_: Any) -> FinalScore:
    """A score of no worth, but of this generator alone, which must be of this trial."""
    generator = load_whole(Path(checkpoint, GENERATOR), "cpu", Identity(name))["state_dict"]
    return final_score(float(generator["layers.0.weight"].abs().mean()), 0.01)


class _Interrupts(Listener):
    """Interrupts a final at one of its events."""

    def __init__(self, interrupted: Interruption, at: int) -> None:
        self._interrupted, self._left = interrupted, at

    def tick(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._interrupted.set()


def scores(record: Record) -> dict[int, Mapping[int, float | None]]:
    return {t.number: t.repeats.w1 for t in record.by_number() if t.repeats is not None}


def test_each_finalist_is_trained_with_its_further_seeds_and_the_lowest_mean_wins(
    run_session: Callable[..., Record], tmp_path: Path
):
    record = run_session(asha={"reduction_factor": 1})
    finalists = record.finalists
    assert len(finalists) == 2
    for trial in finalists:
        assert trial.repeats is not None
        assert {*trial.repeats.w1} == {*fresh_seeds(trial.config, NUM_SEEDS - 1)}
        assert trial.repeats.seconds > 0
        assert trial.final is not None
        values = list(trial.repeats.w1.values())
        assert trial.final["w1_final_mean"] == pytest.approx(sum(values) / 2)
        assert trial.final["w1_final_mean_stderr"] == pytest.approx(abs(values[0] - values[1]) / 2)
    best = record.best_so_far
    assert best is not None
    assert best.final["w1_final_mean"] == min(t.final["w1_final_mean"] for t in finalists)
    assert in_final_text(record) == "4 of 4 trainings with further seeds ended, 4 scored"
    # They are in a search of their own, with the rungs of this one.
    repeats = Study(tmp_path / "final" / "study.log", record.repeats.spec).trials()
    assert [sorted(t.scores) for t in repeats] == [[5, 20]] * 4
    assert {t.config.seed for t in repeats} == {s for w1 in scores(record).values() for s in w1}
    # Neither a table nor a resume sees them among the trials of the search.
    write_trials(tmp_path / "trials.csv", record.by_number())
    rows = read_trials(tmp_path / "trials.csv")
    assert len(rows) == 3
    assert all(is_scored(row, NUM_SEEDS) for row in rows if row.final)
    assert not any(is_scored(row, NUM_SEEDS + 1) for row in rows)


@pytest.mark.parametrize("interrupt_at", [4, 9, 14])
def test_an_interrupted_one_resumes_to_the_end_of_an_unbroken_one_and_repeats_nothing(
    run_session: Callable[..., Record], tmp_path: Path, interrupt_at: int
):
    unbroken = run_session(run_dir=tmp_path / "unbroken")
    expected = scores(unbroken)
    assert len(expected) == 1
    repeats = unbroken.repeats
    assert repeats is not None
    # None of them is stopped early, as ASHA would stop one of two trials.
    assert [sorted(trial.scores) for trial in repeats.by_number()] == [[5, 10, 20]] * 2
    first = run_session(run_dir=tmp_path / "broken", interrupt_at=interrupt_at)
    assert scores(first) in ({}, expected)
    # Also where it lies elsewhere by then.
    shutil.copytree(tmp_path / "broken", tmp_path / "moved")
    shutil.rmtree(tmp_path / "broken" / "ray")
    second = run_session(run_dir=tmp_path / "moved", name="resumed")
    assert scores(second) == expected
    folders = sorted((tmp_path / "moved" / "ray" / "final" / "ray").glob("*/*"))
    logs = [tmp_path / f / "final" / "metrics.jsonl" for f in ("unbroken", "moved")]
    assert len({log.read_text().count("\n") for log in logs}) == 1  # each report was made once
    third = run_session(run_dir=tmp_path / "moved", name="again")
    assert scores(third) == expected
    assert sorted((tmp_path / "moved" / "ray" / "final" / "ray").glob("*/*")) == folders


def test_more_seeds_of_a_finished_search_train_those_that_are_new(
    run_session: Callable[..., Record],
):
    fewer = scores(run_session())
    more = scores(run_session(name="more", objective={"final_seeds": NUM_SEEDS + 1}))
    assert fewer.keys() == more.keys()
    for number, w1 in fewer.items():
        assert len(more[number]) == NUM_SEEDS
        assert w1.items() <= more[number].items()


def test_fewer_seeds_for_a_new_finalist_leave_those_of_the_others(
    run_session: Callable[..., Record],
):
    asha = {"reduction_factor": 1}
    before = scores(run_session(asha=asha, objective={"final_trials": 1}))
    after = scores(run_session(name="more", asha=asha, objective={"final_seeds": NUM_SEEDS - 1}))
    assert len(before) == 1
    assert before.items() <= after.items()
    assert sorted(map(len, after.values())) == [1, 2]


def test_without_further_seeds_there_are_none(run_session: Callable[..., Record], tmp_path: Path):
    record = run_session(objective={"final_seeds": 1})
    assert scores(record) == {}
    assert not (tmp_path / "final").exists()


def test_a_seed_that_diverges_counts_and_one_that_fails_is_trained_again(
    run_session: Callable[..., Record], monkeypatch: pytest.MonkeyPatch
):
    record = run_session()
    number = record.finalists[0].number
    diverging, failing = fresh_seeds(record.trials[number].config, 4)[2:]

    def started(self: Record, *promote: Any) -> Trial | None:
        trial = next_trial(self, *promote)
        if trial is not None and trial.config.seed == failing:
            self.ended(trial.number, "RuntimeError: no", failed=True)
            return started(self, *promote)
        if trial is not None and trial.config.seed == diverging:
            report = {"generator_steps": 5.0, "diverged": 1.0}
            self.reported(trial.number, report, continues=False)
            self.ended(trial.number)
            return started(self, *promote)
        return trial

    next_trial = Record.next_trial
    more = {"final_seeds": 5, "final_trials": 1}
    with monkeypatch.context() as patched:
        patched.setattr(Record, "next_trial", started)
        record = run_session(name="failing", objective=more)
    best = record.trials[number]
    note = f"trial {number:05d} lacks scores of further seeds: --resume trains what is missing"
    assert note in session._notes(record)
    assert (best.final["final_seeds"], best.final["final_seeds_diverged"]) == (2, 1)
    assert not is_scored(best, 5)
    record = run_session(name="mended", objective=more)
    best = record.trials[number]
    assert (best.final["final_seeds"], best.final["final_seeds_diverged"]) == (3, 1)
    assert is_scored(best, 5)
