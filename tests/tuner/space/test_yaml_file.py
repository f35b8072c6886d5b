"""A file to plain data: what is not YAML, or says a thing twice, is refused in words."""

import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tuner.errors import BadInput, Fault
from tuner.space.yaml_file import (
    MAX_BYTES,
    _unclear_numbers,
    dump_yaml,
    load_yaml,
    parse_yaml,
)

Space = Callable[[str | bytes], Path]


def test_a_mapping_is_read_as_it_stands(space: Space):
    document, faults = load_yaml(space("name: größe\nsearch: {num_trials: 3}\n"))
    assert document == {"name": "größe", "search": {"num_trials": 3}}
    assert faults == []


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "\ufeff"])
def test_an_empty_file_is_an_empty_mapping(space: Space, text: str):
    assert load_yaml(space(text)) == ({}, [])


def test_a_missing_file_names_its_neighbours(tmp_path: Path):
    (tmp_path / "gp.yaml").touch()
    (tmp_path / "clip.yaml").touch()
    path = tmp_path / "gpp.yaml"
    with pytest.raises(BadInput, match=r"no such file; in .* there are clip\.yaml, gp\.yaml"):
        load_yaml(path)


def test_a_missing_file_without_neighbours_is_just_missing(tmp_path: Path):
    with pytest.raises(BadInput, match=r"1 fault\n  no such file$"):
        load_yaml(tmp_path / "nowhere" / "gp.yaml")


def test_a_folder_is_refused(tmp_path: Path):
    with pytest.raises(BadInput, match="cannot be read: Is a directory"):
        load_yaml(tmp_path)


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000])
def test_a_path_that_no_file_can_have_is_refused(tmp_path: Path, name: str):
    with pytest.raises(BadInput, match="cannot be read"):
        load_yaml(tmp_path / name)


def test_a_large_file_is_refused_with_both_sizes(space: Space):
    path = space("#" * (MAX_BYTES + 1))
    with pytest.raises(BadInput, match=r"at most 1,000,000 bytes, got 1,000,001"):
        load_yaml(path)


def test_text_that_is_not_utf8_is_refused(space: Space):
    path = space("name: größe".encode("latin-1"))
    with pytest.raises(BadInput, match="is not UTF-8 text: save it as UTF-8"):
        load_yaml(path)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("a: 1\nb: [1, 2\n", r"line 3, column 1: is not YAML: .*check the indentation"),
        ("a: b: c", r"line 1, column 5: is not YAML: mapping values are not allowed here"),
        ("a: 1\n\tb: 2", r"line 2, column 1: is not YAML: .*cannot start any token"),
        ("a: *nothing", r"line 1, column 4: is not YAML: found undefined alias"),
        ("a: 1\n---\nb: 2\n", r"is not YAML: .*another document"),
        ("a: \x07", r"is not YAML: .*special characters are not allowed"),
        ("? [a]\n: 1", r"is not YAML: found unhashable key"),
        ("a: !!python/object/apply:os.system [ls]", r"is not YAML: could not determine a const"),
    ],
)
def test_broken_yaml_is_told_with_its_place(space: Space, text: str, match: str):
    with pytest.raises(BadInput, match=match):
        load_yaml(space(text))


MISFITS = ["2020-13-45", '!!int ""', "!!float ''", "!!bool maybe", "!!timestamp x", "9" * 5000]


@pytest.mark.parametrize("value", MISFITS)
def test_a_value_that_does_not_fit_its_tag_is_refused(space: Space, value: str):
    """PyYAML raises whatever its converter happens to raise."""
    with pytest.raises(BadInput, match=r"cannot be read as YAML \(.*\): correct it"):
        load_yaml(space(f"a: {value}"))


@pytest.mark.parametrize("nest", ["[", "{a: "])
def test_deep_nesting_is_refused(space: Space, nest: str):
    with pytest.raises(BadInput, match="YAML"):
        load_yaml(space(f"a: {nest * 20_000}"))


