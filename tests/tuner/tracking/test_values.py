"""The names of metrics in MLflow, which compares runs by the first."""

import pytest

from tuner.tracking.values import metric_name, metrics_of

NEVER_RANK = (
    "w1_final_train", "w1_pixels", "w1_pixels_stderr", "copy_ratio", "copy_ratio_low",
    "copy_ratio_high", "metrics/fid", "metrics/a w1",
)  # fmt: skip


@pytest.mark.parametrize("name", NEVER_RANK)
def test_metrics_that_never_rank_are_in_a_section_after_w1(name: str) -> None:
    assert metric_name(name) == f"without_ranking/{name}"
    assert sorted([metric_name(name), "w1", "w1_at_004000", "w1_final"])[-1] == metric_name(name)


def test_a_custom_metric_takes_the_place_of_no_other() -> None:
    report = {"generator_steps": 4000, "w1": 0.5, "metrics/w1": 7.0, "metrics/w1_at_004000": 8.0}
    values = {metric.key: metric.value for metric in metrics_of(report, "generator_steps", 0)}
    assert (values["w1"], values["w1_at_004000"]) == (0.5, 0.5)
    assert values["without_ranking/metrics/w1"] == 7.0
