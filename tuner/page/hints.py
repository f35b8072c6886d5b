"""What to try next, as the data of a search say it: short, and only where they do say it."""

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from annotated_types import Ge

from trainables.config import NetworkConfig, TrainingConfig
from tuner import results
from tuner.page.baseline import Baseline
from tuner.page.facts import Facts
from tuner.page.style import number, short
from tuner.retrain import Retrained
from tuner.space import Choice, Domain, Range, is_integer
from tuner.study import Importance

#: So near to the end of its range, as a share of it, a value is said to be at it.
_EDGE = 0.05
#: What both evaluators put below this, at 95% and with so many trials, may as well be fixed.
_SMALL, _ENOUGH_TRIALS = 0.1, 30
#: With fewer completed trials the best of them says little.
_FEW = 5


@final
@dataclass(frozen=True)
class Hint:
    """One thing to try, why, and the command for it."""

    what: str
    why: str
    command: str | None = None


def hints(
    facts: Facts,
    rankings: Sequence[Sequence[Importance]],
    baselines: Sequence[Baseline],
    seeds: Sequence[Retrained],
) -> list[Hint]:
    """All that the data say.

    Args:
        facts: The search.
        rankings: The importances over all scored trials, by each evaluator.
        baselines: The papers' default points.
        seeds: What the best was trained again to.
    """
    run = shlex.quote(str(facts.search.run_dir))
    return [
        *_unfinished(facts, run),
        *_use(facts, run),
        *_certainty(facts, run, seeds),
        *_edges(facts),
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
        yield Hint("Go on with the search", "it was interrupted before it was done", command)
    num = len(facts.completed)
    if facts.search.state == "finished" and num < _FEW:
        trials = {0: "no trial", 1: "one trial"}.get(num, f"{num} trials")
        why = f"only {trials} completed" if num else "no trial completed"
        yield Hint("Run more trials, or lower asha.max_generator_steps", why)


def _use(facts: Facts, run: str) -> Iterator[Hint]:
    if facts.search.best is not None:
        trial_id = facts.search.best.trial_id
        is_kept = (facts.search.run_dir / "best").is_dir()
        why = f"that of trial {trial_id}" + (", saved in best/" if is_kept else ", as it is by now")
        yield Hint("Use the best generator", why, f"python -m tuner.sample {run}")


def _certainty(facts: Facts, run: str, seeds: Sequence[Retrained]) -> Iterator[Hint]:
    best = facts.search.best
    if best is None or any(s.trial_id == best.trial_id and len(s.w1) > 1 for s in seeds):
        return
    command = f"python -m tuner.train {run} --seeds 5"
    tied = results.tied_with(best, facts.search.trials)
    if tied:
        names = ", ".join(t.trial_id for t in tied)
        why = f"the final cannot tell it from trial{'s' * (len(tied) > 1)} {names}"
    else:
        why = "it was trained once, and the best of many is partly the luckiest"
    yield Hint("Train the best again with other seeds", why, command)


def _edges(facts: Facts) -> Iterator[Hint]:
    best = facts.search.best
    for key, domain in facts.search.spec.domains.items() if best else ():
        if best is None or key not in best.params or isinstance(domain, Choice):
            continue
        if (end := edge(key, domain, best.params[key])) is not None:
            value, bound = number(best.params[key]), number(getattr(domain, end))
            where = "upper" if end == "high" else "lower"
            why = f"the best has {value}, at the {where} end of its range ({bound})"
            yield Hint(f"Widen {key} past {bound}", why)


def edge(key: str, domain: Range[Any], value: float) -> str | None:
    """``low`` or ``high``, where a value is at that end of its range and the range could go on."""
    share = _share(domain, value)
    if is_integer(domain):
        end = {domain.low: "low", domain.high: "high"}.get(value)
    else:
        end = "low" if share <= _EDGE else "high" if share >= 1 - _EDGE else None
    return None if end is None or _is_natural(key, domain, end) else end


def _share(domain: Range[Any], value: float) -> float:
    """Where a value is in its range: 0 at its low end, 1 at its high one."""
    if domain.log:
        low, high, value = (math.log(x) for x in (domain.low, domain.high, value))
    else:
        low, high = domain.low, domain.high
    return (value - low) / (high - low)


def _is_natural(key: str, domain: Range[Any], end: str) -> bool:
    """Whether the hyperparameter itself ends there, as a decay does at 0, and near 1."""
    field = key.split(".", 1)[1]
    if field in ("beta1", "beta2", "ema_decay") and end == "high":
        return domain.high >= 0.9
    known = {**TrainingConfig.model_fields, **NetworkConfig.model_fields}.get(field)
    bounds = [m.ge for m in _metadata(known) if isinstance(m, Ge)]
    return end == "low" and domain.low in bounds


def _metadata(field: Any) -> Iterator[Any]:
    yield from getattr(field, "metadata", ())
    for inner in getattr(getattr(field, "annotation", None), "__args__", ()):
        yield from getattr(inner, "__metadata__", ())


def _longer(facts: Facts, run: str, seeds: Sequence[Retrained]) -> Iterator[Hint]:
    best = facts.search.best
    curve = {} if best is None else facts.curves.get(best.number, {})
    if best is None or best.status != "completed" or len(curve) < 2:
        return
    again = [one.generator_steps for one in seeds if one.trial_id == best.trial_id]
    if max(again, default=0) > facts.last_rung:  # it was
        return
    *_, before, last = curve.values()
    error = results.half_width(best.metrics.get("w1_stderr", 0.0))
    # Both rungs are read with about the same error.
    if before - last > error * 2**0.5 and last < 0.9 * before:
        steps = 2 * facts.last_rung
        why = f"its w1 still fell at its last rung, from {before:.4g} to {last:.4g}"
        command = f"python -m tuner.train {run} --generator-steps {steps}"
        yield Hint("Train the best for longer", why, command)


def _cut_off(facts: Facts, run: str, seeds: Sequence[Retrained]) -> Iterator[Hint]:
    again = {one.trial_id for one in seeds}
    for ahead in [one for one in facts.cut_off if one.trial.trial_id not in again][:1]:
        trial_id = ahead.trial.trial_id
        why = (
            f"the time budget ended it, and at step {ahead.steps:,} it had {number(ahead.w1)} "
            f"where the best had {number(ahead.best_w1)}"
        )
        steps = f"--generator-steps {facts.last_rung}"
        command = f"python -m tuner.train {run} --trial {trial_id} {steps}"
        yield Hint(f"Train trial {trial_id} to the last rung", why, command)


def _unimportant(facts: Facts, rankings: Sequence[Sequence[Importance]]) -> Iterator[Hint]:
    best = facts.search.best
    highs: dict[str, list[float]] = {}
    for row in (row for ranking in rankings for row in ranking):
        if row.high is not None and row.num_trials >= _ENOUGH_TRIALS:
            highs.setdefault(row.key, []).append(row.high)
    for key, found in highs.items():
        if best is None or key not in best.params or len(found) < len(rankings):
            continue
        if max(found) < _SMALL:
            value = number(best.params[key])
            why = f"it explains less than {_SMALL:.0%} of the differences, by either evaluator"
            yield Hint(f"Fix {short(key)}, say at {value}", why)


def _failing(facts: Facts) -> Iterator[Hint]:
    ended = [t for t in facts.search.trials if t.status is not None]
    for status, what in (
        ("diverged", "Narrow the learning rates"),
        ("failed", "Look at the messages in the table of trials"),
    ):
        num = sum(t.status == status for t in ended)
        if num and num >= 0.2 * len(ended):
            yield Hint(what, f"{num} of {len(ended)} trials {status}")


def _missing_defaults(baselines: Sequence[Baseline]) -> Iterator[Hint]:
    missing = [b.method for b in baselines if b.trial is None and not b.excluded]
    if missing:
        which = ", ".join(missing)
        why = f"no trial had the papers' default point of {which}: the comparison above says how"
        yield Hint("Add it to initial_points of the next search", why)


def domain_text(domain: Domain) -> str:
    """A domain in words."""
    if isinstance(domain, Choice):
        return "one of " + ", ".join(number(value) for value in domain.labels)
    return f"{number(domain.low)} to {number(domain.high)}" + " (log)" * domain.log


def best_config(facts: Facts) -> list[tuple[str, str, str]]:
    """The best trial's searched values: name, value, and where it was searched."""
    best = facts.search.best
    domains: Mapping[str, Domain] = facts.search.spec.domains
    if best is None:
        return []
    return [
        (short(key), number(best.params[key]), domain_text(domain))
        for key, domain in domains.items()
        if key in best.params
    ]
