"""Validate a search request completely before anything starts.

Faults of the search space are found within a second or two: torch is loaded only for a request
without such faults, and Ray is not loaded at all.
"""

import os
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from trainables.config import code_fault, expand
from tuner import tracking
from tuner.display import working
from tuner.driver import preflight, warm_start
from tuner.driver.preflight import DATA_CACHE
from tuner.errors import BadInput, Fault
from tuner.results import is_search
from tuner.space import (
    MlflowConfig,
    ResultsConfig,
    SearchSpec,
    find_space,
    load_yaml,
    validate_points,
    validate_sections,
    with_earlier_values,
)
from tuner.storage import join, redact

if TYPE_CHECKING:
    from trainables.data import Data


@dataclass(frozen=True)
class SearchRequest:
    """A search to run, unchecked.

    Attributes:
        source: Named first in an error message, such as the path of the search space.
        document: The search space as plain data.
        faults: Faults that were found while the document was read.
        code_dir: A folder in addition to ``sys.path`` in which custom networks are found.
        allow_code: The modules from which custom networks may be imported; ``None`` for those that
            the document names, because the user wrote it.
        resume: Resume the search of this name, if there is one.
        dry_run: Write nothing, and list the faults of the data and the networks together with
            those of the document.
        for_cluster: The search is for another machine: do not check that a trial fits this one.
        warm_start: The folder or name of an earlier search, whose best trials are run first.
        address: The address of a Ray cluster; ``None`` for this machine.
        runtime_env: A YAML file with Ray's runtime environment for the nodes of the cluster.
        is_local: Run the trials in this process, without Ray.
        confirms_mlflow: Whether MLflow's address is the user's own; else it comes from a file that
            another person may have written.
        confirms_on_end: The same of ``results.on_end``, which is not run otherwise.
    """

    source: str
    document: Mapping[str, Any]
    faults: tuple[Fault, ...] = ()
    code_dir: Path | None = None
    allow_code: tuple[str, ...] | None = ()
    resume: bool = False
    dry_run: bool = False
    for_cluster: bool = False
    warm_start: str | None = None
    address: str | None = None
    runtime_env: Path | None = None
    is_local: bool = False
    confirms_mlflow: bool = False
    confirms_on_end: bool = False


@dataclass
class CheckedSearch:
    """A search that passed all checks and can start.

    Attributes:
        spec: The resolved search.
        data: Its data, loaded, until they are handed over.
        runs_dir: The folder of all searches, absolute.
        address: As requested.
        runtime_env: Ray's runtime environment, loaded.
        is_local: As requested.
        on_end: The command to run at its end, if any.
    """

    spec: SearchSpec
    data: "Data | None"
    runs_dir: Path
    address: str | None
    runtime_env: Mapping[str, Any] | None
    is_local: bool = False
    on_end: tuple[str, ...] = ()

    @property
    def run_dir(self) -> Path:
        """Return the search's folder."""
        return self.runs_dir / self.spec.name

    def hand_over_data(self) -> "Data":
        """Return the data, and keep them no longer: they may fill half of the memory."""
        data, self.data = self.data, None
        if data is None:
            raise RuntimeError("the data were handed over already")
        return data


def request_from_file(
    space: Path,
    overrides: Sequence[str] | Mapping[str, Any] = (),
    name: str | None = None,
    runs_dir: str | None = None,
    *,
    allow_code: Collection[str] = (),
    **options: Any,
) -> SearchRequest:
    """Make a request from a search space file.

    A file of a search's folder, such as its ``spec.yaml``, may have been written by another person:
    it imports custom networks only from the allowed modules, and none from its folder, and MLflow's
    address in it gets no password.

    Args:
        space: The file, or the name of a shipped one, such as ``gp``.
        overrides: Values that replace the file's, as in :func:`tuner.space.yaml_file.load_yaml`.
        name: A name that replaces the file's.
        runs_dir: A folder of all searches that replaces the file's.
        allow_code: The modules that a file of a search's folder may import.
        options: Further fields of :class:`SearchRequest`.

    Raises:
        BadInput: if the file cannot be read as a mapping.
    """
    space = find_space(space)
    document, faults = load_yaml(space, overrides)
    document = with_place(document, name, runs_dir)
    code_dir: Path | None = space.absolute().parent
    allowed: tuple[str, ...] | None = None
    if is_search(space.absolute().parent):
        code_dir = None
        allowed = (allow_code,) if isinstance(allow_code, str) else tuple(allow_code)
    return SearchRequest(
        str(space),
        document,
        tuple(faults),
        code_dir,
        allowed,
        confirms_mlflow=allowed is None or sets_mlflow(overrides),
        confirms_on_end=allowed is None or sets_on_end(overrides),
        **options,
    )


