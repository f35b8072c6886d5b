"""The gradients of a WGAN critic's loss, written out for ReLU networks.

A network of linear layers and (leaky) ReLUs is linear around every sample x. With W_l the weight of
layer l, h_l what enters it, and D_l(x) the slopes of the ReLUs after it, 0 or 1, what ``autograd``
finds by differentiating twice is at hand. The score f has

    df / dW_l = u_l h_l^T    and    df / dx = W_1^T u_1,    where    u_l = D_l W_(l+1)^T u_(l+1),

and as D does not change with the weights (almost everywhere), a penalty P on the slope df / dx has

    dP / dW_l = u_l v_l^T,    where    v_1 = dP / d(df / dx)    and    v_(l+1) = D_l W_l v_l:

v passes the network as a sample does, without the biases. So real, fake and the points between
them go together once forward, once backward and into one product a layer. Autograd needs a graph of
the gradient's graph, and takes the second derivatives of the ReLUs, all zero, through it: 12 matrix
products for these 10, in three times as many calls.
"""

from collections.abc import Callable, Iterator
from itertools import takewhile
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear

from trainables.config import TrainingConfig
from trainables.training.lipschitz import EXCESSES, interpolate, norms
from trainables.training.losses import critic_loss

_RESHAPES = (nn.Flatten, nn.Identity)
_ACTIVATIONS = (nn.ReLU, nn.LeakyReLU)
_AFFINE = (nn.Linear, nn.Conv2d)

#: What :func:`descent` makes.
Descent = Callable[[Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor, list[Tensor]]]


