"""What several tests of the search share: small searches, and a tracker that only listens."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import s3
import small_search

from tuner.errors import Fault
from tuner.record.record import Record
from tuner.space.spec import SearchSpec, validate
from tuner.study.study import Study
from tuner.tracking.history import TrialHistory


class FakeTracker:
    """Keeps what it is told, in order."""

    def __init__(self) -> None:
        self.history: list[TrialHistory] | None = None
        self.calls: list[tuple[Any, ...]] = []
        self.finals: list[tuple[str, dict[str, float]]] = []
        self.best: tuple[str, dict[str, float], int] | None = None
        self.progress: list[tuple[int, dict[str, float]]] = []

    def start(self, history: Sequence[TrialHistory] = ()) -> None:
        assert self.history is None, "started twice"
        self.history = list(history)

    def trial_started(self, trial_id: str, params: Mapping[str, object]) -> None:
        self.calls.append(("started", trial_id, dict(params)))

    def trial_reported(
        self, trial_id: str, metrics: Mapping[str, float], picture: Path | None = None
    ) -> None:
        self.calls.append(("reported", trial_id, metrics["generator_steps"], picture))

    def trial_ended(self, trial_id: str, status: str, message: str | None) -> None:
        self.calls.append(("ended", trial_id, status, message))

    def trial_final(self, trial_id: str, final: Mapping[str, float]) -> None:
        self.finals.append((trial_id, dict(final)))

    def search_best(
        self, trial_id: str, metrics: Mapping[str, float], time_ms: int, note: Callable[..., str]
    ) -> None:
        self.best = (trial_id, dict(metrics), time_ms)

    def search_progress(self, trials_finished: int, metrics: Mapping[str, float]) -> None:
        self.progress.append((trials_finished, dict(metrics)))


@pytest.fixture(autouse=True)
def _nothing_is_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow is written to as things happen: a test need not wait for more to come."""
    monkeypatch.setattr("tuner.tracking.backlog.COLLECT_S", 0.0)


@pytest.fixture(scope="session")
def make_spec() -> Callable[..., SearchSpec]:
    """A search of the given sections; four trials that search the critic's learning rate."""

    def make(**sections: Any) -> SearchSpec:
        document = {
            "name": "search",
            "training": {"critic_lr": {"low": 1e-5, "high": 1e-2, "log": True}},
            "search": {"num_trials": 4, "sampler": "random"},
            **sections,
        }
        found, faults = validate(document)
        assert found is not None, faults
        return found

    return make


@pytest.fixture(scope="session")
def faults_of() -> Callable[..., list[Fault]]:
    """What is wrong with a search of the given sections."""

    def check(**sections: Any) -> list[Fault]:
        found, faults = validate({"name": "a", "search": {"num_trials": 1}, **sections})
        assert (found is None) == bool(faults)
        return faults

    return check


@pytest.fixture(scope="session")
def _s3() -> Iterator[s3.S3]:
    with s3.serving() as server:
        yield server


@pytest.fixture
def server(_s3: s3.S3, monkeypatch: pytest.MonkeyPatch) -> s3.S3:
    """A real S3 server, and in the environment what its clients need."""
    for name, value in _s3.environment.items():
        monkeypatch.setenv(name, value)
    return _s3


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables in a file, to be copied."""
    return small_search.empty_database(tmp_path_factory.mktemp("mlflow"))


@pytest.fixture
def uri(empty_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An MLflow database of one's own, whose tables are there."""
    monkeypatch.setattr("tuner.tracking.tracker.FIRST_RETRY_S", 0.01)
    return small_search.copied(empty_database, tmp_path)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """The samples of a trial, of a name that MLflow has to take as it is."""
    path = tmp_path / "grid of trial 3.png"
    path.write_bytes(b"a picture")
    return path


@pytest.fixture
def space(tmp_path: Path) -> Callable[[str | bytes], Path]:
    """Write a search space file."""

    def write(content: str | bytes) -> Path:
        path = tmp_path / "space.yaml"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.fixture
def open_record(tmp_path: Path) -> Iterator[Callable[..., tuple[Record, FakeTracker]]]:
    """Open, or open again, the record of a search."""
    opened: list[Record] = []

    def open_(
        search: SearchSpec, run_dir: Path = tmp_path, location: str | None = None
    ) -> tuple[Record, FakeTracker]:
        if opened:
            opened.pop().close()
        tracker = FakeTracker()
        study = Study(run_dir / "study.log", search, location)
        record = Record(run_dir, search, study, tracker)  # type: ignore[arg-type]
        opened.append(record)
        return record, tracker

    yield open_
    for record in opened:
        record.close()
