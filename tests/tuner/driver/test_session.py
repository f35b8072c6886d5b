"""One session of a search: what it refuses to resume."""

import gc
import os
import signal
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from trainables.data import Data, split
from tuner import cli
from tuner.driver import CheckedSearch
from tuner.driver import session as experiment
from tuner.driver.session import Place
from tuner.errors import BadInput
from tuner.space.spec import SearchSpec, read_saved_spec
from tuner.study.study import Study

MakeSpec = Callable[..., SearchSpec]


def data(seed: int) -> Data:
    points = np.random.default_rng(1).uniform(-1, 1, (600, 2))
    return split(points, np.random.default_rng(seed))


def test_a_search_goes_on_with_the_data_that_it_began_with(tmp_path: Path, make_spec: MakeSpec):
    for _ in range(2):
        experiment._check_data(Study(tmp_path / "study.log", make_spec()), data(seed=0))


def test_with_other_data_or_another_split_it_does_not(tmp_path: Path, make_spec: MakeSpec):
    experiment._check_data(Study(tmp_path / "study.log", make_spec()), data(seed=0))
    with pytest.raises(BadInput, match=r"data: are not those that this search began with: restore"):
        experiment._check_data(Study(tmp_path / "study.log", make_spec()), data(seed=1))
    assert Study(tmp_path / "study.log", make_spec()).data == data(seed=0).fingerprint()


def test_a_start_that_is_refused_leaves_nothing_running_and_nothing_held(
    tmp_path: Path, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
):
    """Else the mended request would be refused as long as this process lives."""
    spec = make_spec(results={"storage": str(tmp_path / "shared")})
    place = Place(None, 1, is_local=True)
    monkeypatch.setattr(experiment, "_import_meanwhile", lambda _: None)
    (tmp_path / "runs" / "search").mkdir(parents=True)
    journal = tmp_path / "runs" / "search" / "study.log"
    Study(journal, spec).set_data("those of another day")
    text = make_spec(search={"num_trials": 3, "sampler": "random"}).to_yaml()
    (journal.parent / "spec.yaml").write_text(text)
    for _ in range(2):
        with pytest.raises(BadInput, match="are not those that this search began with"):
            experiment.run_session(
                spec, data(seed=0), tmp_path / "runs", place, Console(quiet=True)
            )
        assert "storage-mirror" not in [thread.name for thread in threading.enumerate()]
        assert not (tmp_path / "shared" / "search" / "driver.json").exists()
    assert (journal.parent / "spec.yaml").read_text() == text
    assert (tmp_path / "shared" / "search" / "study.log").read_bytes() == journal.read_bytes()


def test_the_spec_says_what_the_search_was_run_by_and_resumes_as_it_was(
    tmp_path: Path, make_spec: MakeSpec
) -> None:
    spec, path = make_spec(), tmp_path / "spec.yaml"
    path.write_text(spec.to_yaml())
    os.utime(path, (1e9, 1e9))
    said: list[str] = []
    (tmp_path / "provenance.json").write_text('[{"torch": "9.9", "data": "abc\\nname: other"}]')
    experiment._update_spec(path, spec, said.append)
    first, rest = path.read_text().split("\n", 1)
    assert first.startswith("# Run by torch 9.9;")
    assert first.endswith("Data fingerprint: abc name: other.")
    assert rest == spec.to_yaml()
    assert read_saved_spec(path) == spec
    assert said == []
    assert 1e9 < path.stat().st_mtime < 1e9 + 0.1  # when it began
    experiment._update_spec(path, spec, said.append)
    assert path.stat().st_mtime < 1e9 + 0.0015  # not written again


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_trials_get_a_place_to_run_ends_the_search_before_anything_is_written(
    tmp_path: Path, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
):
    """Though the start sets handlers of its own, and loses what is raised in it."""
    before = signal.getsignal(number)

    @contextmanager
    def start(*_: object) -> Iterator[SimpleNamespace]:
        with suppress(KeyboardInterrupt):
            os.kill(os.getpid(), number)
        signal.signal(number, signal.SIG_IGN)
        yield SimpleNamespace(prepare=lambda *_: None)

    monkeypatch.setattr(experiment, "_executor", start)
    monkeypatch.setattr(experiment, "_import_meanwhile", lambda _: None)
    place, quiet = Place(None, 1, is_local=True), Console(quiet=True)
    with pytest.raises(KeyboardInterrupt):
        experiment.run_session(make_spec(), data(seed=0), tmp_path, place, quiet)
    assert not (tmp_path / "search" / "spec.yaml").exists()
    assert signal.getsignal(number) == before


def test_while_trials_run_the_driver_keeps_no_copy_of_the_data(
    tmp_path: Path, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
):
    """Those of this process are in Ray's memory then."""
    kept: list[weakref.ref] = []

    class Executor:
        addresses: Mapping[str, str] = {}

        def prepare(self, *_: object) -> None: ...

        def listeners(self, _: object) -> list:
            return []

        def load(self, given: Data) -> None:
            kept.extend(map(weakref.ref, (given.train, given.final)))

        def run_trials(self, *_: object) -> None:
            gc.collect()
            assert [ref() for ref in kept] == [None, None]
            raise KeyboardInterrupt

        def leave(self) -> None: ...

    monkeypatch.setattr(experiment, "_executor", lambda *_: nullcontext(Executor()))
    monkeypatch.setattr(experiment, "_import_meanwhile", lambda _: None)
    monkeypatch.setattr(experiment, "_leave", lambda record, *_: record.close() or [])
    search = CheckedSearch(make_spec(), data(seed=0), tmp_path, None, None, is_local=True)
    with pytest.raises(KeyboardInterrupt):
        cli.run_and_report(
            search, resume=False, console=Console(quiet=True), how_to_resume="resume"
        )
    assert len(kept) == 2
    with pytest.raises(RuntimeError, match="handed over already"):
        search.hand_over_data()


def test_own_modules_are_shipped_and_installed_ones_are_not(
    tmp_path: Path, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "one_file.py").touch()
    (tmp_path / "a_package").mkdir()
    (tmp_path / "a_package" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "bare").mkdir()  # a package without an __init__.py
    networks = {
        "generator": {"choice": ["one_file:A", "a_package.deep:B", "bare.deep:C"]},
        "critic": "torch.nn:Linear",
    }
    assert experiment._own_code(make_spec(networks=networks)) == [
        tmp_path / "a_package",
        tmp_path / "bare",
        tmp_path / "one_file.py",
    ]
