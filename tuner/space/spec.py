"""A search space file, from YAML to frozen data, without torch or Ray.

``read_spec(path)`` gives a :class:`SearchSpec` or raises :class:`~tuner.errors.BadInput` with every
fault at once.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import (
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)

from trainables.config import (
    DataConfig,
    Frozen,
    NetworkConfig,
    ObjectiveConfig,
    TrainingConfig,
    TrialConfig,
    applies,
    top_level_module,
)
from tuner.errors import BadInput, Fault
from tuner.space.cross_checks import cross_section_faults
from tuner.space.defaults import resolve_defaults
from tuner.space.domains import (
    Choice,
    Domain,
    Range,
    flat,
    grid_values,
    possible_values,
    searchable,
)
from tuner.space.initial_points import InitialPoint, resolve_points
from tuner.space.messages import describe_error, unknown_key
from tuner.space.sections import (
    AshaConfig,
    MlflowConfig,
    ReportingConfig,
    ResourceConfig,
    ResultsConfig,
    SearchConfig,
)
from tuner.space.yaml_file import load_yaml

Name = Annotated[str, StringConstraints(strict=True, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]

#: Sections whose values may be searched; what decides whether others apply comes first.
_SEARCHED = ("training", "networks")

SearchableNetworks = searchable(NetworkConfig, "The networks; every value may be searched.")
SearchableTraining = searchable(TrainingConfig, "The training; every value may be searched.")


class SearchSpec(Frozen):
    """A search, resolved: every default filled in, every searched value a domain."""

    name: Name
    data: DataConfig = DataConfig()
    networks: SearchableNetworks = SearchableNetworks()  # type: ignore[valid-type]
    training: SearchableTraining = SearchableTraining()  # type: ignore[valid-type]
    objective: ObjectiveConfig = ObjectiveConfig()
    search: SearchConfig = SearchConfig()
    asha: AshaConfig = AshaConfig()
    resources: ResourceConfig = ResourceConfig()
    reporting: ReportingConfig = ReportingConfig()
    results: ResultsConfig = ResultsConfig()
    mlflow: MlflowConfig = MlflowConfig()
    initial_points: tuple[InitialPoint, ...] = Field(
        default=(),
        description="What the first trials have, a mapping each of searched values by section.",
    )

    @cached_property  # a large grid takes seconds to count
    def num_trials(self) -> int | None:
        """Trials that the search asks for; ``None`` where only its time budget ends it."""
        limits = [self.search.num_trials] if self.search.num_trials else []
        if self.search.sampler == "grid":
            limits.append(sum(1 for _ in self.grid_points()))
        return min(limits, default=None)

    @property
    def domains(self) -> dict[str, Domain]:
        """The searched values by dotted key, parents before what depends on them."""
        return {key: v for key, v in self._searchable() if isinstance(v, Range | Choice)}

    @property
    def first_points(self) -> list[dict[str, Any]]:
        """The initial points, each by dotted key."""
        return [
            {
                f"{name}.{field}": v
                for name in _SEARCHED
                for field, v in flat(dict(point)[name].items())
            }
            for point in self.initial_points
        ]

    def _searchable(self) -> Iterator[tuple[str, Any]]:
        for section in _SEARCHED:
            for field, value in flat(getattr(self, section)):
                yield f"{section}.{field}", value

    def choose(self, pick: Callable[[str, Domain], Any]) -> dict[str, dict[str, Any]]:
        """Fix every value, asking ``pick(key, domain)`` for those that are searched and apply.

        Define-by-run: what ``loss`` was picked decides whether ``constraint`` is asked for, and
        what that was whether ``gp_weight`` is.
        """
        chosen: dict[str, dict[str, Any]] = {section: {} for section in _SEARCHED}
        known: dict[str, Any] = {}
        for key, value in self._searchable():
            section, field, *argument = key.split(".", 2)
            if value is None or not applies(field, known):
                continue
            fixed = pick(key, value) if isinstance(value, Range | Choice) else value
            known[field] = fixed
            if argument:
                chosen[section].setdefault(field, {})[argument[0]] = fixed
            else:
                chosen[section][field] = fixed
        return chosen

    def trial_config(self, chosen: Mapping[str, Any], seed: int) -> TrialConfig:
        """The full configuration of a trial with the values of :meth:`choose`."""
        fixed = {
            "data": self.data,
            "objective": self.objective,
            "max_generator_steps": self.asha.max_generator_steps,
            "seed": seed,
        }
        return TrialConfig.model_validate({**fixed, **chosen})

    def corners(self) -> list[TrialConfig]:
        """Trials with, between them, every choice and end of range on which it hangs what is built.

        Our own networks can be built at any width and depth: the smallest will do.
        """
        kinds = ("networks.architecture", "training.loss", "training.constraint")
        own = ("networks.",) if self.custom_modules else ()
        deciding = {
            key: domain.choice if isinstance(domain, Choice) else (domain.low, domain.high)
            for key, domain in self.domains.items()
            if key.startswith((*kinds, *own))
        }
        first = {
            key: domain.choice[0] if isinstance(domain, Choice) else domain.low
            for key, domain in self.domains.items()
        }
        points = [first, *(first | {k: v} for k, ends in deciding.items() for v in ends)]
        chosen = [self.choose(lambda key, _, point=point: point[key]) for point in points]
        distinct = [c for i, c in enumerate(chosen) if c not in chosen[:i]]
        return [self.trial_config(each, seed=0) for each in distinct]

    @property
    def custom_modules(self) -> set[str]:
        """Return the top-level modules of the custom networks."""
        values = (self.networks.generator, self.networks.critic)
        paths = [path for value in values if value for path in possible_values(value)]
        return set(map(top_level_module, paths))

    def grid_points(self) -> Iterator[dict[str, Any]]:
        """Every distinct point of a finite space: searched values by dotted key, that apply."""
        domains = self.domains
        axes = [grid_values(domain) or () for domain in domains.values()]
        seen = set()
        for drawn in itertools.product(*axes):
            point = dict(zip(domains, drawn, strict=True))
            asked: dict[str, Any] = {}

            def pick(key: str, _: Domain, point: Any = point, asked: Any = asked) -> Any:
                return asked.setdefault(key, point[key])

            self.choose(pick)
            if (mark := tuple(asked.items())) not in seen:
                seen.add(mark)
                yield asked

    def resolved(self) -> dict[str, Any]:
        """Plain data that reads back as this search."""
        return {
            key: {k: v for k, v in value.items() if v is not None}
            if isinstance(value, dict)
            else value
            for key, value in self.model_dump(mode="json").items()
        }

    def to_yaml(self) -> str:
        """The resolved search as a search space file."""
        text = yaml.safe_dump(self.resolved(), sort_keys=False, allow_unicode=True)
        if yaml.safe_load(text) == self.resolved():
            return text
        # PyYAML writes some line breaks of Unicode's so that they read back as spaces.
        return yaml.safe_dump(self.resolved(), sort_keys=False)


def read_spec(path: Path, overrides: Sequence[str] = ()) -> SearchSpec:
    """Read and check a search space file.

    Args:
        path: The YAML file.
        overrides: ``dotted.key=value`` texts that replace what the file says.

    Raises:
        BadInput: with every fault found.
    """
    document, faults = load_yaml(path, overrides)
    spec, more = validate(document)
    if spec is None or faults:
        raise BadInput(str(path), [*faults, *more])
    return spec


#: Every section with its fields; ``name`` stands alone.
KNOWN: Mapping[str, tuple[str, ...]] = {
    key: tuple(getattr(field.annotation, "model_fields", ()))
    for key, field in SearchSpec.model_fields.items()
}


_SECTIONS: Mapping[str, TypeAdapter[Any]] = {
    key: TypeAdapter[Any](Name if key == "name" else field.annotation or Any)
    for key, field in SearchSpec.model_fields.items()
}


def validate(document: Mapping[str, Any]) -> tuple[SearchSpec | None, list[Fault]]:
    """Check plain data; a search and no faults, or no search and all of its faults."""
    sections, faults = validate_sections(document)
    return (None if faults else SearchSpec.model_construct(**sections)), faults


def validate_sections(document: Mapping[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
    """Validate the sections one by one.

    Returns:
        The valid sections, resolved, and the faults of the others and between them.
    """
    sections: dict[str, Any] = {}
    partly: dict[str, Any] = {}
    broken: set[str] = set()
    faults = [
        Fault(str(key), unknown_key([str(key)], KNOWN)) for key in document if key not in KNOWN
    ]
    if document.get("name") is None:
        faults.append(Fault("name", "is required: it names the search's folder"))
    for key, field in SearchSpec.model_fields.items():
        given = document.get(key)
        if key == "initial_points":  # validated below, against the other sections
            continue
        if given is None:  # a section left out, or all of whose keys are commented out
            sections |= {} if field.is_required() else {key: field.default}
            continue
        try:
            sections[key] = _SECTIONS[key].validate_python(given)
        except ValidationError as error:
            errors = error.errors(include_url=False)
            faults += [describe_error(e, (key, *e["loc"]), KNOWN) for e in errors]
            if key in _SEARCHED and isinstance(given, Mapping):
                wrong = {str(e["loc"][0]) for e in errors if e["loc"]}
                rest = {k: v for k, v in given.items() if isinstance(k, str) and k not in wrong}
                partly[key] = type(SearchSpec.model_fields[key].default).model_validate(rest)
                broken |= wrong
    networks, training = (sections.get(key, partly.get(key)) for key in ("networks", "training"))
    if networks is not None and training is not None:
        networks, training, more = resolve_defaults(networks, training, broken)
        faults += more
        resolved = {"networks": networks, "training": training}
        sections |= {key: section for key, section in resolved.items() if key in sections}
    sections["initial_points"], more = validate_points(document.get("initial_points"), sections)
    return sections, faults + more + cross_section_faults(sections)


def validate_points(
    points: Any, sections: Mapping[str, Any]
) -> tuple[tuple[InitialPoint, ...], list[Fault]]:
    """Validate initial points.

    Args:
        points: A list of them as plain data, or ``None`` for no points.
        sections: The valid sections of their search.

    Returns:
        The points, resolved, and all faults.
    """
    try:
        parsed = _SECTIONS["initial_points"].validate_python(() if points is None else points)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        return (), [describe_error(e, ("initial_points", *e["loc"]), KNOWN) for e in errors]
    return resolve_points(parsed, sections)


def largest_budget_generator_steps(spec: SearchSpec) -> float:
    """Generator steps of all trials if none is stopped early; infinite without ``num_trials``."""
    trials = spec.num_trials
    return math.inf if trials is None else trials * spec.asha.max_generator_steps
