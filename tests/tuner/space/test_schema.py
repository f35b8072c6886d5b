"""The JSON Schema and the table of keys: of the model that checks a search space, and current."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from trainables.config import plain_number
from tuner import schema
from tuner.space.schema import json_schema, keys_table
from tuner.space.spec import SECTION_KEYS, SearchSpec

ROOT = Path(__file__).parents[3]
SHIPPED = sorted((ROOT / "search_spaces").glob("*.yaml"))


def as_an_editor_reads_it(value: Any) -> Any:
    """YAML 1.2, in which 1e-4 is a number."""
    if isinstance(value, dict):
        return {key: as_an_editor_reads_it(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [as_an_editor_reads_it(inner) for inner in value]
    return plain_number(value)


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    return jsonschema.Draft202012Validator(json_schema())


def test_the_file_that_ships_is_current():
    shipped = json.loads((ROOT / "search_spaces" / "schema.json").read_text())
    assert shipped == json_schema(), "python -m tuner.schema > search_spaces/schema.json"


def test_the_table_of_all_keys_is_current():
    assert keys_table() in (ROOT / "docs" / "keys.md").read_text(), "python -m tuner.schema --table"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_search_space_that_ships_names_the_schema_and_fits_it(
    validator: jsonschema.Draft202012Validator, path: Path
):
    text = path.read_text()
    assert text.startswith("# yaml-language-server: $schema=schema.json\n")
    validator.validate(as_an_editor_reads_it(yaml.safe_load(text)))


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"training": None, "objective": "critic_estimate"},
        {"training": {"critic_lr": {"low": 1e-4, "high": 1e-2, "log": True}}},
        {"training": {"constraint": {"choice": ["clip", "orthogonal"]}}},
        {"networks": {"generator": "a.b:C", "generator_args": {"w": {"low": 1, "high": 3}}}},
        {"initial_points": [{"training": {"critic_lr": 1e-4}}]},
    ],
)
def test_what_may_be_written_fits(validator: jsonschema.Draft202012Validator, sections: Any):
    validator.validate({"name": "a", **sections})


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"name": "a", "trainings": {}},
        {"name": "a", "training": {"criticlr": 1}},
        {"name": "a", "training": {"critic_lr": -1}},
        {"name": "a", "training": {"gp_weight": 0}},
        {"name": "a", "training": {"constraint": "clop"}},
        {"name": "a", "training": {"n_critic": {"low": 1}}},
        {"name": "a", "search": {"sampler": "best"}},
    ],
)
def test_what_must_not_be_written_does_not(
    validator: jsonschema.Draft202012Validator, document: Any
):
    assert not validator.is_valid(document)


def test_every_key_is_described():
    properties, table = json_schema()["properties"], keys_table()
    assert set(properties) == set(SearchSpec.model_fields)
    for section, fields in SECTION_KEYS.items():
        for field in fields:
            assert properties[section]["anyOf"][0]["properties"][field]["description"], field
            assert f"| `{section}.{field}` |" in table


def test_a_row_says_what_a_key_may_be_and_where_it_starts():
    (row,) = (line for line in keys_table().splitlines() if "`training.batch_size`" in line)
    assert row.startswith(
        "| `training.batch_size` | whole number at least 2, at most 65,536 | 64 | Samples per step"
    )


def test_the_command_prints_them(capsys: pytest.CaptureFixture[str]):
    assert schema.main([]) == 0
    assert json.loads(capsys.readouterr().out) == json_schema()
    assert schema.main(["--table"]) == 0
    assert capsys.readouterr().out == keys_table() + "\n"
