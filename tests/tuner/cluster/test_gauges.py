"""A search as Ray's metrics: their values, and that Prometheus can read them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from final_scores import final_score

from tuner.cluster import gauges as gauges_module
from tuner.cluster.gauges import GAUGES, Gauges, gauge_values
from tuner.record.record import Record
from tuner.space.spec import SearchSpec

MakeSpec = Callable[..., SearchSpec]
OpenRecord = Callable[[SearchSpec], tuple[Record, Any]]

#: Connects as a search does, shows a record, and reads what Prometheus would.
SCRAPE = """
import json, time, urllib.error, urllib.request
from collections import Counter
from types import SimpleNamespace

from tuner.cluster.connection import connected
from tuner.cluster.gauges import Gauges

import ray  # after the variables that it reads are set

def listens_at(port):
    rows = [line.split() for net in ("tcp", "tcp6") for line in open(f"/proc/net/{net}")]
    local = [row[1] for row in rows if row[3] == "0A"]
    return [address for address in local if address.endswith(f":{port:04X}")]

record = SimpleNamespace(
    spec=SimpleNamespace(name="my search"),
    best_so_far=SimpleNamespace(w1=0.25, final={"w1_final": 0.5}),
    running={1: {"generator_steps_per_s": 10.0}, 2: {"generator_steps_per_s": 2.5}, 3: {}},
    counts=lambda: Counter(running=3, completed=2, stopped=4),
    elapsed_s=90.0,
)
with connected(None, 1):
    Gauges(record)
    (node,) = ray.nodes()
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    text = ""
    while "ray_wgan_elapsed_seconds{" not in text:
        time.sleep(0.2)
        try:
            text = urllib.request.urlopen(url, timeout=5).read().decode()
        except urllib.error.URLError:
            continue  # it does not listen yet
    print(json.dumps([listens_at(node["MetricsExportPort"]), text]))
"""


def report(
    record: Record, number: int, steps: int, continues: bool = True, **metrics: float
) -> None:
    record.reported(number, {"generator_steps": float(steps), **metrics}, continues=continues)


def values(record: Record) -> dict[tuple[str, str | None], float]:
    found = list(gauge_values(record))
    assert {tags["search"] for _, tags, _ in found} == {record.spec.name}
    return {(name, tags.get("status")): value for name, tags, value in found}


def test_a_search_that_begins_has_no_best_and_no_trials(
    make_spec: MakeSpec, open_record: OpenRecord
) -> None:
    found = values(open_record(make_spec())[0])
    assert {name for name, _ in found} == set(GAUGES) - {"wgan_best_w1", "wgan_best_w1_final"}
    assert sum(value for (name, _), value in found.items() if name == "wgan_trials") == 0
    assert found["wgan_generator_steps_per_second", None] == 0


def test_every_gauge_says_what_the_record_has(make_spec: MakeSpec, open_record: OpenRecord) -> None:
    record, _ = open_record(make_spec())
    for number, w1 in ((0, 0.5), (1, 0.25)):
        assert record.next_trial() is not None
        report(record, number, 4000, w1=w1, continues=False)
        record.ended(number)
    for number, speed in ((2, 10.0), (3, 2.5)):
        assert record.next_trial() is not None
        report(record, number, 100, generator_steps_per_s=speed)
    record.final_scored(0, final_score(0.3, 0.01, seconds=1.0))
    record.final_scored(1, final_score(0.4, 0.01, seconds=1.0))

    found = values(record)
    assert found.pop(("wgan_elapsed_seconds", None)) == pytest.approx(record.elapsed_s, abs=1)
    assert found == {
        # The final put trial 0 first, whose w1 at the last rung was the higher one.
        ("wgan_best_w1", None): 0.5,
        ("wgan_best_w1_final", None): 0.3,
        ("wgan_trials", "running"): 2,
        ("wgan_trials", "completed"): 2,
        ("wgan_trials", "stopped"): 0,
        ("wgan_trials", "diverged"): 0,
        ("wgan_trials", "failed"): 0,
        ("wgan_trials", "waiting"): 0,
        ("wgan_generator_steps_per_second", None): 12.5,
    }


def test_trials_are_counted_again_at_most_once_a_second(
    make_spec: MakeSpec, open_record: OpenRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s, read = [100.0], []
    record, _ = open_record(make_spec())
    clock = SimpleNamespace(monotonic=lambda: now_s[0])
    monkeypatch.setattr(gauges_module, "time", clock)
    monkeypatch.setattr(gauges_module, "gauge_values", lambda record: read.append(record) or ())
    record.listeners.append(Gauges(record))
    for _ in range(100):
        record.tick()
    assert len(read) == 1
    now_s[0] += 1.0
    record.tick()
    assert len(read) == 2
    record.close()
    assert len(read) == 3, "and the last values in any case"


def test_prometheus_reads_them_on_this_machine_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRAPE],
        env=os.environ | {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"},  # as a local search does
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    listens_at, text = json.loads(done.stdout.splitlines()[-1])
    assert [address.partition(":")[0] for address in listens_at] == ["0100007F"]  # 127.0.0.1

    lines = [line for line in text.splitlines() if line.startswith("ray_wgan_")]
    found = {}
    for line in lines:
        assert 'search="my search"' in line
        status = line.partition('status="')[2].partition('"')[0] or None
        found[line.partition("{")[0], status] = float(line.rpartition(" ")[2])
    assert found == {
        ("ray_wgan_best_w1", None): 0.25,
        ("ray_wgan_best_w1_final", None): 0.5,
        ("ray_wgan_trials", "running"): 3,
        ("ray_wgan_trials", "completed"): 2,
        ("ray_wgan_trials", "stopped"): 4,
        ("ray_wgan_trials", "diverged"): 0,
        ("ray_wgan_trials", "failed"): 0,
        ("ray_wgan_trials", "waiting"): 0,
        ("ray_wgan_generator_steps_per_second", None): 12.5,
        ("ray_wgan_elapsed_seconds", None): 90,
    }
