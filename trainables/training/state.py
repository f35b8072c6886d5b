"""All that changes while a trial trains, in one object that saves and loads itself."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ParamSpec, TypeVar, cast, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import get_ema_multi_avg_fn

from trainables.config import TrainingConfig, TrialConfig
from trainables.networks import build_critic, build_generator
from trainables.training.closed_form import Descent, descent
from trainables.training.lipschitz import prepare_
from trainables.training.optimizers import Adam, AdamW, RMSprop

Forward = Callable[[nn.Module, Tensor], Tensor]
_Inputs = ParamSpec("_Inputs")
_Output = TypeVar("_Output")
#: The kind of device on which a step can be captured as a graph.
_CAPTURES_ON = "cuda"


@final
@dataclass(eq=False)
class TrainState:
    """The players, their optimisers, the RNG that feeds them, and how far they have come.

    Attributes:
        latent_dim: Length of a latent vector.
        forward: How a player is called in training: in which precision, and whether compiled.
        averaged: The moving average of the generator, if there is one.
        descent: What gives the critic's gradients, where they are written out; ``None`` where
            autograd finds them.
        captures: Whether steps are captured as a CUDA graph. Learning rates are tensors then.
        lr_ends_at_generator_steps: Where a linear decay of the learning rates reaches zero;
            ``None`` without one.
    """

    generator: nn.Module
    critic: nn.Module
    generator_optimizer: torch.optim.Optimizer
    critic_optimizer: torch.optim.Optimizer
    rng: torch.Generator
    latent_dim: int
    forward: Forward = nn.Module.__call__
    averaged: nn.Module | None = None
    descent: Descent | None = None
    captures: bool = False
    lr_ends_at_generator_steps: int | None = None
    generator_steps: int = 0
    training_seconds: float = 0.0
    training_cpu_seconds: float = 0.0
    scoring_seconds: float = 0.0
    scoring_cpu_seconds: float = 0.0

    @classmethod
    def create(
        cls, config: TrialConfig, sample_shape: tuple[int, ...], device: torch.device | str = "cpu"
    ) -> "TrainState":
        """Start a trial from ``config.seed`` alone: the global RNG is neither read nor moved.

        Each network has a seed of its own, so that the generator starts alike beside any critic.

        Raises:
            ValueError: what building the networks raises, or ``prepare_`` for a critic that the
                constraint cannot bound.
        """
        seeds = np.random.SeedSequence(config.seed).generate_state(3, np.uint64).tolist()
        networks, training = config.networks, config.training

        def critic() -> nn.Module:
            built = build_critic(networks, sample_shape, training.constraint)
            prepare_(built, training.constraint)
            return built

        captures = training.cuda_graph and torch.device(device).type == _CAPTURES_ON
        generator = _seeded(seeds[0], lambda: build_generator(networks, sample_shape)).to(device)
        prepared = _seeded(seeds[1], critic).to(device)
        return cls(
            generator,
            prepared,
            _optimizer(training, generator, training.generator_lr, captures),
            _optimizer(training, prepared, training.critic_lr, captures),
            torch.Generator(device).manual_seed(seeds[2]),
            cast(int, networks.latent_dim),
            _forward(training, torch.device(device)),
            deepcopy(generator) if training.ema_decay else None,
            _descent(training, prepared),
            captures,
            config.max_generator_steps if training.lr_decay == "linear" else None,
        )

    @property
    def scored(self) -> nn.Module:
        """The generator to score and to save: the average of its weights where there is one."""
        return self.generator if self.averaged is None else self.averaged

    @cached_property
    def generator_sees_batch(self) -> bool:
        """Whether a generated sample depends on its batch, through batch normalisation."""
        return _sees_batch(self.generator)

    @cached_property
    def critic_sees_batch(self) -> bool:
        """Whether a score depends on its batch, through batch normalisation."""
        return _sees_batch(self.critic)

    def sample(self, num_samples: int) -> Float[Tensor, "{num_samples} *sample"]:
        """Generate from fresh latents z ~ N(0, 1), drawn from the state's own RNG; float32."""
        shape = (num_samples, self.latent_dim)
        latents = torch.randn(shape, generator=self.rng, device=self.rng.device)
        return self.forward(self.generator, latents)

    def scores(self, samples: Float[Tensor, "batch *sample"]) -> Float[Tensor, " batch"]:
        """Score samples by the trial's own critic; float32."""
        return self.forward(self.critic, samples)

    @torch.no_grad()
    def average(self, decay: float) -> None:
        """Let the average keep ``decay`` of itself; the rest, and its buffers, are the generator's.

        Unlike ``AveragedModel``'s own update it asks no tensor how many there were before.
        """
        averaged = cast(nn.Module, self.averaged)
        kept: list[Tensor] = [*averaged.parameters()]
        new: list[Tensor] = [*self.generator.parameters()]
        get_ema_multi_avg_fn(decay)(kept, new, 0)
        for own, buffer in zip(averaged.buffers(), self.generator.buffers(), strict=True):
            own.copy_(buffer)

    def state_dict(self) -> dict[str, Any]:
        """A snapshot in tensors and primitives, for ``torch.load(..., weights_only=True)``."""
        return deepcopy(
            {name: part.state_dict() for name, part in self._parts().items()}
            | {name: getattr(self, name) for name in _COUNTERS}
            | {"rng": self.rng.get_state()}
        )

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Become the saved state, whose tensors may be on any device; learning rates included.

        It may have captured its steps, or not: whether this one does stays as it was made.

        The state must have been created from the same configuration. Raises what PyTorch raises
        where it was not: RuntimeError for other shapes, ValueError for other optimisers; and
        KeyError for a moving average that was not saved.
        """
        for name, part in self._parts().items():
            # An optimiser keeps the tensors it is given: two states must not share them.
            own = deepcopy(saved[name])
            if isinstance(part, torch.optim.Optimizer):
                _adapt(own, part)
            part.load_state_dict(own)
        for name in _COUNTERS:
            setattr(self, name, saved[name])
        self.rng.set_state(saved["rng"].cpu())

    def _parts(self) -> dict[str, Any]:
        parts = {name: getattr(self, name) for name in _PARTS}
        return {name: part for name, part in parts.items() if part is not None}


_PARTS = ("generator", "critic", "generator_optimizer", "critic_optimizer", "averaged")
_COUNTERS = (
    "generator_steps",
    "training_seconds",
    "training_cpu_seconds",
    "scoring_seconds",
    "scoring_cpu_seconds",
)


def set_learning_rate(group: dict[str, Any], learning_rate: float) -> None:
    """Set that of an optimiser's group, in place where it is a tensor."""
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(learning_rate)
    else:
        group["lr"] = learning_rate


