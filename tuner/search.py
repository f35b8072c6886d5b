"""Hyperparameter search for Wasserstein GANs: ``python -m tuner.search SPACE.yaml``."""

import argparse
import errno
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from tuner import checks, warm_start
from tuner.checks import DATA_CACHE
from tuner.errors import BadInput, Fault
from tuner.spec import SearchSpec, check_sections, largest_budget_generator_steps
from tuner.yaml_file import load

if TYPE_CHECKING:
    from trainables.data import Data

DONE, NOTHING_COMPLETED, BAD_INPUT, HALTED, INTERRUPTED = 0, 1, 2, 3, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    args = _parser().parse_args(arguments)
    console = Console(highlight=False, markup=False, soft_wrap=True)
    try:
        spec, runs_dir = _read(args, console)
        _make_importable(args.space.absolute().parent, spec)
        cache_dir = None if args.dry_run else runs_dir / DATA_CACHE
        data = _load_data(spec, cache_dir, args.space, console)
        _check_networks(spec, data, args.space)
        if args.dry_run:
            _dry_run(spec, data, args, console)
            return DONE
        return _search(spec, data, runs_dir, args, arguments, console)
    except BadInput as error:
        print(error, file=sys.stderr)
        return BAD_INPUT
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = f" ({error.filename})" if error.filename else ""
        print(f"{error.strerror}{where}: free some, and add --resume", file=sys.stderr)
        return HALTED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tuner.search",
        description="Search the hyperparameters of a Wasserstein GAN.",
        epilog="Exit status: 0 done, 1 no trial completed, 2 bad input, 3 stopped by a fault to be "
        "mended before a --resume, 130 interrupted.",
        allow_abbrev=False,
    )
    parser.add_argument("space", type=Path, metavar="SPACE.yaml", help="the search space")
    parser.add_argument("--runs-dir", metavar="D", help="the folder of all searches")
    parser.add_argument("--name", metavar="N", help="the search's name and folder in it")
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted search")
    parser.add_argument(
        "--warm-start",
        metavar="RUN",
        help="the folder or name of an earlier search, whose best trials are run first",
    )
    parser.add_argument("--dry-run", action="store_true", help="check everything, train nothing")
    parser.add_argument(
        "--address",
        metavar="A",
        default=os.environ.get("RAY_ADDRESS") or None,
        help="an existing Ray cluster (default: RAY_ADDRESS, else one is started here)",
    )
    parser.add_argument(
        "--runtime-env",
        type=Path,
        metavar="FILE.yaml",
        help="what the cluster's nodes need besides, as a runtime environment of Ray's",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="dotted.key=value",
        help="replace a value of the file; may be given more than once",
    )
    return parser


def _read(args: argparse.Namespace, console: Console) -> tuple[SearchSpec, Path]:
    """The search as resolved, and the folder of all searches; or every fault at once."""
    document, faults = load(args.space, args.set)
    if args.name is not None:
        document["name"] = args.name
    if args.runs_dir is not None:
        results = document.get("results")
        if results is None or isinstance(results, dict):  # anything else is a fault to report
            document["results"] = {**(results or {}), "runs_dir": args.runs_dir}
    if not args.dry_run:
        _bring_back(document, args, console)
    if args.warm_start is not None:
        document["initial_points"] = _warm_start(args, document)
    sections, more = check_sections(document)
    faults += more
    if "resources" in sections and args.address is None:
        faults += checks.machine_faults(sections["resources"])
    if "training" in sections and args.address is None:
        faults += checks.compiler_faults(sections["training"])
    if "results" in sections:
        faults += checks.folder_faults(Path(sections["results"].runs_dir))
        faults += checks.storage_faults(sections["results"].storage)
    if args.runtime_env is not None:
        _, more = _runtime_env(args)
        faults += more
    if not faults:
        spec = SearchSpec.model_construct(**sections)
        runs_dir = Path(spec.results.runs_dir).absolute()
        if not args.dry_run:
            faults += checks.name_faults(runs_dir, spec, resume=args.resume)
        if not faults:
            return spec, runs_dir
    raise BadInput(str(args.space), faults)


def _warm_start(args: argparse.Namespace, document: dict[str, Any]) -> Any:
    """An earlier search's best trials before the initial points; a resumed search keeps its own."""
    given = document.get("initial_points") or []
    sections, _ = check_sections(document)
    if "results" not in sections or "name" not in sections:
        return given  # it is refused for that
    runs_dir = Path(sections["results"].runs_dir)
    saved = runs_dir / sections["name"] / "spec.yaml"
    if args.resume and saved.exists():
        return load(saved)[0].get("initial_points", [])
    earlier = Path(args.warm_start)
    if not earlier.is_dir() and (runs_dir / args.warm_start).is_dir():
        earlier = runs_dir / args.warm_start
    return [*warm_start.points(earlier, sections), *given]


def _runtime_env(args: argparse.Namespace) -> tuple[dict[str, Any] | None, list[Fault]]:
    """What the cluster's nodes need besides, as the file says."""
    if args.runtime_env is None:
        return None, []
    if args.address is None:
        what = "is for the nodes of a cluster: give --address too, or leave it out"
        return None, [Fault("--runtime-env", what)]
    return load(args.runtime_env)


