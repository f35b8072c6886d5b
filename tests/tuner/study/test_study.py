"""The journal: acknowledged writes are never lost, and a resumed search continues unchanged."""

import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import optuna
import pytest
from final_scores import final_score
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from tuner.errors import BadInput
from tuner.space.spec import SearchSpec
from tuner.study.study import Study
from tuner.study.trial import Status, Trial

MakeSpec = Callable[..., SearchSpec]
LR = {"low": 1e-5, "high": 1e-2, "log": True}


@pytest.fixture(autouse=True)
def _without_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip fsync, which matters only if the machine loses power."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "study.log"


def frozen(path: Path) -> list[FrozenTrial]:
    """Return the trials as Optuna itself reads them."""
    storage = JournalStorage(JournalFileBackend(str(path)))
    return optuna.load_study(study_name="search", storage=storage).get_trials()


def score_of(trial: Trial) -> float:
    training = trial.config.training
    return 1 + abs(math.log10(training.critic_lr) + 3.3) + 0.1 * training.n_critic


def run(study: Study, trial: Trial) -> Trial:
    """Run a trial to its end; its status depends on its number."""
    w1 = score_of(trial)
    status: Status = ("completed", "stopped", "diverged", "completed", "failed")[trial.number % 5]
    steps = {"completed": 4000, "stopped": 1000}.get(status, 300)
    for rung in (250, 1000, 4000):
        if rung < steps:
            study.score(trial.number, rung, w1 + 1 / rung)
    has_score = status in ("completed", "stopped")
    study.end(
        trial.number, status, {"generator_steps": float(steps)}, w1 if has_score else None, None
    )
    return study.trial(trial.number)


def ask(study: Study) -> Trial:
    trial = study.ask()
    assert trial is not None
    return trial


# --- Proposals ---------------------------------------------------------------------------------

NUMBERS = {"critic_lr": LR, "generator_lr": LR, "n_critic": {"low": 1, "high": 5}}
CONDITIONAL = {
    "constraint": {"choice": ["clip", "gradient_penalty"]},
    "clip_value": {"low": 1e-3, "high": 1, "log": True},
    "gp_weight": {"low": 0.1, "high": 100, "log": True},
    "optimizer": {"choice": ["adam", "rmsprop"]},
    "critic_lr": LR,
    "generator_lr": 1e-4,
}
#: Enough trials for each to leave its random start: GP fits from the 10th completed one on.
SAMPLERS = [
    ("tpe", NUMBERS, 24),
    ("tpe", CONDITIONAL, 24),
    ("random", CONDITIONAL, 12),
    ("gp", NUMBERS, 20),
    ("grid", {"critic_lr": {"choice": [1e-4, 1e-3]}, "n_critic": {"low": 1, "high": 5}}, 10),
]


@pytest.mark.parametrize(
    ("sampler", "training", "num_trials"), SAMPLERS, ids=lambda v: v if isinstance(v, str) else ""
)
def test_a_reopened_study_proposes_what_the_unbroken_one_does(
    tmp_path: Path, make_spec: MakeSpec, sampler: str, training: dict, num_trials: int
):
    search = {"num_trials": num_trials, "sampler": sampler}
    spec = make_spec(training=training, search=search)
    unbroken = Study(tmp_path / "unbroken.log", spec)
    expected = []
    for _ in range(num_trials):
        expected.append(ask(unbroken).config)
        run(unbroken, unbroken.trials()[-1])
    assert unbroken.ask() is None

    proposed = []
    for _ in range(num_trials):
        study = Study(tmp_path / "broken.log", spec)
        proposed.append(ask(study).config)
        run(Study(tmp_path / "broken.log", spec), study.trials()[-1])
    assert proposed == expected
    assert Study(tmp_path / "broken.log", spec).ask() is None


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_so_does_one_reopened_while_trials_are_under_way(
    tmp_path: Path, make_spec: MakeSpec, sampler: str
):
    spec = make_spec(training=CONDITIONAL, search={"num_trials": 20, "sampler": sampler})

    def propose(name: str, *, reopens: bool) -> list[Any]:
        study = Study(tmp_path / name, spec)
        under_way, proposed = [], []
        while (trial := study.ask()) is not None:
            proposed.append(trial.config)
            under_way.append(trial)
            if len(under_way) == 3:
                run(study, under_way.pop(0))
            if reopens:
                study = Study(tmp_path / name, spec)
                assert [t for t in study.trials() if t.status is None] == under_way
        return proposed

    assert propose("a.log", reopens=True) == propose("b.log", reopens=False)


