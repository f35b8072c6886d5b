"""Compare scores with true distances: ``python -m benchmarks.fidelity --data eight_gaussians``.

Trains pools of real trials from a mixed space (cached), measures the true distance of each
generator from the data, and prints how well the trial's own critic and the independent critic rank
the trials.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from benchmarks.fidelity import known_answers
from benchmarks.fidelity.designs import DESIGNS
from benchmarks.fidelity.pools import POINTS_2D, Member, load_data, pool
from benchmarks.fidelity.ranking import Number, Row, Trials, rank
from benchmarks.fidelity.truth import measure
from trainables.config import CriticBudget, DataConfig, ObjectiveConfig
from trainables.ground import Ground, ground_of, with_ground
from trainables.objective import score

#: Trials count as converged if their W1 is below a fifth of the data's standard deviation.
CONVERGED_SHARE = 5
DEFAULT = ObjectiveConfig()


def independent(budget: Callable[[int], CriticBudget], *, final: bool = False) -> Number:
    """Return the score by the search's independent critic, with a budget by seed."""

    def number(trials: Trials, member: Member, seed: int) -> float:
        train, evaluation = trials.critic_train, trials.critic_eval
        if final:
            train, evaluation = torch.cat([train, evaluation]), trials.final
        return score(member.generate, member.latent_dim, train, evaluation, budget(seed)).w1

    return number


def rung(**changes: int) -> Callable[[int], CriticBudget]:
    """Return the budget of a rung by seed."""
    return lambda seed: DEFAULT.model_copy(update={**changes, "seed": seed}).rung


FINAL = independent(lambda seed: DEFAULT.model_copy(update={"seed": seed}).final, final=True)

NUMBERS: dict[str, Number] = {
    "own critic's estimate": lambda _, m, __: m.critic_estimate,
    "own / its largest gradient norm": lambda _, m, __: m.critic_estimate / m.critic_lipschitz,
    "own / its mean gradient norm": lambda _, m, __: m.critic_estimate / m.critic_gradient_norm,
    "independent, 50 steps": independent(rung(critic_steps=50)),
    f"independent, {DEFAULT.critic_steps} (default)": independent(rung()),
    "independent, 500 steps": independent(rung(critic_steps=500)),
    f"final: {DEFAULT.final_critic_steps} steps x {DEFAULT.final_num_critics}": FINAL,
}


def main() -> None:
    """Print the tables."""
    args = _parser().parse_args()
    torch.set_num_threads(1)  # as a trial that has one CPU
    answers = known_answers.score_cases(args.data, _log)
    objective = ObjectiveConfig.model_validate({"ground": args.ground})
    pools = [
        _trials(args.data, "mixed", args.trials, seed, args.cache, objective)
        for seed in range(args.seeds)
    ]
    numbers = NUMBERS | (DESIGNS if args.designs else {})
    rows = [rank(name, number, pools, _log) for name, number in numbers.items()]
    tables = {"mixed": (pools, rows)}
    if args.data in POINTS_2D:
        near = [_trials(args.data, "converged", args.trials, 0, args.cache, objective)]
        names = ("own critic's estimate", *list(NUMBERS)[-3:])
        tables["converged"] = (near, [rank(n, NUMBERS[n], near, _log) for n in names])
    print(_report(args.data, answers, tables))
    if args.json:
        args.json.write_text(json.dumps(_as_data(args.data, answers, tables), indent=1))
    if args.picture:
        by_name = {row.number: row for row in rows}
        default = by_name[f"independent, {DEFAULT.critic_steps} (default)"]
        drawn = {
            "the trial's own critic": by_name["own critic's estimate"],
            "the independent critic (w1)": default,
        }
        _draw(args.data, pools, drawn, args.picture)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fidelity", description=__doc__)
    names = ", ".join(get_args(DataConfig.model_fields["dataset"].annotation))
    parser.add_argument("--data", required=True, help=f"{names}, or images in an .npz by path")
    parser.add_argument("--trials", type=int, default=24, help="trials in a pool")
    parser.add_argument("--seeds", type=int, default=3, help="pools")
    parser.add_argument("--ground", choices=("energies", "pixels"), help="ground metric of images")
    parser.add_argument("--designs", action="store_true", help="other designs of the critic too")
    parser.add_argument("--json", type=Path, help="write the figures of every trial")
    parser.add_argument("--picture", type=Path, help="draw the truth against both numbers")
    parser.add_argument("--cache", type=Path, default=Path(".fidelity"), help="of trained pools")
    return parser


