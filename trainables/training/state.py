"""The state of a trial's training, in one object that saves and loads itself."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ParamSpec, TypeVar, cast, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import get_ema_multi_avg_fn

from trainables.config import TrainingConfig, TrialConfig
from trainables.networks import build_critic, build_generator, split_critic
from trainables.networks.layers import MinibatchDiscrimination
from trainables.training.balance import Balance
from trainables.training.closed_form import ClosedForm, closed_form_gradients
from trainables.training.global_rng import GlobalRng, seeded
from trainables.training.lipschitz import prepare_
from trainables.training.optimizers import Adam, AdamW, RMSprop
from trainables.training.packing import packed_shape
from trainables.training.techniques import History

Forward = Callable[[nn.Module, Tensor], Tensor]
_Inputs = ParamSpec("_Inputs")
_Output = TypeVar("_Output")
#: The type of device on which steps can be captured as a graph.
_CAPTURES_ON = "cuda"


@final
@dataclass(eq=False)
class TrainState:
    """Both networks, their optimisers, the random generators, and the counters.

    Attributes:
        critic: The critic; an ``nn.Module`` without layers under a loss that trains none.
        rng: Draws the batches, the latents, and all else that the training draws.
        global_rng: PyTorch's global generators, from which layers such as ``nn.Dropout`` draw.
        latent_dim: Length of a latent vector.
        forward: Calls a network in training, in the configured precision, compiled or not.
        averaged: The moving average of the generator, if there is one.
        generator_history: The mean of the generator's weights, under historical averaging.
        critic_history: The mean of the critic's weights, likewise.
        balance: BEGAN's k; ``None`` under other losses.
        closed_form: Computes the critic's gradients in closed form; ``None`` to use autograd.
        captures: Whether steps are captured as a CUDA graph. Then learning rates are tensors.
        lr_ends_at_generator_steps: The step at which linearly decaying learning rates reach zero;
            ``None`` for constant ones.
        scoring_seconds: Wall time of all scoring at rungs so far, which its caller adds up.
    """

    generator: nn.Module
    critic: nn.Module
    generator_optimizer: torch.optim.Optimizer
    critic_optimizer: torch.optim.Optimizer
    rng: torch.Generator
    latent_dim: int
    forward: Forward = nn.Module.__call__
    averaged: nn.Module | None = None
    balance: Balance | None = None
    closed_form: ClosedForm | None = None
    captures: bool = False
    lr_ends_at_generator_steps: int | None = None
    generator_steps: int = 0
    training_seconds: float = 0.0
    training_cpu_seconds: float = 0.0
    scoring_seconds: float = 0.0
    scoring_cpu_seconds: float = 0.0
    global_rng: GlobalRng = field(default_factory=lambda: GlobalRng(0))
    generator_history: History | None = None
    critic_history: History | None = None

    @classmethod
    def create(
        cls, config: TrialConfig, sample_shape: tuple[int, ...], device: torch.device | str = "cpu"
    ) -> "TrainState":
        """Create the state of a new trial. The global RNG is neither used nor changed.

        Each network has its own seed, so that the initial generator does not depend on the critic.

        Args:
            config: The trial; everything random follows from its seed.
            sample_shape: Shape of one sample.
            device: Where to train.

        Raises:
            BadNetwork: if a network cannot be built.
            ValueError: if the constraint cannot bound the critic; see ``prepare_``.
        """
        seeds = np.random.SeedSequence(config.seed).generate_state(4, np.uint64).tolist()
        networks, training = config.networks, config.training

        def critic() -> nn.Module:
            shape = packed_shape(sample_shape, training.pack)
            built = build_critic(
                networks,
                shape,
                training.constraint,
                loss=training.loss,
                dropout=training.critic_dropout,
            )
            prepare_(built, training.constraint)
            return built

        captures = training.cuda_graph and torch.device(device).type == _CAPTURES_ON

        def generator_of_seed() -> nn.Module:
            return _seeded(seeds[0], lambda: build_generator(networks, sample_shape)).to(device)

        generator = generator_of_seed()
        prepared = _seeded(seeds[1], critic).to(device)
        return cls(
            generator,
            prepared,
            _optimizer(training, generator, training.generator_lr, captures),
            _optimizer(training, prepared, training.critic_lr or 0.0, captures),
            torch.Generator(device).manual_seed(seeds[2]),
            cast(int, networks.latent_dim),
            _forward(training, torch.device(device)),
            _copy(generator, generator_of_seed) if training.ema_decay else None,
            _balance(training, device),
            _closed_form(training, prepared),
            captures,
            config.max_generator_steps if training.lr_decay == "linear" else None,
            global_rng=GlobalRng(seeds[3], device),
            generator_history=_history(training, generator),
            critic_history=_history(training, prepared),
        )

    @property
    def scored(self) -> nn.Module:
        """Return the generator to score and save: its moving average, if there is one."""
        return self.generator if self.averaged is None else self.averaged

    @cached_property
    def generator_has_batch_norm(self) -> bool:
        """Tell whether generated samples depend on their batch, through batch normalisation."""
        return any(isinstance(module, _BatchNorm) for module in self.generator.modules())

    @cached_property
    def scores_depend_on_batch(self) -> bool:
        """Tell whether scores depend on their batch: by its statistics, or by its variety."""
        return any(
            isinstance(module, _BatchNorm | MinibatchDiscrimination)
            for module in self.critic.modules()
        )

    def sample(self, num_samples: int) -> Float[Tensor, "{num_samples} *sample"]:
        """Generate float32 samples from latents z ~ N(0, 1), drawn from the state's RNG."""
        shape = (num_samples, self.latent_dim)
        latents = torch.randn(shape, generator=self.rng, device=self.rng.device)
        return self.forward(self.generator, latents)

    def scores(self, samples: Float[Tensor, "batch *sample"]) -> Float[Tensor, " batch"]:
        """Score samples, packed if the trial packs them, by the trial's critic; returns float32."""
        return self.forward(self.critic, samples)

    def scores_alone(
        self, samples: Float[Tensor, "batch *sample"]
    ) -> tuple[Float[Tensor, " batch"], None]:
        """Score samples without their features, in the form of :meth:`scores_and_features`."""
        return self.scores(samples), None

    def scores_and_features(
        self, samples: Float[Tensor, "batch *sample"]
    ) -> tuple[Float[Tensor, " batch"], Float[Tensor, "batch features"]]:
        """Score samples; also return the critic's features, which its last layer takes.

        Raises:
            BadNetwork: if the critic cannot be split; see ``split_critic``.
        """
        body, last = self._split_critic
        features = self.forward(body, samples)
        return self.forward(last, features), features

    @cached_property  # the same modules at each call, for which torch.compile compiles once
    def _split_critic(self) -> tuple[nn.Module, nn.Module]:
        return split_critic(self.critic)

    @torch.no_grad()
    def update_average(self, decay: float) -> None:
        """Update the EMA: average = decay * average + (1 - decay) * generator; copy the buffers.

        Unlike ``AveragedModel.update_parameters`` it reads no counter back from the device.
        """
        averaged = cast(nn.Module, self.averaged)
        averages: list[Tensor] = [*averaged.parameters()]
        weights: list[Tensor] = [*self.generator.parameters()]
        get_ema_multi_avg_fn(decay)(averages, weights, 0)
        for copy, buffer in zip(averaged.buffers(), self.generator.buffers(), strict=True):
            copy.copy_(buffer)

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of the state, which ``torch.load(..., weights_only=True)`` accepts."""
        return deepcopy(
            {name: part.state_dict() for name, part in self._parts().items()}
            | {name: getattr(self, name) for name in _COUNTERS}
            | {"rng": self.rng.get_state(), "global_rng": self.global_rng.state_dict()}
        )

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Load a saved state, learning rates included; its tensors may be on any device.

        Whether steps are captured is not loaded.

        Args:
            saved: The result of :meth:`state_dict` of a state with the same configuration.

        Raises:
            RuntimeError: if the networks differ.
            ValueError: if the optimisers differ.
            KeyError: if there was no moving average, or no history.
        """
        for name, part in self._parts().items():
            # An optimiser keeps the tensors that it loads: two states must not share them.
            content = deepcopy(saved[name])
            if isinstance(part, torch.optim.Optimizer):
                _adapt(content, part)
            part.load_state_dict(content)
        for name in _COUNTERS:
            setattr(self, name, saved[name])
        self.rng.set_state(saved["rng"].cpu())
        # Older checkpoints lack it: their trials continue with the states that their seed gives.
        self.global_rng.load_state_dict(saved.get("global_rng", {}))

    def _parts(self) -> dict[str, Any]:
        parts = {name: getattr(self, name) for name in _PARTS}
        return {name: part for name, part in parts.items() if part is not None}


