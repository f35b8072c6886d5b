"""Run all benchmarks of speed: ``python -m benchmarks``, under half an hour on two cores.

Prints one page of Markdown, and writes it to ``benchmarks/speed/SPEED.md``. The name of a part runs
only that part: ``python -m benchmarks steps``. ``fidelity/FIDELITY.md`` has the benchmarks of the
objective.
"""

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from benchmarks.efficiency import settings
from benchmarks.speed import growth, overhead, packing, steps

PAGE = Path(__file__).with_name("speed") / "SPEED.md"
PARTS: Mapping[str, tuple[str, Callable[[], str]]] = {
    "steps": ("Training steps", steps.table),
    "packing": ("Several at a time", packing.table),
    "search_efficiency": ("The search", settings.table),
    "overhead": ("What a search costs beside its training", overhead.table),
    "growth": ("Growth", growth.table),
}


def main() -> None:
    """Run the parts and print their tables; write the page if all parts ran."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all of them")
    names = parser.parse_args().parts or list(PARTS)
    if unknown := sorted({*names} - PARTS.keys()):
        parser.error(f"there is no part {', '.join(unknown)}: choose from {', '.join(PARTS)}")
    page = [f"# Speed\n\n{_machine()}"]
    for name in names:
        title, table = PARTS[name]
        print(f"{name} ...", file=sys.stderr, flush=True)
        started_s = time.monotonic()
        load = os.getloadavg()[0]
        results = table()
        took = f"{time.monotonic() - started_s:.0f} s; load before {load:.1f}"
        page.append(f"## {title}\n\n`python -m benchmarks {name}`: {took}.\n\n{results}")
    text = "\n\n".join(page) + "\n"
    if names == list(PARTS):
        PAGE.write_text(text, encoding="utf-8")
    print(text)


def _machine() -> str:
    cpu = next(
        (line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
         if line.startswith("model name")), platform.machine(),
    )  # fmt: skip
    date = f"{time.gmtime().tm_mday} {time.strftime('%B %Y', time.gmtime())}"
    machine = f"{os.cpu_count()} cores of {cpu}, PyTorch {torch.__version__}"
    return f"{date}: {machine}. Made by `python -m benchmarks`."


if __name__ == "__main__":
    main()