def _optimizer(
    config: TrainingConfig, network: nn.Module, learning_rate: float, captures: bool
) -> torch.optim.Optimizer:
    parameters = list(network.parameters())
    optimizer = _optimizer_of(config, parameters, learning_rate, captures)
    if captures:
        for group in optimizer.param_groups:
            group["lr"] = torch.tensor(learning_rate, device=parameters[0].device)
    return optimizer


def _optimizer_of(
    config: TrainingConfig, parameters: list[nn.Parameter], learning_rate: float, captures: bool
) -> torch.optim.Optimizer:
    if config.optimizer == "rmsprop":
        # Its plain loop would read the learning rate back from the GPU.
        foreach = True if captures else None
        return RMSprop(parameters, learning_rate, foreach=foreach, capturable=captures)
    betas = cast("tuple[float, float]", (config.beta1, config.beta2))
    options: dict[str, Any] = {"fused": True, "capturable": captures}
    if config.weight_decay is None:
        return Adam(parameters, learning_rate, betas, **options)
    return AdamW(parameters, learning_rate, betas, weight_decay=config.weight_decay, **options)


def _adapt(saved: dict[str, Any], optimizer: torch.optim.Optimizer) -> None:
    """Make of a saved optimiser one that may be captured, or not, as the optimiser may."""
    for group, made in zip(saved["param_groups"], optimizer.param_groups, strict=False):
        group.update({key: made[key] for key in ("capturable", "foreach") if key in made})
        learning_rate = float(group["lr"])
        group["lr"] = deepcopy(made["lr"])
        set_learning_rate(group, learning_rate)


def _forward(config: TrainingConfig, device: torch.device) -> Forward:
    call = _compile(_call) if config.compile else nn.Module.__call__
    if config.precision == "float32":
        return call

    def in_bfloat16(network: nn.Module, inputs: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            outputs = call(network, inputs)
        return outputs.float()

    return in_bfloat16


def _compile(function: Callable[_Inputs, _Output]) -> Callable[_Inputs, _Output]:
    # Each player's batches have one size each, which dynamic shapes would only slow down; and
    # the trials that share a process must not use up each other's share of recompilations.
    return torch.compile(  # type: ignore[call-overload]  # whose overloads lack the last one
        function, dynamic=False, isolate_recompiles=True
    )


def _call(network: nn.Module, inputs: Tensor) -> Tensor:
    # Not ``nn.Module.__call__``, which torch.compile passes over without a word.
    return network(inputs)


def _descent(config: TrainingConfig, critic: nn.Module) -> Descent | None:
    written_out = descent(critic, config)
    if written_out is None or not config.compile:
        return written_out
    return _compile(written_out)


def _sees_batch(network: nn.Module) -> bool:
    return any(isinstance(module, _BatchNorm) for module in network.modules())


def _seeded(seed: int, build: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would reseed every GPU too; weights are drawn on the CPU.
        torch.default_generator.manual_seed(seed)
        return build()
