"""Terms that are added to the losses of either player under any method (Salimans 2016)."""

from jaxtyping import Float
from torch import Tensor


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
