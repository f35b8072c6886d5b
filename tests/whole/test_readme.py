"""What README.md and docs/ tell a person to type, write and follow is what there is.

Nothing is searched here: commands are read by the parsers that will read them, YAML by what
checks a search space, Python by its compiler and against the signatures of what it calls.
"""

import argparse
import ast
import importlib
import inspect
import re
import sys
import tomllib
import warnings
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn, get_args

import click
import documents
import pytest
import yaml
from documents import DOCUMENTS, ROOT, Command

from trainables.config import (
    APPLIES_WHEN,
    PUBLISHED,
    Constraint,
    Divergence,
    Loss,
    TrainingConfig,
    TrialConfig,
    plain_number,
)
from tuner.search import main as run_search
from tuner.space.spec import validate
from tuner.space.yaml_file import load_yaml

COMMANDS = documents.commands()
OURS = [c for c in COMMANDS if c.program.split(".")[0] in ("tuner", "benchmarks")]
THEIRS = [c for c in COMMANDS if c.program in ("ray", "mlflow") and c.arguments]
BLOCKS = [
    (language, path, number, block)
    for language in ("yaml", "python")
    for path in DOCUMENTS
    for number, block in enumerate(documents.blocks(path, language))
]
#: What parses a command's arguments may take a word in capitals for a number.
PLACEHOLDER = re.compile(r"[A-Z][A-Z\d_]*")


def blocks_of(language: str) -> list[Any]:
    return [
        pytest.param(path, block, id=f"{path.relative_to(ROOT)}-{number}")
        for found, path, number, block in BLOCKS
        if found == language
    ]


class Parsed(Exception):
    """A command's arguments were read, and it must do nothing more."""


def test_ci_installs_and_tests_with_the_readmes_commands() -> None:
    ci = (ROOT / ".ci" / "run").read_text()
    first, second = (block.strip() for block in documents.blocks(ROOT / "README.md", "bash"))
    venv, install, run = first.split(" && ")
    assert run == ".venv/bin/python -m tuner.search search_spaces/gp.yaml"
    for command in (venv, install, second):
        assert command in ci, f"the README says `{command}`, and CI does otherwise"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path: Path) -> None:
    broken = []
    for link in documents.links(path):
        if link.startswith(("https://", "http://")):
            continue
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        is_there = target.exists() and (not anchor or anchor in documents.anchors(target))
        if not is_there:
            broken.append(link)
    assert broken == []


def test_every_document_is_linked_from_the_readme() -> None:
    readme = ROOT / "README.md"
    linked = {(ROOT / link.partition("#")[0]).resolve() for link in documents.links(readme)}
    assert [path for path in DOCUMENTS if path != readme and path not in linked] == []


def test_the_tree_of_the_architecture_has_every_file_and_no_other() -> None:
    (tree,) = documents.blocks(ROOT / "docs" / "architecture.md", "")
    folder, listed = "", []
    for line in tree.splitlines():
        name = line.split("  ")[0 if not line.startswith(" ") else 1].strip() if line else ""
        if line and not line.startswith(" "):
            folder = name
        elif name:
            listed.append(f"{folder}{name}")
    empty = {name for name in listed if not list(ROOT.glob(name))}
    assert empty == set(), "docs/architecture.md lists what there is not"
    there = {
        path
        for package in ("tuner", "trainables")
        for path in (ROOT / package).iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    found = {path for name in listed for path in ROOT.glob(name)}
    assert {path.name for path in there - found} <= {"__init__.py"}


METHODS_PAGE = ROOT / "docs" / "methods.md"


def test_the_page_on_methods_names_each_of_them_and_every_key_of_its_own() -> None:
    text = METHODS_PAGE.read_text()
    names = {*get_args(Loss), *get_args(Constraint), *get_args(Divergence)}
    names |= {*TrainingConfig.model_fields} & {*APPLIES_WHEN}
    of_optimizers = {key for key in names if "optimizer" in APPLIES_WHEN.get(key, ({},))[0]}
    # "loss: minimax", "constraint: clip", or the name alone
    missing = [n for n in names - of_optimizers if not re.search(rf"`(\w+: )?{n}[`:]", text)]
    assert missing == []


@pytest.mark.parametrize("method", PUBLISHED)
def test_the_page_on_methods_prints_the_published_values(method: str) -> None:
    (row,) = re.findall(rf"^\| `{method}` \|(.*)\|$", METHODS_PAGE.read_text(), re.MULTILINE)
    num_steps, optimizer, rate, betas, own = (cell.strip() for cell in row.split("|"))
    values = dict(PUBLISHED[method])
    assert (num_steps, optimizer) == (str(values.pop("n_critic", "")), values.pop("optimizer"))
    generator_lr = values.pop("generator_lr")
    assert float(rate) == generator_lr == values.pop("critic_lr", generator_lr)
    given = [values.pop("beta1"), values.pop("beta2")]
    assert [float(beta) for beta in betas.split(",") if beta] == (
        given if optimizer == "adam" else []
    )
    del values["weight_decay"], values["consistency_margin"]
    printed = dict(re.findall(r"`(\w+)` (\S+?)(?:,|$)", own))
    assert {key: plain_number(value) for key, value in printed.items()} == values


def test_a_citation_names_the_version_that_there_is() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["title"], citation["version"]) == (project["name"], project["version"])
    assert f"will be {project['version']}" in (ROOT / "CHANGELOG.md").read_text()


