"""A trial to be trained again, as the search of one fixed configuration that it is."""

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
from tuner.space import SECTION_KEYS, describe_error, load_yaml
from tuner.study import Trial

#: Where no number of steps is given, a trial that is trained longer is trained so many times as
#: long: a rung more of ASHA's own ladder, as it mostly is.
LONGER = 4
#: Sections that are no part of what a trial is: how and where it is trained.
_KEPT = ("resources", "reporting", "results", "mlflow")
#: As many trials as a final may have.
MAX_SEEDS = 100
_NAME_LENGTH = 100


@dataclass(frozen=True)
class Origin:
    """Where a configuration comes from.

    ``run_dir`` is the search's folder, and ``None`` where only its ``best.yaml`` is there; so are
    ``trial_id`` and what the search said of it: ``own_w1``, by generator step, and
    ``own_w1_final``, of its last.
    """

    source: Path
    name: str
    config: TrialConfig
    sections: Mapping[str, Any]
    run_dir: Path | None = None
    search: Snapshot | None = None
    trial_id: str | None = None
    own_w1: Mapping[int, float] | None = None
    own_w1_final: float | None = None

    @property
    def ranked_at(self) -> int | None:
        """The generator step of the score that the search ranked the trial by."""
        return max(self.own_w1, default=None) if self.own_w1 else None


def find_origin(source: Path, trial_id: str | None) -> Origin:
    """Look up the trial of a search's folder, or of its ``best.yaml``.

    Args:
        source: Either of these.
        trial_id: A trial of the search; the best one, if left out.

    Raises:
        BadInput: where there is no such trial.
    """
    if source.is_dir():
        return _of_search(source, trial_id)
    if source.name == "best.yaml" and results.is_search(source.parent):
        return _of_search(source.absolute().parent, trial_id)
    if not source.exists():
        what = "is not there: give a search's folder, such as runs/gp, or its best.yaml"
        raise BadInput(str(source), [Fault("", what)])
    document, faults = load_yaml(source)
    if trial_id is not None:
        faults = [Fault("--trial", "needs the search's folder: this file has one trial alone")]
    try:
        config = TrialConfig.model_validate(document)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        faults += [describe_error(e, e["loc"] or ("training",), SECTION_KEYS) for e in errors]
    missing = {"data", "networks", "training", "seed"} - document.keys()
    if missing and not faults:
        what = f"has no {', '.join(sorted(missing))}: give a search's folder, or its best.yaml"
        faults = [Fault("", what)]
    if faults:
        raise BadInput(str(source), faults)
    return Origin(source, source.stem, config, {}, trial_id=_title_trial(source))


def _title_trial(path: Path) -> str | None:
    found = re.match(r"# trial (\d+):", path.read_text(encoding="utf-8"))
    return found[1] if found else None


def _of_search(run_dir: Path, trial_id: str | None) -> Origin:
    search = results.read_snapshot(run_dir)
    trial = search.best if trial_id is None else search.trial(trial_id)
    if trial is None:
        what = "has no completed trial yet: name one by --trial, or let the search go on"
        raise BadInput(str(run_dir), [Fault("", what)])
    resolved = search.spec.resolved()
    sections = {key: resolved[key] for key in _KEPT}
    if (most := search.spec.search.max_concurrent_trials) is not None:
        sections["search"] = {"max_concurrent_trials": most}
    return Origin(
        source=run_dir,
        name=search.spec.name,
        config=trial.config,
        sections=sections,
        run_dir=run_dir,
        search=search,
        trial_id=trial.trial_id,
        own_w1=_w1_at_rungs(search, trial),
        own_w1_final=trial.final["w1_final"] if trial.final else None,
    )


def _w1_at_rungs(search: Snapshot, trial: Trial) -> dict[int, float]:
    reports = search.reports.get(trial.number, {})
    return {steps: report["w1"] for steps, report in sorted(reports.items()) if "w1" in report}


def fresh_seeds(config: TrialConfig, num: int) -> list[int]:
    """Seeds that follow from a trial's own, none of which it is; more of them begin alike."""
    drawn = np.random.SeedSequence(config.seed).generate_state(num + 1)
    return [seed for seed in map(int, drawn) if seed != config.seed][:num]


def search_document(
    origin: Origin, generator_steps: int | None, num_seeds: int | None
) -> dict[str, Any]:
    """The search space of one configuration, of which no trial is stopped and all are in the final.

    Args:
        origin: The configuration.
        generator_steps: To train each; if left out, as in the search with fresh seeds, and
            :data:`LONGER` times as long without.
        num_seeds: Fresh seeds; ``None`` for the trial's own, so that it is the same trial gone on.
    """
    config = origin.config
    steps = generator_steps or config.max_generator_steps * (1 if num_seeds else LONGER)
    seeds = [config.seed] if num_seeds is None else fresh_seeds(config, num_seeds)
    applied = config.applied()
    return {
        "name": _name(origin, num_seeds, steps),
        "data": applied["data"],
        "networks": applied["networks"],
        "training": applied["training"],
        "objective": {**applied["objective"], "final_trials": len(seeds)},
        **{key: origin.sections[key] for key in _KEPT if key in origin.sections},
        "search": {
            **origin.sections.get("search", {}),
            "num_trials": len(seeds),
            "sampler": "random",
            "seed": config.seed,
            "trial_seeds": seeds,
        },
        "asha": {
            "grace_generator_steps": _first_rung(origin, steps),
            "max_generator_steps": steps,
            "reduction_factor": 1,
        },
    }


def _name(origin: Origin, num_seeds: int | None, steps: int) -> str:
    what = f"-{origin.trial_id}" if origin.trial_id else ""
    what += f"-{num_seeds}-seed{'s' * (num_seeds > 1)}" if num_seeds else "-longer"
    if num_seeds is None or steps != origin.config.max_generator_steps:
        what += f"-{steps}-steps"
    return re.sub(r"[^A-Za-z0-9._-]", "-", origin.name)[: _NAME_LENGTH - len(what)] + what


def _first_rung(origin: Origin, steps: int) -> int:
    """Where the search last scored the trial, so that the two compare; if it is early enough."""
    told = [at for at in origin.own_w1 or {} if at < steps]
    known = [*told, origin.config.max_generator_steps]
    return max((at for at in known if at < steps), default=max(1, steps // 2))
