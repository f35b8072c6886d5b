"""Kill processes of searches at random moments, and resume them: ``python -m benchmarks.kills``.

Each kill meets a search of its own, from the start of Ray to the final. Then holds what
``docs/failures.md`` promises: no traceback, a documented exit status, and how to resume in the
output of a search that stopped; the resumed search has each trial once, with the numbers of a
search that nothing has disturbed. The last two searches run on a full disk and with a locked
database. A kill and its resume take about a minute on two cores.
"""

import argparse
import csv
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import psutil

from tuner.space import AshaConfig

SPACE = """
name: small
data: {dataset: eight_gaussians}
networks: {generator_width: 64, critic_width: 64, latent_dim: 4}
training: {critic_lr: {low: 1e-4, high: 1e-2, log: true}}
objective: {critic_steps: 100, final_critic_steps: 200, final_trials: 2, final_seeds: 3,
  final_num_critics: 2}
search: {num_trials: 4, max_concurrent_trials: 1}
asha: {grace_generator_steps: 50, max_generator_steps: 200, reduction_factor: 2, variant: VARIANT}
reporting: {report_every_generator_steps: 10, checkpoint_every_generator_steps: 20}
"""
TIMES = {"training_seconds", "scoring_seconds", "final_scoring_seconds"}
AGENTS = ("DashboardAgent", "RuntimeEnvAgent")
VICTIMS = ("driver", "worker", "raylet", "gcs_server", *AGENTS)
DONE, HALTED = 0, 3
#: A search that lost a server has ended by then, on a machine that does nothing else.
ENDS_WITHIN_S = 15.0
#: Any search, of which one takes half a minute, has ended by then; its processes soon after it.
PATIENCE_S, ORPHANS_S = 300.0, 30.0
SMALL_DISK = "24m"


@dataclass
class Search:
    """A command under way, and its output in files."""

    process: "subprocess.Popen[bytes]"
    out: Path
    err: Path
    began_s: float = field(default_factory=time.monotonic)

    def is_over(self) -> bool:
        """Tell whether it has ended."""
        return self.process.poll() is not None

    def ended(self) -> tuple[int, str, str]:
        """Wait for its end; return the exit status, the output and the errors."""
        status = self.process.wait(PATIENCE_S)
        return status, self.out.read_text(), self.err.read_text()


def main() -> None:
    """Run the campaign and print a table of what was tried, what held and what fell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("num", nargs="?", type=int, default=30, help="kills; 30 by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--victim", choices=VICTIMS, help="kill only this one")
    variants = AshaConfig.model_fields["variant"]
    parser.add_argument(
        "--variant", default=variants.default, choices=get_args(variants.annotation)
    )
    parser.add_argument("--keep", action="store_true", help="keep the folder of a fall")
    args = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="kills-"))
    tried, fell = Counter[str](), Counter[str]()
    try:
        (base / "space.yaml").write_text(SPACE.replace("VARIANT", args.variant))
        duration_s, table = _unbroken(base)
        print(f"a search takes {duration_s:.0f} s; seed {args.seed}", flush=True)
        rng = random.Random(args.seed)
        victims = [args.victim] if args.victim else [*VICTIMS]
        drawn = [victims[number % len(victims)] for number in range(args.num)]
        rng.shuffle(drawn)
        scenarios: list[tuple[str, Callable[[Path], list[str]]]] = [
            (victim, lambda runs, victim=victim: _kill(base, runs, victim, rng, duration_s, table))
            for victim in drawn
        ]
        if not args.victim:
            scenarios.append(("full disk", lambda runs: _fill(base, runs, table)))
            scenarios.append(("locked database", lambda runs: _lock(base, runs, table)))
        for number, (name, scenario) in enumerate(scenarios, start=1):
            print(f"{number} of {len(scenarios)}: {name}", end="", flush=True)
            runs = base / f"runs-{number}"
            faults = scenario(runs)
            tried[name] += 1
            fell[name] += bool(faults)
            print(f": {'held' if not faults else 'FELL'}", flush=True)
            for fault in faults:
                print(f"    {fault}", flush=True)
            if not (faults and args.keep):
                shutil.rmtree(runs, ignore_errors=True)
    finally:
        if not (args.keep and fell.total()):
            shutil.rmtree(base, ignore_errors=True)
        else:
            print(f"kept: {base}")
    print("\n| what | tried | held | fell |\n|---|---|---|---|")
    for name in tried:
        print(f"| {name} | {tried[name]} | {tried[name] - fell[name]} | {fell[name]} |")
    print(f"| all | {tried.total()} | {tried.total() - fell.total()} | {fell.total()} |")
    sys.exit(fell.total() > 0)


def _start(base: Path, runs: Path, *options: str, prefix: Sequence[str] = ()) -> Search:
    """Start a search in a session of its own, so that a kill meets nothing else."""
    runs.mkdir(exist_ok=True)
    out, err = Path(f"{runs}.out"), Path(f"{runs}.err")
    root = str(Path(__file__).parents[1])
    environment = {**os.environ, "COLUMNS": "200", "PYTHONPATH": root}
    environment.pop("RAY_ADDRESS", None)
    command = [sys.executable, "-m", "tuner.search", str(base / "space.yaml")]
    with out.open("wb") as out_file, err.open("wb") as err_file:
        process = subprocess.Popen(
            [*prefix, *command, "--runs-dir", str(runs), *options],
            cwd=root, env=environment, stdout=out_file, stderr=err_file, start_new_session=True,
        )  # fmt: skip
    return Search(process, out, err)


def _unbroken(base: Path) -> tuple[float, list[dict[str, str]]]:
    """Run a search that nothing disturbs; return its seconds and its table."""
    search = _start(base, base / "unbroken")
    status, _, err = search.ended()
    if (status, err) != (DONE, ""):
        raise SystemExit(f"the unbroken search ended with {status}: {err}")
    return time.monotonic() - search.began_s, _table(base / "unbroken")


def _table(runs: Path) -> list[dict[str, str]]:
    """Return the tables of the trials and of the final's, without the columns of wall time."""
    rows: list[dict[str, str]] = []
    for path in (runs / "small" / "trials.csv", runs / "small" / "final" / "trials.csv"):
        if path.exists():
            with path.open(newline="") as file:
                rows += csv.DictReader(file)
    return [{key: text for key, text in row.items() if key not in TIMES} for row in rows]


