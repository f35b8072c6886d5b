"""Compare methods over several searches of the same first points, as a table and a picture.

``python -m benchmarks.fidelity.methods RUN RUN ... --picture FILE``: each RUN is the folder of a
search of ``search_spaces/reading_list.yaml`` with another ``search.seed`` and no more trials than
first points, so that trial N has the same values in each, and another seed. Next to ``w1``, which
critics estimate, stand distances of the same generators from held-out data without a critic: exact
W1, and on images the Fréchet distance between features of classifiers (``truth.py``).
"""

import argparse
import math
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from scipy import stats

from benchmarks.fidelity import truth
from benchmarks.fidelity.pools import POINTS_2D, load_data
from trainables.checkpoint import GENERATOR
from tuner import sample
from tuner.results import Row, Snapshot, generator_of_file, read_snapshot, read_trials

#: Columns that change something about a loss where they are not the number.
_OPTIONS: Mapping[str, float] = {
    "label_smoothing": 0,
    "r1_weight": 0,
    "pack": 1,
    "diversity_ratio": 0.5,
    "lambda_k": 0.001,
    "critic_code_dim": 32,
    "feature_matching_weight": 0,
    "historical_averaging_weight": 0,
    "minibatch_discrimination": 0,
    "consistency_weight": 0,
}
#: A draw of a method is near its best one within so many times that one's ``w1``.
_NEAR = 1.5
_NUM_COLUMNS = 6
#: Points of a method in the picture.
_NUM_DRAWN = 500

#: Distances from real data by their name.
Distances = Mapping[str, float]


def label(cells: Mapping[str, str]) -> str:
    """Name the method of a trial: its constraint or loss, and the options that are on."""
    name = cells["constraint"] if cells["loss"] == "wasserstein" else cells["loss"]
    if cells.get("divergence"):
        name += f" {cells['divergence']}"
    on = [
        f"{key} {float(cells[key]):g}"
        for key, usual in _OPTIONS.items()
        if cells.get(key) and float(cells[key]) != usual
    ]
    return ", ".join([name, *on])


def with_error(values: Sequence[float]) -> str:
    """Write the mean, and half of its 95% interval by Student's t where there are several."""
    mean = f"{statistics.mean(values):.2f}"
    if len(values) < 2:
        return mean
    quantile = float(stats.t.ppf(0.975, len(values) - 1))
    return f"{mean} ± {quantile * statistics.stdev(values) / math.sqrt(len(values)):.2f}"


def table(
    searches: Sequence[Sequence[Row]], distances: Sequence[Mapping[int, Distances]] = ()
) -> str:
    """Write a row a method, the best mean ``w1`` at the last rung first.

    The time of a step is wall time of training while other trials train. A trial without a score
    counts as none, and the row says how many have one. ``within 1.5x`` counts the trials of all
    searches whose ``w1`` is at most so many times the least one of the same method.

    Args:
        searches: The trials of each search.
        distances: For each search, the :data:`Distances` of its trials by their number.

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
    names = list(dict.fromkeys(key for one in distances for of in one.values() for key in of))
    heading = ["place", "method", "completed", "w1", *names, f"within {_NEAR:g}x", "ms a step"]
    lines = [heading, ["---"] * len(heading)]
    best_first = sorted(methods, key=lambda n: statistics.mean(scores.get(n, [np.inf])))
    for place, number in enumerate(best_first, 1):
        cells = [str(place), methods[number], f"{len(scores.get(number, []))} of {len(searches)}"]
        if found := scores.get(number):
            measured = [one[number] for one in distances if number in one]
            cells.append(with_error(found))
            cells += [
                with_error([of[name] for of in measured]) if measured else "" for name in names
            ]
            num_near = sum(w1 <= _NEAR * min(found) for w1 in found)
            cells += [f"{num_near} of {len(searches)}", f"{statistics.mean(step_ms[number]):.1f}"]
        else:
            cells += [""] * (len(names) + 3)
        lines.append(cells)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def yardstick(data_name: str) -> tuple[Callable[[truth.Sample], Distances], Distances]:
    """Return the function that measures a sampler, and what it gives for real samples."""
    if data_name in POINTS_2D:
        points, others = (truth.fresh_points(data_name, draw) for draw in (0, 1))

        def of_points(draw: truth.Sample) -> Distances:
            generated = truth.grouped(draw(truth.NUM_POINTS))
            return {"exact W1": truth.exact_w1(points, generated)}

        return of_points, {"exact W1": truth.exact_w1(points, others)}
    data = load_data(data_name, 0)
    held_out = np.concatenate([data.critic_train, data.critic_eval, data.final])
    labelled = truth.labelled(data_name)
    networks = [truth.train_classifier(*labelled, seed) for seed in range(truth.NUM_CLASSIFIERS)]
    real_features = [truth.network_features(network, held_out) for network in networks]

    def of_images(draw: truth.Sample) -> Distances:
        images = draw(len(held_out))
        exact = truth.exact_w1(*(part.reshape(len(part), -1) for part in (held_out, images)))
        pairs = zip(networks, real_features, strict=True)
        logs = [
            math.log(truth.frechet(real, truth.network_features(network, images)))
            for network, real in pairs
        ]
        return {"exact W1": exact, "Fréchet": math.exp(statistics.mean(logs))}

    return of_images, of_images(lambda num: data.train[:num])


def sampler(search: Snapshot, number: int) -> truth.Sample:
    """Let a trial's generator of the last rung sample, from the same latents in every process."""
    kept = search.trials[number].generators
    generator = generator_of_file(Path(kept[max(kept)]) / GENERATOR)
    return lambda num: sample.draw(generator, num, seed=0).double().numpy()


