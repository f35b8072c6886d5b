"""What is asked of a search, and all that is checked of it before anything is started.

``check`` refuses with :class:`~tuner.errors.BadInput`, within a second or two where the file itself
is wrong: torch is loaded only for what passes, Ray not at all.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from tuner.driver import preflight as checks
from tuner.driver import warm_start
from tuner.driver.preflight import DATA_CACHE
from tuner.errors import BadInput, Fault
from tuner.space import SearchSpec, load_yaml, validate_sections
from tuner.storage import join, redact

if TYPE_CHECKING:
    from trainables.data import Data


@dataclass(frozen=True)
class SearchRequest:
    """A search as it is asked for, unchecked.

    ``source`` is what a refusal names; ``faults`` are what is wrong already; ``code_dir`` is where
    the user's own networks are looked for besides ``sys.path``. The others are the command's
    options of these names.
    """

    source: str
    document: Mapping[str, Any]
    faults: tuple[Fault, ...] = ()
    code_dir: Path | None = None
    resume: bool = False
    dry_run: bool = False
    warm_start: str | None = None
    address: str | None = None
    runtime_env: Path | None = None
    is_local: bool = False


@dataclass(frozen=True)
class CheckedSearch:
    """A search that may start: nothing that can be checked beforehand is wrong with it."""

    spec: SearchSpec
    data: "Data"
    runs_dir: Path
    address: str | None
    runtime_env: Mapping[str, Any] | None
    is_local: bool = False

    @property
    def run_dir(self) -> Path:
        """The search's folder."""
        return self.runs_dir / self.spec.name


def request_from_file(
    space: Path,
    overrides: Sequence[str] | Mapping[str, Any] = (),
    name: str | None = None,
    runs_dir: str | None = None,
    **options: Any,
) -> SearchRequest:
    """Ask for the search of a file.

    Args:
        space: The search space.
        overrides: As :func:`tuner.space.yaml_file.load_yaml` has them.
        name: In place of the file's.
        runs_dir: In place of the file's.
        options: Further fields of :class:`Request`.

    Raises:
        BadInput: where the file is no mapping.
    """
    document, faults = load_yaml(space, overrides)
    document = with_place(document, name, runs_dir)
    return SearchRequest(str(space), document, tuple(faults), space.absolute().parent, **options)


def with_place(
    document: Mapping[str, Any], name: str | None, runs_dir: str | None
) -> dict[str, Any]:
    """The document with another name and folder of all searches, where they are given."""
    changed = dict(document)
    if name is not None:
        changed["name"] = name
    results = changed.get("results")
    if runs_dir is not None and (results is None or isinstance(results, dict)):
        changed["results"] = {**(results or {}), "runs_dir": runs_dir}
    return changed  # results of another type are a fault to report


def check_request(request: SearchRequest, console: Console) -> CheckedSearch:
    """Check a request, with its data and its networks.

    Args:
        request: What is asked for.
        console: Told what takes its time.

    Raises:
        BadInput: with every fault found.
    """
    spec, runs_dir = check_document(request, console.print)
    _make_importable(request.code_dir, spec)
    data = _load_data(spec, None if request.dry_run else runs_dir / DATA_CACHE, request, console)
    _check_networks(spec, data, request)
    env = _runtime_env(request)[0]
    return CheckedSearch(spec, data, runs_dir, request.address, env, request.is_local)


def check_document(request: SearchRequest, say: Callable[[str], None]) -> tuple[SearchSpec, Path]:
    """The search as resolved, and the folder of all searches; or every fault at once."""
    document, faults = dict(request.document), list(request.faults)
    if not request.dry_run:
        _bring_back(document, request, say)
    if request.warm_start is not None:
        document["initial_points"] = _warm_start(request.warm_start, document, request.resume)
    sections, more = validate_sections(document)
    faults += more
    if "resources" in sections and request.address is None:
        faults += checks.machine_faults(sections["resources"])
    if "training" in sections and request.address is None:
        faults += checks.compiler_faults(sections["training"])
    if "results" in sections:
        faults += checks.folder_faults(Path(sections["results"].runs_dir))
        faults += checks.storage_faults(sections["results"].storage)
    if request.runtime_env is not None:
        faults += _runtime_env(request)[1]
    if not faults:
        spec = SearchSpec.model_construct(**sections)
        runs_dir = Path(spec.results.runs_dir).absolute()
        if not request.dry_run:
            faults += checks.name_faults(runs_dir, spec, resume=request.resume)
        if not faults:
            return spec, runs_dir
    raise BadInput(request.source, faults)


