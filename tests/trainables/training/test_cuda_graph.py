"""A step as a CUDA graph: it can be captured, and trains as without a graph.

A graph needs a GPU. Without one, a fake records the operations of a step and repeats them on the
same tensors, without the Python code around them, as a graph does.
"""

import sys
from collections.abc import Callable
from functools import partial

import pytest
import torch
from graph_fakes import NoCopies, NoGPU, capture
from small_trials import GANS, METHODS, REAL, identical, numbers, trial, weights_of
from torch import Tensor, nn

from trainables.config import TrialConfig
from trainables.training import cuda_graph as graph
from trainables.training.cuda_graph import WARM_UP_STEPS, captured
from trainables.training.loop import _advance, _iteration, train
from trainables.training.state import TrainState

PIXELS = torch.randint(256, (20, 1, 8, 8), generator=torch.Generator().manual_seed(0)).byte()
CAPTURABLE = [method for method in METHODS if method != "orthogonal"]
LAST = 8

# The modules, which the package itself hides.
RMSPROP, ADAM = (sys.modules[kind.__module__] for kind in (torch.optim.RMSprop, torch.optim.Adam))

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def kind(method: str = "gradient_penalty", networks: dict | None = None, **training):
    config = trial(method, cuda_graph=True, **training)
    update = {"networks": config.networks.model_validate(networks)} if networks else {}
    return config.model_copy(update=update | {"max_generator_steps": LAST})


def images(architecture: str, **networks) -> dict:
    widths = {"generator_width": 4, "critic_width": 4, "latent_dim": 3}
    return {"architecture": architecture} | widths | networks


KINDS = {
    **{method: kind(method) for method in CAPTURABLE},
    **{f"{method}, noise": kind(method, instance_noise=0.1) for method in GANS},
    "r1, r2, smoothing, packs": kind(
        "non_saturating", r1_weight=1, r2_weight=1, label_smoothing=0.1, pack=2
    ),
    "feature matching": kind("non_saturating", feature_matching_weight=1, instance_noise=0.1),
    "history": kind("gradient_penalty", historical_averaging_weight=1),
    "minibatch discrimination": kind("clip", {"minibatch_discrimination": 3, "latent_dim": 3}),
    **{f"f_gan, {name}": kind("f_gan", divergence=name) for name in ("kl", "pearson", "neyman")},
    "rmsprop, decay": kind("clip", lr_decay="linear"),
    "adamw, decay": kind(optimizer="adamw", lr_decay="linear"),
    "average": kind(ema_decay=0.5),
    "bfloat16": kind(precision="bfloat16"),
    "smooth": kind(networks={"critic_activation": "tanh", "generator_width": 8, "critic_width": 8}),
    "dcgan": kind(networks=images("dcgan"), ema_decay=0.5),
    "dcgan, batch": kind("clip", images("dcgan", critic_norm="batch"), ema_decay=0.5),
    "dcgan, virtual": kind("clip", images("dcgan", generator_norm="virtual"), ema_decay=0.5),
    "dcgan, spectral_norm": kind("spectral_norm", images("dcgan")),
    "resnet, layer": kind(networks=images("resnet", critic_norm="layer")),
}
all_kinds = pytest.mark.parametrize("config", KINDS.values(), ids=KINDS)


def real_of(config: TrialConfig) -> Tensor:
    return REAL if config.networks.architecture == "mlp" else PIXELS


def made(config: TrialConfig, device: str = "cpu") -> TrainState:
    return TrainState.create(config, tuple(real_of(config).shape[1:]), device)


def run(state: TrainState, config: TrialConfig, report_at: list[int]) -> list[dict[str, float]]:
    real = real_of(config).to(state.rng.device)
    return [numbers(m) for m in train(state, config.training, real, report_at)]


# --- capturability, on a fake GPU whose tensors have no values


@pytest.fixture
def on_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainables.training.state._CAPTURES_ON", "meta")
    monkeypatch.setattr("torch.Generator", NoGPU)
    monkeypatch.setattr(RMSPROP, "_get_capturable_supported_devices", lambda: ["meta"])
    monkeypatch.setattr(ADAM, "_device_dtype_check_for_fused", lambda parameter: None)


def two_steps(state: TrainState, config: TrialConfig) -> None:
    """The first step creates the optimisers' state and the average."""
    assert state.captures
    step = partial(_iteration, state, config.training, real_of(config).to("meta"))
    with NoCopies():
        for _ in range(2):
            outputs = _advance(state, config.training, step)
    assert {tensor.device.type for tensor in outputs} == {"meta"}


