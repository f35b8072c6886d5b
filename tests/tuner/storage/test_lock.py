"""One owner of a search's folder, whoever it is and however it ends."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tuner.errors import BadInput
from tuner.storage.lock import is_owned, own_folder

ROOT = Path(__file__).parents[3]
OWNS = """
import os, sys, time
from pathlib import Path
from tuner.storage.lock import own_folder
with own_folder(Path(sys.argv[1])):
    if os.fork() == 0:  # which ends at once, and must not take the lock with it
        os._exit(0)
    os.wait()
    print("owned", flush=True)
    time.sleep(60)
"""


@contextmanager
def another_process_owns(run_dir: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", OWNS, str(run_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "owned\n"
            yield process
        finally:
            process.kill()


def test_another_process_is_refused_while_one_owns_it(tmp_path: Path) -> None:
    run_dir = tmp_path / "gp"
    with another_process_owns(run_dir):
        assert is_owned(run_dir)
        with (
            pytest.raises(BadInput, match=r"gp is in use by a search that is running: wait, or"),
            own_folder(run_dir),
        ):
            pass
        assert run_dir.exists()


@pytest.mark.parametrize("name", [".lock", "study.log", "metrics.jsonl", "search.log"])
@pytest.mark.parametrize("make", ["link", "pipe"])
def test_a_link_or_a_pipe_in_place_of_a_file_is_refused(
    tmp_path: Path, name: str, make: str
) -> None:
    """And what a link names is neither made nor written to."""
    (tmp_path / "gp").mkdir()
    if make == "link":
        (tmp_path / "gp" / name).symlink_to(tmp_path / "elsewhere")
    else:
        os.mkfifo(tmp_path / "gp" / name)
    with pytest.raises(BadInput, match="must be a regular file, got"), own_folder(tmp_path / "gp"):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_a_killed_owner_leaves_the_folder_free(tmp_path: Path) -> None:
    with another_process_owns(tmp_path / "gp") as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not is_owned(tmp_path / "gp")
        with own_folder(tmp_path / "gp") as run_dir:
            assert is_owned(run_dir)
    assert not is_owned(tmp_path / "gp")


def test_a_plain_flock_which_earlier_versions_took_excludes_it_and_is_excluded(
    tmp_path: Path,
) -> None:
    with (tmp_path / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert is_owned(tmp_path)
        with pytest.raises(BadInput, match="is in use by a search"), own_folder(tmp_path):
            pass
        fcntl.flock(file, fcntl.LOCK_UN)
        with own_folder(tmp_path), pytest.raises(BlockingIOError, match="unavailable"):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_reader_is_no_owner_and_refuses_no_search_that_starts(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    with (tmp_path / ".lock").open() as reader:
        fcntl.flock(reader, fcntl.LOCK_SH)
        assert not is_owned(tmp_path)
        end_of_reading = threading.Timer(0.05, fcntl.flock, (reader, fcntl.LOCK_UN))
        end_of_reading.start()
        with own_folder(tmp_path):
            assert is_owned(tmp_path)
        end_of_reading.join()


def test_to_look_takes_no_right_to_write(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch(mode=0o444)
    tmp_path.chmod(0o555)
    assert not is_owned(tmp_path)
    tmp_path.chmod(0o755)


def test_a_link_in_the_locks_place_is_not_followed(tmp_path: Path) -> None:
    target, run_dir = tmp_path / "precious", tmp_path / "gp"
    run_dir.mkdir()
    (run_dir / ".lock").symlink_to(target)
    for content in (None, "words"):
        if content is not None:
            target.write_text(content)
        with (
            pytest.raises(BadInput, match=r"\.lock must be a regular file, got a symbolic link"),
            own_folder(run_dir),
        ):
            pass
        assert not is_owned(run_dir)
        assert (target.read_text() if target.exists() else None) == content


def test_a_folder_that_was_made_for_nothing_is_gone_and_any_other_stays(tmp_path: Path) -> None:
    with own_folder(tmp_path / "refused"):
        pass
    with own_folder(tmp_path / "begun") as run_dir:
        (run_dir / "spec.yaml").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["begun"]
    assert not is_owned(tmp_path / "refused")