def test_the_seed_decides_all_proposals(tmp_path: Path, make_spec: MakeSpec):
    def propose(name: str, seed: int) -> list[Any]:
        search = {"num_trials": 4, "sampler": "random", "seed": seed}
        study = Study(tmp_path / name, make_spec(search=search))
        return [ask(study).config for _ in range(4)]

    first, again, other = propose("a", 1), propose("b", 1), propose("c", 2)
    assert first == again
    assert not {c.training.critic_lr for c in first} & {c.training.critic_lr for c in other}
    assert not {c.seed for c in first} & {c.seed for c in other}


def test_every_trial_has_a_seed_of_its_own(path: Path, make_spec: MakeSpec):
    study = Study(path, make_spec(search={"num_trials": 50, "sampler": "random"}, training={}))
    assert len({ask(study).config.seed for _ in range(50)}) == 50


def test_a_proposal_lies_in_its_domain_and_holds_only_what_applies(path: Path, make_spec: MakeSpec):
    study = Study(
        path, make_spec(training=CONDITIONAL, search={"num_trials": 40, "sampler": "random"})
    )
    trials = [ask(study) for _ in range(40)]
    assert {trial.config.training.constraint for trial in trials} == {"clip", "gradient_penalty"}
    for trial in trials:
        training = trial.config.training
        assert 1e-5 <= training.critic_lr <= 1e-2
        clips = training.constraint == "clip"
        assert ("training.clip_value" in trial.params) == clips == (training.clip_value is not None)
        assert ("training.gp_weight" in trial.params) != clips
        assert trial.params["training.critic_lr"] == training.critic_lr
        assert "training.generator_lr" not in trial.params


def test_a_grid_is_proposed_point_by_point_in_its_order(path: Path, make_spec: MakeSpec):
    training = {"critic_lr": {"choice": [1e-3, 1e-4]}, "n_critic": {"low": 1, "high": 3}}
    spec = make_spec(training=training, search={"sampler": "grid"})
    study = Study(path, spec)
    proposed = [ask(study).params for _ in range(6)]
    assert proposed == list(spec.grid_points())
    assert study.ask() is None


def test_no_more_trials_than_num_trials(path: Path, make_spec: MakeSpec):
    study = Study(path, make_spec())
    assert [ask(study).number for _ in range(4)] == [0, 1, 2, 3]
    assert study.ask() is None
    run(study, study.trials()[0])
    assert study.ask() is None


def test_a_time_budget_sets_no_number_of_trials(path: Path, make_spec: MakeSpec):
    study = Study(path, make_spec(search={"time_budget_s": 1, "sampler": "random"}))
    assert [ask(study).number for _ in range(30)] == list(range(30))


# --- Damage ------------------------------------------------------------------------------------

GARBAGE = [b"garbage", b"", b"\xff\x00", b"[]", b"{}", b"3", b'{"op_code": "4"}']


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize("at", [0, 1, 2, -1])
def test_a_line_that_is_none_is_named_with_the_way_out_which_works(
    path: Path, make_spec: MakeSpec, garbage: bytes, at: int
):
    """Not the last line without its end: that one was never acknowledged, and is dropped."""
    study = Study(path, make_spec())
    proposed = [ask(study).config for _ in range(2)]
    lines = path.read_bytes().splitlines()
    where = at % (len(lines) + 1)
    lines.insert(where, garbage)
    damaged = b"\n".join(lines) + b"\n"
    path.write_bytes(damaged)
    message = f"study.log: 1 fault\n  line {where + 1}: is not as it was written: put back a copy"
    with pytest.raises(BadInput, match=message):
        Study(path, make_spec())
    assert path.read_bytes() == damaged
    path.write_bytes(b"".join(line + b"\n" for line in lines[:where]))
    study = Study(path, make_spec())
    while len(study.trials()) < 2:
        ask(study)
    assert [trial.config for trial in study.trials()] == proposed


