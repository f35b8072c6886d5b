"""What each player descends, as pure functions of the critic's scores: one choice of ``loss`` each.

Under the GAN losses the score is a logit, D = sigmoid(score) (Goodfellow 2014, eq. 1), so that
-log D = softplus(-score) and -log(1 - D) = softplus(score): both finite at any score.
"""

import math

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from trainables.config import Loss


def critic_loss(
    loss: Loss, real_scores: Float[Tensor, " batch"], fake_scores: Float[Tensor, " batch"]
) -> Float[Tensor, ""]:
    """What the critic descends, without any penalty.

    wasserstein: -(E[f(real)] - E[f(fake)]) (Arjovsky 2017, eq. 3). minimax and non_saturating:
    -(E[log D(real)] + E[log(1 - D(fake))]) (Goodfellow 2014, eq. 1).
    """
    if loss == "wasserstein":
        return -(real_scores.mean() - fake_scores.mean())
    return softplus(-real_scores).mean() + softplus(fake_scores).mean()


def generator_loss(loss: Loss, fake_scores: Float[Tensor, " batch"]) -> Float[Tensor, ""]:
    """What the generator descends.

    wasserstein: -E[f(fake)] (Arjovsky 2017, Algorithm 1). minimax: E[log(1 - D(fake))], whose
    gradient dies where the critic is sure; non_saturating: -E[log D(fake)], whose gradient does
    not (Goodfellow 2014, section 3).
    """
    match loss:
        case "wasserstein":
            return -fake_scores.mean()
        case "minimax":
            return -softplus(fake_scores).mean()
        case "non_saturating":
            return softplus(-fake_scores).mean()


def divergence(loss: Loss, critic_loss: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """The critic's own estimate of what its loss measures, from that loss without any penalty.

    wasserstein: W1, times the critic's unknown Lipschitz constant. The others: the Jensen-Shannon
    divergence in nats, log 2 + (E[log D(real)] + E[log(1 - D(fake))]) / 2 (Arjovsky 2017,
    Figure 4): log 2 where the critic tells all samples apart, 0 where it cannot tell any, below 0
    where it is worse than not to try.
    """
    return -critic_loss if loss == "wasserstein" else math.log(2) - critic_loss / 2
