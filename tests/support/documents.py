"""What the Markdown files of this project say: links, anchors, blocks and commands."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import final

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    path
    for pattern in ("*.md", "docs/*.md", "deploy/*.md", "benchmarks/*.md")
    for path in sorted(ROOT.glob(pattern))
]
_PYTHON = re.compile(r"(\.venv/bin/)?python(3(\.\d+)?)?")
_BREAKS = {"&&", "||", "|", ";", "&"}
_OPTIONAL = re.compile(r"\[([^\]]*)\](\.\.\.)?")


@final
@dataclass(frozen=True)
class Command:
    """A command that a document shows: ``python -m MODULE ARGUMENTS``, or another program's."""

    document: str
    program: str
    arguments: tuple[str, ...]
    #: In running text a program may be named without what it needs.
    is_mention: bool

    def __str__(self) -> str:
        return f"{self.document}: {shlex.join([self.program, *self.arguments])}"


def _tokens(path: Path) -> Iterator[Token]:
    for token in MarkdownIt("commonmark").enable("table").parse(path.read_text(encoding="utf-8")):
        yield token
        yield from token.children or ()


def links(path: Path) -> list[str]:
    """Where its links lead and its pictures lie."""
    return [
        str(target)
        for token in _tokens(path)
        if (target := token.attrs.get("href") or token.attrs.get("src"))
    ]


def anchors(path: Path) -> set[str]:
    """The anchors of its headings, as GitHub makes them."""
    tokens = list(_tokens(path))
    titles = [b.content for a, b in pairwise(tokens) if a.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def blocks(path: Path, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return [t.content for t in _tokens(path) if t.type == "fence" and t.info == language]


def commands() -> list[Command]:
    """All commands, those in running text too; of a synopsis, each option by itself and all."""
    found = []
    for path in DOCUMENTS:
        name = str(path.relative_to(ROOT))
        for token in _tokens(path):
            if token.type == "fence" and token.info in ("", "bash", "console"):
                text = re.sub(r"\\\n|\n {8,}", " ", token.content)
                for line in text.splitlines():
                    found += _commands(line, name, is_mention=False)
            elif token.type == "code_inline":
                found += _commands(token.content, name, is_mention=True)
    return list(dict.fromkeys(found))


def _commands(line: str, document: str, *, is_mention: bool) -> Iterator[Command]:
    """The commands of a line; it may chain them, and bracket what may be left out."""
    optional = [match[1] for match in _OPTIONAL.finditer(line)]
    required = _OPTIONAL.sub(" ", line)
    for more in ("", *optional, " ".join(optional)) if optional else ("",):
        try:
            words = shlex.split(f"{required} {more}", comments=True)
        except ValueError:  # an apostrophe: no command
            return
        for part in _parts(words):
            yield from _command(part, document, is_mention)


def _parts(words: list[str]) -> Iterator[list[str]]:
    part: list[str] = []
    for word in [*words, ";"]:
        if word not in _BREAKS:
            part.append(word)
            continue
        yield part
        part = []


def _command(words: list[str], document: str, is_mention: bool) -> Iterator[Command]:
    while words and re.fullmatch(r"\w+=.*", words[0]):
        words = words[1:]
    words = words[: next((i for i, word in enumerate(words) if word in (">", ">>")), None)]
    if len(words) > 2 and _PYTHON.fullmatch(words[0]) and words[1] == "-m":
        yield Command(document, words[2], tuple(words[3:]), is_mention)
    elif len(words) > 1 and words[0] == "wgan-tuner" and not words[1].isupper():
        yield Command(document, f"tuner.{words[1]}", tuple(words[2:]), is_mention)
    elif words and words[0].removeprefix(".venv/bin/") in ("ray", "mlflow"):
        program = words[0].removeprefix(".venv/bin/")
        yield Command(document, program, tuple(words[1:]), is_mention)
    if "--" in words:  # what a program is to run elsewhere
        yield from _command(words[words.index("--") + 1 :], document, is_mention)
