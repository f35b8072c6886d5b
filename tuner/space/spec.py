"""Read a search space file into a frozen, resolved :class:`SearchSpec`, without torch or Ray."""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

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
    module_of,
    top_level_module,
)
from trainables.metrics import EARLIER_GROUND
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
from tuner.space.messages import describe_error, unknown_key, without_echoes
from tuner.space.sections import (
    AshaConfig,
    MlflowConfig,
    ReportingConfig,
    ResourceConfig,
    ResultsConfig,
    SearchConfig,
    TrackingConfig,
)
from tuner.space.yaml_file import dump_yaml, load_yaml, parse_yaml

Name = Annotated[str, StringConstraints(strict=True, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]

#: Sections whose values may be searched. ``training`` is first: it decides which values of
#: ``networks`` apply.
_SEARCHED = ("training", "networks")

SearchableNetworks = searchable(NetworkConfig, "The networks; every value may be searched.")
SearchableTraining = searchable(TrainingConfig, "The training; every value may be searched.")


class SearchSpec(Frozen):
    """A resolved search: all defaults are filled in, and each searched value is a domain."""

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
    tracking: TrackingConfig = TrackingConfig()
    initial_points: tuple[InitialPoint, ...] = Field(
        default=(),
        description="Values of the first trials: a list of mappings of searched values by section.",
    )

    @cached_property  # counting a large grid takes seconds
    def num_trials(self) -> int | None:
        """Return the number of trials, or ``None`` if only its budgets end the search."""
        limits = [self.search.num_trials] if self.search.num_trials else []
        if self.search.sampler == "grid":
            limits.append(sum(1 for _ in self.grid_points()))
        return min(limits, default=None)

    @property
    def domains(self) -> dict[str, Domain]:
        """Return the searched values by dotted key; a key follows those that it depends on."""
        return {key: v for key, v in self._searchable() if isinstance(v, Range | Choice)}

    @property
    def first_points(self) -> list[dict[str, Any]]:
        """Return the initial points, each as values by dotted key."""
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
        """Choose a value for every searched key that applies.

        The space is define-by-run: the picked ``loss`` decides whether a ``constraint`` is picked,
        and the constraint whether a ``gp_weight`` is.

        Args:
            pick: Called with the dotted key and the domain of each, returns its value.

        Returns:
            The sections of a trial, with all values that apply.
        """
        chosen: dict[str, dict[str, Any]] = {section: {} for section in _SEARCHED}
        values: dict[str, Any] = {}
        for key, value in self._searchable():
            section, field, *argument = key.split(".", 2)
            if value is None or not applies(field, values):
                continue
            fixed = pick(key, value) if isinstance(value, Range | Choice) else value
            values[field] = fixed
            if argument:
                chosen[section].setdefault(field, {})[argument[0]] = fixed
            else:
                chosen[section][field] = fixed
        return chosen

    def trial_config(self, chosen: Mapping[str, Any], seed: int) -> TrialConfig:
        """Return the full configuration of a trial with the values of :meth:`choose`."""
        fixed = {
            "data": self.data,
            "objective": self.objective,
            "max_generator_steps": self.asha.max_generator_steps,
            "seed": seed,
        }
        return TrialConfig.model_validate({**fixed, **chosen})

    def corners(self) -> list[TrialConfig]:
        """Return a few trials that cover the networks of the search, to check that they are valid.

        They cover every architecture, loss and constraint and, for custom networks, both ends of
        every range, and feature matching, which needs a critic of layers in sequence. The networks
        of this package can be built with any width and depth.
        """
        prefixes = ("networks.architecture", "training.loss", "training.constraint")
        if self.custom_modules:
            prefixes = (*prefixes, "networks.", "training.feature_matching_weight")
        covered = {
            key: domain.choice if isinstance(domain, Choice) else (domain.low, domain.high)
            for key, domain in self.domains.items()
            if key.startswith(prefixes)
        }
        first = {
            key: domain.choice[0] if isinstance(domain, Choice) else domain.low
            for key, domain in self.domains.items()
        }
        points = [first, *(first | {k: v} for k, values in covered.items() for v in values)]
        chosen = [self.choose(lambda key, _, point=point: point[key]) for point in points]
        distinct = [c for i, c in enumerate(chosen) if c not in chosen[:i]]
        return [self.trial_config(sections, seed=0) for sections in distinct]

    @property
    def custom_classes(self) -> set[str]:
        """Return the import paths of the custom networks, features and metrics."""
        objective = self.objective
        custom = (objective.features, objective.metrics)
        values = (self.networks.generator, self.networks.critic, *custom)
        return {path for value in values if value for path in possible_values(value)}

    @property
    def code_modules(self) -> set[str]:
        """Return the modules that the custom networks, features and metrics are imported from."""
        return set(map(module_of, self.custom_classes))

    @property
    def custom_modules(self) -> set[str]:
        """Return the top-level modules of the custom networks, features and metrics."""
        return set(map(top_level_module, self.custom_classes))

    def grid_points(self) -> Iterator[dict[str, Any]]:
        """Yield all points of a finite space: the searched values that apply, by dotted key."""
        domains = self.domains
        axes = [grid_values(domain) or () for domain in domains.values()]
        seen = set()
        for drawn in itertools.product(*axes):
            point = dict(zip(domains, drawn, strict=True))
            applying: dict[str, Any] = {}

            def pick(key: str, _: Domain, point: Any = point, applying: Any = applying) -> Any:
                return applying.setdefault(key, point[key])

            self.choose(pick)
            if (values := tuple(applying.items())) not in seen:
                seen.add(values)
                yield applying

    def resolved(self) -> dict[str, Any]:
        """Return plain data that validates to the same search."""
        return {
            key: {k: v for k, v in value.items() if v is not None}
            if isinstance(value, dict)
            else value
            for key, value in self.model_dump(mode="json").items()
        }

    def to_yaml(self) -> str:
        """Write the resolved search as the text of a search space file."""
        text = dump_yaml(self.resolved(), allow_unicode=True)
        if parse_yaml(text) == self.resolved():
            return text
        # PyYAML writes some of Unicode's line breaks so that they are read as spaces.
        return dump_yaml(self.resolved())


def read_spec(path: Path, overrides: Sequence[str] = ()) -> SearchSpec:
    """Read and validate a search space file.

    Args:
        path: The YAML file.
        overrides: ``dotted.key=value`` texts that replace values of the file.

    Raises:
        BadInput: with all faults.
    """
    document, faults = load_yaml(path, overrides)
    spec, more = validate(document)
    if spec is None or faults:
        raise BadInput(str(path), [*faults, *more])
    return spec


def read_saved_spec(path: Path) -> SearchSpec:
    """Read the ``spec.yaml`` of a search, with :func:`with_earlier_values`.

    Raises:
        BadInput: with all faults.
    """
    document, faults = load_yaml(path)
    spec, more = validate(with_earlier_values(document))
    if spec is None or faults:
        raise BadInput(str(path), [*faults, *more])
    return spec


def with_earlier_values(document: Mapping[str, Any]) -> dict[str, Any]:
    """Add the keys that are younger than a resolved document, with the values they stand for.

    Searches wrote all keys. One without ``objective.ground`` was begun when images were compared by
    their pixels, one without ``objective.final_cones`` when the final had networks alone, and one
    without ``objective.scaled_critic_lr`` when critics had one learning rate for any dimension. One
    without ``asha.variant`` stops trials at rungs, whatever the default is.
    """
    asha = document.get("asha")
    if isinstance(asha, Mapping):
        document = {**document, "asha": {"variant": "stopping", **asha}}
    objective = document.get("objective")
    if not isinstance(objective, Mapping):
        return dict(document)
    earlier: dict[str, Any] = {"final_cones": False, "scaled_critic_lr": False}
    if "features" not in objective:
        earlier["ground"] = EARLIER_GROUND
    return {**document, "objective": {**earlier, **objective}}


#: The fields of each section; ``name`` has none.
SECTION_KEYS: Mapping[str, tuple[str, ...]] = {
    key: tuple(getattr(field.annotation, "model_fields", ()))
    for key, field in SearchSpec.model_fields.items()
}


_SECTIONS: Mapping[str, TypeAdapter[Any]] = {
    key: TypeAdapter[Any](Name if key == "name" else field.annotation or Any)
    for key, field in SearchSpec.model_fields.items()
}


def validate(document: Mapping[str, Any]) -> tuple[SearchSpec | None, list[Fault]]:
    """Validate plain data.

    Returns:
        The resolved search and no faults, or ``None`` and all faults.
    """
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
        Fault(str(key), unknown_key([str(key)], SECTION_KEYS))
        for key in document
        if key not in SECTION_KEYS
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
            faults += [
                describe_error(e, (key, *e["loc"]), SECTION_KEYS) for e in without_echoes(errors)
            ]
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
        return (), [describe_error(e, ("initial_points", *e["loc"]), SECTION_KEYS) for e in errors]
    return resolve_points(parsed, sections)


def largest_budget_generator_steps(spec: SearchSpec) -> float:
    """Return the generator steps without early stopping; infinite if nothing bounds them."""
    num_trials = math.inf if spec.num_trials is None else spec.num_trials
    return min(num_trials * spec.asha.max_generator_steps, spec.search.generator_steps or math.inf)
