"""Terms that are added to the losses of either player (Salimans 2016, Wei 2018)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn


def feature_distance(
    real: Float[Tensor, "batch features"] | None, fake: Float[Tensor, "batch features"] | None
) -> Float[Tensor, ""]:
    """Compute |E f(real) - E f(fake)|^2, the term of feature matching (Salimans 2016, section 3.1).

    Args:
        real: The critic's features of real samples.
        fake: The critic's features of generated samples.
    """
    if real is None or fake is None:
        raise ValueError("feature matching needs real samples, got none")
    return (real.mean(0) - fake.mean(0)).square().sum()


def inconsistency(
    one: tuple[Float[Tensor, " batch"], Float[Tensor, "batch features"]],
    other: tuple[Float[Tensor, " batch"], Float[Tensor, "batch features"]],
    margin: float,
) -> Float[Tensor, ""]:
    """Compute the consistency term of CT-GAN (Wei 2018, eq. 4), without its weight.

    It is the mean over samples of max(0, d - margin). As in the authors' code, d is the squared
    difference of the scores, and a tenth of the mean squared difference of the features.

    Args:
        one: The scores of real samples, and their features, under one draw of dropout.
        other: The same under another one.
        margin: M' of the paper.
    """
    of_scores, of_features = (a - b for a, b in zip(one, other, strict=True))
    distances = of_scores.square() + 0.1 * of_features.square().mean(1)
    return (distances - margin).relu().mean()


@final
class History:
    """The mean of a player's weights over all its steps so far (Salimans 2016, section 3.3).

    Historical averaging adds the squared distance of the weights from it to the player's loss. The
    mean is of the weights before each step, those of the current one included.
    """

    def __init__(self, weights: Iterable[nn.Parameter]) -> None:
        """Start at the initial weights of a player."""
        self._weights = list(weights)
        self._means = [weight.detach().clone() for weight in self._weights]
        # Not a Python number, which a step that is captured as a graph would not change.
        self._num_steps = torch.ones((), device=self._weights[0].device)

    @torch.no_grad()
    def penalise(
        self, loss: Float[Tensor, ""], gradients: Sequence[Tensor], strength: float
    ) -> tuple[Float[Tensor, ""], list[Tensor], Float[Tensor, ""]]:
        """Add ``strength`` times |theta - mean theta|^2 to a loss, and its gradient to others.

        Returns:
            The loss, the gradients by the weights, and the squared distance by itself.
        """
        offsets = [w - mean for w, mean in zip(self._weights, self._means, strict=True)]
        distance = torch.stack([offset.square().sum() for offset in offsets]).sum()
        pulled = [
            gradient + 2 * strength * offset
            for gradient, offset in zip(gradients, offsets, strict=True)
        ]
        return loss + strength * distance, pulled, distance

    @torch.no_grad()
    def update(self) -> None:
        """Take the weights after a step into the mean."""
        self._num_steps += 1
        for mean, weight in zip(self._means, self._weights, strict=True):
            mean.lerp_(weight, 1 / self._num_steps)

    def state_dict(self) -> dict[str, Any]:
        """Return the mean and the number of steps in it."""
        return {"means": self._means, "num_steps": self._num_steps}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Load a mean of the same player."""
        for mean, other in zip(self._means, saved["means"], strict=True):
            mean.copy_(other)
        self._num_steps.copy_(saved["num_steps"])
