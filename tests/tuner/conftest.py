"""What several tests of the search share: small searches, and a listener that keeps the events."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import s3
import small_search

from tuner.errors import Fault
from tuner.record.listener import Listener
from tuner.record.record import Record
from tuner.space.spec import SearchSpec, validate
from tuner.study.study import Study
from tuner.study.trial import Trial


class Events(Listener):
    """Keeps the events of a session, in order: the name of each, whose it is, and its data."""

    def __init__(self) -> None:
        self.trials: list[Trial] | None = None  # of earlier sessions
        self.all: list[tuple[Any, ...]] = []

    def named(self, name: str) -> list[tuple[Any, ...]]:
        return [event[1:] for event in self.all if event[0] == name]

    def search_started(self, trials: Sequence[Trial]) -> None:
        assert self.trials is None, "started twice"
        self.trials = list(trials)

    def trial_started(self, trial: Trial) -> None:
        self.all.append(("trial_started", trial))

    def trial_reported(self, trial: Trial, report: Mapping[str, float]) -> None:
        self.all.append(("trial_reported", trial, report))

    def picture_saved(self, trial: Trial, generator_steps: int, path: Path) -> None:
        self.all.append(("picture_saved", trial, generator_steps, path))

    def trial_waits(self, trial: Trial) -> None:
        self.all.append(("trial_waits", trial))

    def trial_ended(self, trial: Trial) -> None:
        self.all.append(("trial_ended", trial))

    def final_started(self, trials: Sequence[Trial]) -> None:
        self.all.append(("final_started", list(trials)))

    def final_scored(self, trial: Trial) -> None:
        self.all.append(("final_scored", trial))

    def final_failed(self, trial: Trial, reason: str) -> None:
        self.all.append(("final_failed", trial, reason))

    def noted(self, text: str) -> None:
        self.all.append(("noted", text))

    def tick(self) -> None:
        self.all.append(("tick",))

    def search_ended(self) -> None:
        self.all.append(("search_ended",))


@pytest.fixture(autouse=True)
def _checks_print_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which they do on a busy machine alone."""
    monkeypatch.setattr("tuner.driver.request.working", lambda *_, **__: nullcontext())


@pytest.fixture(autouse=True)
def _nothing_is_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow is written to as things happen: a test need not wait for more to come."""
    monkeypatch.setattr("tuner.tracking.follower.COLLECT_S", 0.0)


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
    monkeypatch.setattr("tuner.tracking.retry.FIRST_RETRY_S", 0.01)
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
def open_record(tmp_path: Path) -> Iterator[Callable[..., tuple[Record, Events]]]:
    """Open, or open again, the record of a search."""
    opened: list[Record] = []

    def open_(
        search: SearchSpec, run_dir: Path = tmp_path, location: str | None = None
    ) -> tuple[Record, Events]:
        if opened:
            opened.pop().close()
        study = Study(run_dir / "study.log", search, location)
        record, events = Record(run_dir, search, study), Events()
        record.listeners.append(events)
        record.start()
        opened.append(record)
        return record, events

    yield open_
    for record in opened:
        record.close()
