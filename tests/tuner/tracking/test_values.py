"""The names of metrics in MLflow, which compares runs by the first."""

import pytest

from tuner.tracking.values import Run, metric_name, metrics_of

NEVER_RANK = (
    "w1_final_train", "w1_pixels", "w1_pixels_stderr", "copy_ratio", "copy_ratio_low",
    "copy_ratio_high", "metrics/fid", "metrics/a w1",
)  # fmt: skip


@pytest.mark.parametrize("name", NEVER_RANK)
def test_metrics_that_never_rank_are_in_a_section_after_w1(name: str) -> None:
    assert metric_name(name) == "without_ranking." + name.replace("/", ".")
    assert sorted([metric_name(name), "w1", "w1_at_004000", "w1_final"])[-1] == metric_name(name)


def test_the_mean_over_seeds_stands_next_to_the_score_of_the_final() -> None:
    names = ("w1_final_mean", "w1_final_mean_stderr", "final_seeds", "final_seeds_diverged")
    assert [metric_name(name) for name in names] == [
        "w1_final_mean", "w1_final_mean_stderr", "while_scoring.final_seeds",
        "while_scoring.final_seeds_diverged",
    ]  # fmt: skip


def test_a_custom_metric_takes_the_place_of_no_other() -> None:
    report = {"generator_steps": 4000, "w1": 0.5, "metrics/w1": 7.0, "metrics/w1_at_004000": 8.0}
    values = {metric.key: metric.value for metric in metrics_of(report, "generator_steps", 0)}
    assert (values["w1"], values["w1_at_004000"]) == (0.5, 0.5)
    assert values["without_ranking.metrics.w1"] == 7.0


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
