"""Find a trial to retrain, and describe its training as a search of one fixed configuration."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from trainables.config import TrialConfig
from tuner import results
from tuner.errors import BadInput, Fault
from tuner.results import Snapshot
from tuner.space import SECTION_KEYS, describe_error, load_yaml, with_earlier_values
from tuner.study import Trial

#: Without ``--generator-steps``, a trial is continued to so many times its generator steps: to the
#: next rung at the default reduction factor of ASHA.
DEFAULT_STEPS_FACTOR = 4
#: Sections that say how and where a trial is trained. They are copied from the search.
_COPIED_SECTIONS = ("resources", "reporting", "results", "mlflow", "tracking")
#: The most trials that a final may have.
MAX_SEEDS = 100
_NAME_LENGTH = 100


@dataclass(frozen=True)
class Origin:
    """The configuration to retrain, and the trial that it comes from.

    ``run_dir`` and ``search`` are the search of the trial, and ``search_w1`` and
    ``search_w1_final`` the trial's scores in it: ``w1`` by generator step, and ``w1_final`` if it
    was in the final. ``ranked_at`` is the generator step of its best rung, whose score ranked it.
    All are ``None`` if the configuration comes from a ``best.yaml`` outside of a search's folder.
    """

    source: Path
    name: str
    config: TrialConfig
    sections: Mapping[str, Any]
    run_dir: Path | None = None
    search: Snapshot | None = None
    trial_id: str | None = None
    search_w1: Mapping[int, float] | None = None
    search_w1_final: float | None = None
    ranked_at: int | None = None


def find_origin(source: Path, trial_id: str | None) -> Origin:
    """Look up a trial in a search's folder, or the one of a ``best.yaml``.

    Args:
        source: The folder or the file.
        trial_id: The trial; if ``None``, the best one.

    Raises:
        BadInput: if there is no such trial, or the file has faults.
    """
    if source.is_dir():
        return _of_search(source, trial_id)
    if source.name == "best.yaml" and results.is_search(source.parent):
        return _of_search(source.absolute().parent, trial_id)
    if not source.exists():
        message = "does not exist: give a search's folder, such as runs/gp, or its best.yaml"
        raise BadInput(str(source), [Fault("", message)])
    document, faults = load_yaml(source)
    if trial_id is not None:
        message = "needs a search's folder: this file has only one trial, so leave --trial out"
        faults = [Fault("--trial", message)]
    try:
        config = TrialConfig.model_validate(with_earlier_values(document))
    except ValidationError as error:
        errors = error.errors(include_url=False)
        faults += [describe_error(e, e["loc"] or ("training",), SECTION_KEYS) for e in errors]
    missing = {"data", "networks", "training", "seed"} - document.keys()
    if missing and not faults:
        message = f"has no {', '.join(sorted(missing))}: give a search's folder, or its best.yaml"
        faults = [Fault("", message)]
    if faults:
        raise BadInput(str(source), faults)
    return Origin(source, source.stem, config, {}, trial_id=_title_trial(source))


def _title_trial(path: Path) -> str | None:
    title = re.match(r"# trial (\d+):", path.read_text(encoding="utf-8"))
    return title[1] if title else None


def _of_search(run_dir: Path, trial_id: str | None) -> Origin:
    search = results.read_snapshot(run_dir)
    trial = search.best if trial_id is None else search.trial(trial_id)
    if trial is None:
        message = "has no completed trial yet: choose one with --trial, or continue the search"
        raise BadInput(str(run_dir), [Fault("", message)])
    resolved = search.spec.resolved()
    sections = {key: resolved[key] for key in _COPIED_SECTIONS}
    if (limit := search.spec.search.max_concurrent_trials) is not None:
        sections["search"] = {"max_concurrent_trials": limit}
    return Origin(
        source=run_dir,
        name=search.spec.name,
        config=trial.config,
        sections=sections,
        run_dir=run_dir,
        search=search,
        trial_id=trial.trial_id,
        search_w1=_w1_at_rungs(search, trial),
        search_w1_final=trial.final["w1_final"] if trial.final else None,
        ranked_at=trial.best_rung,
    )


def _w1_at_rungs(search: Snapshot, trial: Trial) -> dict[int, float]:
    reports = search.reports.get(trial.number, {})
    return {steps: report["w1"] for steps, report in sorted(reports.items()) if "w1" in report}


def fresh_seeds(config: TrialConfig, num: int) -> list[int]:
    """Derive seeds from a trial's own, all different from it.

    A larger ``num`` gives the same seeds and more.
    """
    drawn = np.random.SeedSequence(config.seed).generate_state(num + 1)
    return [seed for seed in map(int, drawn) if seed != config.seed][:num]


def search_document(
    origin: Origin,
    generator_steps: int | None,
    num_seeds: int | None,
    *,
    continues: bool = False,
) -> dict[str, Any]:
    """Return the search space of one configuration; no trial is stopped, all are in the final.

    Args:
        origin: The configuration.
        generator_steps: The generator steps of each trial. The default is that of the search with
            fresh seeds, and :data:`DEFAULT_STEPS_FACTOR` times that without.
        num_seeds: The number of fresh seeds; ``None`` trains the trial with its own seed.
        continues: Whether the training goes on where the trial ended, not from the start.
    """
    config = origin.config
    factor = 1 if num_seeds else DEFAULT_STEPS_FACTOR
    steps = generator_steps or config.max_generator_steps * factor
    seeds = [config.seed] if num_seeds is None else fresh_seeds(config, num_seeds)
    applied = config.applied()
    return {
        "name": _name(origin, num_seeds, steps, continues=continues),
        "data": applied["data"],
        "networks": applied["networks"],
        "training": applied["training"],
        "objective": {**applied["objective"], "final_trials": len(seeds), "final_seeds": 1},
        **{key: origin.sections[key] for key in _COPIED_SECTIONS if key in origin.sections},
        "search": {
            **origin.sections.get("search", {}),
            "num_trials": len(seeds),
            "sampler": "random",
            "seed": config.seed,
            "trial_seeds": seeds,
        },
        "asha": {
            "grace_generator_steps": _first_rung(origin, steps, continues=continues),
            "max_generator_steps": steps,
            "reduction_factor": 1,
        },
    }


def _name(origin: Origin, num_seeds: int | None, steps: int, *, continues: bool) -> str:
    suffix = f"-{origin.trial_id}" if origin.trial_id else ""
    with_own_seed = "-continued" if continues else "-longer"
    suffix += f"-{num_seeds}-seed{'s' * (num_seeds > 1)}" if num_seeds else with_own_seed
    if num_seeds is None or steps != origin.config.max_generator_steps:
        suffix += f"-{steps}-steps"
    return re.sub(r"[^A-Za-z0-9._-]", "-", origin.name)[: _NAME_LENGTH - len(suffix)] + suffix


def _first_rung(origin: Origin, steps: int, *, continues: bool) -> int:
    """Return a step before ``steps`` at which the search scored, so that scores compare.

    It is the best rung of the trial, or the last step, if those lie before ``steps``; of a trial
    that is continued it is the last rung, where it ended.
    """
    if not continues and origin.ranked_at is not None and origin.ranked_at < steps:
        return origin.ranked_at
    rungs = [*(origin.search_w1 or {}), origin.config.max_generator_steps]
    return max((rung for rung in rungs if rung < steps), default=max(1, steps // 2))
