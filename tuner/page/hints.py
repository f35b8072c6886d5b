"""Suggest next steps that the data of a search support."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from tuner import results
from tuner.page.baseline import Baseline
from tuner.page.facts import Facts
from tuner.page.style import number, short
from tuner.retrain import Retrained
from tuner.space import Choice, Domain, domain_text, end_of
from tuner.study import Importance, Trial

#: A hyperparameter is unimportant if the 95% intervals of all evaluators lie below this share,
#: with at least so many trials.
_SMALL, _ENOUGH_TRIALS = 0.1, 30
#: With fewer completed trials, more are suggested.
_FEW = 5


@final
@dataclass(frozen=True)
class Hint:
    """A next step, the reason for it, and the command for it, if there is one."""

    action: str
    reason: str
    command: str | None = None


def hints(
    facts: Facts,
    rankings: Sequence[Sequence[Importance]],
    baselines: Sequence[Baseline],
    seeds: Sequence[Retrained],
) -> list[Hint]:
    """Return all next steps that the data support.

    Args:
        facts: The search.
        rankings: The importances over all scored trials, one ranking per evaluator.
        baselines: The published points.
        seeds: The scores of retrained trials.
    """
    run = shlex.quote(str(facts.search.run_dir))
    return [
        *_unfinished(facts, run),
        *_use(facts, run),
        *_certainty(facts, seeds),
        *_edges(facts),
        *_again(facts, run),
        *_longer(facts, run, seeds),
        *_cut_off(facts, run, seeds),
        *_unimportant(facts, rankings),
        *_failing(facts),
        *_missing_defaults(baselines),
    ]


def _unfinished(facts: Facts, run: str) -> Iterator[Hint]:
    if facts.search.state == "interrupted":
        parent = shlex.quote(str(facts.search.run_dir.parent))
        command = f"python -m tuner.search {run}/spec.yaml --runs-dir {parent} --resume"
        yield Hint("Resume the search", "it was interrupted before its end", command)
    num = len(facts.completed)
    if facts.search.state == "finished" and num < _FEW:
        trials = {0: "no trial", 1: "one trial"}.get(num, f"{num} trials")
        reason = f"only {trials} completed" if num else "no trial completed"
        yield Hint("Run more trials, or lower asha.max_generator_steps", reason)


def _use(facts: Facts, run: str) -> Iterator[Hint]:
    if facts.search.best is not None:
        trial_id = facts.search.best.trial_id
        is_saved = (facts.search.run_dir / "best").is_dir()
        source = "saved in best/" if is_saved else "from its last checkpoint"
        reason = f"it is that of trial {trial_id}, {source}"
        yield Hint("Use the best generator", reason, f"python -m tuner.sample {run}")


def _certainty(facts: Facts, seeds: Sequence[Retrained]) -> Iterator[Hint]:
    best = facts.search.best
    if best is None or any(s.trial_id == best.trial_id and len(s.w1) > 1 for s in seeds):
        return
    if best.repeats is not None and len(best.repeats.w1) > 1:
        return
    command = seeds_command(facts.search.run_dir)
    tied = results.tied_with(best, facts.search.trials)
    if tied:
        names = ", ".join(t.trial_id for t in tied)
        reason = f"in the final it is tied with trial{'s' * (len(tied) > 1)} {names}"
    else:
        reason = "it was trained once, and the best of many trials is partly lucky"
    yield Hint("Train the best again with other seeds", reason, command)


def _edges(facts: Facts) -> Iterator[Hint]:
    best = facts.search.best
    for key, domain in facts.search.spec.domains.items() if best else ():
        if best is None or key not in best.params or isinstance(domain, Choice):
            continue
        if (end := end_of(key, domain, best.params[key])) is not None:
            value, bound = number(best.params[key]), number(getattr(domain, end))
            side = "upper" if end == "high" else "lower"
            reason = f"the best has {value}, at the {side} end of its range ({bound})"
            yield Hint(f"Widen {key} past {bound}", reason)


def _again(facts: Facts, run: str) -> Iterator[Hint]:
    if facts.search.state == "finished" and len(facts.completed) >= _FEW:
        reason = "a second search spends its trials where the best quarter of these lies"
        yield Hint("Search again around the best", reason, f"python -m tuner.narrow {run}")


def _longer(facts: Facts, run: str, seeds: Sequence[Retrained]) -> Iterator[Hint]:
    best = facts.search.best
    curve = {} if best is None else facts.curves.get(best.number, {})
    if best is None or best.status != "completed" or len(curve) < 2:
        return
    trained = [entry.generator_steps for entry in seeds if entry.trial_id == best.trial_id]
    if max(trained, default=0) > facts.last_rung:  # it has been trained for longer already
        return
    *_, before, last = curve.values()
    error = results.half_width(best.metrics.get("w1_stderr", 0.0))
    # The errors at both rungs are about equal.
    if before - last > error * 2**0.5 and last < 0.9 * before:
        steps = 2 * facts.last_rung
        reason = f"its w1 still fell at its last rung, from {before:.4g} to {last:.4g}"
        command = f"python -m tuner.train {run} {_further(best, steps)}"
        yield Hint("Train the best for longer", reason, command)


def _cut_off(facts: Facts, run: str, seeds: Sequence[Retrained]) -> Iterator[Hint]:
    trained = {entry.trial_id for entry in seeds}
    for cut in [cut for cut in facts.cut_off if cut.trial.trial_id not in trained][:1]:
        trial_id = cut.trial.trial_id
        reason = (
            f"the budget ended it, and at step {cut.steps:,} its w1 was {number(cut.w1)}, "
            f"against {number(cut.best_w1)} of the best"
        )
        steps = _further(cut.trial, facts.last_rung)
        command = f"python -m tuner.train {run} --trial {trial_id} {steps}"
        yield Hint(f"Train trial {trial_id} to the last rung", reason, command)


def _further(trial: Trial, steps: int) -> str:
    """Return the options that train a trial to a step: from its checkpoint, if that is the same."""
    # Learning rates that decay over more steps are others from the first step on.
    goes_on = "--continue " * (trial.config.training.lr_decay == "constant")
    return f"{goes_on}--generator-steps {steps}"


def _unimportant(facts: Facts, rankings: Sequence[Sequence[Importance]]) -> Iterator[Hint]:
    best = facts.search.best
    highs: dict[str, list[float]] = {}
    for row in (row for ranking in rankings for row in ranking):
        if row.high is not None and row.num_trials >= _ENOUGH_TRIALS:
            highs.setdefault(row.key, []).append(row.high)
    for key, bounds in highs.items():
        if best is None or key not in best.params or len(bounds) < len(rankings):
            continue
        if max(bounds) < _SMALL:
            value = number(best.params[key])
            reason = f"it explains less than {_SMALL:.0%} of the differences, by both evaluators"
            yield Hint(f"Fix {short(key)}, for example at {value}", reason)


def _failing(facts: Facts) -> Iterator[Hint]:
    ended = [t for t in facts.search.trials if t.status is not None]
    for status, action in (
        ("diverged", "Narrow the ranges of the learning rates"),
        ("failed", "Read the messages in the table of trials"),
    ):
        num = sum(t.status == status for t in ended)
        if num and num >= 0.2 * len(ended):
            yield Hint(action, f"{num} of {len(ended)} trials {status}")


def _missing_defaults(baselines: Sequence[Baseline]) -> Iterator[Hint]:
    missing = [b.method for b in baselines if b.trial is None and not b.excluded]
    if missing:
        names = ", ".join(missing)
        reason = f"no trial had the published point of {names}; the YAML is given above"
        yield Hint("Add it to initial_points of the next search", reason)


def seeds_command(run_dir: Path) -> str:
    """Return the command that trains the best trial again with other seeds."""
    return f"python -m tuner.train {shlex.quote(str(run_dir))} --seeds 5"


def best_config(facts: Facts) -> list[tuple[str, str, str]]:
    """Return the best trial's searched values, as (name, value, domain)."""
    best = facts.search.best
    domains: Mapping[str, Domain] = facts.search.spec.domains
    if best is None:
        return []
    return [
        (short(key), number(best.params[key]), domain_text(domain, number))
        for key, domain in domains.items()
        if key in best.params
    ]
