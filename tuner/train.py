"""Train a search's best trial longer, or again with other seeds: ``python -m tuner.train RUN``.

With ``--continue`` it goes on from the trial's last checkpoint; else it starts from the beginning.

The training is itself a search, of one configuration and without early stopping. It has its own
folder, and the same tracking, progress, resuming and results.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from trainables.config import escape
from tuner import cli, driver, results, retrain
from tuner.driver import CheckedSearch, SearchRequest
from tuner.errors import BadInput, Fault
from tuner.results import Snapshot
from tuner.retrain import RETRAINED, Origin, add_retrained, retrained_entry
from tuner.space import override

#: The sections and keys that ``--set`` may replace: all others define the trial.
_SETTABLE = (
    "resources",
    "reporting",
    "results",
    "mlflow",
    "tracking",
    "search.max_concurrent_trials",
)


@cli.with_exit_status
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    args = parser().parse_args(arguments)
    with cli.halts_on_full_disk("run the same command with --resume"):
        return _train(args, arguments, cli.console(is_plain=args.local))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = cli.command_parser(
        "train",
        "Train the best trial of a search longer, or again with fresh seeds.",
        epilog=cli.SEARCH_STATUS_HELP,
    )
    parser.add_argument(
        "source", type=cli.plain_path, metavar="RUN", help="a search's folder, or a best.yaml"
    )
    parser.add_argument(
        "--generator-steps",
        type=cli.whole(2, 1_000_000_000),
        metavar="N",
        help="how long to train (default: as long as the search did with --seeds, else "
        f"{retrain.DEFAULT_STEPS_FACTOR} times as long)",
    )
    parser.add_argument(
        "--seeds",
        type=cli.whole(1, retrain.MAX_SEEDS),
        metavar="K",
        help="train so many times, with fresh seeds (default: once, with the trial's own: it "
        "begins as in the search)",
    )
    parser.add_argument(
        "--continue",
        action="store_true",
        dest="continues",
        help="go on from the trial's last checkpoint, to N generator steps in all",
    )
    parser.add_argument("--trial", metavar="ID", help="another trial than the best one")
    cli.add_options(parser)
    return parser


def _train(args: argparse.Namespace, arguments: Sequence[str], console: Console) -> int:
    origin = retrain.find_origin(args.source, args.trial)
    request = search_request(origin, args)
    search = driver.check_request(request, console)
    if args.continues:
        _check_data(origin, search)
    _print_plan(origin, request.document, args, console)
    again = ["tuner.train", *_without(arguments, "--resume"), "--resume"]
    if args.trial is None and origin.run_dir is not None:
        again += ["--trial", str(origin.trial_id)]  # the search may find a better trial meanwhile
    with cli.says_how_to_resume(search.run_dir, again):
        outcome = cli.run_and_report(
            search,
            resume=args.resume,
            console=console,
            how_to_resume=cli.resume_text(again),
            continues=origin if args.continues else None,
        )
    if not outcome.interrupted and outcome.best is not None:
        _print_spread(origin, search, console)
    return cli.status_of(outcome, search.run_dir, again, console)


def _without(arguments: Sequence[str], option: str) -> list[str]:
    return [argument for argument in arguments if argument != option]


def search_request(origin: Origin, args: argparse.Namespace) -> SearchRequest:
    """Write the training as the request for a search.

    Raises:
        BadInput: if the trial is to be continued and cannot be.
    """
    if args.continues:
        if args.seeds is not None:
            message = "keeps the trial's own seed: leave --seeds out, or --continue"
            raise BadInput("--continue", [Fault("", message)])
        if not args.resume:  # what it began with may be gone since
            retrain.check_continued(origin, args.generator_steps)
    document = retrain.search_document(
        origin, args.generator_steps, args.seeds, continues=args.continues
    )
    wrong = [text for text in args.set if not text.partition("=")[0].strip().startswith(_SETTABLE)]
    faults = [
        Fault("--set", f"may only change {', '.join(_SETTABLE)}, got {text!r}: leave it out")
        for text in wrong
    ]
    faults += override(document, [text for text in args.set if text not in wrong])
    # Next to the search, which may have been moved; without its folder, as the document says.
    parent = None
    if origin.run_dir is not None:
        parent = escape(str(origin.run_dir.absolute().parent))
    return SearchRequest(
        source=str(args.source),
        document=driver.with_place(document, args.name, args.runs_dir or parent),
        faults=tuple(faults),
        allow_code=tuple(args.allow_code),
        resume=args.resume,
        address=cli.address_of(args),
        is_local=args.local,
        runtime_env=args.runtime_env,
        confirms_mlflow=driver.sets_mlflow(args.set),
        confirms_on_end=driver.sets_on_end(args.set),
    )


def _check_data(origin: Origin, search: CheckedSearch) -> None:
    """Check that a trial is continued on the data that it was trained on."""
    began_with = None if origin.search is None else origin.search.data
    if began_with is not None and search.data and search.data.fingerprint() != began_with:
        message = "are not those that the trial was trained on: restore them to continue it"
        raise BadInput("--continue", [Fault("data", message)])


def _print_plan(
    origin: Origin, document: Mapping[str, Any], args: argparse.Namespace, console: Console
) -> None:
    steps, trial = document["asha"]["max_generator_steps"], f"trial {origin.trial_id or '?'}"
    if origin.search is not None and origin.search.is_running:
        console.print(f"{origin.run_dir} is still running: {trial} is its best so far")
    if args.seeds is not None:
        seeds = f"{args.seeds} fresh seed{'s' * (args.seeds > 1)}"
        console.print(f"{trial} of {origin.source}, {steps} steps from each of {seeds}")
    elif args.continues:
        console.print(f"{trial} of {origin.source}, continued to {steps} steps in all")
    else:
        console.print(f"{trial} of {origin.source}, {steps} steps from its own seed")
    if args.continues:
        if origin.config.training.lr_decay != "constant":
            at = origin.config.max_generator_steps
            console.print(
                f"its learning rates were to reach 0 at step {at}; they now do so at step {steps}: "
                "so it differs from a training to there in one go"
            )
        return
    if origin.ranked_at is not None and origin.ranked_at < max(origin.search_w1 or {}, default=0):
        console.print(f"its best rung was step {origin.ranked_at}: it is scored there again")
    if args.seeds is not None:
        return
    if origin.config.training.lr_decay != "constant":
        console.print("its learning rates decay over these steps, so it differs from the first run")


def _print_spread(origin: Origin, search: CheckedSearch, console: Console) -> None:
    """Print how the score varies by seed, and keep it for the search's report."""
    training = results.read_snapshot(search.run_dir)
    completed = [trial for trial in training.trials if trial.status == "completed"]
    if num_lost := len(training.trials) - len(completed):
        console.print(f"{num_lost} of {len(training.trials)} seeds did not complete: not counted")
    for steps in search.spec.asha.rungs:
        reports = [training.reports.get(t.number, {}).get(steps, {}) for t in completed]
        at_rung = [report["w1"] for report in reports if "w1" in report]
        if not at_rung:
            continue
        console.print(retrain.spread_text(f"w1 at step {steps}", at_rung))
        if steps == origin.ranked_at and _is_fresh(origin, training):
            console.print(f"  {retrain.luck_text((origin.search_w1 or {})[steps], at_rung)}")
    finals = [t.final["w1_final"] for t in completed if t.final]
    if finals:
        console.print(retrain.spread_text("w1_final", finals))
        is_alike = search.spec.asha.max_generator_steps == origin.config.max_generator_steps
        if is_alike and origin.search_w1_final is not None and _is_fresh(origin, training):
            console.print(f"  {retrain.luck_text(origin.search_w1_final, finals)}")
    if _is_fresh(origin, training) and origin.ranked_at not in search.spec.asha.rungs:
        console.print(_no_luck_text(origin))
    if origin.run_dir is not None:
        add_retrained(origin.run_dir / RETRAINED, retrained_entry(origin, training))
        console.print(f"kept in {origin.run_dir / RETRAINED}")
        _renew_report(origin, console)


def _renew_report(origin: Origin, console: Console) -> None:
    """Write the search's report again, with the training; a running search writes it at its end."""
    from tuner import page

    if origin.search is None or origin.run_dir is None or origin.search.is_running:
        return
    try:
        path = page.write_report(origin.run_dir)
    except Exception as error:  # the training is done and saved: a report must not fail it
        console.print(f"the search's report could not be updated: {error}")
    else:
        console.print(f"the search's report, updated: {path}")


def _no_luck_text(origin: Origin) -> str:
    if origin.ranked_at is None:
        way_out = "has no score: give the search's folder"
    else:
        way_out = f"was scored at step {origin.ranked_at}: train as long"
    return f"{origin.source} {way_out} to learn whether that score was luck"


def _is_fresh(origin: Origin, training: Snapshot) -> bool:
    return all(trial.config.seed != origin.config.seed for trial in training.trials)


if __name__ == "__main__":
    cli.end_with(main)
