"""Names of metrics in MLflow."""

import pytest

from tuner.tracking.values import Run, metrics_of


def test_the_charts_of_w1_are_the_first() -> None:
    """MLflow shows metrics with a prefix that ends at a slash first, then the others by name."""
    names = ("generator_steps", "w1", "w1_stderr", "critic_loss", "w1_train", "scoring_seconds")
    shown = sorted(
        (metric.key for metric in metrics_of(dict.fromkeys(names, 1.0), "generator_steps", 0)),
        key=lambda name: ("/" not in name, name),
    )
    assert shown[:3] == ["w1", "w1_at_000001", "w1_stderr"]


@pytest.mark.parametrize("name", ["while_training/generator_steps", "generator_steps"])
def test_reports_that_an_earlier_version_wrote_count(name: str) -> None:
    assert Run("id", "generator_steps", metrics={name: 250.0}).last_step == 250