def test_a_citation_has_the_paper_of_every_method() -> None:
    """By the digital object identifier that arXiv gives it; and names them as the page does."""
    listed = re.findall(
        r"^\| ([^|]+) (\d{4}) \| .+, arXiv (\S+) \|$", METHODS_PAGE.read_text(), re.M
    )
    assert len(listed) > 20
    references = yaml.safe_load((ROOT / "CITATION.cff").read_text())["references"]
    by_doi = {reference["doi"].lower(): reference for reference in references}
    assert len(by_doi) == len(references)
    for names, year, number in listed:
        reference = by_doi[f"10.48550/arxiv.{number}"]
        first = reference["authors"][0]["family-names"].replace(
            "\N{LATIN SMALL LETTER DOTLESS I}", "i"
        )
        assert (first, reference["year"]) == (names.split(" &")[0], int(year))
        assert reference["type"] == "article"
        assert reference["title"]


@pytest.mark.parametrize("command", OURS, ids=str)
def test_a_command_of_ours_takes_what_is_shown(
    command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = find_spec(command.program)
    assert found is not None, f"there is no {command.program}"
    if found.submodule_search_locations is not None:  # of a package, what runs is this
        found = find_spec(f"{command.program}.__main__")
    assert found is not None
    if command.is_mention and not command.arguments:
        return
    main = importlib.import_module(found.name).main
    source = Path(inspect.getfile(inspect.unwrap(main))).read_text()
    if not any(maker in source for maker in ("argparse", "command_parser")):
        assert command.arguments == ()
        return
    parse(replace(command, program=found.name), monkeypatch)
    assert capsys.readouterr().err == ""


def parse(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a command read its arguments, and do nothing with them.

    Raises:
        SystemExit: where it refuses them.
    """
    parse_args = argparse.ArgumentParser.parse_args

    def and_stop(self: argparse.ArgumentParser, *args: Any, **kwargs: Any) -> NoReturn:
        raise Parsed(parse_args(self, *args, **kwargs))

    arguments = ["3" if PLACEHOLDER.fullmatch(word) else word for word in command.arguments]
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", and_stop)
    monkeypatch.setattr(sys, "argv", [command.program, *arguments])
    with pytest.raises(Parsed):
        importlib.import_module(command.program).main()


@pytest.mark.parametrize(
    "arguments", [["search_spaces/gp.yaml", "--dry"], [], ["a.yaml", "b.yaml"], ["a", "--name"]]
)
def test_an_option_that_there_is_not_would_be_found(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse(Command("a document", "tuner.search", tuple(arguments), False), monkeypatch)


@pytest.fixture(scope="module")
def programs() -> dict[str, click.Group]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow warns at its own hints
        from mlflow.cli import cli as mlflow
        from ray.scripts.scripts import cli as ray
    return {"mlflow": mlflow, "ray": ray}


@pytest.mark.parametrize("command", THEIRS, ids=str)
def test_a_command_of_others_takes_what_is_shown(
    command: Command, programs: dict[str, click.Group]
) -> None:
    group: click.Command = programs[command.program]
    words = [re.sub("PORT", "5000", word) for word in command.arguments]
    context = None
    while isinstance(group, click.Group):
        context = group.make_context(group.name, words, parent=context)
        rest = [*context._protected_args, *context.args]
        _, found, words = group.resolve_command(context, rest)
        assert found is not None
        group = found
    if words or not command.is_mention:
        group.make_context(group.name, words, parent=context)


def test_an_option_that_others_do_not_have_would_be_found(programs: dict[str, click.Group]) -> None:
    wrong = Command("a document", "mlflow", ("ui", "--backend-store-url", "x"), False)
    with pytest.raises(click.NoSuchOption, match="--backend-store-url"):
        test_a_command_of_others_takes_what_is_shown(wrong, programs)


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_files_that_a_command_names_are_there(command: Command) -> None:
    folders = ("search_spaces/", "deploy/", "docs/", "tests/", "benchmarks/")
    named = [word for word in command.arguments if word.startswith(folders)]
    assert [word for word in named if not (ROOT / word).exists()] == []


@pytest.mark.parametrize(("path", "block"), blocks_of("yaml"))
def test_yaml_is_what_a_search_space_may_have(path: Path, block: str) -> None:
    given = yaml.safe_load(block)
    _, faults = validate({"name": "shown", "search": {"num_trials": 1}, **given})
    assert faults == []


@pytest.mark.parametrize(("path", "block"), blocks_of("python"))
def test_python_compiles_and_calls_what_there_is(path: Path, block: str) -> None:
    tree = ast.parse(block)
    ours: dict[str, Callable[..., Any]] = {
        alias.asname or alias.name: getattr(importlib.import_module(node.module), alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        if node.module.split(".")[0] in ("tuner", "trainables")
        for alias in node.names
    }
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        if isinstance(call.func, ast.Name) and call.func.id in ours:
            keywords = {keyword.arg: None for keyword in call.keywords if keyword.arg}
            inspect.signature(ours[call.func.id]).bind(*call.args, **keywords)


def test_the_readmes_search_space_and_the_one_that_it_runs_pass_every_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = next(b for b in documents.blocks(ROOT / "README.md", "yaml") if "name:" in b)
    (tmp_path / "space.yaml").write_text(whole)
    monkeypatch.chdir(tmp_path)
    for space in (tmp_path / "space.yaml", ROOT / "search_spaces" / "gp.yaml"):
        assert run_search([str(space), "--dry-run"]) == 0
        assert "rungs: 150, 600, 2400 generator steps" in capsys.readouterr().out
    assert load_yaml(tmp_path / "space.yaml")[0]["asha"]["reduction_factor"] == 4


def test_the_readmes_own_network_passes_every_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readme = ROOT / "README.md"
    network = next(b for b in documents.blocks(readme, "python") if "nn.Module" in b)
    space = next(b for b in documents.blocks(readme, "yaml") if "nets:Generator" in b)
    (tmp_path / "nets.py").write_text(network)
    (tmp_path / "space.yaml").write_text(f"name: own\nsearch: {{num_trials: 1}}\n{space}")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert run_search([str(tmp_path / "space.yaml"), "--dry-run"]) == 0
    sys.modules.pop("nets", None)


@pytest.mark.parametrize("shown", ["load_generator", "onnxruntime"])
def test_the_saved_generator_is_used_as_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown: str
) -> None:
    import torch

    from trainables.training.state import TrainState
    from trainables.trial import generator_file
    from tuner.export import main as export

    blocks = documents.blocks(ROOT / "docs" / "results.md", "python")
    block = next(b for b in blocks if shown in b)
    config = TrialConfig.model_validate({})
    state = TrainState.create(config, (1, 8, 8))
    (tmp_path / "runs" / "gp" / "best").mkdir(parents=True)
    saved = tmp_path / "runs" / "gp" / "best" / "generator.pt"
    torch.save(generator_file(state, config, (1, 8, 8)), saved)
    monkeypatch.chdir(tmp_path)
    if shown == "onnxruntime":
        assert export([str(saved), "--format", "onnx", "--out", "digits.onnx"]) == 0
    names: dict[str, Any] = {}
    exec(compile(block, "docs/results.md", "exec"), names)
    assert names["images"].shape == (64, 1, 8, 8)
    assert abs(names["images"]).max() <= 1
