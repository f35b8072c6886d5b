"""A checkpoint loads as it was saved, or is reported as damaged."""

import io
import pickle
import shutil
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_trials import trial

from trainables.checkpoint import DamagedCheckpointError, Identity, damage, load_whole
from trainables.data import Data
from trainables.trial import Schedule, load_generator, run

CPU = torch.device("cpu")
STATE = {"state": {"weights": torch.arange(30.0), "step": 3}, "metrics": {"loss": 0.25}}


def _saved(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


@pytest.fixture(scope="module")
def at_rung(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that a trial saved at a rung."""
    points = np.linspace(-1, 1, 120, dtype=np.float32).reshape(60, 2)
    schedule = Schedule(
        rungs=(1, 2), report_every_generator_steps=9, checkpoint_every_generator_steps=9
    )
    first, *_ = run(trial(), Data(points, points, points, points), schedule, CPU)
    assert first.save is not None
    folder = tmp_path_factory.mktemp("checkpoint")
    first.save(folder)
    return folder


@pytest.fixture
def folder(at_rung: Path, tmp_path: Path) -> Path:
    return shutil.copytree(at_rung, tmp_path / "checkpoint_000004")


def test_a_new_checkpoint_is_whole_and_torch_gives_every_member_a_checksum(folder: Path):
    assert damage(folder) is None
    assert torch.serialization.get_crc32_options()
    with zipfile.ZipFile(folder / "state.pt") as file:
        members = file.infolist()
        assert len(members) > 10
        assert all(zlib.crc32(file.read(member)) == member.CRC for member in members)


ME = Identity("gp_00003", {"seed": 1, "training": {"n_critic": 5, "ema_decay": None}})


@pytest.mark.parametrize(
    ("other", "fault"),
    [
        (ME, None),
        (Identity("gp_00003", {"seed": 1, "training": {"n_critic": 5}}), None),  # as of old
        (Identity("gp_00003"), None),
        (Identity("gp_00004", ME.config), "is of trial gp_00004"),
        (Identity("gp_00003", {"seed": 2}), "is of another configuration"),
        (Identity("gp_00003", {"training": {"n_critic": 4}}), "is of another configuration"),
        (Identity("gp_00003", {"training": {"gone": 4}}), "is of another configuration"),
    ],
)
def test_a_file_is_of_the_trial_that_it_names(tmp_path: Path, other: Identity, fault: str | None):
    torch.save(STATE | other.kept(), tmp_path / "state.pt")
    assert load_whole(tmp_path / "state.pt", "cpu").keys() >= STATE.keys()
    if fault is None:
        assert load_whole(tmp_path / "state.pt", "cpu", ME)["state"]["step"] == 3
        return
    with pytest.raises(DamagedCheckpointError, match=fault):
        load_whole(tmp_path / "state.pt", "cpu", ME)


def test_a_file_of_an_earlier_version_does_not_say_and_loads(folder: Path):
    assert damage(folder, ME) is None


@pytest.mark.parametrize("name", ["state.pt", "generator.pt"])
@settings(deadline=None)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_file_truncated_anywhere_is_damaged(at_rung: Path, name: str, share: float):
    whole = (at_rung / name).read_bytes()
    try:
        (at_rung / name).write_bytes(whole[: int(share * len(whole))])
        fault = damage(at_rung)
    finally:
        (at_rung / name).write_bytes(whole)
    assert fault in (
        f"{name} ends too early",
        f"{name} is no file of torch.save",
        f"{name} is empty",
    )


def test_a_small_file_truncated_at_every_length_is_refused(tmp_path: Path):
    whole, path = _saved(STATE), tmp_path / "state.pt"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DamagedCheckpointError, match="must be as it was saved, but it "):
            load_whole(path, CPU)


@pytest.mark.parametrize("bits", [0xFF, 0x10])
def test_one_wrong_byte_anywhere_is_refused_or_has_no_effect(tmp_path: Path, bits: int):
    """Bytes without effect are in padding and dates, which are not read."""
    whole, path = _saved(STATE), tmp_path / "state.pt"
    refused = set()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ bits]) + whole[at + 1 :])
        try:
            saved = load_whole(path, CPU)
        except DamagedCheckpointError:
            refused.add(at)
            continue
        assert torch.equal(saved["state"]["weights"], STATE["state"]["weights"])
        assert (saved["state"]["step"], saved["metrics"]) == (3, {"loss": 0.25})
    tensor = whole.index(STATE["state"]["weights"].numpy().tobytes())
    assert refused >= set(range(tensor, tensor + 120))


def _without_generator(folder: Path) -> None:
    (folder / "generator.pt").unlink()


def _replaced(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


def _with_wrong_byte(name: str) -> Callable[[Path], object]:
    def damaged(folder: Path) -> None:
        weights = load_whole(folder / "generator.pt", CPU)["state_dict"]
        tensor = next(w for w in weights.values() if w.numel() > 8).numpy().tobytes()
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole.replace(tensor, b"\x7f" + tensor[1:]))

    return damaged


class _Touches:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path(self.path).touch, ()


@pytest.mark.parametrize(
    ("damaged", "expected"),
    [
        (_replaced("state.pt", b""), "state.pt is empty"),
        (_replaced("state.pt", _saved(STATE)[:-1]), "state.pt ends too early"),
        (_replaced("state.pt", bytes(5000)), "state.pt is no file of torch.save"),
        (_replaced("state.pt", pickle.dumps(STATE)), "state.pt is no file of torch.save"),
        (_replaced("state.pt", _saved([1])), "state.pt lacks state, metrics"),
        (_replaced("generator.pt", _saved(STATE)), "generator.pt lacks state_dict, networks"),
        (_replaced("generator.pt", _saved(_Touches("made"))), "generator.pt holds more than"),
        (_without_generator, "generator.pt is missing"),
        (shutil.rmtree, "state.pt is missing"),
        (_with_wrong_byte("state.pt"), "state.pt has wrong bytes in "),
        (_with_wrong_byte("generator.pt"), "generator.pt has wrong bytes in "),
    ],
)
def test_each_kind_of_damage_is_described(
    folder: Path, monkeypatch: pytest.MonkeyPatch, damaged: Callable[[Path], object], expected: str
):
    monkeypatch.chdir(folder.parent)
    damaged(folder)
    fault = damage(folder)
    assert fault is not None
    assert fault.startswith(expected)
    assert not Path("made").exists(), "code in the file was run"


def test_a_checkpoint_between_rungs_needs_no_generator(tmp_path: Path):
    (tmp_path / "state.pt").write_bytes(_saved(STATE))
    assert damage(tmp_path) is None


def test_damaged_files_raise_one_clear_error_that_can_be_pickled(folder: Path):
    for name in ("state.pt", "generator.pt"):
        (folder / name).write_bytes((folder / name).read_bytes()[:-500])
    rule = r"\.pt must be as it was saved, but it ends too early: copy it again, or use an earlier"
    with pytest.raises(DamagedCheckpointError, match="generator" + rule) as caught:
        load_generator(folder / "generator.pt", CPU)
    again = pickle.loads(pickle.dumps(caught.value))  # as Ray sends it
    assert str(again) == str(caught.value)
    schedule = Schedule(
        rungs=(1, 2), report_every_generator_steps=9, checkpoint_every_generator_steps=9
    )
    points = np.zeros((60, 2), np.float32)
    with pytest.raises(DamagedCheckpointError, match="state" + rule):
        next(run(trial(), Data(points, points, points, points), schedule, CPU, folder))