@pytest.mark.parametrize(
    ("text", "kind"), [("- 1\n- 2", "list"), ("3", "int"), ("some text", "str"), ("true", "bool")]
)
def test_a_document_that_is_no_mapping_is_refused(space: Space, text: str, kind: str):
    with pytest.raises(BadInput, match=rf"a mapping of keys to values, got {kind}: see search_sp"):
        load_yaml(space(text))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("-2.5E+3", -2500.0),
        (".5e1", 5.0),
        ("1e3", 1000),
        ("1e400", math.inf),
        ("0x1F", 31),
        ("1_000", 1000),
        ("0", 0),
        ("-0.5", -0.5),
        ("'1e-4'", "1e-4"),
        ('"007"', "007"),
        ("'8:00'", "8:00"),
        ("1e3x", "1e3x"),
        ("v1:2", "v1:2"),
    ],
)
def test_plain_numbers_are_numbers_and_quoted_ones_are_text(space: Space, text: str, value: object):
    document, faults = load_yaml(space(f"a: {text}"))
    assert document["a"] == value
    assert type(document["a"]) is type(value)
    assert faults == []


BASE_8 = "must not start with 0, which YAML takes for base 8, got"
BASE_60 = "must not have colons, which YAML takes for base 60, got"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0100", f"{BASE_8} 0100: write 100, or '0100' in quotes for a text"),
        ("-010", f"{BASE_8} -010: write -10, or '-010' in quotes for a text"),
        ("0089", f"{BASE_8} 0089: write 89, or '0089' in quotes for a text"),
        ("00", f"{BASE_8} 00: write 0, or '00' in quotes for a text"),
        ("00.5", f"{BASE_8} 00.5: write 0.5, or '00.5' in quotes for a text"),
        ("8:00", f"{BASE_60} 8:00: write 480, if that is meant, or '8:00' in quotes for a text"),
        ("1:30:00.5", f"{BASE_60} 1:30:00.5: write 5400.5, if that is meant, or '1:30:00.5' in"),
    ],
)
def test_numbers_that_yaml_reads_otherwise_are_refused_with_both_readings(
    space: Space, text: str, message: str
):
    _, faults = load_yaml(space(f"a: [{{b: {text}}}]\nc: 1"), [f"c={text}"])
    assert [fault.where for fault in faults] == ["a.0.b", "--set c"]
    assert all(fault.message.startswith(message) for fault in faults)


@given(
    text=st.text(max_size=5)
    | st.from_regex(r"[-+]?[0-9_:.]{1,6}([eE][-+]?[0-9]{1,2})?", fullmatch=True)
)
@settings(max_examples=300)
def test_text_is_written_so_that_it_is_read_as_the_same_text(text: str):
    written = dump_yaml({"a": [text]})
    assert parse_yaml(written) == {"a": [text]}
    assert _unclear_numbers(yaml.compose(written), ()) == []


def test_every_duplicate_key_is_named_with_both_lines(space: Space):
    text = (
        "name: a\ntraining:\n  n_critic: 1\n  gp_weight: {low: 1, low: 2}\n  n_critic: 2\nname: b\n"
    )
    _, faults = load_yaml(space(text))
    assert faults == [
        Fault("name", "is given twice, on lines 1 and 6: keep one"),
        Fault("training.n_critic", "is given twice, on lines 3 and 5: keep one"),
        Fault("training.gp_weight.low", "is given twice, on lines 4 and 4: keep one"),
    ]


def test_an_alias_to_its_own_parent_is_walked_once(space: Space):
    document, faults = load_yaml(space("a: &a {b: *a, c: 1}"))
    assert document["a"]["b"] is document["a"]
    assert faults == []