@pytest.mark.usefixtures("on_no_gpu")
@pytest.mark.parametrize("config", [KINDS[name] for name in KINDS if name != "bfloat16"])
def test_a_step_reads_nothing_back_from_the_gpu_and_copies_nothing_to_it(config) -> None:
    two_steps(made(config, "meta"), config)


class Looks(nn.Module):
    """A critic that does something to its samples first."""

    def __init__(self, look: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.look, self.layers = look, nn.Sequential(nn.Linear(2, 1), nn.Flatten(0))

    def forward(self, samples: Tensor) -> Tensor:
        self.look(samples)
        return self.layers(samples)


NO_ITEM = r"Tensor.item\(\) cannot be called"
LOOKS = {
    "item": (lambda samples: samples.sum().item(), NO_ITEM),
    "if": (lambda samples: samples.sum() > 0 or None, NO_ITEM),
    "nonzero": (lambda samples: samples[samples > 0], "nonzero"),
    "cpu": (lambda samples: samples.cpu(), "Cannot copy out of meta tensor"),
    "number": (lambda samples: torch.tensor(2.0, device=samples.device), "copies from the CPU"),
    "to": (lambda samples: torch.ones(2).to(samples.device), "copies from the CPU"),
}


@pytest.mark.usefixtures("on_no_gpu")
@pytest.mark.parametrize(("look", "message"), LOOKS.values(), ids=LOOKS)
def test_a_step_that_does_is_detected(look, message) -> None:
    """Otherwise the test above would prove nothing."""
    config = kind("clip")
    state = made(config, "meta")
    state.critic, state.closed_form = Looks(look).to("meta"), None
    with pytest.raises((RuntimeError, NotImplementedError), match=message):
        two_steps(state, config)


@pytest.mark.usefixtures("on_no_gpu")
def test_the_orthogonal_projection_reads_values_back() -> None:
    """For this reason cuda_graph is refused under orthogonal."""
    with pytest.raises(RuntimeError, match=NO_ITEM):
        two_steps(made(kind("clip"), "meta"), trial("orthogonal"))


# --- the loop, with the fake graph


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainables.training.state._CAPTURES_ON", "cpu")
    monkeypatch.setattr(graph, "_warm_up", lambda step: step())
    monkeypatch.setattr(graph, "_capture", capture)
    monkeypatch.setattr(RMSPROP, "_get_capturable_supported_devices", lambda: ["cpu"])


def test_the_fake_graph_repeats_operations_and_freezes_python(on_cpu) -> None:
    """Python runs for the first steps and the capture; later steps still update tensors."""
    total, calls = torch.zeros(()), []

    def step() -> tuple[Tensor]:
        calls.append(len(calls))
        total.add_(10).add_(len(calls))
        return (total * 2,)

    steps = captured(step, torch.Generator())
    values = [next(steps)[0].item() / 2 for _ in range(WARM_UP_STEPS + 3)]
    assert len(calls) == WARM_UP_STEPS + 1
    assert values == [11, 23, 36, 50, 64, 78]  # by 11, 12, 13, and then 14 at each step
    assert total == 78


@all_kinds
@pytest.mark.usefixtures("on_cpu")
def test_captured_steps_train_as_the_same_steps_do_one_by_one(config) -> None:
    """To the bit, at each report; the learning rate falls at each step where it decays."""
    graphed, plain = made(config), made(config)
    plain.captures = False
    assert graphed.captures
    report_at = [2, WARM_UP_STEPS + 1, LAST]
    assert run(graphed, config, report_at) == run(plain, config, report_at)
    assert identical(graphed, plain)


@pytest.mark.usefixtures("on_cpu")
@pytest.mark.parametrize(
    "config", [KINDS[k] for k in ("dcgan", "dcgan, virtual", "history", "adamw, decay")]
)
@pytest.mark.parametrize("pause", [2, WARM_UP_STEPS + 2])
def test_a_resumed_trial_equals_an_unbroken_one(config, pause, tmp_path) -> None:
    unbroken, stopped, resumed = made(config), made(config), made(config)
    first, last = run(unbroken, config, [pause, LAST])
    assert run(stopped, config, [pause]) == [first]
    torch.save(stopped.state_dict(), tmp_path / "state.pt")
    run(resumed, config, [WARM_UP_STEPS + 1])
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert run(resumed, config, [pause, LAST]) == [last]
    assert identical(resumed, unbroken)


@pytest.mark.usefixtures("on_cpu")
def test_where_the_reports_are_changes_nothing_in_the_training() -> None:
    config = KINDS["average"]
    often, once = made(config), made(config)
    run(often, config, list(range(1, LAST + 1)))
    run(once, config, [LAST])
    assert identical(often, once)


# --- learning rates


EXACT = {"critic_lr": 2**-7, "generator_lr": 2**-9}  # as are their eighths, in any float


@pytest.mark.parametrize("decay", ["constant", "linear"])
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "rmsprop"])
def test_learning_rates_as_tensors_train_as_numbers_do(optimizer, decay, on_cpu) -> None:
    """Adam to the bit. RMSprop's loops divide by one where they multiply by the other."""
    config = kind(optimizer=optimizer, lr_decay=decay, **EXACT)
    plain = config.model_copy(
        update={"training": config.training.model_copy(update={"cuda_graph": False})}
    )
    states = made(config), made(plain)
    for state, of in zip(states, (config, plain), strict=True):
        run(state, of, [LAST])
    rates = [state.critic_optimizer.param_groups[0]["lr"] for state in states]
    assert isinstance(rates[0], Tensor)
    assert not isinstance(rates[1], Tensor)
    assert rates[0].item() == rates[1] == (2**-7 if decay == "constant" else 2**-7 / LAST)
    within = {"rtol": 1e-4, "atol": 1e-6} if optimizer == "rmsprop" else {"rtol": 0, "atol": 0}
    for player in ("generator", "critic"):
        torch.testing.assert_close(*(weights_of(getattr(s, player)) for s in states), **within)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "rmsprop"])
