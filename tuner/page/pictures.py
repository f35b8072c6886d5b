"""The sample grids of a report, embedded: of the best trials, and of the best over its rungs."""

import base64
import io
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from tuner.page.facts import Facts
from tuner.page.style import number
from tuner.results import picture_name
from tuner.study import Trial

#: Trials whose samples are shown, and rungs of the best one.
_TOP, _MOST_RUNGS = 5, 8
#: A larger picture is embedded as a JPEG, which for photographs is a tenth.
_MOST_PNG_BYTES = 300_000
_JPEG_QUALITY = 88


def samples(facts: Facts) -> dict[str, Any]:
    """The pictures with their captions, for the page."""
    best = facts.search.best
    completed = [t for t in facts.places if t.status == "completed"]
    top = [
        (shot, _caption(facts, t))
        for t in completed[:_TOP]
        if (shot := _last(facts, t)) is not None
    ]
    over = []
    steps_of = [*facts.curves.get(best.number, {})] if best is not None else []
    for steps in _spread(steps_of):
        if best is not None and (shot := _of(facts, best, steps)) is not None:
            w1 = facts.curves[best.number][steps]
            over.append((shot, f"step {steps:,}: w1 {number(w1)}"))
    return {
        "best_picture": None if best is None else _last(facts, best),
        "top_pictures": top,
        "rung_pictures": over if len(over) > 1 else [],
        # Dots of a scatter plot are drawn smoothly, and pixels as what they are.
        "is_pixels": facts.search.spec.data.dataset
        in ("digits", "mnist", "fashion_mnist", "kmnist"),
    }


def _spread(steps: list[int]) -> list[int]:
    if len(steps) <= _MOST_RUNGS:
        return steps
    return [steps[i * (len(steps) - 1) // (_MOST_RUNGS - 1)] for i in range(_MOST_RUNGS)]


def _caption(facts: Facts, trial: Trial) -> str:
    final = "" if trial.final is None else f"w1 {number(trial.final['w1_final'])} by the final, "
    w1 = facts.curves.get(trial.number, {}).get(trial.generator_steps)
    rung = "" if w1 is None else f"{number(w1)} at its last rung"
    return f"{facts.place_of[trial.number]}. trial {trial.trial_id}: {final}{rung}".rstrip(": ,")


def _last(facts: Facts, trial: Trial) -> str | None:
    steps = max(facts.curves.get(trial.number, {}), default=None)
    return None if steps is None else _of(facts, trial, steps)


def _of(facts: Facts, trial: Trial, steps: int) -> str | None:
    path = facts.search.run_dir / "samples" / trial.trial_id / picture_name(steps)
    return embedded(path)


def embedded(path: Path) -> str | None:
    """A picture as a ``data:`` address; ``None`` where it is not there or no picture."""
    try:
        raw = path.read_bytes()
        with Image.open(io.BytesIO(raw)) as image:
            image.load()
            if len(raw) <= _MOST_PNG_BYTES:
                return _address("png", raw)
            out = io.BytesIO()
            image.convert("RGB").save(out, "JPEG", quality=_JPEG_QUALITY)
            return _address("jpeg", out.getvalue())
    except (OSError, UnidentifiedImageError):  # it is being written, or was cut short
        return None


def _address(kind: str, raw: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(raw).decode()}"