def test_what_optuna_cannot_replay_is_one_message(path: Path, make_spec: MakeSpec):
    Study(path, make_spec()).ask()
    with path.open("ab") as file:
        file.write(b'{"op_code": 2}\n')
    with pytest.raises(BadInput, match=r"cannot be read by Optuna \(KeyError: 'study_id'\): put b"):
        Study(path, make_spec())


# --- Endings -----------------------------------------------------------------------------------


def test_what_a_trial_was_is_what_is_read_back(path: Path, make_spec: MakeSpec):
    spec = make_spec()
    study = Study(path, spec)
    trial = ask(study)
    study.score(0, 250, 2.0)
    study.score(0, 250, 9.0)  # again is the same as once
    folder = path.parent / "ray"
    study.save(0, str(folder / "checkpoint_1"))
    study.save(0, str(folder / "checkpoint_2"))
    expected = Trial(
        0, trial.config, trial.params, {250: 2.0},
        checkpoints=(str(folder / "checkpoint_2"), str(folder / "checkpoint_1")),
    )  # fmt: skip
    assert study.trial(0) == Study(path, spec).trial(0) == expected
    assert (expected.trial_id, expected.score, expected.generator_steps) == ("00000", 2.0, 0)
    metrics = {"generator_steps": 1000.0, "critic_estimate": math.inf}
    study.end(0, "stopped", metrics, 1.5, "too bad")
    (ended,) = Study(path, spec).trials()
    assert (ended.status, ended.message, ended.metrics) == ("stopped", "too bad", metrics)
    assert (ended.scores, ended.score, ended.generator_steps) == ({250: 2.0, 1000: 1.5}, 1.5, 1000)


def test_a_message_can_be_written_anywhere(path: Path, make_spec: MakeSpec):
    """One in the journal of an earlier version, too: it was stored as it came."""
    study = Study(path, make_spec())
    ask(study)
    study.end(0, "failed", {}, None, "no file l\udce9tin \x1b[31m")
    assert study.trial(0).message == "no file l\\udce9tin \\x1b[31m"


def test_the_final_of_a_trial_that_ended_and_the_floor_are_stored_at_once(
    path: Path, make_spec: MakeSpec
):
    """Whatever comes first: the first of two finals, and then a kill, loses neither."""
    spec = make_spec()
    study = Study(path, spec)
    assert study.floor is None
    study.set_floor({"w1_floor": 0.25, "w1_floor_stderr": 0.0625})
    trials = [run(study, ask(study)) for _ in range(2)]
    assert [trial.final for trial in trials] == [None, None]
    for number, w1 in ((1, 0.5), (0, 0.1 + 0.2)):
        final = {"w1_final": w1, "w1_final_stderr": 1e-3}
        readings = {"real": [w1, -w1], "generated": [0.123456789], "critics": []}
        study.set_final(number, final, readings)
        reopened = Study(path, spec)
        assert study.trial(number) == reopened.trial(number)
        assert reopened.trial(number).final == final
        rounded = {**readings, "real": [round(w1, 6), -round(w1, 6)], "generated": [0.123457]}
        assert reopened.trial(number).final_readings == rounded
        assert reopened.trial(number).score == trials[number].score
    assert [trial.final is None for trial in reopened.trials()] == [False, False]
    assert reopened.floor == {"w1_floor": 0.25, "w1_floor_stderr": 0.0625}
    assert reopened.final_floor is None
    study.set_final_floor(final_score(0.5, 0.25, seconds=3.0))
    assert Study(path, spec).final_floor == final_score(0.5, 0.25, seconds=3.0)