def completed(rows: Sequence[Row]) -> list[Row]:
    """Return the completed trials, the lowest ``w1`` of the last rung first."""
    rows = [row for row in rows if row.status == "completed" and row.last_w1 is not None]
    return sorted(rows, key=lambda row: row.last_w1 or 0.0)


def draw(
    run: Path,
    rows: Sequence[Row],
    file: Path,
    real: np.ndarray | None = None,
    sampler_of: Callable[[int], truth.Sample] | None = None,
) -> None:
    """Draw the last samples of every completed trial of a search, the best trial first.

    Args:
        run: The search's folder.
        rows: Its trials.
        file: The picture to write.
        real: Real points [n, 2] to draw below those of each trial. Without them the pictures of the
            search are put together, which are of images.
        sampler_of: The sampler of a trial by its number; needed for points.
    """
    shown = completed(rows)
    num_rows = -(-len(shown) // _NUM_COLUMNS)
    figure, axes = plt.subplots(num_rows, _NUM_COLUMNS, figsize=(12, 2.25 * num_rows))
    for place in axes.flat:
        place.axis("off")
    for row, place in zip(shown, axes.flat, strict=False):
        if real is None or sampler_of is None:
            place.imshow(generated(run / "samples" / f"{row.number:05d}"), cmap="gray")
        else:
            scatter(place, real, sampler_of(row.number)(_NUM_DRAWN))
        place.set_title(f"{label(row.cells).replace(', ', chr(10))}\nw1 {row.last_w1:.2f}", size=7)
    figure.tight_layout(h_pad=2)
    figure.savefig(file, dpi=80)
    plt.close(figure)
    with Image.open(file) as image:
        small = (image.convert("L") if real is None else image.convert("RGB")).quantize(16)
    small.save(file, optimize=True)


def scatter(place: Any, real: np.ndarray, points: np.ndarray) -> None:
    """Draw points [n, 2] over real ones; those outside of the frame lie at its edge."""
    frame = 2 * np.abs(real).max()
    place.scatter(*real[:_NUM_DRAWN].T, s=14, color="#BBBBBB", linewidths=0)
    place.scatter(*np.clip(points, -frame, frame).T, s=1.5, color="#D55E00", linewidths=0)
    place.set(xlim=(-frame, frame), ylim=(-frame, frame), aspect="equal")


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
    snapshots = [read_snapshot(run) for run in args.runs]
    searches = [read_trials(run / "trials.csv") for run in args.runs]
    names = {str(snapshot.spec.data.dataset) for snapshot in snapshots}
    if len(names) > 1:
        parser.error(f"the searches must have the same data, got {', '.join(sorted(names))}")
    (data_name,) = names
    measure, floor = yardstick(data_name)
    distances = [
        {row.number: measure(sampler(search, row.number)) for row in completed(rows)}
        for search, rows in zip(snapshots, searches, strict=True)
    ]
    print(table(searches, distances))
    floors = [f"{name} {value:.2f}" for name, value in floor.items()]
    print(f"real samples, by as many others: {', '.join(floors)}")
    if args.picture is not None:
        real = load_data(data_name, 0).train if data_name in POINTS_2D else None
        draw(args.runs[0], searches[0], args.picture, real, lambda n: sampler(snapshots[0], n))


if __name__ == "__main__":
    main()
