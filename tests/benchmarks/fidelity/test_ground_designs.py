"""Designs of the ground metric: the shipped one is that of the product, and the tables."""

from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.fidelity import battery, ground_designs, image_pools
from benchmarks.fidelity.distortions import LADDERS
from benchmarks.fidelity.ground_designs import DESIGNS, SHIPPED, Blocks, GroundDesign, fit_design
from trainables.config import ObjectiveConfig
from trainables.data import Data, split
from trainables.ground import ground_of, with_ground


@pytest.fixture(scope="module")
def data() -> Data:
    images = np.random.default_rng(0).uniform(-1, 1, (500, 3, 16, 16))
    return split(images.astype(np.float32), np.random.default_rng(0))


def test_the_shipped_design_is_the_shipped_ground_metric(data: Data) -> None:
    objective = ObjectiveConfig()
    mapped = with_ground(data, objective)
    ground, fitted = ground_of(mapped, objective), fit_design(SHIPPED)(data)
    assert ground is not None
    torch.testing.assert_close(fitted.map(data.train), ground(torch.from_numpy(data.train)))
    real = torch.from_numpy(mapped.compared.critic_eval)
    torch.testing.assert_close(fitted.critic_eval, real)


def test_a_design_has_its_shares_of_the_distance(data: Data) -> None:
    design = GroundDesign((0.5, 0.35, 0.05, 0.1))
    blocks = Blocks(data)
    rows = blocks.weighted(design)(blocks.critic_train)
    lengths = [block.shape[1] for block in blocks.critic_train]
    spreads = [float(part.var(0, correction=0).sum()) for part in rows.split(lengths, 1)]
    assert np.array(spreads) / blocks.spread == pytest.approx(design.shares, rel=1e-3)


def test_the_tables_name_the_shipped_design(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.fidelity.ranking.NUM_RESAMPLES", 20)
    numbers = ("pixels", image_pools.SHIPPED, battery.SHIPPED, *map(str, DESIGNS))

    def trial(rank: int) -> dict[str, Any]:
        scores = dict.fromkeys(numbers, float(rank)) | {"pixels": -float(rank)}
        return {"truths": dict.fromkeys(image_pools.NAMES, float(rank)), "scores": scores}

    rows = ground_designs.report_pools({"made": [trial(k) for k in range(1, 9)]}).splitlines()
    assert len(rows) == 2 + 2 + len(DESIGNS)
    assert rows[2].startswith("| pixels | -1.00 [-1.00, -1.00] / ")
    assert "; 8 of 8 |" in rows[2]
    (shipped,) = (row for row in rows if "as shipped" in row)
    assert shipped.startswith(f"| {SHIPPED} (energies, as shipped) | 1.00 [1.00, 1.00] / ")

    levels = {
        f"{name} {level}": {
            "w1": dict.fromkeys(numbers, float(k)),
            "stderr": dict.fromkeys(numbers, 0.1),
            "frechet": [k + 1.0] * 2,
        }
        for name, ladder in LADDERS.items()
        for k, level in enumerate(ladder[1])
    }
    mixture = {number: [3 * share for share in battery.MIXTURE] for number in numbers}
    rows = ground_designs.report_batteries({"made": {"levels": levels, "mixture": mixture}})
    num_pairs = sum(len(ladder[1]) - 1 for ladder in LADDERS.values())
    assert f"| made | pixels | {num_pairs} of {num_pairs} | " in rows
    assert " | 0% | 1.00 | 2 | 3 |" in rows