def _bring_back(document: dict[str, Any], args: argparse.Namespace, console: Console) -> None:
    """Fetch a search that began on another machine from its storage, to be resumed on this one."""
    sections, _ = check_sections(document)
    if "results" not in sections or "name" not in sections:
        return  # it is refused for that
    results, name = sections["results"], sections["name"]
    if results.storage is None or checks.storage_faults(results.storage):
        return
    from tuner import folder, mirror, storage

    location, run_dir = storage.join(results.storage, name), Path(results.runs_dir, name).absolute()
    console.print(f"looking into {storage.shown(location)} ...")
    try:
        storage.reachable(results.storage)
        if (run_dir / "spec.yaml").exists() or not storage.exists(location, "spec.yaml"):
            return
        if not args.resume:
            what = f"{storage.shown(location)} already holds a search: go on with it by adding "
            way_out = "--resume, or start another by --name"
            raise BadInput(str(args.space), [Fault("name", what + way_out)])
        console.print("fetching the search from there ...")
        with folder.owned(run_dir):
            mirror.restore(location, run_dir)
    except OSError as error:
        raise BadInput(str(args.space), [Fault("results.storage", str(error))]) from error


def _make_importable(folder: Path, spec: SearchSpec) -> None:
    """Let networks of the user's own be found beside the search space, also by Ray's workers."""
    if spec.own_modules and str(folder) not in sys.path:
        sys.path.append(str(folder))
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join([*([before] if before else []), str(folder)])


def _load_data(spec: SearchSpec, cache_dir: Path | None, space: Path, console: Console) -> "Data":
    """The data, before anything is written or Ray started: it may be unfit for a search."""
    from trainables.data import BadData
    from trainables.data import load as load_data
    from tuner.display import decoding

    try:
        with decoding(console) as progress:
            return load_data(spec.data, cache_dir, progress, console.print)
    except BadData as error:
        raise BadInput(str(space), [Fault(f"data.{error.key}", str(error))]) from error


def _check_networks(spec: SearchSpec, data: "Data", space: Path) -> None:
    """Build what the search may build, and pass a batch through it, before anything starts."""
    from trainables.check import check
    from trainables.networks import BadNetwork

    faults = []
    for config in spec.corners():
        try:
            check(config, data.sample_shape)
        except BadNetwork as error:
            faults.append(Fault(f"networks.{error.key}", str(error)))
    if faults:
        raise BadInput(str(space), list(dict.fromkeys(faults)))


def _dry_run(spec: SearchSpec, data: "Data", args: argparse.Namespace, console: Console) -> None:
    """Check all that can be checked without training, and say what would be run."""
    if args.address is not None:
        from tuner import cluster

        runtime_env, _ = _runtime_env(args)
        with cluster.connected(args.address, checks.num_cpus(), (), runtime_env):
            cluster.needs(spec.resources, console.print)
            console.print(f"Ray answers at {args.address}, and a trial fits its nodes")
    budget = largest_budget_generator_steps(spec)
    console.print(spec.to_yaml())
    console.print(
        f"data: {len(data.train)} samples to train on, {len(data.fit)} to fit the independent "
        f"critics, {len(data.read)} to read them at the rungs and {len(data.final)} at the final, "
        f"each of shape {data.sample_shape}"
    )
    console.print(f"searched: {', '.join(spec.domains) or 'nothing, it is one configuration'}")
    console.print(f"rungs: {', '.join(map(str, spec.asha.rungs))} generator steps")
    console.print(f"trials: {spec.num_trials or 'until the time budget is used up'}")
    console.print(f"largest possible budget: {budget:,} generator steps")


def _search(
    spec: SearchSpec,
    data: "Data",
    runs_dir: Path,
    args: argparse.Namespace,
    arguments: Sequence[str],
    console: Console,
) -> int:
    from tuner import experiment
    from tuner.results import score_text

    run_dir = runs_dir / spec.name
    if args.resume and not (run_dir / "spec.yaml").exists():
        console.print(f"{run_dir} holds no search yet: starting it")
    trials = f"{spec.num_trials} trials" if spec.num_trials else "trials"
    rungs = ", ".join(map(str, spec.asha.rungs))
    console.print(f"{spec.name}: {trials}, rungs at {rungs} generator steps, into {run_dir}")
    place = experiment.Place(args.address, checks.num_cpus(), _runtime_env(args)[0])
    outcome = experiment.run(spec, data, runs_dir, place, console)
    console.print(outcome.summary)
    if outcome.best is not None:
        best = f"trial {outcome.best.trial_id}, {score_text(outcome.best)}"
        console.print(f"best: {best}: {run_dir / 'best.yaml'}")
    for note in outcome.notes:
        console.print(note)
    if outcome.interrupted:
        again = [argument for argument in arguments if argument != "--resume"]
        command = shlex.join([sys.executable, "-m", "tuner.search", *again, "--resume"])
        if outcome.halted is not None:
            print(f"stopped: {outcome.halted}", file=sys.stderr)
            console.print(f"once that is mended, go on with: {command}")
            return HALTED
        console.print(f"interrupted; go on with: {command}")
        return INTERRUPTED
    if outcome.best is None:
        print(f"no trial completed: see {run_dir / 'trials.csv'}", file=sys.stderr)
    console.print(f"compare the trials in MLflow: {outcome.mlflow_command}")
    return DONE if outcome.best is not None else NOTHING_COMPLETED


if __name__ == "__main__":
    sys.exit(main())
