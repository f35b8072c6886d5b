"""Command lines and files as people mistype them: each ends with status 0 or 2, and no traceback.

By hand, ``WGAN_FUZZ=500 python -m pytest tests/tuner/test_command_fuzz.py`` tries 500 of them.
"""

import importlib
import io
import os
import random
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import small_search
import yaml
from saved_generator import save

from tuner.driver import preflight
from tuner.space.spec import SearchSpec
from tuner.tracking.tracker import Tracker

NUM_EXAMPLES = int(os.environ.get("WGAN_FUZZ", "15"))
SEED = int(os.environ.get("WGAN_FUZZ_SEED", "0"))
LONGEST_S = 10.0

DOCUMENT: dict[str, Any] = {
    "name": "small",
    "data": {"dataset": "eight_gaussians", "split_seed": 1},
    "networks": {"generator_width": {"choice": [8, 16]}, "critic_width": 8, "latent_dim": 4},
    "training": {"critic_lr": {"low": 1e-4, "high": 1e-2, "log": True}, "n_critic": 1},
    "objective": {"critic_steps": 5},
    "search": {"num_trials": 3, "sampler": "random"},
    "asha": {"grace_generator_steps": 10, "max_generator_steps": 40, "reduction_factor": 2},
    "resources": {"cpus_per_trial": 1, "gpus_per_trial": 0},
    "results": {"runs_dir": "runs"},
    "mlflow": {"experiment": "wgan"},
    "initial_points": [{"training": {"critic_lr": 1e-3}}],
}
VALUES: list[Any] = [
    None, True, 0, -1, 2, 1.5, 1e400, float("nan"), 10**30, "", "x", "auto", "~", "$NOT_SET",
    "a\0b", "007", "1e-4", "ü\udce9", "../x", "http://me:pw@host?token=x", "s3://b", "file:/x",
    [], [1, 3, 5], [[]], {}, {1: 2}, {"low": 1}, {"min": 1, "max": 2}, {"low": "a", "high": "b"},
    {"choice": []}, {"choice": [None, 1]}, {"choice": [[1], [1]]}, "nets:G", "os:system", "gp",
    "n/a", "x" * 5000,
]  # fmt: skip
#: The options of each command, with values of each kind that it takes and of others.
NUMBERS = ["0", "1", "-1", "1e3", "x", "", "99999999999999999999", "٣", "nan"]
PATHS = [
    "RUN", "RUN/spec.yaml", "RUN/best.yaml", "RUN/best/generator.pt", "RUN/trials.csv", ".", "",
    "space.yaml", "nowhere", "~", "a\0b", "/proc/self/mem", "pipe.yaml", "ü\udce9", "$NOT_SET/x",
    "x" * 300,
]  # fmt: skip
NAMES = ["a", "../x", "", "small", "mlflow.db", "ü\udce9", "x" * 300]
SETS = [
    "training.n_critic=5", "a", "=", "training=gp", "training.n_critic.low=1", "data.path=~", "x=[",
    "mlflow.tracking_uri=./mlruns", "results.storage=ftp://x", "networks={}", "name=1",
]  # fmt: skip
CODE = ["nets", "", "os", "ü\udce9"]
SEARCHING = {
    "--name": NAMES, "--runs-dir": PATHS, "--set": SETS, "--allow-code": CODE,
    "--runtime-env": PATHS, "--resume": None, "--local": None,
}  # fmt: skip
COMMANDS: dict[str, dict[str, list[str] | None]] = {
    "search": {**SEARCHING, "--warm-start": PATHS,
               "--extend": ["trials=1", "trials=x", "time=1e999", "steps", "gpu-hours=1", ""]},
    "train": {**SEARCHING, "--generator-steps": NUMBERS, "--seeds": NUMBERS, "--trial": NUMBERS,
              "--continue": None},
    "sample": {"--num": NUMBERS, "--out": [*PATHS, "a.npy", "b.png"], "--seed": NUMBERS,
               "--trial": NUMBERS, "--interpolate": None, "--allow-code": CODE},
    "export": {"--format": ["safetensors", "x", ""], "--out": [*PATHS, "a.safetensors"],
               "--trial": NUMBERS, "--allow-code": CODE},
    "narrow": {"--out": [*PATHS, "a.yaml"], "--allow-code": CODE},
    "report": {"--out": [*PATHS, "a.html"]},
    "list": {"--json": None},
    "compare": {"--by": ["critic_lr", "x", ""], "--below": NUMBERS, "--json": None},
    "sync": {"--tracking-uri": ["./mlruns", "http://u:p@h", "htp://x", "", "$NOT_SET", "http://["],
             "--allow-code": CODE},
}  # fmt: skip


