"""Critics that are autoencoders: they score a sample by how well they reconstruct it.

The score is minus the error of the reconstruction, so that it is high for real samples, as that of
every other critic; the papers write D for the error.
"""

from collections.abc import Callable, Mapping
from typing import Any, cast, final

from jaxtyping import Float
from torch import Tensor, nn

from trainables.config import Loss
from trainables.networks.errors import BadNetwork

# Keeps the derivative of the square root finite where a reconstruction is perfect.
_EPSILON = 1e-12


def _l2_norms(differences: Float[Tensor, "batch *sample"]) -> Float[Tensor, " batch"]:
    return (differences.flatten(1).square().sum(1) + _EPSILON).sqrt()


#: The error of each loss, of the difference between a sample and its reconstruction. ebgan: the L2
#: norm over the whole sample (Zhao 2016, section 2.3). Some public codes have the mean square
#: instead, which sets another scale of the margin. began: the mean absolute difference of the
#: sample's elements (Berthelot 2017, section 3.1, eta = 1; the mean is that of the public codes).
_ERRORS: Mapping[Loss, Callable[[Tensor], Tensor]] = {
    "ebgan": _l2_norms,
    "began": lambda differences: differences.flatten(1).abs().mean(1),
}


@final
class Autoencoder(nn.Module):
    """Maps samples [batch, *sample] to scores [batch], at most 0: minus their errors.

    Attributes:
        network: Has the modules ``encoder`` and ``decoder``.
    """

    def __init__(self, network: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.network = network
        self._error = _ERRORS[loss]

    @property
    def encoder(self) -> nn.Module:
        """Return the part that maps samples to codes [batch, *code]."""
        return cast(nn.Module, self.network.encoder)

    @property
    def decoder(self) -> nn.Module:
        """Return the part that maps codes to samples."""
        return cast(nn.Module, self.network.decoder)

    def forward(self, samples: Float[Tensor, "batch *sample"]) -> Float[Tensor, " batch"]:
        """Reconstruct samples, and return their scores."""
        codes = self.encoder(samples)
        if not isinstance(codes, Tensor):
            kind = type(codes).__name__
            raise TypeError(f"the critic's encoder must return one tensor of codes, got {kind}")
        return self.scores(samples, self.decoder(codes))

    def scores(
        self, samples: Float[Tensor, "batch *sample"], reconstructed: Any
    ) -> Float[Tensor, " batch"]:
        """Compare samples with their reconstructions."""
        shape = getattr(reconstructed, "shape", type(reconstructed).__name__)
        if shape != samples.shape:  # which might broadcast
            raise TypeError(
                "the critic's decoder must return samples of the shape of its critic's inputs, "
                f"{tuple(samples.shape)}, got {shape if isinstance(shape, str) else tuple(shape)}"
            )
        return -self._error(samples - reconstructed)


def as_autoencoder(network: nn.Module, name: str, loss: Loss) -> Autoencoder:
    """Make a critic of a custom network.

    Args:
        network: The network.
        name: Its name in an error.
        loss: The loss by which it is trained.

    Raises:
        BadNetwork: if it lacks an encoder or a decoder.
    """
    parts = ("encoder", "decoder")
    lacking = [p for p in parts if not isinstance(getattr(network, p, None), nn.Module)]
    if lacking:
        raise BadNetwork(
            "critic",
            f"{name} must have the modules encoder and decoder where loss is {loss}, but lacks "
            f"{' and '.join(lacking)}: set self.encoder and self.decoder, or change the loss",
        )
    return Autoencoder(network, loss)
