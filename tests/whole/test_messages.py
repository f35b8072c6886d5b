"""docs/troubleshooting.md has every message that ends a command, as the source writes it."""

import re

import messages
from documents import ROOT

PAGE = ROOT / "docs" / "troubleshooting.md"
#: Errors of those who call these functions from Python, which no command makes.
INTERNAL = {f"trainables/training/{name}.py" for name in ("loop", "losses", "techniques")}


def plain(text: str) -> str:
    return re.sub(r"\s+", " ", text.replace("`", ""))


def test_every_message_is_found_on_the_page() -> None:
    page = plain(PAGE.read_text(encoding="utf-8"))
    found = [(file, phrase) for file, phrase in messages.phrases() if file not in INTERNAL]
    assert len(found) > 250
    missing = [f"{file}: {phrase}" for file, phrase in found if plain(phrase) not in page]
    assert missing == [], f"add them to {PAGE.name}"


def test_a_message_that_the_page_lacks_would_be_found() -> None:
    source = """
def check(value):
    rule, way_out = f"must shine, got {value}", "polish it thoroughly"
    if value:
        raise Halted(f"the moon, number {value}, has set" if value > 1 else "no moon at all")
    return [Fault("moon", f"{rule}: {way_out}")]
"""
    texts = {max(parts, key=len) for parts in messages.of_source(source)}
    assert {
        "must shine, got ",
        "polish it thoroughly",
        "the moon, number ",
        "no moon at all",
    } <= texts
