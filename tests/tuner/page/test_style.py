"""The formatting of numbers and axes."""

import math

import pytest

from tuner.page.facts import OUT_OF_BUDGET, RUNNING
from tuner.page.style import escaped, log_scale, number, outcome_styles, scale, short


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e-5, "1e-5"), (0.00012345, "0.0001234"), (0.1, "0.1"), (1234, "1,234"),
        (123456.7, "123,457"), (2.5e12, "2.5e12"), (math.nan, "-"), (True, "True"),
    ],
)  # fmt: skip
def test_a_number_has_four_significant_digits(value: object, text: str) -> None:
    assert number(value) == text


def test_a_key_loses_its_section() -> None:
    assert short("training.critic_lr") == "critic_lr"
    assert short("networks.generator_args.width") == "generator_args.width"
    assert escaped("<b>a&b") == "&lt;b&gt;a&amp;b"


def test_an_axis_is_logarithmic_if_the_values_span_decades() -> None:
    assert scale([1.0, 2.0]) == {}
    assert scale([-1.0, 100.0]) == {}
    assert scale([0.5, 5.0])["ticktext"] == ["0.2", "0.5", "1", "2", "5", "10"]
    assert log_scale(1e-5, 1e-2)["ticktext"] == ["1e-5", "0.0001", "0.001", "0.01"]


def test_no_two_fates_look_the_same() -> None:
    styles = outcome_styles([1, 2, 3])
    assert {"completed", "stopped at 2", "diverged", "failed", OUT_OF_BUDGET, RUNNING} <= set(
        styles
    )
    assert len({(style.symbol, style.dash) for style in styles.values()}) == len(styles)
