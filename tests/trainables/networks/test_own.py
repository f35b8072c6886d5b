"""What is wrong with a user's own network is said in the words of the search space."""

import re
from pathlib import Path

import pytest
import torch

from trainables.networks import BadNetwork, build_own

MODULE = """
from torch import nn

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

def number(latent_dim, sample_shape):
    return 3

def empty(latent_dim, sample_shape):
    return nn.ReLU()

def frozen(latent_dim, sample_shape):
    return nn.Linear(latent_dim, 2).requires_grad_(False)

def lazy(latent_dim, sample_shape):
    return nn.Sequential(nn.LazyLinear(2))

constant = 5
"""
FILES = {
    "own_good.py": MODULE,
    "own_raises.py": "raise RuntimeError('no licence\\nfor it')",
    "own_leaves.py": "import sys\nsys.exit('bye')",
    "own_syntax.py": "def net(:\n",
    "own_needs.py": "import own_nowhere.deep",
    "own_package/__init__.py": "",
    "own_package/nets.py": MODULE,
}
GIVEN = {"latent_dim": 3, "sample_shape": (2,)}


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize("path", ["own_good:Net", "own_package.nets:Net"])
def test_a_network_is_made_of_what_the_trial_and_its_author_give(path: str) -> None:
    network = build_own("generator", path, {"hidden": 7}, **GIVEN)
    assert network.get_parameter("layer.weight").shape == (7, 3)
    assert network.slope == 0.2


def test_a_network_may_take_any_keyword() -> None:
    network = build_own("generator", "own_good:Anything", {"depth": [1, 2]}, **GIVEN)
    assert network.options == {"depth": [1, 2], **GIVEN}


def test_a_networks_weights_are_drawn_from_the_global_rng() -> None:
    def weights(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return build_own("generator", "own_good:Net", {"hidden": 2}, **GIVEN).layer.weight

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


FAULTS = [
    # path, args, the key to blame, what is said
    ("own_nowhere:Net", {}, "", "no module own_nowhere: it is looked for in the folder of the "
     "search space file, where the search was started, and in PYTHONPATH"),
    ("own_package.nests:Net", {}, "", "no module own_package.nests: it is looked for"),
    ("own_good.nets:Net", {}, "", "no module own_good.nets: it is looked for"),
    ("own_needs:Net", {}, "", "own_needs must be importable, but raised ModuleNotFoundError: No "
     "module named 'own_nowhere'"),
    ("own_raises:Net", {}, "", "own_raises must be importable, but raised RuntimeError: no "
     "licence for it"),
    ("own_leaves:Net", {}, "", "own_leaves must be importable, but raised SystemExit: bye"),
    ("own_syntax:Net", {}, "", "own_syntax must be importable, but raised SyntaxError: "),
    ("own_good:Ned", {}, "", "has no Ned; did you mean Net?"),
    ("own_good:Zebra", {}, "", "has no Zebra"),
    ("own_good:constant", {}, "", "own_good:constant must be a class or function, got int"),
    ("own_good:Blind", {}, "", "own_good:Blind must take sample_shape, which every trial gives it"),
    ("own_good:Net", {"hiden": 2, "deep": 1}, "_args", "own_good:Net takes no hiden, deep; did you "
     "mean hidden?; it takes hidden, slope"),
    ("own_good:number", {"hidden": 2}, "_args", "own_good:number takes no hidden; it takes none"),
    ("own_good:Net", {}, "_args", "own_good:Net needs hidden: give it in generator_args"),
    ("own_good:Net", {"hidden": 2, "latent_dim": 9}, "_args", "own_good:Net is given latent_dim by "
     "the trial: take it out of generator_args"),
    ("own_good:Net", {"hidden": 101}, "", "own_good:Net must be made by (latent_dim=3, "
     "sample_shape=(2,), hidden=101), but raised ValueError: hidden must be at most 100"),
    ("own_good:number", {}, "", "own_good:number must give a torch.nn.Module, got int"),
    ("own_good:empty", {}, "", "own_good:empty must have parameters to train, got none"),
    ("own_good:frozen", {}, "", "own_good:frozen must have parameters to train, got none"),
    ("own_good:lazy", {}, "", "own_good:lazy must know the shapes of its weights from "
     "sample_shape, got lazy ones: 0.weight, 0.bias"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "args", "key", "words"), FAULTS)
def test_a_fault_is_named_in_one_line_beside_its_key(
    path: str, args: dict[str, int], key: str, words: str
) -> None:
    with pytest.raises(BadNetwork, match=re.escape(words)) as raised:
        build_own("generator", path, args, **GIVEN)
    assert raised.value.key == f"generator{key}"
    assert "\n" not in str(raised.value)


def test_a_critics_fault_is_the_critics() -> None:
    with pytest.raises(BadNetwork, match="no module own_nowhere") as raised:
        build_own("critic", "own_nowhere:Net", {}, sample_shape=(2,))
    assert raised.value.key == "critic"


def test_a_long_complaint_is_cut() -> None:
    with pytest.raises(BadNetwork, match=r"x{100}\.\.\.$") as raised:
        build_own("critic", f"{__name__}:complain", {}, sample_shape=(2,))
    assert len(str(raised.value)) < 300


def complain(sample_shape: tuple[int, ...]) -> None:
    raise ValueError("x" * 10_000)
