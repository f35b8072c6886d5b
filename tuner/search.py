"""Search the hyperparameters of a Wasserstein GAN: ``python -m tuner.search SPACE.yaml``.

From Python, :func:`tuner.run_search` does the same.
"""

import argparse
import sys
from collections.abc import Sequence
from contextlib import nullcontext

from rich.console import Console

from tuner import cli, driver
from tuner.driver import CheckedSearch
from tuner.space import largest_budget_generator_steps, shipped_spaces


@cli.with_exit_status
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    args = parser().parse_args(arguments)
    if args.for_cluster and not args.dry_run:
        parser().error("--for-cluster only checks a search for another machine: add --dry-run")
    if args.extend:
        arguments = _extend(args, arguments)
    with cli.halts_on_full_disk("run the same command with --resume"):
        return _search(args, arguments, cli.console(is_plain=args.local))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = cli.command_parser(
        "search", "Search the hyperparameters of a Wasserstein GAN.", epilog=cli.SEARCH_STATUS_HELP
    )
    parser.add_argument(
        "space",
        type=cli.plain_path,
        metavar="SPACE.yaml",
        help=f"the search space: a file, or one that is shipped: {', '.join(shipped_spaces())}",
    )
    cli.add_options(parser)
    parser.add_argument(
        "--warm-start",
        metavar="RUN",
        help="the folder or name of an earlier search, whose best trials are run first",
    )
    parser.add_argument(
        "--extend",
        action="append",
        default=[],
        metavar="KEY=MORE",
        help="resume a search with more than it has of "
        f"{', '.join(driver.EXTENSIBLE)} (seconds), such as trials=20; may be given more than once",
    )
    cli.add_serve(parser, "serve the report on this machine alone, until the search ends")
    parser.add_argument("--dry-run", action="store_true", help="check everything, train nothing")
    parser.add_argument(
        "--for-cluster",
        action="store_true",
        help="with --dry-run: do not check that this machine has the CPUs, GPUs and compiler that "
        "a trial needs",
    )
    return parser


def search_request(args: argparse.Namespace) -> driver.SearchRequest:
    """Make the request that the arguments describe."""
    others = ("space", "set", "address", "local", "extend", "serve")
    given = {key: value for key, value in vars(args).items() if key not in others}
    given |= {"address": cli.address_of(args), "is_local": args.local}
    return driver.request_from_file(args.space, args.set, **given)


def _extend(args: argparse.Namespace, arguments: Sequence[str]) -> list[str]:
    """Turn ``--extend`` into a resume with other values; return the arguments that ask for it."""
    overrides = driver.extensions(search_request(args).document, args.extend)
    args.set, args.extend, args.resume = [*args.set, *overrides], [], True
    rest = iter(arguments)
    kept = []
    for argument in rest:
        if argument == "--extend":
            next(rest)
        elif not argument.startswith("--extend="):
            kept.append(argument)
    return [*kept, *(text for override in overrides for text in ("--set", override))]


def _search(args: argparse.Namespace, arguments: Sequence[str], console: Console) -> int:
    search = driver.check_request(search_request(args), console)
    if args.dry_run:
        _dry_run(search, console, resume=args.resume, for_cluster=args.for_cluster)
        return cli.ExitStatus.DONE
    again = [argument for argument in arguments if argument != "--resume"]
    again = ["tuner.search", *again, "--resume"]
    listening = nullcontext() if args.serve is None else cli.listen(args.serve)
    with listening as served_on, cli.says_how_to_resume(search.run_dir, again):
        outcome = cli.run_and_report(
            search,
            resume=args.resume,
            console=console,
            how_to_resume=cli.resume_text(again),
            served_on=served_on,
        )
    return cli.status_of(outcome, search.run_dir, again, console)


def _dry_run(search: CheckedSearch, console: Console, *, resume: bool, for_cluster: bool) -> None:
    """Print the resolved search, after a check of what it resumes and of the Ray cluster."""
    spec, data = search.spec, search.hand_over_data()
    resumed = driver.preview(search.run_dir, spec, data) if resume else []
    if search.address is not None:
        from tuner import cluster

        with cluster.connected(search.address, driver.num_cpus(), (), search.runtime_env):
            cluster.wait_for_resources(spec.resources, console.print)
            console.print(f"Ray answers at {search.address}, and a trial fits its nodes")
    budget = largest_budget_generator_steps(spec)
    console.print(spec.to_yaml())
    console.print(
        f"data: {len(data.train)} samples to train on, {len(data.critic_train)} to train the "
        f"independent critics, {len(data.critic_eval)} to evaluate them on at the rungs and "
        f"{len(data.final)} in the final, each of shape {data.sample_shape}"
    )
    console.print(f"searched: {', '.join(spec.domains) or 'nothing: this is one configuration'}")
    console.print(f"rungs: {', '.join(map(str, spec.asha.rungs))} generator steps")
    console.print(f"trials: {spec.num_trials or 'until the budget is used up'}")
    console.print(f"largest possible budget: {budget:,} generator steps")
    if search.address is None and not for_cluster:
        console.print(driver.estimate_text(spec, data))
    for line in resumed:
        console.print(line)


if __name__ == "__main__":
    cli.end_with(main)