def _kill(
    base: Path,
    runs: Path,
    victim: str,
    rng: random.Random,
    duration_s: float,
    table: list[dict[str, str]],
) -> list[str]:
    """Kill a process at a random moment; one that comes too late is drawn again."""
    while True:
        shutil.rmtree(runs, ignore_errors=True)
        moment_s = rng.uniform(0.0, duration_s)
        search = _start(base, runs)
        time.sleep(moment_s)
        while not (found := _victims(search, victim)) and not search.is_over():
            time.sleep(0.05)
        descendants = [] if search.is_over() else _descendants(search)
        if search.is_over() or not _killed(rng.choice(found)):
            print(" (ended before)", end="", flush=True)
            continue
        break
    killed_s = time.monotonic()
    print(f" after {killed_s - search.began_s:.1f} s", end="", flush=True)
    status, out, err = search.ended()
    took_s = time.monotonic() - killed_s
    print(f", status {status} {took_s:.1f} s later", end="", flush=True)
    faults = _faults_of_ending(victim, status, out, err, took_s)
    _, alive = psutil.wait_procs(descendants, timeout=ORPHANS_S)
    faults += [f"outlives the search: {' '.join(_command(one))[:100]}" for one in alive]
    for one in alive:
        one.kill()
    if status != DONE:
        faults += _resumed(base, runs)
    return faults + _faults_of_result(runs, table)


def _killed(process: psutil.Process) -> bool:
    """Kill a process; tell whether it was still there."""
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return False
    return True


def _descendants(search: Search) -> list[psutil.Process]:
    try:
        return psutil.Process(search.process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _victims(search: Search, victim: str) -> list[psutil.Process]:
    """List the processes of a search of this kind."""
    if victim == "driver":
        return [] if search.is_over() else [psutil.Process(search.process.pid)]
    return [one for one in _descendants(search) if _kind(_command(one)) == victim]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _kind(command: Sequence[str]) -> str | None:
    """Name what a process is, by its command line, which Ray's workers replace by a title."""
    if not command:
        return None
    title, name = command[0], Path(command[0].partition(" ")[0]).name
    line = " ".join(command)
    for agent, module in zip(
        AGENTS, ("dashboard/agent.py", "runtime_env/agent/main.py"), strict=True
    ):
        if f"ray::{agent}" in title or (module in line and name != "raylet"):
            return agent
    if title.startswith("ray::"):
        return None if "IDLE" in title else "worker"
    return name if name in ("raylet", "gcs_server") else None


def _faults_of_ending(victim: str, status: int, out: str, err: str, took_s: float) -> list[str]:
    """Compare how a search ended after a kill with what ``docs/failures.md`` promises."""
    faults = []
    if "Traceback" in out + err:
        faults.append(f"a traceback: {(out + err)[-2000:]}")
    if victim == "driver":
        return faults if status == -signal.SIGKILL else [*faults, f"the driver ended with {status}"]
    if status == HALTED and victim != "worker":
        if "--resume" not in out + err:
            faults.append("it does not say how to resume")
        if len(err.splitlines()) != 1:
            faults.append(f"its errors are not one line: {err[-2000:]}")
        if took_s > ENDS_WITHIN_S * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)):
            faults.append("it took too long to end")
    elif status != DONE or err:  # it may have had no more need of the server
        faults.append(f"status {status}: {err[-2000:] or out[-500:]}")
    return faults


