"""Custom networks: how they are built, and the messages for each fault."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
import torch
from torch import nn

from trainables.networks import BadNetwork, build_custom
from trainables.networks.custom import LIBRARIES

MODULE = """
from torch import nn
from torch.nn import Linear

class Net(nn.Module):
    def __init__(self, latent_dim, sample_shape, *, hidden, slope=0.2):
        super().__init__()
        if hidden > 100:
            raise ValueError("hidden must be\\n  at most 100")
        self.layer = nn.Linear(latent_dim, hidden)
        self.slope = slope

class Blind(nn.Module):
    def __init__(self, latent_dim):
        super().__init__()

class Anything(Net):
    def __init__(self, **options):
        self.options = options
        super().__init__(options["latent_dim"], options["sample_shape"], hidden=2)

class Empty(nn.Module):
    def __init__(self, latent_dim, sample_shape):
        super().__init__()

class Frozen(nn.Linear):
    def __init__(self, latent_dim, sample_shape):
        super().__init__(latent_dim, 2)
        self.requires_grad_(False)

class Lazy(nn.Sequential):
    def __init__(self, latent_dim, sample_shape):
        super().__init__(nn.LazyLinear(2))

class Plain:
    def __init__(self, **arguments):
        raise AssertionError("was called")

def function(**arguments):
    raise AssertionError("was called")