def sets_mlflow(overrides: Iterable[str]) -> bool:
    """Tell whether overrides set MLflow's address.

    Args:
        overrides: ``dotted.key=value`` texts, or dotted keys.
    """
    return _sets(overrides, "mlflow", "mlflow.tracking_uri")


def sets_on_end(overrides: Iterable[str]) -> bool:
    """Tell whether overrides, as in :func:`sets_mlflow`, set the command of the search's end."""
    return _sets(overrides, "results", "results.on_end")


def _sets(overrides: Iterable[str], *keys: str) -> bool:
    return any(override.partition("=")[0].strip() in keys for override in overrides)


def with_place(
    document: Mapping[str, Any], name: str | None, runs_dir: str | None
) -> dict[str, Any]:
    """Return the document with this name and folder of all searches, as far as they are given."""
    changed = dict(document)
    if name is not None:
        changed["name"] = name
    results = changed.get("results")
    if runs_dir is not None and (results is None or isinstance(results, dict)):
        changed["results"] = {**(results or {}), "runs_dir": runs_dir}
    return changed  # results of another type are a fault to report


def check_request(request: SearchRequest, console: Console) -> CheckedSearch:
    """Check a request together with its data and its networks.

    Args:
        request: The search.
        console: Shows what takes time.

    Raises:
        BadInput: with all faults.
    """
    with working(console, f"checking {request.source}", delay_s=0.5):
        try:
            spec, runs_dir, runtime_env = check_document(request, console.print)
        except BadInput as error:
            if not request.dry_run or error.source != request.source:
                raise
            more = _later_faults(request, error.faults, console)
            raise BadInput(request.source, [*error.faults, *more]) from None
        _make_importable(request.code_dir, spec)
        if (note := tracking.unused_note(spec.mlflow)) is not None:
            console.print(note)
        cache = None if request.dry_run else runs_dir / DATA_CACHE
        data = _load_data(spec, cache, request, console)
        if faults := _network_faults(spec, data, console):
            raise BadInput(request.source, faults)
    on_end = _own_on_end(spec, request, console)
    return CheckedSearch(
        spec, data, runs_dir, request.address, runtime_env, request.is_local, on_end
    )


def _own_on_end(spec: SearchSpec, request: SearchRequest, console: Console) -> tuple[str, ...]:
    """Return the command of the search's end, unless another person may have written it."""
    command = spec.results.on_end
    if command is not None and not request.confirms_on_end:
        console.print(
            "results.on_end is not run: it stands in a search's folder, which another person may "
            f"have written; if it is yours, give it by --set 'results.on_end={list(command)}'"
        )
        return ()
    return command or ()


def _later_faults(
    request: SearchRequest, earlier: Sequence[Fault], console: Console
) -> list[Fault]:
    """List the faults of the data and of the networks in a request whose document has others.

    What a section with faults describes is not checked any further.
    """
    sections, _ = validate_sections(request.document)

    def is_valid(*keys: str) -> bool:
        return all(key in sections for key in keys) and not any(
            fault.where.partition(".")[0] in keys for fault in earlier
        )

    if not is_valid("data"):
        return []
    spec = SearchSpec.model_construct(**sections)  # other sections may have their defaults in it
    try:
        data = _load_data(spec, None, request, console)
    except BadInput as error:
        return list(error.faults)
    if not is_valid("networks", "training", "objective"):
        return []
    if _code_faults(spec, request.allow_code):
        return []  # they are among the earlier ones, or will be once those are mended
    _make_importable(request.code_dir, spec)
    return _network_faults(spec, data, console)


