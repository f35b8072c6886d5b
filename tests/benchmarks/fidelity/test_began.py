"""The BEGAN that shares no code with ours."""

import pytest
import torch

from benchmarks.fidelity import began


def test_it_gives_samples_of_the_data_at_each_quarter_and_learns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All data are one point, which is then what it makes."""
    monkeypatch.setattr(began, "STEPS", 400)
    point = torch.tensor([0.5, -0.5, 0.25])
    first, *_, last = began.train(point.expand(10, 3), 0.5, 0.01, 1e-2, 2)
    assert first.shape == last.shape == (began.NUM_SAMPLES, 3)
    assert (last - point).abs().mean() < 0.1