def test_a_loaded_state_keeps_its_own_option_for_capture(optimizer, monkeypatch) -> None:
    """As for a trial that is saved on a GPU and resumed on a CPU: the device decides."""
    config = kind(optimizer=optimizer, lr_decay="linear", **EXACT)
    plain = made(config)
    monkeypatch.setattr("trainables.training.state._CAPTURES_ON", "cpu")
    on_a_gpu = made(config)
    for one, other in ((plain, on_a_gpu), (on_a_gpu, plain)):
        options = one.critic_optimizer.param_groups[0] | {"params": None, "lr": None}
        one.load_state_dict(other.state_dict())
        (group,) = one.critic_optimizer.param_groups
        assert group | {"params": None, "lr": None} == options
        assert group["lr"] == EXACT["critic_lr"]
        assert isinstance(group["lr"], Tensor) == group["capturable"] == one.captures


# --- on a CPU, and on a GPU


def test_on_a_cpu_cuda_graph_has_no_effect() -> None:
    config, plain = kind(ema_decay=0.5), trial(ema_decay=0.5)
    states = made(config), made(plain)
    for state in states:
        assert not state.captures
        run(state, plain, [LAST])
    assert identical(*states)


@needs_gpu
@all_kinds
def test_on_a_gpu_captured_steps_train_as_the_same_steps_do_one_by_one(config) -> None:
    """To the bit, for the kernels and the random numbers are the same."""
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
        graphed, plain = made(config, "cuda"), made(config, "cuda")
        plain.captures = False
        report_at = [2, WARM_UP_STEPS + 1, LAST]
        with pytest.warns(UserWarning, match="without CUDA graph capture"):
            expected = run(plain, config, report_at)
        assert run(graphed, config, report_at) == expected
        assert identical(graphed, plain)


@needs_gpu
@all_kinds
def test_on_a_gpu_captured_steps_end_near_the_trial_without_the_key(config) -> None:
    """Up to rounding: a learning rate as a tensor is float32, and RMSprop divides by it."""
    without = config.training.model_copy(update={"cuda_graph": False})
    plain = config.model_copy(update={"training": without})
    (captured_at,) = run(made(config, "cuda"), config, [LAST])
    assert captured_at == pytest.approx(
        run(made(plain, "cuda"), plain, [LAST])[0], rel=1e-2, abs=1e-3
    )


@needs_gpu
def test_on_a_gpu_a_step_that_cannot_be_captured_raises_with_the_way_out() -> None:
    config = kind("clip")
    state = made(config, "cuda")
    state.critic, state.closed_form = Looks(lambda samples: samples.sum().item()).to("cuda"), None
    state.critic_optimizer = torch.optim.SGD(state.critic.parameters(), 0.1)
    with pytest.raises(RuntimeError, match="cuda_graph must have networks that read no values"):
        run(state, config, [LAST])
