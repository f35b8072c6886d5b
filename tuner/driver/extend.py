"""Give a search that has been started more trials, or more of a budget."""

from collections.abc import Mapping, Sequence
from typing import Any

from tuner.driver import preflight
from tuner.errors import BadInput, Fault
from tuner.space import read_saved_spec, validate_sections

#: What can be extended, and the key of it in the section ``search``.
EXTENSIBLE = {
    "trials": "num_trials",
    "time": "time_budget_s",
    "steps": "generator_steps",
    "gpu-hours": "gpu_hours",
}


def extensions(document: Mapping[str, Any], texts: Sequence[str]) -> list[str]:
    """Return the overrides that extend a search, as ``search.num_trials=40``.

    What is not extended keeps the value that the search has, whatever the document says: so the
    overrides, with a resume, do the same however often they are given.

    Args:
        document: The search space, which names the search.
        texts: Such as ``trials=20`` or ``time=600``, in seconds.

    Raises:
        BadInput: if there is no such search, or it cannot be extended so.
    """
    amounts = dict(map(_parse, texts))
    sections, faults = validate_sections(document)
    if not {"name", "results"} <= sections.keys():
        raise BadInput("--extend", faults)
    if faults := preflight.folder_faults(sections["results"]):
        raise BadInput("--extend", faults)
    saved = sections["results"].folder / sections["name"] / "spec.yaml"
    if not saved.exists():
        message = f"{saved.parent} holds no search to extend: start it, or name it by --name"
        raise BadInput("--extend", [Fault("", message)])
    search, overrides = read_saved_spec(saved).search, []
    given = document.get("search")
    given = given if isinstance(given, Mapping) else {}
    for key in EXTENSIBLE.values():
        value = getattr(search, key)
        if key in amounts:
            if value is None:
                message = f"the search has no {key}: give --resume --set search.{key}=VALUE"
                raise BadInput("--extend", [Fault(key, message)])
            value += amounts[key]
        if value != given.get(key):
            overrides.append(f"search.{key}={'null' if value is None else value}")
    return overrides


def _parse(text: str) -> tuple[str, float]:
    name, _, amount = text.partition("=")
    is_whole = name in ("trials", "steps")
    try:
        number = int(amount) if is_whole else float(amount)
    except ValueError:
        number = 0
    if name not in EXTENSIBLE or not 0 < number < float("inf"):
        rule = (
            f"must be one of {', '.join(EXTENSIBLE)}, then = and how many more, such as trials=20"
        )
        raise BadInput("--extend", [Fault("", f"{rule}, got {text!r:.80}")])
    return EXTENSIBLE[name], number
