"""BEGAN's balance between the critic and the generator, which is part of a trial's state."""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn


@final
class Balance(nn.Module):
    """The weight k of generated samples in the critic's loss (Berthelot 2017, section 3.4).

    k keeps the mean error of generated samples, L(G), at ``diversity_ratio`` times that of real
    ones, L(x): where the critic tells them apart too well, k falls. An error is minus a score.

    Attributes:
        k: Within [0, 1], at first 0.
        convergence_measure: L(x) + |gamma L(x) - L(G)| at the last critic step (section 3.4.1). It
            depends on gamma, so that it does not compare between trials.
    """

    k: Tensor
    convergence_measure: Tensor

    def __init__(self, diversity_ratio: float, lambda_k: float) -> None:
        super().__init__()
        self._diversity_ratio, self._lambda_k = diversity_ratio, lambda_k
        self.register_buffer("k", torch.zeros(()))
        self.register_buffer("convergence_measure", torch.zeros(()))

    def critic_term(self, fake_scores: Float[Tensor, " batch"]) -> Float[Tensor, ""]:
        """Compute the term that turns the critic's loss L(x) - L(G) into L(x) - k L(G)."""
        return (self.k.clone() - 1) * fake_scores.mean()  # ``update_`` changes k in place

    @torch.no_grad()
    def update_(
        self, real_scores: Float[Tensor, " batch"], fake_scores: Float[Tensor, " batch"]
    ) -> None:
        """Update k by lambda_k (gamma L(x) - L(G)), and the measure.

        The paper takes L(G) from the generator's batch. Both batches are of one generator, and in
        the public codes they are the same.
        """
        real_error, fake_error = -real_scores.mean(), -fake_scores.mean()
        gap = self._diversity_ratio * real_error - fake_error
        self.k.add_(self._lambda_k * gap).clamp_(0, 1)
        self.convergence_measure.copy_(real_error + gap.abs())
