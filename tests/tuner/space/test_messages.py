"""pydantic's errors in words: the key, the rule, the value and the way out."""

import pytest

from tuner.errors import BadInput, Fault
from tuner.space.messages import describe_error, unknown_key
from tuner.space.spec import validate

SECTION_KEYS = {
    "name": (),
    "data": ("dataset", "split_seed"),
    "training": ("critic_lr", "generator_lr"),
    "objective": ("seed",),
    "search": ("seed", "num_trials"),
}


@pytest.mark.parametrize(
    ("path", "what"),
    [
        (["trainin"], "no such key; did you mean training?"),
        (["critic_lr"], "no such key; did you mean training.critic_lr?"),
        (["data", "critic_lr"], "no such key; did you mean training.critic_lr?"),
        (["data", "seed"], "no such key; did you mean objective.seed?"),
        (["training", "critic_rl"], "no such key; did you mean critic_lr?"),
        (["training", "zzz"], "no such key; known here: critic_lr, generator_lr"),
        (["zzz"], "no such key; known here: name, data, training, objective, search"),
        (["training", "critic_lr", "hihg"], "no such key; did you mean high?"),
        (["training", "critic_lr", "q"], "no such key; known here: low, high, log, choice"),
        (
            ["training", "critic_lr", "low"],
            "cannot be combined with choice: give either a range or a choice",
        ),
    ],
)
def test_an_unknown_key_says_which_was_meant(path: list[str], what: str):
    assert unknown_key(path, SECTION_KEYS) == what


@pytest.mark.parametrize(
    ("kind", "value", "context", "what"),
    [
        ("greater_than", 0, {"gt": 0}, "must be above 0, got 0"),
        ("greater_than_equal", -1, {"ge": 0}, "must be at least 0, got -1"),
        ("less_than", 1.0, {"lt": 1}, "must be below 1, got 1.0"),
        ("less_than_equal", 33, {"le": 32}, "must be at most 32, got 33"),
        ("float_type", "x", {}, "must be a number, got 'x'"),
        ("int_type", 1.5, {}, "must be a whole number, got 1.5"),
        ("bool_type", 1, {}, "must be true or false, got 1"),
        ("string_type", 3, {}, "must be text, got 3"),
        ("tuple_type", 3, {}, "must be a list, got 3"),
        ("finite_number", float("nan"), {}, "must be a finite number, got nan"),
        ("model_type", [1], {}, "must be a mapping of keys to values, got [1]"),
        ("string_too_short", "", {}, "must not be empty, got ''"),
        ("missing", {}, {}, "is required: give it"),
        ("literal_error", "tp", {"expected": "'tpe' or 'gp'"}, "must be tpe or gp, got 'tp'; did"),
        ("literal_error", [1], {"expected": "'tpe' or 'gp'"}, "must be tpe or gp, got [1]"),
        ("union_tag_invalid", {"low": 1}, {}, "has no order to take a range from: list values"),
    ],
)
def test_each_kind_of_error_has_words(kind: str, value: object, context: dict, what: str):
    error = {"type": kind, "input": value, "ctx": context, "msg": "never shown"}
    fault = describe_error(error, ("data", "split_seed"), SECTION_KEYS)
    assert fault.where == "data.split_seed"
    assert fault.message.startswith(what)


def test_a_rule_of_ours_is_said_in_its_own_words():
    error = {"type": "value_error", "input": 1, "msg": "Value error, must be odd"}
    assert describe_error(error, ("data",), SECTION_KEYS) == Fault("data", "must be odd")


def test_the_tag_of_a_union_is_no_part_of_a_key():
    error = {"type": "int_type", "input": "x", "msg": ""}
    fault = describe_error(error, ("training", "critic_lr", "choice", "choice", 1), SECTION_KEYS)
    assert fault.where == "training.critic_lr.choice.1"


@pytest.mark.parametrize("kind", ["float_type", "literal_error", "string_pattern_mismatch"])
def test_a_value_is_shown_in_80_characters_at_most(kind: str):
    """A value of ten aliases in each other has more items than any memory holds."""
    bomb: list = ["x"]
    for _ in range(50):
        bomb = [bomb] * 10
    for value in (bomb, "x" * 10_000, {"k": "x" * 10_000}):
        error = {"type": kind, "input": value, "ctx": {"expected": "'a'"}, "msg": ""}
        assert len(describe_error(error, ("data",), SECTION_KEYS).message) < 250


def test_bad_input_lists_every_fault_under_its_source():
    faults = [Fault("a.b", "is wrong"), Fault("", "no such file")]
    assert str(BadInput("x.yaml", faults)) == "x.yaml: 2 faults\n  a.b: is wrong\n  no such file"
    assert str(BadInput("x.yaml", faults[:1])) == "x.yaml: 1 fault\n  a.b: is wrong"


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        (
            {"training": {"n_critic": [1, 3, 5]}},
            "training.n_critic: must be one value, got a list: write {choice: [1, 3, 5]} to",
        ),
        (
            {"training": {"optimizer": ["adam", "rmsprop"]}},
            "training.optimizer: must be one value, got a list: write {choice: [adam, rmsprop]}",
        ),
        (
            {"training": {"critic_lr": {"min": 1e-4, "max": 1e-3}}},
            "training.critic_lr.min: no such key; did you mean low?",
        ),
        (
            {"training": {"critic_lr": {"low": 1e-4, "max": 1e-3}}},
            "training.critic_lr.max: no such key; did you mean high?",
        ),
        (
            {"networks": {"generator": "a:G", "generator_args": {"w": {"values": [1, 2]}}}},
            "networks.generator_args.w.values: no such key; did you mean choice?",
        ),
        (
            {"networks": {"generator": "lib/nets.py:Gen"}},
            "networks.generator: must read package.module:Name, got 'lib/nets.py:Gen': write "
            "lib.nets:Gen",
        ),
    ],
)
def test_what_other_tools_write_is_answered_by_what_to_write_here(section: dict, expected: str):
    _, faults = validate({"name": "a", "search": {"num_trials": 1}, **section})
    assert any(f"{fault.where}: {fault.message}".startswith(expected) for fault in faults), faults
    assert not any("is required" in fault.message for fault in faults), "it has another name"
