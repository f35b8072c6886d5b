"""Embed the sample grids of a report: of the best trials, and of the best one at its rungs.

In addition to those, a gallery has small pictures of as many trials as the page has room for.
"""

import base64
import io
import json
from pathlib import Path
from typing import Any

from markupsafe import Markup
from PIL import Image, UnidentifiedImageError

from tuner.page.facts import Facts
from tuner.page.style import number
from tuner.results import picture_name, rung_text
from tuner.study import Trial

#: The most trials whose samples are shown, and the most rungs of the best one.
_MAX_TRIALS, _MAX_RUNGS = 5, 8
#: A larger picture is embedded as a JPEG, which has a tenth of the size for photographs.
_MAX_PNG_BYTES = 300_000
_JPEG_QUALITY = 88
#: The width of a picture of the gallery, and its quality.
_GALLERY_PX, _GALLERY_QUALITY = 224, 55
#: The bytes of all its pictures: the first, less the second for each trial; or the last.
_MAX_GALLERY_BYTES, _BYTES_PER_TRIAL, _LEAST_GALLERY_BYTES = 2_400_000, 600, 600_000


def samples(facts: Facts) -> dict[str, Any]:
    """Return the template values of the sample grids, with their captions."""
    best = facts.search.best
    completed = [t for t in facts.places if t.status == "completed"]
    top = [
        (shot, _caption(facts, t))
        for t in completed[:_MAX_TRIALS]
        if (shot := _of_best_rung(facts, t)) is not None
    ]
    of_rungs = []
    rungs = [*facts.curves.get(best.number, {})] if best is not None else []
    for steps in _evenly_spaced(rungs):
        if best is not None and (shot := _at_step(facts, best, steps)) is not None:
            w1 = facts.curves[best.number][steps]
            of_rungs.append((shot, f"step {steps:,}: w1 {number(w1)}"))
    return {
        "best_picture": None if best is None else _of_best_rung(facts, best),
        "top_pictures": top,
        "rung_pictures": of_rungs if len(of_rungs) > 1 else [],
        # Enlarged without interpolation; scatter plots and photographs are interpolated.
        "is_pixels": facts.search.spec.data.dataset
        in ("digits", "mnist", "fashion_mnist", "kmnist"),
    }


def gallery(facts: Facts) -> dict[str, Any]:
    """Return the template values of the gallery: the pictures of trials by rung, the best first."""
    room = _MAX_GALLERY_BYTES - _BYTES_PER_TRIAL * len(facts.search.trials)
    room = max(room, _LEAST_GALLERY_BYTES)
    trials, num_bytes, num_missing = [], 0, 0
    with_pictures = [t for t in facts.places if t.number in facts.curves]
    for trial in with_pictures:
        steps = facts.curves[trial.number]
        pictures = {s: url for s in steps if (url := _small(_path(facts, trial, s))) is not None}
        num_bytes += sum(map(len, pictures.values()))
        if num_bytes > room:
            break
        if pictures:
            caption = f"{facts.place_of[trial.number]}. trial {trial.trial_id}"
            w1 = {s: f"w1 {number(steps[s])}" for s in pictures}
            trials.append(
                {"number": trial.number, "caption": caption, "w1": w1, "pictures": pictures}
            )
        else:
            num_missing += 1
    rungs = sorted({steps for trial in trials for steps in trial["pictures"]})
    num = len(with_pictures) - num_missing
    note = "" if len(trials) == num else f"The best {len(trials):,} of {num:,} trials."
    text = json.dumps({"rungs": rungs, "trials": trials}, separators=(",", ":"))
    return {
        "gallery": Markup(text) if trials else None,
        "gallery_note": note,
        "gallery_rungs": rungs,
    }


def _small(path: Path) -> str | None:
    """Return a picture as :func:`embedded`, no wider than the gallery shows it."""
    try:
        with Image.open(path) as image:
            shown = image.convert("RGB")
            shown.thumbnail((_GALLERY_PX, _GALLERY_PX))
            out = io.BytesIO()
            shown.save(out, "WEBP", quality=_GALLERY_QUALITY)
            return _data_url("webp", out.getvalue())
    except (OSError, UnidentifiedImageError):
        return None


def _evenly_spaced(steps: list[int]) -> list[int]:
    if len(steps) <= _MAX_RUNGS:
        return steps
    return [steps[i * (len(steps) - 1) // (_MAX_RUNGS - 1)] for i in range(_MAX_RUNGS)]


def _caption(facts: Facts, trial: Trial) -> str:
    final = "" if trial.final is None else f"w1 {number(trial.final['w1_final'])} in the final, "
    w1 = facts.curves.get(trial.number, {}).get(trial.best_rung or 0)
    rung = "" if w1 is None else f"{number(w1)} at {rung_text(trial)}"
    return f"{facts.place_of[trial.number]}. trial {trial.trial_id}: {final}{rung}".rstrip(": ,")


def _of_best_rung(facts: Facts, trial: Trial) -> str | None:
    steps = facts.best_rung(trial)
    return None if steps is None else _at_step(facts, trial, steps)


def _at_step(facts: Facts, trial: Trial, steps: int) -> str | None:
    return embedded(_path(facts, trial, steps))


def _path(facts: Facts, trial: Trial, steps: int) -> Path:
    return facts.search.run_dir / "samples" / trial.trial_id / picture_name(steps)


def embedded(path: Path) -> str | None:
    """Return a picture as a ``data:`` URL, or ``None`` if it is missing or damaged."""
    try:
        raw = path.read_bytes()
    except OSError:
        return None
    return embedded_bytes(raw)


def embedded_bytes(raw: bytes) -> str | None:
    """Return a picture as a ``data:`` URL, or ``None`` if it is damaged."""
    try:
        with Image.open(io.BytesIO(raw)) as image:
            image.load()
            if len(raw) <= _MAX_PNG_BYTES:
                return _data_url("png", raw)
            out = io.BytesIO()
            image.convert("RGB").save(out, "JPEG", quality=_JPEG_QUALITY)
            return _data_url("jpeg", out.getvalue())
    except (OSError, UnidentifiedImageError):  # a crash may have cut the file short
        return None


def _data_url(media_type: str, raw: bytes) -> str:
    return f"data:image/{media_type};base64,{base64.b64encode(raw).decode()}"
