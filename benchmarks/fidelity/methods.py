"""Compare methods over several searches of the same first points, as a table and a picture.

``python -m benchmarks.fidelity.methods RUN RUN ... --picture FILE``: each RUN is the folder of a
search of ``search_spaces/reading_list.yaml`` with another ``search.seed`` and no more trials than
first points, so that trial N has the same values in each, and another seed.
"""

import argparse
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from tuner.results import Row, read_trials

#: Columns that add something to a loss where they are above the number.
_OPTIONS: Mapping[str, float] = {
    "label_smoothing": 0,
    "r1_weight": 0,
    "pack": 1,
    "feature_matching_weight": 0,
    "historical_averaging_weight": 0,
    "minibatch_discrimination": 0,
    "consistency_weight": 0,
}
_NUM_COLUMNS = 6


def label(cells: Mapping[str, str]) -> str:
    """Name the method of a trial: its constraint or loss, and the options that are on."""
    name = cells["constraint"] if cells["loss"] == "wasserstein" else cells["loss"]
    if cells.get("divergence"):
        name += f" {cells['divergence']}"
    on = [
        f"{key} {float(cells[key]):g}"
        for key, least in _OPTIONS.items()
        if cells.get(key) and float(cells[key]) > least
    ]
    return ", ".join([name, *on])


def table(searches: Sequence[Sequence[Row]]) -> str:
    """Write a row a method, the best first: ``w1`` at the last rung, and the time of a step.

    The time is wall time of training while other trials train. A trial without a score counts as
    none, and the row says how many have one.

    Raises:
        ValueError: if a trial has not the same method in all searches.
    """
    methods: dict[int, str] = {}
    scores: dict[int, list[float]] = {}
    step_ms: dict[int, list[float]] = {}
    for rows in searches:
        for row in rows:
            name = label(row.cells)
            if (first := methods.setdefault(row.number, name)) != name:
                raise ValueError(f"trial {row.number} is {first} in one search, {name} in another")
            if row.status == "completed" and row.last_w1 is not None:
                scores.setdefault(row.number, []).append(row.last_w1)
                seconds, steps = float(row.cells["training_seconds"]), row.cells["generator_steps"]
                step_ms.setdefault(row.number, []).append(1000 * seconds / float(steps))
    lines = [
        "| method | completed | w1, mean | from | to | ms a step |",
        "|---|---|---|---|---|---|",
    ]
    for number in sorted(methods, key=lambda n: statistics.mean(scores.get(n, [np.inf]))):
        cells = [methods[number], f"{len(scores.get(number, []))} of {len(searches)}"]
        if found := scores.get(number):
            numbers = (statistics.mean(found), min(found), max(found))
            cells += [f"{n:.2f}" for n in numbers]
            cells.append(f"{statistics.mean(step_ms[number]):.1f}")
        else:
            cells += [""] * 4
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def draw(run: Path, rows: Sequence[Row], file: Path) -> None:
    """Draw the last samples of every trial of a search, the best trial first."""
    shown = sorted(
        (row for row in rows if row.last_w1 is not None), key=lambda row: row.last_w1 or 0.0
    )
    num_rows = -(-len(shown) // _NUM_COLUMNS)
    figure, axes = plt.subplots(num_rows, _NUM_COLUMNS, figsize=(12, 2.25 * num_rows))
    for place in axes.flat:
        place.axis("off")
    for row, place in zip(shown, axes.flat, strict=False):
        place.imshow(generated(run / "samples" / f"{row.number:05d}"), cmap="gray")
        place.set_title(f"{label(row.cells).replace(', ', chr(10))}\nw1 {row.last_w1:.2f}", size=7)
    figure.tight_layout(h_pad=2)
    figure.savefig(file, dpi=80)
    plt.close(figure)
    with Image.open(file) as image:
        small = image.convert("L").quantize(16)
    small.save(file, optimize=True)


def generated(folder: Path) -> np.ndarray:
    """Return the generated half of the last picture of a trial, whose other half is real."""
    last = max(folder.glob("step_*.png"), key=lambda path: int(re.sub(r"\D", "", path.stem)))
    with Image.open(last) as image:
        pixels = np.asarray(image.convert("L"))
    return pixels[:, pixels.shape[1] // 2 :]


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table, and draw the picture of the first search."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--picture", type=Path, metavar="FILE")
    args: Any = parser.parse_args(argv)
    searches = [read_trials(run / "trials.csv") for run in args.runs]
    print(table(searches))
    if args.picture is not None:
        draw(args.runs[0], searches[0], args.picture)


if __name__ == "__main__":
    main()