def _resumed(base: Path, runs: Path) -> list[str]:
    """Resume a search."""
    status, out, err = _start(base, runs, "--resume").ended()
    if (status, err) != (DONE, ""):
        return [f"the resumed search ended with {status}: {err[-2000:] or out[-500:]}"]
    return []


def _faults_of_result(runs: Path, table: list[dict[str, str]]) -> list[str]:
    """Compare what a search has left with what an undisturbed one leaves."""
    folder = runs / "small"
    if not (folder / "trials.csv").exists():
        return ["there is no trials.csv"]
    faults = []
    found = _table(runs)
    if len(found) != len(table):
        faults.append(f"trials.csv has {len(found)} rows for {len(table)}")
    differing = {
        key: (row[key], expected[key])
        for row, expected in zip(found, table, strict=False)
        for key in expected
        if row.get(key) != expected[key]
    }
    if differing:
        faults.append(f"trials.csv differs from that of the unbroken search: {differing}")
    for name in ("study.log", "metrics.jsonl"):
        try:
            lines: list[Any] = [
                json.loads(line) for line in (folder / name).read_text().splitlines()
            ]
        except ValueError as error:
            faults.append(f"{name} has a broken line: {error}")
            continue
        if name == "metrics.jsonl":
            reports = [(line["trial"], line["generator_steps"]) for line in lines]
            if len({*reports}) != len(reports):
                faults.append("metrics.jsonl has a report twice")
    undisturbed = runs.parent / "unbroken" / "mlflow.db"
    return [*faults, *_faults_in_mlflow(runs / "mlflow.db", undisturbed)]


def _faults_in_mlflow(database: Path, undisturbed: Path) -> list[str]:
    """Compare the runs in MLflow: one of the search and one of each trial, all of them closed."""
    states, expected = _run_states(database), _run_states(undisturbed)
    if states != expected:
        return [f"the runs in MLflow are {states}, and were to be {expected}"]
    return []


def _run_states(database: Path) -> list[str]:
    connection = sqlite3.connect(database)
    query = "SELECT status FROM runs WHERE lifecycle_stage = 'active' ORDER BY status"
    try:
        return [state for (state,) in connection.execute(query)]
    finally:
        connection.close()


def _fill(base: Path, runs: Path, table: list[dict[str, str]]) -> list[str]:
    """Fill the disk under a search once it reports, then free it and resume."""
    own_mounts = ["unshare", "--mount", "--map-root-user"]
    if subprocess.run([*own_mounts, "true"], check=False, capture_output=True).returncode:
        print(" (not tried: this machine lets nobody mount a small file system)", end="")
        return []
    runs.mkdir()
    filler = (
        f"mount -t tmpfs -o size={SMALL_DISK} tmpfs {runs} && "
        f"(until [ $(cat {runs}/small/metrics.jsonl 2>/dev/null | wc -l) -ge 25 ]; "
        f"do sleep 0.1; done; cat /dev/zero > {runs}/filler 2>/dev/null) & "
        'sleep 1; "$@"; status=$?; wait; rm -f ' + f"{runs}/filler; "
        '[ $status = 3 ] || exit 99; "$@" --resume >/dev/null || exit 98; '
        f"cp -r {runs} {runs}-copy; exit 3"
    )
    search = _start(base, runs, prefix=[*own_mounts, "bash", "-c", filler, "bash"])
    status, out, err = search.ended()
    copy = Path(f"{runs}-copy")
    faults = []
    if status != HALTED:
        faults.append(f"status {status} (99: did not stop; 98: did not resume): {err} {out[-500:]}")
    if "No space left on device" not in err or len(err.splitlines()) != 1:
        faults.append(f"its errors are not one line on the space: {err[-2000:]}")
    if "--resume" not in out:
        faults.append("it does not say how to resume")
    if not faults:
        faults = _faults_of_result(copy, table)
    shutil.rmtree(copy, ignore_errors=True)
    return faults


def _lock(base: Path, runs: Path, table: list[dict[str, str]]) -> list[str]:
    """Hold a lock on MLflow's database for a whole search; then write what it lacks."""
    shutil.copytree(base / "unbroken", runs)  # a database that is there already
    shutil.rmtree(runs / "small")
    database = sqlite3.connect(runs / "mlflow.db")
    database.execute("BEGIN EXCLUSIVE")
    try:
        status, out, err = _start(base, runs).ended()
    finally:
        database.rollback()
        database.execute("DELETE FROM runs")
        database.commit()
        database.close()
    faults = []
    if (status, err) != (DONE, ""):
        faults.append(f"status {status}: {err[-2000:] or out[-500:]}")
    if "tuner.sync" not in out:
        faults.append(f"it does not say what MLflow lacks: {out[-1000:]}")
    command = [sys.executable, "-m", "tuner.sync", str(runs / "small")]
    synced = subprocess.run(
        command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False
    )
    if synced.returncode != DONE:
        faults.append(f"tuner.sync ended with {synced.returncode}: {synced.stderr[-2000:]}")
    return faults + _faults_of_result(runs, table)


if __name__ == "__main__":
    main()