def test_optuna_has_the_true_state_of_each_trial(path: Path, make_spec: MakeSpec):
    """A stopped trial has only the score of its last rung, and a diverged one none."""
    study = Study(path, make_spec(search={"num_trials": 5, "sampler": "random"}))
    trials = [run(study, ask(study)) for _ in range(5)]
    completed, stopped, diverged, last, failed = frozen(path)
    assert (completed.state, completed.value) == (TrialState.COMPLETE, trials[0].score)
    assert completed.last_step == 4000
    assert (stopped.state, stopped.value) == (TrialState.PRUNED, trials[1].score)
    assert (stopped.last_step, stopped.intermediate_values[1000]) == (1000, trials[1].score)
    assert diverged.state == TrialState.PRUNED
    assert (last.state, last.value) == (TrialState.COMPLETE, trials[3].score)
    assert (failed.state, failed.value) == (TrialState.FAIL, None)


def test_a_trial_stopped_before_its_first_rung_is_pruned_without_a_value(
    path: Path, make_spec: MakeSpec
):
    study = Study(path, make_spec())
    study.end(ask(study).number, "stopped", {"generator_steps": 10.0}, None)
    assert [(t.state, t.value) for t in frozen(path)] == [(TrialState.PRUNED, None)]


def test_the_time_used_and_the_searchs_id_survive_a_restart(path: Path, make_spec: MakeSpec):
    study = Study(path, make_spec())
    search_id = study.search_id
    assert study.elapsed_s == 0.0
    study.set_elapsed(12.5)
    reopened = Study(path, make_spec())
    assert (reopened.elapsed_s, reopened.search_id, study.search_id) == (12.5, search_id, search_id)
    assert Study(path.with_name("other.log"), make_spec()).search_id != search_id


# --- Crashes -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Acknowledged:
    """The trials that the study had acknowledged when its journal had this many bytes."""

    num_bytes: int
    trials: tuple[Trial, ...]


def journal_of(path: Path, spec: SearchSpec) -> list[Acknowledged]:
    """Run a search, two trials at a time; return its trials after each step."""
    study = Study(path, spec)
    acknowledged = []

    def acknowledge() -> None:
        acknowledged.append(Acknowledged(path.stat().st_size, tuple(study.trials())))

    under_way: list[Trial] = []
    while (trial := study.ask()) is not None:
        acknowledge()
        under_way.append(trial)
        if len(under_way) == 2:
            ended = under_way.pop(0)
            study.score(ended.number, 250, 5.0)
            acknowledge()
            study.save(ended.number, str(path.parent / "ray" / f"checkpoint_{ended.number}"))
            acknowledge()
            run(study, ended)
            acknowledge()
    for ended in under_way:
        run(study, ended)
        acknowledge()
    return acknowledged


GRID = {"critic_lr": {"choice": [1e-3, 1e-4]}, "n_critic": {"low": 1, "high": 2}}
CUT = {
    "random": ({"critic_lr": LR, "n_critic": {"low": 1, "high": 5}}, {"num_trials": 4}),
    "grid": (GRID, {}),
}


def offsets(content: bytes, rng: Random) -> list[int]:
    """Return offsets to cut at: near each line end, in each line, and along the last two."""
    ends = [i + 1 for i, byte in enumerate(content) if byte == ord("\n")]
    starts = [0, *ends[:-1]]
    inside = [rng.randrange(a + 1, b) for a, b in zip(starts, ends, strict=True)]
    near = [end + delta for end in ends for delta in (-1, 0)]
    return sorted({0, *inside, *near, *range(starts[-2], len(content), 11)})


