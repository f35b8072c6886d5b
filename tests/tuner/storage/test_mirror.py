"""The copy of a search's files: in another folder and in a real S3 server alike."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import s3

from tuner.errors import BadInput
from tuner.storage import mirror as storage_mirror
from tuner.storage.folder import (
    Folder,
    file_exists,
)
from tuner.storage.mirror import LEASE, Mirror, restore_mirror

OFTEN_S, SELDOM_S = 0.05, 3600.0


@pytest.fixture(params=["folder", "s3"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "s3":
        return request.getfixturevalue("server").uri(tmp_path.name, "name")
    return str(tmp_path / "storage" / "name")


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A search's folder, as it may look in the middle."""
    folder = tmp_path / "runs" / "name"
    for name, content in {
        **{"spec.yaml": "name: name\n", "trials.csv": "trial_id\n", "search.log": "began\n"},
        **{"study.log": "one\ntwo\n", "metrics.jsonl": "1\n2\n", "best.yaml": "w1: 1\n"},
        **{"best/generator.pt": "weights", "samples/00001/000250.png": "picture"},
        **{".lock": "", ".trials.csv.tmp": "half", "study.log.lock": "", "ray/a/state.pt": "ray's"},
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


OWN = {
    "best.yaml", "best/generator.pt", "metrics.jsonl", "samples/00001/000250.png", "search.log",
    "spec.yaml", "study.log", "trials.csv",
}  # fmt: skip


@pytest.fixture
def start(run_dir: Path, location: str) -> Iterator[Callable[..., Mirror]]:
    """Start a mirror of the folder; it is closed in the end."""
    started: list[Mirror] = []

    def start_(**options: Any) -> Mirror:
        given = {"run_dir": run_dir, "location": location, "warn": _fail, "every_s": SELDOM_S}
        mirror = Mirror(**{**given, **options})
        mirror.start()
        started.append(mirror)
        return mirror

    yield start_
    for mirror in started:
        mirror.close(20)


def _fail(text: str) -> None:
    raise AssertionError(text)


def _files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def _until(holds: Callable[[], object]) -> None:
    ends = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < ends, "it did not come to hold"
        time.sleep(0.01)


def _lease(location: str, **changes: Any) -> None:
    """Leave the lease of a driver on another machine."""
    lease = {
        **{"id": "theirs", "host": "elsewhere", "pid_namespace": "pid:[1]", "pid": 7},
        **{"unix_time_s": time.time(), "lapses_after_s": 180.0},
    }
    Folder(location).write_bytes(LEASE, json.dumps({**lease, **changes}).encode())


def test_what_is_copied_comes_back_as_it_was(
    start: Callable[..., Mirror], run_dir: Path, location: str, tmp_path: Path
) -> None:
    assert start().close(20) is None
    Folder(location).write_bytes("ray/trial/state.pt", b"a checkpoint")
    restore_mirror(location, tmp_path / "new")
    own = {name: content for name, content in _files(run_dir).items() if name in OWN}
    assert _files(tmp_path / "new") == own
    assert own.keys() == OWN


def test_a_turn_copies_what_changed_and_nothing_else(
    start: Callable[..., Mirror], run_dir: Path, location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = _spy(monkeypatch)
    mirror = start(every_s=OFTEN_S)
    _until(lambda: written.count(LEASE) > 3)  # turns
    with (run_dir / "study.log").open("a") as file:
        file.write("three\n")
    (run_dir / "samples" / "00002").mkdir()
    (run_dir / "samples" / "00002" / "000250.png").write_text("another")
    _until(lambda: file_exists(location, "samples/00002/000250.png"))
    assert mirror.close(20) is None
    assert Folder(location).read("study.log") == b"one\ntwo\nthree\n"
    copied = [name for name in written if name != LEASE]
    assert sorted(copied) == sorted([*OWN, "study.log", "samples/00002/000250.png"])


def _spy(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are written, in that order."""
    written: list[str] = []
    write = Folder.write

    def spy(self: Folder, name: str, *rest: Any) -> None:
        write(self, name, *rest)
        written.append(name)

    monkeypatch.setattr(Folder, "write", spy)
    return written


def test_a_new_sitting_copies_no_picture_twice(
    start: Callable[..., Mirror], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert start().close(20) is None
    written = _spy(monkeypatch)
    assert start().close(20) is None
    assert set(written) == {LEASE, *(n for n in OWN if not n.startswith("samples/"))}


@pytest.mark.parametrize("folder", ["", "final/"])
def test_the_copied_reports_are_never_older_than_the_copied_journal(
    start: Callable[..., Mirror],
    run_dir: Path,
    location: str,
    monkeypatch: pytest.MonkeyPatch,
    folder: str,
) -> None:
    """Trial n is in the reports before it is in the journal, and both grow at every moment."""
    files = {f"{folder}{name}": run_dir / folder / name for name in ("metrics.jsonl", "study.log")}
    for path in files.values():
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    write, seen = Folder.write, []

    def grow() -> None:
        for path in files.values():
            with path.open("a") as file:
                file.write("line\n")

    def growing(self: Folder, name: str, *rest: Any) -> None:
        grow()
        write(self, name, *rest)
        grow()
        there = Folder(location)
        if there.has(f"{folder}study.log"):
            reports, journal = (there.read(name).count(b"\n") for name in files)
            seen.append((reports, journal))

    monkeypatch.setattr(Folder, "write", growing)
    mirror = start(every_s=OFTEN_S)
    _until(lambda: len({journal for _, journal in seen}) > 5)
    assert mirror.close(20) is None
    assert all(reports >= journal for reports, journal in seen)


def test_a_folder_is_no_copy_of_itself(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = _spy(monkeypatch)
    mirror = Mirror(run_dir, run_dir.as_uri(), warn=_fail)
    mirror.start()
    assert mirror.close(20) is None
    assert set(written) == {LEASE}


def test_the_copy_catches_up_once_the_server_is_back(
    server: s3.S3, run_dir: Path, tmp_path: Path
) -> None:
    location = server.uri(tmp_path.name, "name")
    warnings: list[str] = []
    mirror = Mirror(run_dir, location, warn=warnings.append, every_s=OFTEN_S)
    mirror.start()
    _until(lambda: len(server.objects(f"{tmp_path.name}/name/samples")) == 1)
    server.stop()
    with (run_dir / "study.log").open("a") as file:
        file.write("three\n")
    try:
        _until(lambda: warnings)
    finally:
        server.start()
    _until(lambda: Folder(location).read("study.log") == b"one\ntwo\nthree\n")
    assert mirror.close(20) is None
    assert len(warnings) == 1  # said once, for all the turns that failed
    assert re.search(
        r"name is not up to date \(.*NETWORK_CONNECTION.*\): it is retried", warnings[0]
    )
    assert s3.SECRET not in warnings[0]
    assert not server.objects(f"{tmp_path.name}/name/{LEASE}")


def test_what_could_not_be_copied_is_said_at_the_end(
    server: s3.S3, run_dir: Path, tmp_path: Path
) -> None:
    warnings: list[str] = []
    mirror = Mirror(run_dir, server.uri(tmp_path.name, "name"), warn=warnings.append)
    mirror.start()
    server.stop()
    try:
        missing = mirror.close(30)
    finally:
        server.start()
    assert missing is not None
    assert re.search(r"name lacks the latest results of the search \(.*\): they are in ", missing)
    assert str(run_dir) in missing
    assert s3.SECRET not in missing + "".join(warnings)


def test_close_waits_no_longer_than_it_is_told_to(
    start: Callable[..., Mirror], monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = start()
    write = Folder.write
    monkeypatch.setattr(Folder, "write", lambda *given: (time.sleep(0.3), write(*given)))
    began = time.monotonic()
    assert "copying took more than 0.1 s" in (mirror.close(0.1) or "")
    assert time.monotonic() - began < 0.3


def test_one_driver_at_a_time(start: Callable[..., Mirror]) -> None:
    first = start()
    what = rf"in use by a search on host {socket.gethostname()} \(process {os.getpid()}\), last .* "
    with pytest.raises(BadInput, match=rf"{what}ago: wait \d+ s .*or give another --name"):
        start()
    assert first.close(20) is None
    start()


def test_a_lease_can_be_read_while_it_is_renewed(
    start: Callable[..., Mirror], location: str
) -> None:
    start(every_s=0.0)
    folder = Folder(location)
    leases: set[bytes] = set()

    def has_seen_many() -> bool:
        leases.add(folder.read(LEASE))
        return len(leases) > 20

    _until(has_seen_many)
    assert len({json.loads(lease)["id"] for lease in leases}) == 1
    assert len({len(lease) for lease in leases}) == 1


def test_a_driver_elsewhere_holds_it_for_three_turns(
    start: Callable[..., Mirror], location: str, tmp_path: Path
) -> None:
    _lease(location, unix_time_s=time.time() - 60)
    with pytest.raises(
        BadInput, match=r"on host elsewhere \(process 7\).* [67]\d s ago: wait 1\d\d s"
    ):
        start()
    with pytest.raises(BadInput, match="on host elsewhere"):
        restore_mirror(location, tmp_path / "new")
    _lease(location, unix_time_s=time.time() - 181)
    start()


@pytest.mark.parametrize("jump_s", [-7200.0, 7200.0])
def test_a_clock_that_jumps_takes_no_lease_from_who_holds_it(
    start: Callable[..., Mirror], monkeypatch: pytest.MonkeyPatch, jump_s: float
) -> None:
    holder, now = start(every_s=0.05), time.time
    written = storage_mirror._lease(holder._folder)["unix_time_s"]
    monkeypatch.setattr(time, "time", lambda: now() + jump_s)
    _until(lambda: abs(storage_mirror._lease(holder._folder)["unix_time_s"] - written) > 7000)
    assert holder._taken_by is None
    assert holder.close(10) is None


def test_a_lease_from_the_future_names_the_clocks(
    start: Callable[..., Mirror], location: str
) -> None:
    _lease(location, unix_time_s=time.time() + 7200)
    text = r"which is 7[12]\d\d s ahead of this machine's clock: correct .* delete driver.json"
    with pytest.raises(BadInput, match=text):
        start()


def test_a_driver_of_this_machine_that_was_killed_holds_nothing(
    start: Callable[..., Mirror], location: str, run_dir: Path
) -> None:
    code = (
        "import os, signal, sys, pathlib; from tuner.storage.mirror import Mirror; "
        "Mirror(pathlib.Path(sys.argv[1]), sys.argv[2], warn=print).start(); "
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(run_dir), location], timeout=60, check=False)
    assert file_exists(location, LEASE)
    start()


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'{"id": 1}'])
def test_a_damaged_lease_is_nobodys(
    content: bytes, start: Callable[..., Mirror], location: str
) -> None:
    Folder(location).write_bytes(LEASE, content)
    start()


def test_nothing_is_copied_any_more_once_another_driver_has_gone_on(
    start: Callable[..., Mirror], run_dir: Path, location: str
) -> None:
    warnings: list[str] = []
    mirror = start(warn=warnings.append, every_s=OFTEN_S)
    _until(lambda: file_exists(location, "samples/00001/000250.png"))
    _until(lambda: warnings or _lease(location))  # again, where ours was being renewed just then
    (run_dir / "trials.csv").write_text("newer")
    missing = mirror.close(20)
    assert "host elsewhere has resumed this search" in (missing or "")
    assert len(warnings) == 1
    assert Folder(location).read("trials.csv") == b"trial_id\n"
    assert json.loads(Folder(location).read(LEASE))["id"] == "theirs"


@pytest.mark.parametrize("theirs", [b"one\ntwo\nthree\n", b"one\nother\n"])
def test_a_copy_that_has_gone_further_is_not_overwritten(
    theirs: bytes, start: Callable[..., Mirror], run_dir: Path, location: str
) -> None:
    Folder(location).write_bytes("study.log", theirs)
    with pytest.raises(BadInput, match=r"is ahead of .*: move the local folder away and --resume"):
        start()
    assert Folder(location).read("study.log") == theirs
    assert not file_exists(location, LEASE)


def test_a_copy_that_ends_in_half_a_line_has_not_gone_further(
    start: Callable[..., Mirror], location: str
) -> None:
    Folder(location).write_bytes("study.log", b"one\nhal")
    assert start().close(20) is None
    assert Folder(location).read("study.log") == b"one\ntwo\n"


def test_a_folder_counts_as_a_search_only_once_all_of_it_is_back(
    start: Callable[..., Mirror], location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileNotFoundError, match=r"name holds no search: it has no spec\.yaml"):
        restore_mirror(location, tmp_path / "new")
    assert start().close(20) is None
    fetch = Folder.fetch

    def fails(self: Folder, name: str, target: Path) -> None:
        if name.startswith("samples/"):
            raise OSError("the line is down")
        fetch(self, name, target)

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "fetch", fails)
        with pytest.raises(OSError, match="the line is down"):
            restore_mirror(location, tmp_path / "new")
    assert not (tmp_path / "new" / "spec.yaml").exists()
    restore_mirror(location, tmp_path / "new")
    assert _files(tmp_path / "new").keys() == OWN
