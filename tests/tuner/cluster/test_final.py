"""The final on a real Ray: whatever becomes of one trial, the others are scored again."""

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainables.config import NetworkConfig
from trainables.data import Data
from trainables.networks import build_generator
from trainables.trial import Finalist, final_floor
from tuner.cluster import final
from tuner.cluster import nodes as cluster
from tuner.cluster.connection import connected
from tuner.cluster.interruption import Interruption
from tuner.cluster.servers import Servers
from tuner.record.listener import Listener
from tuner.record.record import Record
from tuner.space.spec import SearchSpec
from tuner.study.trial import Trial

MakeSpec = Callable[..., SearchSpec]
OpenRecord = Callable[[SearchSpec], tuple[Record, Any]]
NEEDS = cluster.TrialResources(1, 0, {})
NO_SERVERS = Servers(Interruption(), print)
NETWORKS = NetworkConfig(latent_dim=2, generator_width=8)


class Scored(Listener):
    """Keeps which trials the final was through with, and interrupts it."""

    def __init__(self, numbers: list[int], interrupted: Interruption) -> None:
        self.numbers, self.interrupted = numbers, interrupted

    def final_scored(self, trial: Trial) -> None:
        self.numbers.append(trial.number)
        self.interrupted.set()


class Deadly(str):
    """Ends whatever process receives it, as the kernel does when memory runs out."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (1,)


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    with connected(None, num_cpus=2):
        yield


@pytest.fixture
def data() -> Data:
    parts = np.random.default_rng(0).normal(size=(4, 100, 2)).astype(np.float32)
    return Data(*parts)


@pytest.fixture
def record(make_spec: MakeSpec, open_record: OpenRecord, tmp_path: Path) -> Record:
    """Four trials that have completed; a worse score for each further one."""
    spec = make_spec(
        objective={"final_trials": 4, "final_critic_steps": 20, "final_num_critics": 1},
        search={"num_trials": 4, "sampler": "random", "max_concurrent_trials": 2},
        # Of the final that is interrupted workers are killed, and Ray may still hand one of those
        # to a task of the next: that one is run again.
        resources={"retries_per_trial": 1},
    )
    record, _ = open_record(spec)
    for number in range(4):
        assert record.next_trial() is not None
        folder = tmp_path / "ray" / f"checkpoint_{number}"
        folder.mkdir(parents=True)
        generator = build_generator(NETWORKS, (2,))
        (folder / "samples.png").touch()
        saved = {"state_dict": generator.state_dict(), "networks": NETWORKS.model_dump()}
        torch.save(saved | {"sample_shape": [2]}, folder / "generator.pt")
        metrics = {"generator_steps": 4000.0, "w1": number + 1.0}
        record.reported(number, metrics, continues=False)
        record.checkpointed(number, str(folder))
        record.ended(number)
    return record


def spoil(record: Record, number: int) -> None:
    path = Path(str(record.trials[number].checkpoint), "generator.pt")
    saved = torch.load(path, weights_only=True)
    next(iter(saved["state_dict"].values())).fill_(math.nan)
    torch.save(saved, path)


def test_a_trial_that_cannot_be_scored_again_costs_only_its_own_score(record: Record, data: Data):
    spoil(record, 0)
    record.trials[1] = replace(record.trials[1], checkpoints=(Deadly("checkpoint"),), generators={})
    Path(str(record.trials[2].checkpoint), "generator.pt").unlink()
    final.run_final(record, data, NEEDS, Interruption(), None, NO_SERVERS)
    assert {n: t.final is not None for n, t in record.trials.items()} == {
        0: False, 1: False, 2: False, 3: True,
    }  # fmt: skip
    assert record.final_faults[0] == "its samples are not finite"
    assert "worker died" in record.final_faults[1]
    assert record.final_faults[2].startswith("FileNotFoundError: cannot read generator.pt from ")
    assert record.best_so_far.number == 3


def test_after_the_loss_of_a_server_ray_is_not_called_again(
    record: Record, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call would wait for the control store, until the process is given up."""
    calls: list[object] = []
    monkeypatch.setattr(final.ray, "kill", calls.append)
    servers, looks = Servers(Interruption(), print), iter([False])
    monkeypatch.setattr(servers, "are_lost", lambda: next(looks, True))
    final.run_final(record, data, NEEDS, Interruption(), 1, servers)
    assert calls == []
    assert record.final_faults == {}


def test_an_interrupted_final_goes_on_with_the_trials_that_it_has_not_scored(
    record: Record, data: Data
):
    interrupted, scored = Interruption(), []
    record.listeners.append(Scored(scored, interrupted))
    final.run_final(record, data, NEEDS, interrupted, 1, NO_SERVERS)
    before = list(scored)
    assert len(before) == 1, "no more than fit at a time"
    final.run_final(record, data, NEEDS, interrupted, 1, NO_SERVERS)
    assert scored == before
    record.listeners = [Scored(scored, Interruption())]
    final.run_final(record, data, NEEDS, Interruption(), None, NO_SERVERS)
    assert sorted(scored) == [0, 1, 2, 3]
    final.run_final(record, data, NEEDS, Interruption(), None, NO_SERVERS)
    assert len(scored) == 4
    for trial in record.trials.values():  # and each is the number that the driver itself finds
        path = Path(str(trial.checkpoint), "generator.pt")
        found = Finalist.load(path, torch.device("cpu")).score(data, record.spec.objective)
        assert trial.final["w1_final"] == pytest.approx(found.w1, rel=1e-4)
        assert trial.final["w1_final_stderr"] == pytest.approx(found.w1_stderr, rel=1e-3)
        # Whichever session scored it, its parts are kept to compare it with the others. Rounding
        # differs between a worker's threads and the driver's, and training critics magnifies it;
        # the readings of real samples for another trial differ by a hundred times as much.
        for part, values in asdict(found.readings).items():
            assert trial.final_readings[part] == pytest.approx(values, abs=2e-3)
    floor = final_floor(data, record.spec.objective, torch.device("cpu"))
    assert record.final_floor is not None
    assert record.final_floor.w1 == pytest.approx(floor.w1, rel=1e-4)
