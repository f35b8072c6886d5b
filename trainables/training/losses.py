"""The losses of both networks, as pure functions of the critic's scores.

Under the GAN losses the score is a logit, D = sigmoid(score) (Goodfellow 2014, eq. 1), so that
-log D = softplus(-score) and -log(1 - D) = softplus(score), which are finite for every score.
"""

import math
from collections.abc import Callable
from typing import cast

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize, softplus

from trainables.config import CRITIC_FREE, Divergence, TrainingConfig
from trainables.training.f_divergences import ACTIVATION, CONJUGATE


def critic_loss(
    config: TrainingConfig,
    real_scores: Float[Tensor, " batch"],
    fake_scores: Float[Tensor, " batch"],
) -> Float[Tensor, ""]:
    """Compute the loss of the critic, without a penalty.

    wasserstein: -(E[f(real)] - E[f(fake)]) (Arjovsky 2017, eq. 3). minimax and non_saturating:
    -(E[log D(real)] + E[log(1 - D(fake))]) (Goodfellow 2014, eq. 1). relativistic:
    -E[log sigmoid(f(real) - f(fake))] over pairs of one real and one fake sample (Huang 2024,
    eq. 2). f_gan: -(E[g(v(real))] - E[f*(g(v(fake)))]) (Nowozin 2016, eq. 7). wgan_div: as
    wasserstein; Wu 2018 has it with the other sign of the critic. ebgan: E[D(real)] + E[max(0, m -
    D(fake))] of the error D, minus the score (Zhao 2016, eq. 1). began: as wasserstein; the factor
    k of the generated samples is applied by ``Balance.critic_term``.

    Args:
        config: Which loss.
        real_scores: Scores [batch] of real samples.
        fake_scores: Scores [batch] of generated samples.
    """
    match config.loss:
        case "wasserstein" | "wgan_div" | "began":
            return -(real_scores.mean() - fake_scores.mean())
        case "f_gan":
            of_real, of_fake = _bound(config)
            return of_fake(fake_scores).mean() - of_real(real_scores).mean()
        case "minimax" | "non_saturating":
            return softplus(-real_scores).mean() + softplus(fake_scores).mean()
        case "relativistic":
            return softplus(fake_scores - real_scores).mean()
        case "ebgan":
            return (cast(float, config.margin) + fake_scores).relu().mean() - real_scores.mean()
        case "sliced_wasserstein":
            raise _no_critic(config)


def generator_loss(
    config: TrainingConfig,
    fake_scores: Float[Tensor, " batch"],
    real_scores: Float[Tensor, " batch"] | None = None,
) -> Float[Tensor, ""]:
    """Compute the loss of the generator.

    wasserstein: -E[f(fake)] (Arjovsky 2017, Algorithm 1). minimax: E[log(1 - D(fake))], whose
    gradient vanishes where the critic is certain. non_saturating: -E[log D(fake)], whose gradient
    does not (Goodfellow 2014, section 3). relativistic: -E[log sigmoid(f(fake) - f(real))] over
    pairs (Huang 2024, eq. 2). f_gan: -E[f*(g(v(fake)))], or -E[g(v(fake))] (Nowozin 2016, section
    3.2). wgan_div, ebgan and began: as wasserstein; :func:`pulling_away` is not included.

    Args:
        config: Which loss.
        fake_scores: Scores [batch] of generated samples.
        real_scores: Scores [batch] of real samples; needed where :func:`compares` is true.
    """
    match config.loss:
        case "wasserstein" | "wgan_div" | "ebgan" | "began":
            return -fake_scores.mean()
        case "f_gan":
            of_real, of_fake = _bound(config)
            raised = of_fake if config.generator_loss == "saturating" else of_real
            return -raised(fake_scores).mean()
        case "minimax":
            return -softplus(fake_scores).mean()
        case "non_saturating":
            return softplus(-fake_scores).mean()
        case "relativistic":
            if real_scores is None:
                raise ValueError("relativistic needs the scores of real samples, got none")
            return softplus(real_scores - fake_scores).mean()
        case "sliced_wasserstein":
            raise _no_critic(config)


def compares(config: TrainingConfig) -> bool:
    """Tell whether the generator's loss compares its samples with real ones."""
    return config.loss in ("relativistic", *CRITIC_FREE)


def pulling_away(codes: Float[Tensor, "batch *code"]) -> Float[Tensor, ""]:
    """Compute the mean squared cosine between two codes of a batch (Zhao 2016, section 2.4).

    It is 0 for orthogonal codes and 1 for equal ones. Many public codes omit the square: then codes
    that point away from each other would be better than orthogonal ones. Of one code it is 0.
    """
    directions = normalize(codes.flatten(1), dim=1)
    squared_cosines = (directions @ directions.T).square()
    num_pairs = len(codes) * (len(codes) - 1)
    return (squared_cosines.sum() - squared_cosines.diagonal().sum()) / max(num_pairs, 1)


def label_smoothing(
    config: TrainingConfig, real_scores: Float[Tensor, " batch"]
) -> Float[Tensor, ""]:
    """Compute the term by which one-sided label smoothing changes the critic's loss.

    With the target 1 - s a real sample of logit l has the loss (1 - s) softplus(-l) + s softplus(l)
    = softplus(-l) + s l (Salimans 2016, section 3.4). The estimate of the divergence is without it.

    Args:
        config: Its ``label_smoothing`` s.
        real_scores: Scores [batch] of real samples.
    """
    return (config.label_smoothing or 0.0) * real_scores.mean()


def divergence(config: TrainingConfig, critic_loss: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """Compute the critic's estimate of the divergence between real and generated samples.

    wasserstein: W1, times the critic's unknown Lipschitz constant. minimax and non_saturating: the
    Jensen-Shannon divergence in nats, log 2 + (E[log D(real)] + E[log(1 - D(fake))]) / 2 (Arjovsky
    2017, Figure 4): log 2 for a critic that classifies every sample with certainty, 0 for one with
    D = 1/2 everywhere, and negative for a worse one. relativistic: the divergence of pairs, log 2
    - E[-log sigmoid(f(real) - f(fake))], with the same limits (Jolicoeur-Martineau 2020, section
    3). f_gan: the lower bound on its divergence; that of jensen_shannon is twice the one above.
    ebgan: a lower bound on the total variation distance, 1 - E[D(real)] / m - E[max(0, 1 - D(fake)
    / m)]: the optimal critic has the error m where generated samples are denser, and else 0 (Zhao
    2016, section 2.2). began: the mean error of generated samples less that of real ones, whose
    size bounds the W1 between the errors' distributions from below (Berthelot 2017, section 3.2).
    It is negative where the balance is kept.

    Args:
        config: Which loss.
        critic_loss: The critic's loss without a penalty.
    """
    match config.loss:
        case "wasserstein" | "wgan_div" | "f_gan" | "began":
            return -critic_loss
        case "minimax" | "non_saturating":
            return math.log(2) - critic_loss / 2
        case "relativistic":
            return math.log(2) - critic_loss
        case "ebgan":
            return 1 - critic_loss / cast(float, config.margin)
        case "sliced_wasserstein":
            raise _no_critic(config)


def _no_critic(config: TrainingConfig) -> ValueError:
    return ValueError(f"{config.loss} trains no critic, so it has no loss of scores")


def _bound(config: TrainingConfig) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    chosen = cast(Divergence, config.divergence)
    return ACTIVATION[chosen], CONJUGATE[chosen]