@pytest.mark.parametrize("sampler", ["random", "grid"])
def test_a_journal_cut_anywhere_keeps_what_was_acknowledged_and_continues(
    path: Path, make_spec: MakeSpec, sampler: str
):
    training, search = CUT[sampler]
    spec = make_spec(training=training, search={**search, "sampler": sampler})
    acknowledged = journal_of(path, spec)
    content = path.read_bytes()
    for num_bytes in offsets(content, Random(0)):
        path.write_bytes(content[:num_bytes])
        study = Study(path, spec)
        before = study.trials()
        states = {trial.number: trial.state for trial in frozen(path)}

        # No trial twice, and all that the last acknowledgement held.
        assert [t.number for t in before] == sorted({t.number for t in before})
        held = next((a for a in reversed(acknowledged) if a.num_bytes <= num_bytes), None)
        for trial in held.trials if held else ():
            (now,) = (t for t in before if t.number == trial.number)
            assert (now.config, now.params) == (trial.config, trial.params)
            assert trial.status in (None, now.status)
            assert trial.checkpoint in (None, now.checkpoint)
            assert trial.scores.items() <= now.scores.items()
        # The sampler has the trials that ended; only those to be resumed are running.
        for trial in before:
            assert (states[trial.number] == TrialState.RUNNING) == (trial.status is None)

        # And the search runs to its end, with num_trials trials.
        for trial in before:
            if trial.status is None:
                run(study, trial)
        while (new := study.ask()) is not None:
            run(study, new)
        trials = study.trials()
        assert len(trials) == 4
        assert all(trial.status is not None for trial in trials)
        if sampler == "grid":
            proposed = sorted(tuple(t.params.values()) for t in trials)
            assert proposed == sorted(tuple(point.values()) for point in spec.grid_points())
        assert TrialState.RUNNING not in {trial.state for trial in frozen(path)}


def test_an_ending_that_did_not_reach_optuna_is_completed(path: Path, make_spec: MakeSpec):
    """The line that says how a trial ended comes first: a crash may come right after it."""
    spec = make_spec()
    study = Study(path, spec)
    ask(study)
    study.score(0, 250, 2.0)
    size = path.stat().st_size
    study.end(0, "stopped", {"generator_steps": 1000.0}, 1.5)
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"\n", size) + 1])
    assert [t.state for t in frozen(path)] == [TrialState.RUNNING]

    trial = Study(path, spec).trial(0)
    assert (trial.status, trial.score, trial.generator_steps) == ("stopped", 1.5, 1000)
    assert [(t.state, t.value) for t in frozen(path)] == [(TrialState.PRUNED, 1.5)]


def test_a_proposal_cut_short_anywhere_is_made_again(path: Path, make_spec: MakeSpec):
    """The same trial, of the same number and seed: else all that follow would be others."""
    spec = make_spec(training=CONDITIONAL, search={"num_trials": 3, "sampler": "random"})
    study = Study(path, spec)
    ask(study)
    size = path.stat().st_size
    proposed = ask(study)
    content = path.read_bytes()
    assert content.count(b"\n", size) == 1
    for end in (size, size + 1, (size + len(content)) // 2, len(content) - 1):
        path.write_bytes(content[:end])
        assert ask(Study(path, spec)) == proposed


@pytest.mark.timeout(15)
def test_a_lock_that_a_crash_left_behind_blocks_nobody(path: Path, make_spec: MakeSpec):
    """Optuna would wait for half a minute."""
    run(Study(path, make_spec()), ask(Study(path, make_spec())))
    path.with_name("study.log.lock").touch()
    study = Study(path, make_spec())
    assert [trial.status for trial in study.trials()] == ["completed"]
    assert ask(study).number == 1


LISTS = [[64, 64], [128], [8, "a", None]]
NETWORKS = {
    "generator": "nets:G",
    "generator_args": {"widths": {"choice": LISTS}, "activation": {"choice": [None, "relu"]}},
}


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp", "grid"])
def test_a_choice_of_lists_gives_networks_the_lists_in_every_session(
    path: Path, make_spec: MakeSpec, sampler: str
) -> None:
    """Optuna has no choice of lists: it knows them as text."""
    first = {"widths": [128], "activation": None}
    points = (
        {} if sampler == "grid" else {"initial_points": [{"networks": {"generator_args": first}}]}
    )
    spec = make_spec(
        networks=NETWORKS, search={"sampler": sampler, "num_trials": 6}, training={}, **points
    )
    seen = []
    for _ in range(6):
        study = Study(path, spec)
        trial = ask(study)
        study.end(trial.number, "completed", {"generator_steps": 4000.0}, 1.0 + trial.number, None)
        args = Study(path, spec).trial(trial.number).config.networks.generator_args
        assert args == trial.config.networks.generator_args
        assert args["widths"] in LISTS
        assert json.loads(trial.params["networks.generator_args.widths"]) == args["widths"]
        seen.append(args)
    if sampler == "grid":
        assert len({json.dumps(args) for args in seen}) == 6
    else:
        assert seen[0] == first