BOMB = "&a0 [1, 1]" + "".join(f", &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 64))
MERGED = "x0: &a0 {a: 1}\n" + "".join(
    f"x{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 64)
)


@pytest.mark.parametrize(
    "text",
    [
        f"networks: {{generator_args: {{widths: {{choice: [{BOMB}]}}}}}}",
        f"training: {{n_critic: [{BOMB}]}}",
        f"initial_points: [{BOMB}]",
        f"? [{BOMB}]\n: 1",
        MERGED,
    ],
)
def test_aliases_that_stand_for_more_values_than_memory_holds_are_refused(space: Space, text: str):
    """2^64 values in two kilobytes; merged mappings are written out by the loader itself."""
    with pytest.raises(BadInput, match="at most 100,000 values, its aliases written out") as raised:
        load_yaml(space(text))
    assert len(raised.value.faults) == 1
    assert load_yaml(space("name: x"), [f"training=[{BOMB}]"])[1][0].where == "--set training"


def test_as_many_values_as_a_search_space_may_need_are_read(space: Space):
    document, faults = load_yaml(space("a: &a [1, 2]\nb: [" + ", ".join(["*a"] * 5_000) + "]"))
    assert (len(document["b"]), faults) == (5_000, [])


def test_a_pipe_is_refused_as_it_may_block_for_ever(tmp_path: Path):
    os.mkfifo(tmp_path / "space.yaml")
    with pytest.raises(BadInput, match="is a pipe or a device: give a regular file"):
        load_yaml(tmp_path / "space.yaml")


def test_a_key_of_a_broken_section_is_not_set_in_its_place(space: Space):
    """The fault would be gone with the section, and with it whatever was meant."""
    document, faults = load_yaml(space("training: gp"), ["training.n_critic=5"])
    assert document == {"training": "gp"}
    assert list(map(str, faults)) == [
        "training: must be a mapping of keys to values to set training.n_critic in it, got 'gp': "
        "correct training"
    ]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("name=b", {"name": "b", "training": {"lr": 1}}),
        ("training.lr=1e-3", {"name": "a", "training": {"lr": 1e-3}}),
        ("training.lr='1e-3'", {"name": "a", "training": {"lr": "1e-3"}}),
        ("training.lr={low: 1, high: 2}", {"name": "a", "training": {"lr": {"low": 1, "high": 2}}}),
        ("training.lr.low=0.5", {"name": "a", "training": {"lr": {"low": 0.5}}}),
        ("asha.brackets=2", {"name": "a", "training": {"lr": 1}, "asha": {"brackets": 2}}),
        ("name=", {"name": None, "training": {"lr": 1}}),
        ("name=x=y", {"name": "x=y", "training": {"lr": 1}}),
        (" name =b", {"name": "b", "training": {"lr": 1}}),
    ],
)
def test_set_replaces_one_value(space: Space, override: str, expected: object):
    path = space("name: a\ntraining: {lr: 1}")
    assert load_yaml(path, [override]) == (expected, [])


def test_of_two_sets_the_last_one_wins(space: Space):
    assert load_yaml(space("a: 1"), ["a=2", "a=3"]) == ({"a": 3}, [])


def test_set_leaves_what_shares_an_anchor_alone(space: Space):
    path = space("a: &x {b: 1}\nc: *x")
    document, _ = load_yaml(path, ["a.b=2"])
    assert document == {"a": {"b": 2}, "c": {"b": 1}}


def test_every_bad_set_is_a_fault(space: Space):
    overrides = ["a", "=1", ".b=1", "b.=1", "b=[", "b=2020-13-45", "b=!!bool maybe"]
    _, faults = load_yaml(space("a: 1"), overrides)
    assert faults == [
        Fault("--set", "must read dotted.key=value, got 'a'"),
        Fault("--set", "must read dotted.key=value, got '=1'"),
        Fault("--set", "must read dotted.key=value, got '.b=1'"),
        Fault("--set", "must read dotted.key=value, got 'b.=1'"),
        Fault("--set b", "value must be YAML, got '[': quote it"),
        Fault("--set b", "value must be YAML, got '2020-13-45': quote it"),
        Fault("--set b", "value must be YAML, got '!!bool maybe': quote it"),
    ]


#: Texts that are nearly YAML, since hardly any of ``st.text`` is.
yaml_like = st.lists(
    st.sampled_from([*"ab10.-~:&*!?|>'\"[]{},#%@\n\t ", ": ", "- ", "!!int ", "&a ", "*a", "<<: "])
).map("".join)


@settings(max_examples=300, deadline=None)
@example(content=b"(: 00")
@example(content=b"a: 8:00")
@given(content=st.one_of(st.binary(), st.text().map(str.encode), yaml_like.map(str.encode)))
def test_no_content_raises_anything_but_bad_input(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
):
    path = tmp_path_factory.getbasetemp() / "arbitrary.yaml"
    path.write_bytes(content)
    try:
        document, faults = load_yaml(path)
    except BadInput:
        return
    assert isinstance(document, dict)
    known = ("is given twice", "which YAML takes for base 8", "which YAML takes for base 60")
    assert all(any(text in fault.message for text in known) for fault in faults)


@settings(deadline=None)
@given(override=st.one_of(st.text(), yaml_like.map("a.b={}".format)))
def test_no_override_raises(override: str, tmp_path_factory: pytest.TempPathFactory):
    path = tmp_path_factory.getbasetemp() / "empty.yaml"
    path.touch()
    _, faults = load_yaml(path, [override])
    assert all(fault.where.startswith("--set") for fault in faults)