_PARTS = (
    "generator",
    "critic",
    "generator_optimizer",
    "critic_optimizer",
    "averaged",
    "balance",
    "generator_history",
    "critic_history",
)
_COUNTERS = (
    "generator_steps",
    "training_seconds",
    "training_cpu_seconds",
    "scoring_seconds",
    "scoring_cpu_seconds",
)


def set_learning_rate(group: dict[str, Any], learning_rate: float) -> None:
    """Set the learning rate of an optimiser's group, in place if it is a tensor."""
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(learning_rate)
    else:
        group["lr"] = learning_rate


def _trained(network: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def _history(config: TrainingConfig, network: nn.Module) -> History | None:
    return History(_trained(network)) if config.historical_averaging_weight else None


def _optimizer(
    config: TrainingConfig, network: nn.Module, learning_rate: float, captures: bool
) -> torch.optim.Optimizer:
    parameters = _trained(network)
    optimizer = _optimizer_of(config, parameters, learning_rate, captures)
    if captures and parameters:
        for group in optimizer.param_groups:
            group["lr"] = torch.tensor(learning_rate, device=parameters[0].device)
    return optimizer


def _optimizer_of(
    config: TrainingConfig, trained: list[nn.Parameter], learning_rate: float, captures: bool
) -> torch.optim.Optimizer:
    parameters = [{"params": trained}]  # a group may be empty, as that of no critic is
    if config.optimizer == "rmsprop":
        # Its loop without foreach would read the learning rate back from the GPU.
        foreach = True if captures else None
        return RMSprop(parameters, learning_rate, foreach=foreach, capturable=captures)
    betas = cast("tuple[float, float]", (config.beta1, config.beta2))
    options: dict[str, Any] = {"fused": True, "capturable": captures}
    if config.weight_decay is None:
        return Adam(parameters, learning_rate, betas, **options)
    return AdamW(parameters, learning_rate, betas, weight_decay=config.weight_decay, **options)


def _adapt(saved: dict[str, Any], optimizer: torch.optim.Optimizer) -> None:
    """Change a saved optimiser's options for capture to those of the optimiser that loads it."""
    for group, current in zip(saved["param_groups"], optimizer.param_groups, strict=False):
        group.update({key: current[key] for key in ("capturable", "foreach") if key in current})
        learning_rate = float(group["lr"])
        group["lr"] = deepcopy(current["lr"])
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
    # Batches have a fixed size, for which dynamic shapes are slower. Trials that share a process
    # must not share PyTorch's limit of recompilations.
    return torch.compile(  # type: ignore[call-overload]  # the overloads lack the last argument
        function, dynamic=False, isolate_recompiles=True
    )


def _call(network: nn.Module, inputs: Tensor) -> Tensor:
    # Not ``nn.Module.__call__``, which torch.compile silently skips.
    return network(inputs)


def _closed_form(config: TrainingConfig, critic: nn.Module) -> ClosedForm | None:
    gradients = closed_form_gradients(critic, config)
    if gradients is None or not config.compile:
        return gradients
    return _compile(gradients)


def _balance(config: TrainingConfig, device: torch.device | str) -> Balance | None:
    if config.diversity_ratio is None or config.lambda_k is None:
        return None
    return Balance(config.diversity_ratio, config.lambda_k).to(device)


def _copy(network: nn.Module, build: Callable[[], nn.Module]) -> nn.Module:
    try:
        return deepcopy(network)
    except RuntimeError:  # PyTorch copies no computed weights, such as weight_norm's
        copy = build()
        copy.load_state_dict(network.state_dict())
        return copy


def _seeded(seed: int, build: Callable[[], nn.Module]) -> nn.Module:
    with seeded(seed):  # weights are drawn on the CPU
        return build()