def check_document(
    request: SearchRequest, log: Callable[[str], None]
) -> tuple[SearchSpec, Path, Mapping[str, Any] | None]:
    """Check a request without its data and its networks.

    A search that is in its storage only is fetched, to be resumed.

    Args:
        request: The search.
        log: Called with a line before an access to the storage.

    Returns:
        The resolved search, the folder of all searches and Ray's runtime environment.

    Raises:
        BadInput: with all faults.
    """
    sections, faults = validate_sections(request.document)
    faults = [*request.faults, *faults]
    unfit = _place_faults(sections, request)
    if any(fault.where.startswith("results") for fault in unfit):
        del sections["results"]
    # Without a valid name and folder there is nothing to look up: the request is refused below.
    if "name" in sections and "results" in sections:
        if not request.dry_run:
            _fetch_search(sections["name"], sections["results"], request, log)
        for name in ("objective", "asha"):
            if request.resume and name in sections:
                sections[name] = _resumed(name, sections, request.document)
        if request.warm_start is not None:
            points = _warm_start_points(request.warm_start, sections, request.resume)
            sections["initial_points"], more = validate_points(points, sections)
            faults += [fault for fault in more if fault not in faults]
    runs_here = request.address is None and not request.for_cluster
    if "resources" in sections and runs_here:
        faults += preflight.machine_faults(sections["resources"])
    if "training" in sections and runs_here:
        faults += preflight.compiler_faults(sections["training"])
    runtime_env, more = _load_runtime_env(request)
    faults += unfit + more
    if not faults:
        spec = SearchSpec.model_construct(**sections)
        faults += _code_faults(spec, request.allow_code)
        runs_dir = spec.results.folder
        if request.resume or not request.dry_run:
            faults += preflight.name_faults(runs_dir, spec, resume=request.resume)
        if not faults:
            return spec, runs_dir, runtime_env
    raise BadInput(request.source, faults)


def _code_faults(spec: SearchSpec, allow_code: Collection[str] | None) -> list[Fault]:
    """List the custom networks that the request may not import."""
    if allow_code is None:
        return []
    faults = (code_fault(path, allow_code) for path in sorted(spec.custom_classes))
    return [Fault("networks", fault) for fault in faults if fault is not None]


def _place_faults(sections: Mapping[str, Any], request: SearchRequest) -> list[Fault]:
    """Check the places that a search reads from and writes to, by their text and this machine."""
    faults = []
    if "data" in sections:
        faults += preflight.path_faults(sections["data"])
    if "mlflow" in sections:
        faults += _mlflow_faults(sections["mlflow"], request)
    if "tracking" in sections:
        faults += tracking.package_faults(sections["tracking"])
    if "results" in sections:
        faults += preflight.folder_faults(sections["results"])
        if request.confirms_on_end and not request.for_cluster:
            faults += preflight.on_end_faults(sections["results"])
        faults += preflight.storage_faults(sections["results"])
    return faults


def _mlflow_faults(mlflow: MlflowConfig, request: SearchRequest) -> list[Fault]:
    """Check MLflow's address, and that nothing secret is sent to another person's."""
    if request.confirms_mlflow:
        return preflight.address_faults(mlflow)
    way_out = f"confirm it by --set mlflow.tracking_uri={mlflow.tracking_uri}"
    fault = tracking.unconfirmed_fault(mlflow.tracking_uri, way_out)
    if fault is not None:
        return [Fault("mlflow.tracking_uri", fault)]
    return preflight.address_faults(mlflow)


def _warm_start_points(run: str, sections: Mapping[str, Any], resume: bool) -> Sequence[Any]:
    """Return an earlier search's best trials and then the request's own initial points.

    A search that is resumed keeps the points that it began with.
    """
    runs_dir = sections["results"].folder
    saved = runs_dir / sections["name"] / "spec.yaml"
    if resume and saved.exists():
        return load_yaml(saved)[0].get("initial_points", ())
    try:
        earlier = Path(expand(run))
    except ValueError as error:
        raise BadInput("--warm-start", [Fault("", str(error))]) from None
    if not earlier.is_dir() and (runs_dir / run).is_dir():
        earlier = runs_dir / run
    return [*warm_start.best_points(earlier, sections), *sections["initial_points"]]


