"""A file is replaced as a whole, and nothing else is written."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tuner.storage import atomic
from tuner.storage.atomic import replacing, write_atomically


def test_a_link_is_replaced_and_never_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim, path = tmp_path / "victim", tmp_path / "report.html"
    victim.write_text("precious")
    path.symlink_to(victim)
    (tmp_path / ".report.html.tmp").symlink_to(victim)  # the name of earlier versions
    write_atomically(path, "page")
    assert (path.read_text(), path.is_symlink()) == ("page", False)
    assert victim.read_text() == "precious"
    monkeypatch.setattr(atomic.secrets, "token_hex", lambda num_bytes: "guessed")
    (tmp_path / ".report.html.guessed.tmp").symlink_to(victim)
    with pytest.raises(FileExistsError, match="guessed"):
        write_atomically(path, "another page")
    assert victim.read_text() == "precious"


def test_any_number_may_write_the_same_file_at_once(tmp_path: Path) -> None:
    texts = [str(number) * 100_000 for number in range(8)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda text: write_atomically(tmp_path / "a", text), texts))
    assert (tmp_path / "a").read_text() in texts
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_of_a_block_that_raises_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")

    def fail() -> None:
        with replacing(tmp_path / "a") as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert (tmp_path / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_others_may_read_it_as_far_as_the_user_lets_them(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        write_atomically(tmp_path / "a", "text")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


def test_what_utf8_lacks_is_escaped(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", "caf\udce9 ü")
    assert (tmp_path / "a").read_text(encoding="utf-8") == "caf\\udce9 ü"


def test_what_cannot_be_replaced_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "folder" / "in it").mkdir(parents=True)
    with pytest.raises(OSError, match="folder"):
        write_atomically(tmp_path / "folder", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
