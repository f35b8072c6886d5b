"""Ranges and choices, wherever a fixed value may stand."""

import math
from typing import Any, Literal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from trainables.config import Frozen, Real, Whole
from tuner.space.domains import Choice, Range, coerce, grid_values, is_integer, searchable


class Section(Frozen):
    rate: Real = Field(default=0.5, gt=0, le=10)
    bound: Real | None = Field(default=None, ge=0)
    width: Whole = Field(default=8, ge=1, le=64)
    kind: Literal["a", "b"] = "a"


Searched = searchable(Section, "A section.")
finite = st.floats(allow_nan=False, allow_infinity=False)


def test_every_field_keeps_its_default():
    assert Searched().model_dump() == Section().model_dump()


@pytest.mark.parametrize("name", ["rate", "bound", "width"])
def test_a_number_may_be_fixed_or_a_range_or_a_choice(name: str):
    assert getattr(Searched.model_validate({name: 2}), name) == 2
    searched = getattr(Searched.model_validate({name: {"low": 1, "high": 2}}), name)
    assert (searched.low, searched.high, searched.log) == (1, 2, False)
    assert getattr(Searched.model_validate({name: {"choice": [3, 1]}}), name).choice == (3, 1)


def test_numbers_in_a_domain_are_read_like_fixed_ones():
    section = Searched.model_validate(
        {"rate": {"low": "1e-4", "high": 1, "log": True}, "width": {"choice": ["1e1", 8.0]}}
    )
    assert (section.rate.low, section.rate.high, section.rate.log) == (1e-4, 1.0, True)
    assert section.width.choice == (10, 8)
    assert all(type(width) is int for width in section.width.choice)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"rate": {"low": 0, "high": 1}}, r"rate\.range\.low\n.*greater than 0"),
        ({"rate": {"low": 1, "high": 11}}, r"rate\.range\.high\n.*less than or equal to 10"),
        ({"width": {"choice": [1, 65]}}, r"width\.choice\.choice\.1\n.*less than or equal to 64"),
        ({"width": {"low": 1.5, "high": 3}}, r"width\.range\.low\n.*valid integer"),
        ({"rate": {"choice": []}}, r"must list at least one value, got \[\]"),
        ({"rate": {"choice": [1, 2, 1.0]}}, r"must list each value once, got \[1\.0, 2\.0, 1\.0\]"),
        ({"rate": {"low": 1, "high": 2, "log": "yes"}}, "valid boolean"),
        ({"rate": {"low": 1, "high": 2, "step": 1}}, "Extra inputs are not permitted"),
        ({"kind": {"low": "a", "high": "b"}}, "does not match any of the expected tags"),
        ({"kind": {"choice": ["a", "c"]}}, "'a' or 'b'"),
    ],
)
def test_a_domain_outside_the_fields_own_rule_is_refused(given: dict, match: str):
    with pytest.raises(ValidationError, match=match):
        Searched.model_validate(given)


@given(low=finite, high=finite, log=st.booleans())
def test_a_range_has_its_low_below_its_high_and_no_logarithm_of_zero(
    low: float, high: float, log: bool
):
    valid = low < high and (low > 0 or not log)
    if valid:
        made = Range[float](low=low, high=high, log=log)
        assert (made.low, made.high) == (low, high)
    else:
        with pytest.raises(ValidationError, match="low must be "):
            Range[float](low=low, high=high, log=log)


@pytest.mark.parametrize(
    ("low", "high"), [(2.0, 1.0), (1.0, 1.0), (math.nan, 1.0), (1.0, math.nan)]
)
def test_low_that_is_not_below_high_is_named_with_both(low: float, high: float):
    with pytest.raises(ValidationError, match=f"below high, got low {low} and high {high}: swap"):
        Range[float](low=low, high=high)


@pytest.mark.parametrize("low", [0, -1])
def test_a_log_scale_without_a_positive_low_is_refused(low: int):
    with pytest.raises(ValidationError, match=f"above 0 on a log scale, got {low}: give a small"):
        Range[int](low=low, high=2, log=True)


def test_domains_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        Range[int](low=1, high=2).low = 0


@given(low=st.integers(-1000, 1000), width=st.integers(1, 1000))
def test_the_grid_of_a_whole_range_is_every_number_in_it_both_ends_included(low: int, width: int):
    points = grid_values(Range[int](low=low, high=low + width))
    assert points is not None
    assert (points[0], points[-1], len(points)) == (low, low + width, width + 1)


@given(low=finite, high=finite)
def test_a_real_range_has_no_grid(low: float, high: float):
    assume(low < high)
    made = Range[Real](low=low, high=high)
    assert not is_integer(made)
    assert grid_values(made) is None


def test_whole_bounds_of_a_real_range_do_not_make_it_whole():
    searched = Searched.model_validate({"rate": {"low": 1, "high": 3}}).rate
    assert not is_integer(searched)
    assert grid_values(searched) is None


def test_the_grid_of_a_choice_is_its_values():
    assert grid_values(Choice[str](choice=("b", "a"))) == ("b", "a")


@pytest.mark.parametrize(
    ("choice", "value", "expected"),
    [
        (("007", "7"), "007", "007"),
        (("007", "7"), "7", "7"),
        ((7, 8), "007", 7),
        ((1e-4, 1e-3), "1e-4", 1e-4),
        ((True, 1), 1, 1),
        ((True, 1), True, True),
        ((None, "relu"), None, None),
        (("1", "2"), 1, None),
        (([64, 64], [128]), [128], [128]),
        (([64, 64], [128]), "[64, 64]", [64, 64]),
        ((["a", "b"], ["c"]), "['c']", ["c"]),
    ],
)
def test_a_value_of_a_choice_keeps_its_type(choice: tuple, value: object, expected: object):
    """Text may stand for a number, as in a table, but a number for no text."""
    found = coerce(Choice[Any].model_construct(choice=choice), value)
    assert found == expected
    assert type(found) is type(expected)


def test_lists_are_values_of_a_choice():
    choice = Choice[Any](choice=([64, 64], [128], "x", None))
    assert choice.choice == ([64, 64], [128], "x", None)
    assert choice.labels == grid_values(choice) == ("[64, 64]", "[128]", "x", None)
    with pytest.raises(ValidationError, match=r"must list each value once, got \[\[1\], \[1\]\]"):
        Choice[Any](choice=([1], [1]))