constant = 5
"""
FILES = {
    "my_nets.py": MODULE,
    "my_raises.py": "raise RuntimeError('no licence\\nfor it')",
    "my_exits.py": "import sys\nsys.exit('bye')",
    "my_syntax.py": "def net(:\n",
    "my_needs.py": "import nowhere.deep",
    "my_package/__init__.py": "from .nets import Net",
    "my_package/nets.py": MODULE,
}
SHAPES = {"latent_dim": 3, "sample_shape": (2,)}


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize("path", ["my_nets:Net", "my_package.nets:Net"])
def test_a_network_gets_the_arguments_of_the_trial_and_of_the_search_space(path: str) -> None:
    network = build_custom("generator", path, {"hidden": 7}, **SHAPES)
    assert network.get_parameter("layer.weight").shape == (7, 3)
    assert network.slope == 0.2


def test_a_network_may_accept_any_keyword() -> None:
    network = build_custom("generator", "my_nets:Anything", {"depth": [1, 2]}, **SHAPES)
    assert network.options == {"depth": [1, 2], **SHAPES}


def test_a_networks_weights_are_drawn_from_the_global_rng() -> None:
    def weights(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return build_custom("generator", "my_nets:Net", {"hidden": 2}, **SHAPES).layer.weight

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


FAULTS = [
    # path, args, suffix of the key, part of the message
    ("nowhere:Net", {}, "", "no module nowhere was found: put it into the folder of the search "
     "space file or the one where the search is started, or add its folder to PYTHONPATH"),
    ("my_package.nests:Net", {}, "", "no module my_package.nests was found: put"),
    ("my_nets.nets:Net", {}, "", "no module my_nets.nets was found: put"),
    ("my_needs:Net", {}, "", "my_needs must be importable, but raised ModuleNotFoundError: No "
     "module named 'nowhere'"),
    ("my_raises:Net", {}, "", "my_raises must be importable, but raised RuntimeError: no licence "
     "for it"),
    ("my_exits:Net", {}, "", "my_exits must be importable, but raised SystemExit: bye"),
    ("my_syntax:Net", {}, "", "my_syntax must be importable, but raised SyntaxError: "),
    ("my_nets:Ned", {}, "", "has no Ned (did you mean Net?)"),
    ("my_nets:Zebra", {}, "", "has no Zebra"),
    ("my_nets:constant", {}, "", "my_nets:constant must be a subclass of torch.nn.Module, got int"),
    ("my_nets:function", {}, "", "my_nets:function must be a subclass of torch.nn.Module, got "
     "function"),
    ("my_nets:Plain", {}, "", "my_nets:Plain must be a subclass of torch.nn.Module, got another "
     "class"),
    ("my_nets:nn", {}, "", "my_nets:nn must be a subclass of torch.nn.Module, got module"),
    ("my_nets:Linear", {}, "", "my_nets:Linear must be defined in my_nets, got a class of "
     "torch.nn.modules.linear: define a subclass of it in my_nets"),
    ("my_package:Net", {}, "", "my_package:Net must be defined in my_package, got a class of "
     "my_package.nets: write my_package.nets:Net"),
    ("torch.hub:load", {}, "", "torch.hub:load must be a class in a module of your own, and torch "
     "is the name of a library: write a class in a module with another name"),
    ("os:system", {}, "", "os:system must be a class in a module of your own, and os is"),
    ("my_nets:Blind", {}, "", "my_nets:Blind must accept sample_shape, which every trial passes"),
    ("my_nets:Net", {"hiden": 2, "deep": 1}, "_args", "my_nets:Net does not accept hiden, deep "
     "(did you mean hidden?); it accepts hidden, slope"),
    ("my_nets:Empty", {"hidden": 2}, "_args", "my_nets:Empty does not accept hidden; it accepts "
     "none"),
    ("my_nets:Net", {}, "_args", "my_nets:Net requires hidden: give it in generator_args"),
    ("my_nets:Net", {"hidden": 2, "latent_dim": 9}, "_args", "my_nets:Net gets latent_dim from the "
     "trial: take it out of generator_args"),
    ("my_nets:Net", {"hidden": 101}, "", "my_nets:Net must be callable with (latent_dim=3, "
     "sample_shape=(2,), hidden=101), but raised ValueError: hidden must be at most 100"),
    ("my_nets:Empty", {}, "", "my_nets:Empty must have trainable parameters, got none"),
    ("my_nets:Frozen", {}, "", "my_nets:Frozen must have trainable parameters, got none"),
    ("my_nets:Lazy", {}, "", "my_nets:Lazy must have weights of known shapes, got lazy ones: "
     "0.weight, 0.bias; compute their shapes from sample_shape"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "args", "key", "words"), FAULTS)
def test_a_fault_is_one_line_with_the_key_at_fault(
    path: str, args: dict[str, int], key: str, words: str
) -> None:
    with pytest.raises(BadNetwork, match=re.escape(words)) as raised:
        build_custom("generator", path, args, **SHAPES)
    assert raised.value.key == f"generator{key}"
    assert "\n" not in str(raised.value)


def test_the_key_of_a_critics_fault_is_critic() -> None:
    with pytest.raises(BadNetwork, match="no module nowhere") as raised:
        build_custom("critic", "nowhere:Net", {}, sample_shape=(2,))
    assert raised.value.key == "critic"


def test_a_long_text_of_an_exception_is_cut() -> None:
    with pytest.raises(BadNetwork, match=r"x{100}\.\.\.$") as raised:
        build_custom("critic", f"{__name__}:Complaining", {}, sample_shape=(2,))
    assert len(str(raised.value)) < 350


class Complaining(nn.Module):
    def __init__(self, sample_shape: tuple[int, ...]) -> None:
        raise ValueError("x" * 10_000)


def test_a_module_of_a_library_is_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some act when they are imported: ``antigravity`` opens a browser."""
    monkeypatch.setattr("importlib.import_module", lambda name: pytest.fail(f"imported {name}"))
    with pytest.raises(BadNetwork, match="antigravity is the name of a library"):
        build_custom("critic", "antigravity:Critic", {}, sample_shape=(2,))


def test_every_package_that_this_project_needs_counts_as_a_library() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    needed = {_normal(re.split(r"[\[<>=]", text)[0]) for text in project["dependencies"]}
    packages = {
        package
        for package, distributions in importlib.metadata.packages_distributions().items()
        if not package.startswith("_") and needed & set(map(_normal, distributions))
    }
    assert len(packages) >= len(needed)
    assert packages - LIBRARIES == set()


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
