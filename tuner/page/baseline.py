"""The papers' default points of a search: which trials had them, and how to have those it lacks."""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, final

from trainables.config import ARCHITECTURES, DEFAULT_ARCHITECTURE, PUBLISHED, TrainingConfig
from tuner.page.facts import Facts, last_common_rung
from tuner.space import Choice, Domain, SearchSpec, coerce, dump_yaml, possible_values
from tuner.study import Trial

#: What makes a method, rather than being a value of it.
_KINDS = ("training.loss", "training.constraint")
#: These have no published value: any will do.
_FREE = (*_KINDS, "networks.architecture")


@final
@dataclass(frozen=True)
class Baseline:
    """A method's default point in a search.

    ``trial`` is the one that had it, if any; ``steps`` the last rung that it and the best trial
    both reached, with the ``w1`` of each. ``excluded`` are the searched values whose range leaves
    the default out, with that default; ``yaml`` is the point, for ``initial_points``.
    """

    method: str
    trial: Trial | None
    steps: int | None = None
    w1: float | None = None
    best_w1: float | None = None
    excluded: Mapping[str, Any] | None = None
    yaml: str = ""


def baselines(facts: Facts) -> list[Baseline]:
    """The default point of each method that the search may pick, in the search's order."""
    search = facts.search.spec
    found = []
    for chosen in _methods(search):
        asked, excluded = _point(search, chosen)
        method = _name(search, chosen)
        trials = [t for t in facts.search.trials if _has(search, t, asked)] if not excluded else []
        if not trials:
            found.append(Baseline(method, None, excluded=excluded, yaml=_yaml(asked)))
            continue
        # Drawn twice, it is the luckier by chance: the first one counts.
        found.append(_compared(facts, method, trials[0], _yaml(asked)))
    return found


def _compared(facts: Facts, method: str, trial: Trial, text: str) -> Baseline:
    best = facts.search.best
    steps = None if best is None else last_common_rung(facts, trial, best)
    if best is None or steps is None:
        return Baseline(method, trial, yaml=text)
    w1, best_w1 = (facts.curves[t.number][steps] for t in (trial, best))
    return Baseline(method, trial, steps, w1, best_w1, yaml=text)


def _methods(search: SearchSpec) -> Iterator[dict[str, Any]]:
    """Every loss with every constraint under it, by dotted key."""
    constraints = possible_values(search.training.constraint)
    for loss in possible_values(search.training.loss):
        for constraint in constraints if loss == "wasserstein" else (None,):
            yield dict(zip(_KINDS, (loss, constraint), strict=True))


def _name(search: SearchSpec, chosen: Mapping[str, Any]) -> str:
    loss, constraint = (chosen[key] for key in _KINDS)
    return constraint if loss == "wasserstein" else loss


def _default(search: SearchSpec, key: str, method: str, architecture: str) -> Any:
    """The published value of a searched key, or ``None`` where there is none."""
    _, field = key.split(".", 1)
    for values in (PUBLISHED.get(method, {}), ARCHITECTURES.get(architecture, {})):
        if field in values:
            return values[field]
    known = TrainingConfig.model_fields.get(field)
    return None if known is None or key in _FREE else known.default


def _point(search: SearchSpec, chosen: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A method's default point by dotted key, and of it what the ranges leave out."""
    method = _name(search, chosen)
    asked: dict[str, Any] = {}
    excluded: dict[str, Any] = {}
    architectures = possible_values(search.networks.architecture or DEFAULT_ARCHITECTURE)

    def pick(key: str, domain: Domain) -> Any:
        first = domain.choice[0] if isinstance(domain, Choice) else domain.low
        if key in _KINDS:
            asked[key] = chosen[key]
            return chosen[key]
        value = _default(search, key, method, architectures[0])
        if value is None:
            return first  # any will do
        if (fitted := coerce(domain, value)) is None:
            excluded[key] = value
            return first
        # What several architectures do not agree on is left to each: it hangs on the trial's.
        if key.startswith("training.") or len(architectures) == 1:
            asked[key] = fitted
        return fitted

    search.choose(pick)
    return asked, excluded


def _has(search: SearchSpec, trial: Trial, asked: Mapping[str, Any]) -> bool:
    method_keys = {key for key in asked if key in _KINDS}
    if any(trial.params.get(key) != asked[key] for key in method_keys):
        return False
    method = _name(search, {k: getattr(trial.config.training, k.split(".")[1]) for k in _KINDS})
    architecture = trial.config.networks.architecture or DEFAULT_ARCHITECTURE
    wanted = {
        key: _default(search, key, method, architecture) for key in trial.params if key not in _FREE
    }
    return all(value is None or _equal(trial.params[key], value) for key, value in wanted.items())


def _equal(one: Any, other: Any) -> bool:
    if any(isinstance(value, bool | str) or value is None for value in (one, other)):
        return one == other
    return math.isclose(one, other, rel_tol=1e-9)


def _yaml(asked: Mapping[str, Any]) -> str:
    """The point as a search space has it."""
    sections = {
        section: {key.split(".", 1)[1]: value for key, value in values}
        for section, values in itertools.groupby(asked.items(), lambda item: item[0].split(".")[0])
    }
    return dump_yaml([sections])
