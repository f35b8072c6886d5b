"""Names, tags and params of the runs of a search, so that they compare.

The run list shows a column for every param of any run in it, and the compare view a line: what no
trial of the search can differ in stands on the parent alone, once. A child has what is searched,
and the defaults that go with it, such as the widths of two architectures. Its seed is a tag: it
differs everywhere, and says nothing.

The tags are on the parent and on the children, so that one filter finds either.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

from trainables.config import NetworkConfig, TrainingConfig
from tuner.results import Session
from tuner.space import Choice, Range, SearchSpec, flat

METHOD, ARCHITECTURE, SEED = "method", "architecture", "seed"
#: The keys that a tag stands for.
_KEYS = {METHOD: ("loss", "constraint"), ARCHITECTURE: ("architecture", "generator")}


@final
@dataclass(frozen=True)
class Facts:
    """Name, params and tags of a run."""

    name: str
    params: Mapping[str, object]
    tags: Mapping[str, str]


@final
@dataclass(frozen=True)
class Naming:
    """Naming of the runs of one search.

    ``params`` are the parent's: what is the same for all trials. ``tags`` are every run's.
    ``session`` are the parent's own tags: versions and machine of the last session.
    ``apart`` are the children's own tags that tell them from each other, for their names.
    """

    search_name: str
    params: Mapping[str, object]
    tags: Mapping[str, str]
    apart: tuple[str, ...] = ()
    session: Mapping[str, str] = field(default_factory=dict)

    def parent(self) -> Facts:
        """Name the run of the search itself."""
        return Facts(self.search_name, self.params, {**self.tags, **self.session})

    def child(self, trial_id: str, applied: Mapping[str, object]) -> Facts:
        """Name the run of a trial; ``applied`` are all values that apply to it."""
        tags = {**self.tags, **_method_tags(applied)}
        if SEED in applied:
            tags[SEED] = str(applied[SEED])
        own = {k: v for k, v in applied.items() if k not in self.params and k != SEED}
        parts = [self.search_name, trial_id, *(tags[key] for key in self.apart if key in tags)]
        return Facts(" ".join(parts), own, tags)


def naming_of(spec: SearchSpec, sessions: Sequence[Session] = ()) -> Naming:
    """Decide the naming of a search.

    Args:
        spec: The search.
        sessions: Its sessions so far.
    """
    given: dict[str, Any] = {
        key: value
        for section, known in ((spec.training, TrainingConfig), (spec.networks, NetworkConfig))
        for key, value in flat((k, v) for k, v in section if k in known.model_fields)
        if value is not None
    }
    searched = {key for key, value in given.items() if isinstance(value, Choice | Range)}
    fixed = {key: value for key, value in given.items() if key not in searched}
    apart = tuple(tag for tag, keys in _KEYS.items() if searched.intersection(keys))
    same = {k: v for k, v in _method_tags(fixed).items() if k not in apart}
    asha = spec.asha
    return Naming(
        spec.name,
        {
            "sampler": spec.search.sampler,
            "search_seed": spec.search.seed,
            "grace_generator_steps": asha.grace_generator_steps,
            "max_generator_steps": asha.max_generator_steps,
            "reduction_factor": asha.reduction_factor,
            **({"asha_variant": asha.variant} if asha.promotes else {}),
            **fixed,
        },
        {
            "search": spec.name,
            "data": spec.data.dataset,
            "objective": spec.objective.name,
            "ground": spec.objective.compared,
            **same,
        },
        apart,
        _session_tags(sessions),
    )


def _session_tags(sessions: Sequence[Session]) -> dict[str, str]:
    if not sessions:
        return {}
    facts = {**sessions[-1], "count": str(len(sessions))}
    return {f"session.{name}": fact for name, fact in facts.items()}


def _method_tags(values: Mapping[str, object]) -> dict[str, str]:
    """Name the loss where it is a GAN's, else the constraint; the architecture or own network."""
    is_wasserstein = values.get("loss", "wasserstein") == "wasserstein"
    found = {
        METHOD: values.get("constraint" if is_wasserstein else "loss"),
        ARCHITECTURE: values.get("generator") or values.get("architecture"),
    }
    return {tag: str(value) for tag, value in found.items() if value is not None}
