"""The losses of both networks, as pure functions of the critic's scores.

Under the GAN losses the score is a logit, D = sigmoid(score) (Goodfellow 2014, eq. 1), so that
-log D = softplus(-score) and -log(1 - D) = softplus(score), which are finite for every score.
"""

import math

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from trainables.config import Loss


def critic_loss(
    loss: Loss, real_scores: Float[Tensor, " batch"], fake_scores: Float[Tensor, " batch"]
) -> Float[Tensor, ""]:
    """Compute the loss of the critic, without a penalty.

    wasserstein: -(E[f(real)] - E[f(fake)]) (Arjovsky 2017, eq. 3). minimax and non_saturating:
    -(E[log D(real)] + E[log(1 - D(fake))]) (Goodfellow 2014, eq. 1).

    Args:
        loss: Which loss.
        real_scores: Scores [batch] of real samples.
        fake_scores: Scores [batch] of generated samples.
    """
    if loss == "wasserstein":
        return -(real_scores.mean() - fake_scores.mean())
    return softplus(-real_scores).mean() + softplus(fake_scores).mean()


def generator_loss(loss: Loss, fake_scores: Float[Tensor, " batch"]) -> Float[Tensor, ""]:
    """Compute the loss of the generator.

    wasserstein: -E[f(fake)] (Arjovsky 2017, Algorithm 1). minimax: E[log(1 - D(fake))], whose
    gradient vanishes where the critic is certain. non_saturating: -E[log D(fake)], whose gradient
    does not (Goodfellow 2014, section 3).

    Args:
        loss: Which loss.
        fake_scores: Scores [batch] of generated samples.
    """
    match loss:
        case "wasserstein":
            return -fake_scores.mean()
        case "minimax":
            return -softplus(fake_scores).mean()
        case "non_saturating":
            return softplus(-fake_scores).mean()


def divergence(loss: Loss, critic_loss: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """Compute the critic's estimate of the divergence between real and generated samples.

    wasserstein: W1, times the critic's unknown Lipschitz constant. The others: the Jensen-Shannon
    divergence in nats, log 2 + (E[log D(real)] + E[log(1 - D(fake))]) / 2 (Arjovsky 2017,
    Figure 4): log 2 for a critic that classifies every sample with certainty, 0 for one with
    D = 1/2 everywhere, and negative for a worse one.

    Args:
        loss: Which loss.
        critic_loss: The critic's loss without a penalty.
    """
    return -critic_loss if loss == "wasserstein" else math.log(2) - critic_loss / 2
