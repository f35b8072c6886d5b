"""Text of others is shown and not obeyed."""

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from rich.table import Table
from rich.text import Text

from tuner.display import LogFile, PrintableConsole


def test_strings_and_cells_of_tables_are_escaped_and_styles_are_kept() -> None:
    out = io.StringIO()
    console = PrintableConsole(file=out, force_terminal=True, width=60, soft_wrap=True)
    console.print("a \x1b[2J [bold]b[/bold]", "c\x07")
    table = Table()
    table.add_column("head \x1b[2J")
    table.add_row("cell \x1b[2J")
    console.print(table)
    console.print(Text("ours", style="bold"))
    shown = out.getvalue()
    assert "a \\x1b[2J [bold]b[/bold] c\\x07" in shown
    assert "head \\x1b[2J" in shown
    assert "cell \\x1b[2J" in shown
    assert "\x1b[2J" not in shown
    assert "\x1b[1mours" in shown


def test_the_log_file_of_a_search_holds_the_names_of_files_in_any_encoding(tmp_path: Path) -> None:
    log = LogFile(cast(Any, SimpleNamespace(run_dir=tmp_path)))
    log.noted("1 file is left out: \x1b[31mlatin\udce9.jpg")
    assert (tmp_path / "search.log").read_text().endswith("left out: \\x1b[31mlatin\\udce9.jpg\n")
