"""Compare settings of a search on recorded trials.

``python -m benchmarks.efficiency [NUM [TRIALS]]``. Each setting searches the first TRIALS (153)
trials of ``mixed.yaml`` on digits that ``curves.py`` recorded, with NUM seeds (30). The table has
the generator steps and the time until the final would pick a trial within 5% of the best one, or
one of the best 20th, by true scores that the search does not see. The main settings run on 1, 8 and
64 workers, their variants on 8.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from multiprocessing import get_context

import numpy as np
import optuna

from benchmarks.efficiency.curves import recorded
from benchmarks.efficiency.replay import NUM_TRIALS, Outcome, Replay, Setting, Table
from benchmarks.efficiency.rungs import Pasha, SoftHalving

NUM_SEEDS = 30
#: The trials of which README.md and docs/costs.md have the figures. More are recorded.
NUM_RECORDED = 153
WORKERS = (1, 8, 64)
VARIANTS_WORKERS = 8
#: The first target, as a multiple of the best truth in the table.
WITHIN = 1.05
#: The second target is to find one of this share of the trials: if one trial is far ahead of all
#: others, the first target means to find that one.
BEST_SHARE = 0.05
RANDOM, ALL_RUN = "search.sampler=random", "asha.reduction_factor=1"
DEFAULT = "default: TPE, rungs x4 from 75"
BASELINE = "random, none stopped"
SETTINGS = (
    Setting(DEFAULT),
    Setting("random, rungs x4 from 75", (RANDOM,)),
    Setting("TPE, none stopped", (ALL_RUN,)),
    Setting(BASELINE, (RANDOM, ALL_RUN)),
    Setting("TPE, promoted, rungs x4 from 75", ("asha.variant=promotion",)),
    Setting("TPE, promoted with delay", ("asha.variant=delayed_promotion",)),
)
VARIANTS = (
    Setting("rungs x2 from 75", ("asha.reduction_factor=2",)),
    Setting("rungs x3 from 75", ("asha.reduction_factor=3",)),
    Setting("rungs x4 from 150", ("asha.grace_generator_steps=150",)),
    Setting("rungs x4 from 19", ("asha.grace_generator_steps=19",)),
    Setting("rungs x2 from 38", ("asha.grace_generator_steps=38", "asha.reduction_factor=2")),
    Setting("2 brackets", ("asha.brackets=2",)),
    Setting("TPE after 5 random trials", num_startup=5),
    Setting("TPE after 20 random trials", num_startup=20),
    Setting("stopped beyond 1 standard error", stopping_rule=partial(SoftHalving, num_errors=1.0)),
    Setting("stopped beyond 2 standard errors", stopping_rule=partial(SoftHalving, num_errors=2.0)),
    Setting("PASHA, rungs x2 from 75", ("asha.reduction_factor=2",), stopping_rule=Pasha),
    Setting("PASHA, rungs x4 from 75", stopping_rule=Pasha),
    Setting("by the own critic's estimate", metric="critic_estimate"),
)


@cache
def _table(setting: Setting, num_trials: int) -> Table:
    return Table(recorded()[:num_trials], setting.spec.domains)


def _replay(setting: Setting, num_trials: int, num_workers: int, seed: int) -> Outcome:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table = _table(setting, num_trials)
    return Replay(setting, table, seed).run(num_workers, WITHIN * table.best_truth)


def replay_all(num_seeds: int, num_trials: int) -> Iterator[tuple[Setting, int, list[Outcome]]]:
    """Replay each setting on its numbers of workers, with so many seeds, on so many trials."""
    pairs = [(setting, num) for num in WORKERS for setting in SETTINGS]
    pairs += [(setting, VARIANTS_WORKERS) for setting in VARIANTS]
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        runs = [
            [pool.submit(_replay, setting, num_trials, num, seed) for seed in range(num_seeds)]
            for setting, num in pairs
        ]
        for (setting, num), outcomes in zip(pairs, runs, strict=True):
            yield setting, num, [outcome.result() for outcome in outcomes]


def table(num_seeds: int = NUM_SEEDS, num_trials: int = NUM_RECORDED) -> str:
    """Return the costs of each setting as a Markdown table."""
    truths = sorted(curve.truth for curve in recorded()[:num_trials])
    num_best = max(1, round(BEST_SHARE * len(truths)))
    targets = (WITHIN * truths[0], truths[num_best - 1])
    by_setting: dict[tuple[str, int], list[Outcome]] = {}
    for setting, num, outcomes in replay_all(num_seeds, num_trials):
        by_setting[setting.name, num] = outcomes
        print(f"{setting.name}, {num} workers", file=sys.stderr, flush=True)
    lines = [
        f"{len(truths)} recorded trials, truths {truths[0]:.3g}, {truths[1]:.3g}, {truths[2]:.3g} "
        f"to {truths[-1]:.3g}; {num_seeds} seeds. A: until the pick is within {WITHIN - 1:.0%} of "
        f"the best ({sum(t <= targets[0] for t in truths)} trials). B: until it is one of the best "
        f"{num_best}. Medians, with the quartiles; `-`: not before all trials were used up.",
        "",
        "| workers | setting | A: generator steps | fewer than random's | seconds | there "
        "| B: generator steps | fewer than random's "
        f"| truth after {NUM_TRIALS} trials, of the best |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for (name, num), outcomes in by_setting.items():
        cells = [str(num), name]
        for target in targets:
            picks = [outcome.first(target) for outcome in outcomes]
            steps = np.array([pick.generator_steps for pick in picks])
            baseline = [o.first(target).generator_steps for o in by_setting[BASELINE, num]]
            cells += [_spread(steps), _ratio(np.array(baseline), steps)]
            if target == targets[0]:
                cells += [_spread(np.array([pick.seconds for pick in picks]))]
                cells += [f"{np.isfinite(steps).mean():.0%}"]
        truth = np.array([outcome.after_num_trials.truth for outcome in outcomes]) / truths[0]
        cells.append(f"{_quantile(truth, 0.5):.2f} (to {_quantile(truth, 0.75):.2f})")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _ratio(baseline: np.ndarray, values: np.ndarray) -> str:
    saved = _quantile(baseline, 0.5) / _quantile(values, 0.5)
    return f"{saved:.1f}x" if np.isfinite(saved) and saved else "-"


def _spread(values: np.ndarray) -> str:
    low, middle, high = (_number(_quantile(values, q)) for q in (0.25, 0.5, 0.75))
    return f"{middle} ({low} to {high})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if np.isfinite(value) else "-"


def _quantile(values: np.ndarray, q: float) -> float:
    """Return a quantile without interpolation, since some values are infinite."""
    return float(np.quantile(values, q, method="higher"))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.efficiency")
    parser.add_argument("num_seeds", nargs="?", type=int, default=NUM_SEEDS, metavar="NUM")
    parser.add_argument("num_trials", nargs="?", type=int, default=NUM_RECORDED, metavar="TRIALS")
    print(table(**vars(parser.parse_args())))