def _warm_start(run: str, document: Mapping[str, Any], resume: bool) -> Any:
    """An earlier search's best trials before the initial points; a resumed search keeps its own."""
    given = document.get("initial_points") or []
    sections, _ = validate_sections(document)
    if "results" not in sections or "name" not in sections:
        return given  # it is refused for that
    runs_dir = Path(sections["results"].runs_dir)
    saved = runs_dir / sections["name"] / "spec.yaml"
    if resume and saved.exists():
        return load_yaml(saved)[0].get("initial_points", [])
    earlier = Path(run)
    if not earlier.is_dir() and (runs_dir / run).is_dir():
        earlier = runs_dir / run
    return [*warm_start.points(earlier, sections), *given]


def _runtime_env(request: SearchRequest) -> tuple[dict[str, Any] | None, list[Fault]]:
    """What the cluster's nodes need besides, as the file says."""
    if request.runtime_env is None:
        return None, []
    if request.address is None:
        what = "is for the nodes of a cluster: give --address too, or leave it out"
        return None, [Fault("--runtime-env", what)]
    return load_yaml(request.runtime_env)


def _bring_back(
    document: Mapping[str, Any], request: SearchRequest, say: Callable[[str], None]
) -> None:
    """Fetch a search that began on another machine from its storage, to be resumed on this one."""
    sections, _ = validate_sections(document)
    if "results" not in sections or "name" not in sections:
        return  # it is refused for that
    results, name = sections["results"], sections["name"]
    if results.storage is None or checks.storage_faults(results.storage):
        return
    from tuner import storage
    from tuner.storage import check_reachable, file_exists

    location, run_dir = join(results.storage, name), Path(results.runs_dir, name).absolute()
    say(f"looking into {redact(location)} ...")
    try:
        check_reachable(results.storage)
        if (run_dir / "spec.yaml").exists() or not file_exists(location, "spec.yaml"):
            return
        if not request.resume:
            what = f"{redact(location)} already holds a search: go on with it by adding "
            way_out = "--resume, or start another by --name"
            raise BadInput(request.source, [Fault("name", what + way_out)])
        say("fetching the search from there ...")
        with storage.own_folder(run_dir):
            storage.restore_mirror(location, run_dir)
    except OSError as error:
        raise BadInput(request.source, [Fault("results.storage", str(error))]) from error


def _make_importable(folder: Path | None, spec: SearchSpec) -> None:
    """Let networks of the user's own be found beside the search space, also by Ray's workers."""
    if folder is not None and spec.own_modules and str(folder) not in sys.path:
        sys.path.append(str(folder))
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join([*([before] if before else []), str(folder)])


def _load_data(
    spec: SearchSpec, cache_dir: Path | None, request: SearchRequest, console: Console
) -> "Data":
    """The data, before anything is written or Ray started: it may be unfit for a search."""
    from trainables.data import BadData, load
    from tuner.display import decoding

    try:
        with decoding(console) as progress:
            return load(spec.data, cache_dir, progress, console.print)
    except BadData as error:
        raise BadInput(request.source, [Fault(f"data.{error.key}", str(error))]) from error


def _check_networks(spec: SearchSpec, data: "Data", request: SearchRequest) -> None:
    """Build what the search may build, and pass a batch through it, before anything starts."""
    from trainables.check import check_networks
    from trainables.networks import BadNetwork

    faults = []
    for config in spec.corners():
        try:
            check_networks(config, data.sample_shape)
        except BadNetwork as error:
            faults.append(Fault(f"networks.{error.key}", str(error)))
    if faults:
        raise BadInput(request.source, list(dict.fromkeys(faults)))