def _log(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def _trials(
    data_name: str,
    space: str,
    num_trials: int,
    seed: int,
    cache: Path,
    objective: ObjectiveConfig,
) -> Trials:
    members = pool(data_name, space, num_trials, seed, cache, _log)
    truths, floor = measure(data_name, members, cache, _log)
    data = load_data(data_name, seed)
    spread = float(np.sqrt(data.train.reshape(len(data.train), -1).var(axis=0).sum()))
    kept = [
        k for k, truth in enumerate(truths)
        if space == "mixed" or truth["w1"] < spread / CONVERGED_SHARE
    ]  # fmt: skip
    _log(f"{data_name} {space} pool {seed}: {len(kept)} trials; real against real {floor}")
    data = with_ground(data, objective)
    ground, compared = ground_of(data, objective), data.compared
    return Trials(
        [_mapped(members[k], ground) for k in kept],
        {name: np.array([truths[k][name] for k in kept]) for name in truths[0]},
        floor,
        *map(torch.from_numpy, (compared.critic_train, compared.critic_eval, compared.final)),
    )


def _mapped(member: Member, ground: Ground | None) -> Member:
    """Let a trial generate what the ground metric compares."""
    if ground is None:
        return member
    return replace(member, generate=lambda latents: ground(member.generate(latents)))


def _report(
    data_name: str,
    answers: Sequence[known_answers.Answer],
    tables: dict[str, tuple[list[Trials], list[Row]]],
) -> str:
    lines = []
    for space, (pools, rows) in tables.items():
        sizes = " + ".join(str(len(p.members)) for p in pools)
        floor = ", ".join(f"{k} {v:.3g}" for k, v in pools[0].floor.items())
        lines += [
            f"### {data_name}, {space} pools of {sizes} trials",
            "",
            f"Truth: {'Fréchet' if 'frechet' in pools[0].floor else 'exact W1'}, from "
            f"{min(p.truth.min() for p in pools):.3g} to {max(p.truth.max() for p in pools):.3g}; "
            f"real against real: {floor}. In brackets: 95% bootstrap intervals over trials.",
            "",
            "| number | Spearman | Kendall | Kendall, best half | regret (rank) of the pick "
            "| number / W1 | seed std / gap | CPU s (share of the trial) | Kendall by yardstick |",
            "|---|---|---|---|---|---|---|---|---|",
            *map(_line, rows),
            "",
        ]
    lines += [
        f"### {data_name}: known answers",
        "",
        "| generator | true W1 | at a rung | in the final | ratios |",
        "|---|---|---|---|---|",
        *(
            f"| {a.name} | {a.truth:.3f}{'' if a.is_closed_form else ' (by samples)'} | "
            f"{a.rung:.3f} | {a.final:.3f} | {_ratios(a)} |"
            for a in answers
        ),
    ]
    return "\n".join(lines)


def _line(row: Row) -> str:
    intervals = (
        f"{mean:.2f} [{low:.2f}, {high:.2f}]"
        for mean, low, high in (row.spearman, row.kendall, row.kendall_best_half)
    )
    picks = ", ".join(
        f"{f'{regret:.0%}' if regret < 10 else f'{regret + 1:,.0f} times as far'} ({rank})"
        for regret, rank in zip(row.regret, row.rank_of_pick, strict=True)
    )
    spread = "" if np.isnan(row.seed_std_over_gap) else f"{row.seed_std_over_gap:.2f}"
    by_yardstick = ", ".join(f"{k} {v:.2f}" for k, v in row.kendall_by_yardstick.items())
    return (
        f"| {row.number} | {' | '.join(intervals)} | {picks} | {row.tightness:.2f} | {spread} "
        f"| {row.seconds:.2f} ({row.share:.1%}) | {by_yardstick} |"
    )


def _ratios(answer: known_answers.Answer) -> str:
    if answer.truth == 0:
        return ""
    return f"{answer.rung / answer.truth:.3f}, {answer.final / answer.truth:.3f}"


def _as_data(
    data_name: str,
    answers: Sequence[known_answers.Answer],
    tables: dict[str, tuple[list[Trials], list[Row]]],
) -> dict[str, Any]:
    return {
        "data": data_name,
        "known": [asdict(answer) for answer in answers],
        "pools": {
            space: [
                {"trials": [m.name for m in p.members], "floor": p.floor}
                | {name: list(values) for name, values in p.yardsticks.items()}
                for p in pools
            ]
            for space, (pools, _) in tables.items()
        },
        "rows": {space: [asdict(row) for row in rows] for space, (_, rows) in tables.items()},
    }


def _draw(data_name: str, pools: Sequence[Trials], rows: dict[str, Row], path: Path) -> None:
    """Draw each score of the trials against their truth."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    label = "Fréchet distance" if "frechet" in pools[0].yardsticks else "exact W1"
    for axes, (name, row) in zip(figure.subplots(1, 2), rows.items(), strict=True):
        values = [np.array(v) for v in row.values]
        for p, v in zip(pools, values, strict=True):
            axes.scatter(p.truth, v, s=22, alpha=0.8, color="#0072b2")
            pick = int(np.argmin(v))
            axes.scatter(p.truth[pick], v[pick], s=120, facecolors="none", edgecolors="#d55e00")
        axes.set(title=name, xscale="log", xlabel=f"{label} (truth), {Path(data_name).stem}")
        axes.set_yscale("log" if all((v > 0).all() for v in values) else "symlog")
        axes.set_ylabel("score")
    figure.savefig(path, dpi=110)