def _resumed(name: str, sections: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
    """Return a section, with the values of a search for keys that are younger than it."""
    saved = sections["results"].folder / sections["name"] / "spec.yaml"
    if not saved.exists():
        return sections[name]
    began = load_yaml(saved)[0]
    written, now = began.get(name), given.get(name)
    if not isinstance(written, Mapping):
        return sections[name]
    chosen = {*written, *(now if isinstance(now, Mapping) else ())}
    if "features" in chosen:
        chosen.add("ground")
    earlier = with_earlier_values(began)[name]
    kept = {key: value for key, value in earlier.items() if key not in chosen}
    return sections[name].model_copy(update=kept)


def _load_runtime_env(request: SearchRequest) -> tuple[Mapping[str, Any] | None, list[Fault]]:
    if request.runtime_env is None:
        return None, []
    if request.address is None:
        message = "is for the nodes of a cluster: give --address too, or leave it out"
        return None, [Fault("--runtime-env", message)]
    return load_yaml(request.runtime_env)


def _fetch_search(
    name: str, results: ResultsConfig, request: SearchRequest, log: Callable[[str], None]
) -> None:
    """Fetch a search from its storage if this machine does not have it, to resume it here."""
    if results.location is None:
        return
    from tuner.storage import check_reachable, file_exists, own_folder, restore_mirror

    location, run_dir = join(results.location, name), results.folder / name
    log(f"looking into {redact(location)} ...")
    try:
        check_reachable(results.location)
        if (run_dir / "spec.yaml").exists() or not file_exists(location, "spec.yaml"):
            return
        if not request.resume:
            raise BadInput(request.source, [preflight.taken_fault(redact(location))])
        log("fetching the search from there ...")
        with own_folder(run_dir):
            restore_mirror(location, run_dir)
    except OSError as error:
        raise BadInput(request.source, [Fault("results.storage", str(error))]) from error


def _make_importable(folder: Path | None, spec: SearchSpec) -> None:
    """Let custom networks be imported from the folder of the search space, by Ray's workers too."""
    if folder is not None and spec.custom_modules and str(folder) not in sys.path:
        sys.path.append(str(folder))
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join([*([before] if before else []), str(folder)])


def _load_data(
    spec: SearchSpec, cache_dir: Path | None, request: SearchRequest, console: Console
) -> "Data":
    """Load the data before anything is written or Ray is started: it may be unfit for a search."""
    from trainables.data import BadData, load
    from tuner.display import counting

    try:
        line = "decoded {done:,} of {total:,} images"
        with counting(console, "decoding images", line) as progress:
            return load(spec.data, cache_dir, progress, console.print)
    except BadData as error:
        raise BadInput(request.source, [Fault(f"data.{error.key}", str(error))]) from error


def _network_faults(spec: SearchSpec, data: "Data", console: Console) -> list[Fault]:
    """Pass a batch through all networks that the search may build, custom features and metrics."""
    from trainables.check import check_networks
    from trainables.diagnostics import check_metrics
    from trainables.ground import check_ground
    from trainables.networks import BadNetwork

    faults, notes = [], []
    for config in spec.corners():
        try:
            notes.append(check_networks(config, data.sample_shape))
        except BadNetwork as error:
            faults.append(Fault(f"networks.{error.key}", str(error)))
    objective_notes = []
    for check in (check_ground, *[check_metrics] * (spec.objective.metrics is not None)):
        try:
            objective_notes.append(check(data, spec.objective))
        except BadNetwork as error:
            faults.append(Fault(f"objective.{error.key}", str(error)))
    if not faults:
        for note in filter(None, dict.fromkeys(notes)):
            console.print(f"warning: {note}")
        for note in filter(None, objective_notes):
            console.print(note)
    return list(dict.fromkeys(faults))