@pytest.fixture
def folder(
    make_spec: Callable[..., SearchSpec], uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder with a finished search in it, a search space, and a pipe."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("NOT_SET", raising=False)
    monkeypatch.setattr(preflight, "num_cpus", lambda: 2)
    monkeypatch.chdir(tmp_path)
    spec = make_spec(name="small", search={"num_trials": 2, "sampler": "random"})
    run_dir = tmp_path / "runs" / "small"
    run_dir.parent.mkdir()
    small_search.tell_search(
        spec,
        run_dir,
        lambda name: Tracker(spec, run_dir, name, lambda text: None, uri),
        finish=True,
    )
    save(run_dir / "best" / "generator.pt", 3)
    (run_dir / "best.yaml").write_text("# trial 00000: w1 1\n")
    (tmp_path / "nets.py").write_text("from torch import nn\nclass G(nn.Linear):\n    pass\n")
    os.mkfifo(tmp_path / "pipe.yaml")
    return tmp_path


def mutated(document: dict[str, Any], rng: random.Random) -> str:
    """The text of a search space with a few mistakes."""
    changed = yaml.safe_load(yaml.safe_dump(document))
    for _ in range(rng.randint(0, 3)):
        inner, keys = changed, list(changed)
        while isinstance(inner, dict) and inner and rng.random() < 0.7:
            key = rng.choice(list(inner))
            if not isinstance(inner[key], dict):
                break
            inner = inner[key]
        keys = [
            *inner,
            rng.choice(["min", "lr", "path", "name", "generator", "storage", "constraint"]),
        ]
        inner[rng.choice(keys)] = rng.choice(VALUES)
    text = yaml.safe_dump(changed, allow_unicode=False)
    if rng.random() < 0.2:
        at = rng.randrange(len(text))
        text = (
            text[:at]
            + rng.choice(["{", "]", "\t", ":", "&a *a", "%", "'", "!!python/x ", "\x07"])
            + text[at:]
        )
    return text


def command_line(rng: random.Random) -> tuple[str, list[str]]:
    """A command and its arguments."""
    command = rng.choice([*COMMANDS, "search", "search"])
    usual = "space.yaml" if command == "search" else "runs" if command == "list" else "RUN"
    arguments = [usual if rng.random() < 0.7 else rng.choice(PATHS)]
    for option in rng.sample(
        list(COMMANDS[command]), rng.randint(0, min(3, len(COMMANDS[command])))
    ):
        values = COMMANDS[command][option]
        arguments += [option] if values is None else [f"{option}={rng.choice(values)}"]
    if rng.random() < 0.05:
        arguments.append(rng.choice(["--nonsense", "-h", "--", "extra"]))
    return command, [argument.replace("RUN", "runs/small") for argument in arguments]


@pytest.mark.timeout(0)  # it has a timer of its own, for each command line
def test_every_command_line_ends_with_a_status_of_its_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trials are not started: what passes all checks counts as run."""
    monkeypatch.setattr("tuner.cli.run_and_report", lambda *_, **__: _Done())
    monkeypatch.setattr("tuner.cli.status_of", lambda *_: 0)
    monkeypatch.setattr("tuner.sync.sync", lambda *_: 0)
    monkeypatch.setattr("tuner.train._print_spread", lambda *_: None)
    for name in ("stdout", "stderr"):  # as the commands have them in a process of their own
        stream = io.TextIOWrapper(io.BytesIO(), errors="backslashreplace")
        monkeypatch.setattr(sys, name, stream)
    shutil.copytree(folder / "runs", folder / "kept")
    signal.signal(signal.SIGALRM, _too_long)
    rng, fell = random.Random(SEED), []
    for number in range(NUM_EXAMPLES):
        command, arguments = command_line(rng)
        text = mutated(DOCUMENT, rng)
        (folder / "space.yaml").write_text(text)
        signal.setitimer(signal.ITIMER_REAL, LONGEST_S)
        try:
            status: object = importlib.import_module(f"tuner.{command}").main(arguments)
        except SystemExit as end:  # argparse's
            status = end.code
        except BaseException as error:
            status = repr(error)
        signal.setitimer(signal.ITIMER_REAL, 0)
        if status not in (0, 2):
            fell.append((number, command, arguments, status, text))
        shutil.rmtree(folder / "runs", ignore_errors=True)
        shutil.copytree(folder / "kept", folder / "runs")
    assert not fell, f"{len(fell)} of {NUM_EXAMPLES} fell, such as {fell[:5]}"


def _too_long(*_: object) -> None:
    raise TimeoutError(f"no end within {LONGEST_S:g} s")


class _Done:
    interrupted, halted, best = False, None, None