def descent(critic: nn.Module, config: TrainingConfig) -> Descent | None:
    """Make the function that finds a Wasserstein critic's loss and the gradients of its weights.

    It takes real samples [batch, *sample], fake ones, and for a penalty the coefficients [batch]
    that say where between them it is measured, else ``None``. It returns the loss without the
    penalty, the loss with it, and a gradient for each of ``critic.parameters()``, in their order:
    but for rounding what autograd finds for ``losses.critic_loss`` and ``lipschitz.PENALTIES``.

    ``None`` where that is not written out: for other layers, another loss, or bfloat16, where the
    penalty is of another precision than the scores.
    """
    if config.loss != "wasserstein" or config.precision != "float32":
        return None
    if not _is_piecewise_linear(critic):
        return None
    layers = list(cast(nn.Sequential, critic))
    head = list(takewhile(lambda layer: type(layer) in _RESHAPES, layers))
    body = layers[len(head) :]

    @torch.no_grad()
    def descend(
        real: Tensor, fake: Tensor, coefficients: Tensor | None
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        between = [] if coefficients is None else [interpolate(real, fake, coefficients)]
        rows = torch.cat([real, fake, *between])
        for layer in head:
            rows = layer(rows)
        return _descend(body, config, rows, len(real))

    return descend


def _is_piecewise_linear(critic: nn.Module) -> bool:
    if type(critic) is not nn.Sequential or not all(map(_is_known, critic)):
        return False
    inner = [type(layer) for layer in critic if type(layer) not in _RESHAPES]
    return inner[:1] != [] and inner[0] in _AFFINE and type(critic[-1]) is nn.Flatten


def _is_known(layer: nn.Module) -> bool:
    # By the exact type: a parametrised layer is of a subclass made for it.
    if type(layer) is nn.Conv2d:
        return layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    if type(layer) is nn.LeakyReLU:
        return layer.negative_slope > 0
    return type(layer) in (*_RESHAPES, nn.ReLU, nn.Linear)


def _descend(
    layers: list[nn.Module], config: TrainingConfig, rows: Float[Tensor, "rows *sample"], batch: int
) -> tuple[Float[Tensor, ""], Float[Tensor, ""], list[Tensor]]:
    """``rows`` are ``batch`` real samples, as many fake ones and, for a penalty, those between."""
    passed = [rows]
    for layer in layers:
        passed.append(layer(passed[-1]))
    scores, scored = passed[-1], 2 * batch
    loss = critic_loss("wasserstein", scores[:batch], scores[batch:scored])
    # The gradient by the scores: the loss's for real and fake, and each score's own between them.
    by_scores = torch.ones_like(scores)
    by_scores[:batch] = -1 / batch
    by_scores[batch:scored] = 1 / batch
    by_outputs, slopes = _backward(layers, passed, by_scores, scored)
    if config.gp_weight is None:
        return loss, loss, list(_of_weights(layers, passed, by_outputs, None, scored))
    sizes = norms(slopes)
    excess = EXCESSES[config.constraint](sizes)
    penalised = loss + config.gp_weight * excess.square().mean()
    by_sizes = 2 * config.gp_weight / batch * excess
    pushed = slopes * (by_sizes / sizes).view(-1, *[1] * (slopes.ndim - 1))
    return loss, penalised, list(_of_weights(layers, passed, by_outputs, pushed, scored))


def _backward(
    layers: list[nn.Module], passed: list[Tensor], by_scores: Tensor, scored: int
) -> tuple[list[Tensor], Tensor]:
    """The gradient by each layer's output, and by the inputs of the rows beyond ``scored``."""
    by_outputs = [by_scores]
    for i in reversed(range(1, len(layers))):
        by_outputs.append(_pull(layers[i], by_outputs[-1], passed[i], passed[i + 1]))
    between = by_outputs[-1][scored:]  # nobody asks for the others'
    slopes = _pull(layers[0], between, passed[0][scored:], between) if len(between) else between
    return by_outputs[::-1], slopes


def _of_weights(
    layers: list[nn.Module],
    passed: list[Tensor],
    by_outputs: list[Tensor],
    pushed: Tensor | None,
    scored: int,
) -> Iterator[Tensor]:
    for layer, before, after, gradient in zip(
        layers, passed[:-1], passed[1:], by_outputs, strict=True
    ):
        if isinstance(layer, _AFFINE):
            if pushed is not None:
                before[scored:] = pushed  # whose slopes have been read
            yield _of_weight(layer, before, gradient)
            if layer.bias is not None:
                rows = gradient[:scored]
                yield rows.sum([0, *range(2, rows.ndim)])
        if pushed is not None:
            pushed = _push(layer, pushed, after[scored:])


def _pull(layer: nn.Module, gradient: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """A gradient by the layer's output, made one by its input: by the transposed layer."""
    if isinstance(layer, nn.Linear):
        return gradient @ layer.weight
    if isinstance(layer, nn.Conv2d):
        return _convolution_backward(layer, gradient, before, 0)
    if isinstance(layer, _ACTIVATIONS):
        return _times_slopes(layer, gradient, after)
    return gradient.reshape(len(gradient), *before.shape[1:])


def _push(layer: nn.Module, direction: Tensor, after: Tensor) -> Tensor:
    """A change of the layer's input, made one of its output: by the layer without its bias."""
    if isinstance(layer, nn.Linear):
        return linear(direction, layer.weight)
    if isinstance(layer, nn.Conv2d):
        return conv2d(
            direction, layer.weight, None, layer.stride, layer.padding, layer.dilation, layer.groups
        )
    if isinstance(layer, _ACTIVATIONS):
        return _times_slopes(layer, direction, after)
    return layer(direction)


def _times_slopes(layer: nn.Module, values: Tensor, after: Tensor) -> Tensor:
    # The kernels of autograd itself, which tell a unit's slope by the sign of what it gave.
    if isinstance(layer, nn.LeakyReLU):
        return torch.ops.aten.leaky_relu_backward(values, after, layer.negative_slope, True)
    return torch.ops.aten.threshold_backward(values, after, 0)


def _of_weight(layer: nn.Linear | nn.Conv2d, entered: Tensor, gradient: Tensor) -> Tensor:
    if isinstance(layer, nn.Linear):
        return gradient.mT @ entered
    return _convolution_backward(layer, gradient, entered, 1)


def _convolution_backward(
    layer: nn.Conv2d, gradient: Tensor, entered: Tensor, which: int
) -> Tensor:
    # torch.nn.grad gives the same, but copies a stand-in of the input's size on the way.
    mask = [which == 0, which == 1, False]
    geometry = (layer.stride, layer.padding, layer.dilation, False, (0, 0), layer.groups)
    return torch.ops.aten.convolution_backward(
        gradient, entered, layer.weight, None, *geometry, mask
    )[which]
