"""The generator that a trial left: found in best/, in a checkpoint, and where the folder moved."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import small_search
import torch
from saved_generator import save

from tuner.errors import BadInput
from tuner.results import generators, snapshot
from tuner.space.spec import SearchSpec
from tuner.study.study import Study
from tuner.tracking.tracker import Tracker


@pytest.fixture
def run_dir(make_spec: Callable[..., SearchSpec], uri: str, tmp_path: Path) -> Path:
    """A search of two trials, the second under way and past a rung, with a checkpoint."""
    search, folder = make_spec(search={"num_trials": 2, "sampler": "random"}), tmp_path / "search"

    def follow(search_id: str) -> Any:
        return Tracker(search, folder, search_id, lambda text: None, uri)

    small_search.tell_search(search, folder, follow, finish=False)
    study = Study(folder / "study.log", search)
    study.score(1, 250, 1.0)
    for name in ("checkpoint_000001", "checkpoint_000002"):
        study.save(1, str(folder / "ray" / "first" / name))
    (folder / "best.yaml").write_text("# trial 00000: w1 1\n")
    return folder


def of(run_dir: Path, trial_id: str) -> torch.Tensor:
    search = snapshot.read_snapshot(run_dir)
    return generators.generator_of_trial(search, search.trial(trial_id))(torch.zeros(1, 5))


def test_the_best_one_is_in_best_and_another_in_its_last_checkpoint_that_has_one(
    run_dir: Path,
) -> None:
    best = save(run_dir / "best" / "generator.pt", 1)
    saved = save(run_dir / "ray" / "first" / "checkpoint_000001" / "generator.pt", 2)
    assert torch.equal(of(run_dir, "0"), best)
    assert torch.equal(of(run_dir, "1"), saved)  # the one after it was between two rungs
    assert not torch.equal(best, saved)


def test_past_two_checkpoints_since_its_best_rung_it_is_that_rung_s(run_dir: Path) -> None:
    study = Study(run_dir / "study.log", snapshot.read_snapshot(run_dir).spec)
    folder = run_dir / "ray" / "first"
    for steps, score in ((300, 0.5), (400, 2.0)):
        study.save(1, str(folder / f"checkpoint_{steps}"), (steps, score))
        study.score(1, steps, score)
    for steps in (500, 600):
        study.save(1, str(folder / f"checkpoint_{steps}"))
    saved = save(folder / "checkpoint_300" / "generator.pt", 2)
    save(folder / "checkpoint_400" / "generator.pt", 3)
    assert torch.equal(of(run_dir, "1"), saved)


def test_a_folder_that_moved_took_its_checkpoints_along(run_dir: Path, tmp_path: Path) -> None:
    saved = save(run_dir / "ray" / "first" / "checkpoint_000002" / "generator.pt", 2)
    shutil.move(run_dir, tmp_path / "moved")
    assert torch.equal(of(tmp_path / "moved", "1"), saved)


def test_a_trial_that_left_none_says_so(run_dir: Path) -> None:
    with pytest.raises(BadInput, match="trial 00000 has no generator, as is saved at each rung"):
        of(run_dir, "0")
    with pytest.raises(BadInput, match=r"at each rung: cannot read generator\.pt from "):
        of(run_dir, "1")


def test_no_gradient_is_computed_and_a_wrong_shape_is_refused_in_words(tmp_path: Path) -> None:
    save(tmp_path / "generator.pt", 0)
    generator = generators.generator_of_file(tmp_path / "generator.pt")
    samples = generator(torch.randn(3, 5))
    assert (samples.shape, samples.requires_grad) == ((3, 2), False)
    for wrong in ((3, 4), (5,)):
        with pytest.raises(ValueError, match=r"latents must be of shape \[n, 5\], got \["):
            generator(torch.zeros(wrong))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"networks": {"latent_dim": -1}}, "ValidationError: "),
        ({"networks": "mlp"}, "ValidationError: "),
        ({"networks": {}}, "[A-Z]"),
        ({"sample_shape": 2}, "TypeError: "),
        ({"sample_shape": [3]}, "RuntimeError: Error.* in loading state_dict"),
        ({"sample_shape": ["a"]}, "[A-Z]"),
        ({"state_dict": []}, "TypeError: Expected state_dict to be dict-like"),
        ({"state_dict": {}}, "RuntimeError: Error.* in loading state_dict"),
    ],
)
def test_a_file_that_holds_something_else_is_refused_in_one_line(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    path = tmp_path / "generator.pt"
    save(path, 0)
    torch.save(torch.load(path) | change, path)
    with pytest.raises(BadInput, match=rf"holds no generator \({reason}") as refused:
        generators.generator_of_file(path)
    assert len(str(refused.value).splitlines()) == 2


@pytest.mark.parametrize("content", [{}, [], 3, {"networks": {}, "sample_shape": [2]}])
@pytest.mark.parametrize("name", ["generator.pt", "mine.pt"])
def test_a_file_without_a_generator_s_keys_is_refused(
    tmp_path: Path, content: Any, name: str
) -> None:
    torch.save(content, tmp_path / name)
    with pytest.raises(BadInput, match=r"lacks .*state_dict|holds no (generator|mapping)"):
        generators.generator_of_file(tmp_path / name)


def test_a_generator_of_another_trial_is_refused(run_dir: Path) -> None:
    path = run_dir / "best" / "generator.pt"
    save(path, 1)
    torch.save(torch.load(path) | {"trial": "search_00001"}, path)
    with pytest.raises(BadInput, match="is of trial search_00001"):
        of(run_dir, "0")
    path = run_dir / "ray" / "first" / "checkpoint_000002" / "generator.pt"
    save(path, 1)
    torch.save(torch.load(path) | {"trial": "search_00000"}, path)
    # The file itself is named, and not the copy that was read.
    with pytest.raises(BadInput, match=rf"^{path}: .*\n.*of trial search_00000"):
        of(run_dir, "1")


def test_a_file_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "generator.pt"
    save(path, 0)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BadInput, match=r"generator\.pt: 1 fault"):
        generators.generator_of_file(path)
    networks = {"generator": "nowhere_nets:Net", "latent_dim": 5}
    torch.save({"state_dict": {}, "networks": networks, "sample_shape": [2]}, path)
    with pytest.raises(BadInput, match=r"names nowhere_nets:Net, .* add --allow-code nowhere_nets"):
        generators.generator_of_file(path)
    with pytest.raises(BadInput, match=r"no module nowhere_nets.* start this where that module is"):
        generators.generator_of_file(path, ["nowhere_nets"])


def test_code_is_checked_without_importing_it(tmp_path: Path) -> None:
    path = tmp_path / "generator.pt"
    networks = {"generator": "nowhere.nets:Net", "latent_dim": 5}
    torch.save({"state_dict": {}, "networks": networks, "sample_shape": [2]}, path)
    generators.check_code(path, ["nowhere.nets"])
    for allowed in ((), ["nowhere"], ["nets"]):
        with pytest.raises(
            BadInput, match=r"names nowhere\.nets:Net, whose module nowhere\.nets wou"
        ):
            generators.check_code(path, allowed)
    path.write_bytes(path.read_bytes()[:-100])
    generators.check_code(path, ())  # what loads it says that it is damaged
    save(path, 0)
    generators.check_code(path, ())
