"""A file that is replaced as a whole."""

from pathlib import Path

import pytest

from tuner.storage.atomic import write_atomically


def test_a_link_is_replaced_and_a_failure_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("untouched")
    for name in ("report.html", ".report.html.tmp"):
        (tmp_path / name).symlink_to(tmp_path / "victim")
    write_atomically(tmp_path / "report.html", "caf\udce9 ü")
    assert (tmp_path / "victim").read_text() == "untouched"
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == "caf\\udce9 ü"
    assert not (tmp_path / "report.html").is_symlink()
    (tmp_path / "folder" / "in it").mkdir(parents=True)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OSError, match="folder"):
        write_atomically(tmp_path / "folder", "text")
    assert sorted(tmp_path.iterdir()) == before
