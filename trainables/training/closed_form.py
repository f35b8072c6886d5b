"""Closed-form gradients of a WGAN critic's loss, for networks of linear layers and ReLUs.

Such a network is linear around every sample x. With W_l the weight of layer l, h_l its input, and
D_l(x) the slopes of the (leaky) ReLUs after it, the score f has

    df / dW_l = u_l h_l^T    and    df / dx = W_1^T u_1,    where    u_l = D_l W_(l+1)^T u_(l+1).

D does not change with the weights (almost everywhere), so that a penalty P on df / dx has

    dP / dW_l = u_l v_l^T,    where    v_1 = dP / d(df / dx)    and    v_(l+1) = D_l W_l v_l.

u passes the network backward, and v forward as a sample does, but without the biases. So real
samples, fake samples and the points between them share one forward pass, one backward pass, and one
product per layer for the gradient of its weight. Autograd would build a graph of the gradient's
graph, and pass the second derivatives of the ReLUs through it, which are zero: 12 matrix products
in place of these 10, in three times as many calls.
"""

from collections.abc import Callable, Iterator
from itertools import takewhile
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear

from trainables.config import TrainingConfig
from trainables.training.lipschitz import PENALTY_RESIDUALS, interpolate, norms
from trainables.training.losses import critic_loss

_RESHAPES = (nn.Flatten, nn.Identity)
_ACTIVATIONS = (nn.ReLU, nn.LeakyReLU)
_AFFINE = (nn.Linear, nn.Conv2d)

#: The function that :func:`closed_form_gradients` returns.
ClosedForm = Callable[[Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor, list[Tensor]]]


def closed_form_gradients(critic: nn.Module, config: TrainingConfig) -> ClosedForm | None:
    """Make a function that computes the loss of a Wasserstein critic and its gradients.

    The function takes real samples [batch, *sample], fake samples of the same shape, and, for a
    penalty, the interpolation coefficients [batch], else ``None``. It returns the loss without the
    penalty, the loss with it, and the gradients by ``critic.parameters()``, in their order. They
    equal, up to rounding, those of autograd for ``losses.critic_loss`` and ``lipschitz.PENALTIES``.

    Returns ``None`` where autograd is needed: for other layers or losses, for frozen parameters,
    and for bfloat16, where the penalty has another precision than the scores.
    """
    if config.loss != "wasserstein" or config.precision != "float32":
        return None
    if not _is_trainable_piecewise_linear(critic):
        return None
    layers = list(cast(nn.Sequential, critic))
    head = list(takewhile(lambda layer: type(layer) in _RESHAPES, layers))
    body = layers[len(head) :]

    @torch.no_grad()
    def gradients(
        real: Tensor, fake: Tensor, coefficients: Tensor | None
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        between = [] if coefficients is None else [interpolate(real, fake, coefficients)]
        inputs = torch.cat([real, fake, *between])
        for layer in head:
            inputs = layer(inputs)
        return _losses_and_gradients(body, config, inputs, len(real))

    return gradients


def _is_trainable_piecewise_linear(critic: nn.Module) -> bool:
    if type(critic) is not nn.Sequential or not all(map(_is_supported, critic)):
        return False
    if not all(parameter.requires_grad for parameter in critic.parameters()):
        return False
    inner = [type(layer) for layer in critic if type(layer) not in _RESHAPES]
    return inner[:1] != [] and inner[0] in _AFFINE and type(critic[-1]) is nn.Flatten


def _is_supported(layer: nn.Module) -> bool:
    # By the exact type: a parametrised layer has a subclass of its own.
    if type(layer) is nn.Conv2d:
        return layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    if type(layer) is nn.LeakyReLU:
        return layer.negative_slope > 0
    return type(layer) in (*_RESHAPES, nn.ReLU, nn.Linear)


def _losses_and_gradients(
    layers: list[nn.Module],
    config: TrainingConfig,
    inputs: Float[Tensor, "rows *sample"],
    batch: int,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""], list[Tensor]]:
    """Compute both losses and the gradients by the weights.

    ``inputs`` are ``batch`` real samples, as many fake ones, and for a penalty as many points
    between them.
    """
    outputs = [inputs]
    for layer in layers:
        outputs.append(layer(outputs[-1]))
    scores, num_scored = outputs[-1], 2 * batch
    loss = critic_loss(config, scores[:batch], scores[batch:num_scored])
    # The gradients of the loss by real and fake scores; 1 for the scores between them, of which
    # the gradients by their inputs are needed.
    score_grads = torch.ones_like(scores)
    score_grads[:batch] = -1 / batch
    score_grads[batch:num_scored] = 1 / batch
    output_grads, input_grads = _backward(layers, outputs, score_grads, num_scored)
    if config.gp_weight is None:
        return loss, loss, list(_weight_grads(layers, outputs, output_grads, None, num_scored))
    grad_norms = norms(input_grads)
    residuals = PENALTY_RESIDUALS[config.constraint](grad_norms)
    penalised = loss + config.gp_weight * residuals.square().mean()
    norm_grads = 2 * config.gp_weight / batch * residuals
    tangents = input_grads * (norm_grads / grad_norms).view(-1, *[1] * (input_grads.ndim - 1))
    grads = _weight_grads(layers, outputs, output_grads, tangents, num_scored)
    return loss, penalised, list(grads)


def _backward(
    layers: list[nn.Module], outputs: list[Tensor], score_grads: Tensor, num_scored: int
) -> tuple[list[Tensor], Tensor]:
    """Compute the gradients by each layer's output, and by the inputs between real and fake."""
    output_grads = [score_grads]
    for i in reversed(range(1, len(layers))):
        output_grads.append(_vjp(layers[i], output_grads[-1], outputs[i], outputs[i + 1]))
    between = output_grads[-1][num_scored:]  # the gradients by other inputs are not needed
    if len(between):
        input_grads = _vjp(layers[0], between, outputs[0][num_scored:], between)
    else:
        input_grads = between
    return output_grads[::-1], input_grads


def _weight_grads(
    layers: list[nn.Module],
    outputs: list[Tensor],
    output_grads: list[Tensor],
    tangents: Tensor | None,
    num_scored: int,
) -> Iterator[Tensor]:
    for layer, before, after, grads in zip(
        layers, outputs[:-1], outputs[1:], output_grads, strict=True
    ):
        if isinstance(layer, _AFFINE):
            if tangents is not None:
                before[num_scored:] = tangents  # in place: these rows are not needed any more
            yield _weight_grad(layer, before, grads)
            if layer.bias is not None:
                rows = grads[:num_scored]
                yield rows.sum([0, *range(2, rows.ndim)])
        if tangents is not None:
            tangents = _jvp(layer, tangents, after[num_scored:])


def _vjp(layer: nn.Module, output_grads: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """Multiply by the transposed Jacobian: from gradients by the output to those by the input."""
    if isinstance(layer, nn.Linear):
        return output_grads @ layer.weight
    if isinstance(layer, nn.Conv2d):
        return _convolution_backward(layer, output_grads, before, 0)
    if isinstance(layer, _ACTIVATIONS):
        return _times_slopes(layer, output_grads, after)
    return output_grads.reshape(len(output_grads), *before.shape[1:])


def _jvp(layer: nn.Module, tangents: Tensor, after: Tensor) -> Tensor:
    """Multiply by the Jacobian: from tangents of the input to those of the output."""
    if isinstance(layer, nn.Linear):
        return linear(tangents, layer.weight)
    if isinstance(layer, nn.Conv2d):
        return conv2d(
            tangents, layer.weight, None, layer.stride, layer.padding, layer.dilation, layer.groups
        )
    if isinstance(layer, _ACTIVATIONS):
        return _times_slopes(layer, tangents, after)
    return layer(tangents)


def _times_slopes(layer: nn.Module, values: Tensor, after: Tensor) -> Tensor:
    # The kernels that autograd uses, which take the slope from the sign of the output.
    if isinstance(layer, nn.LeakyReLU):
        return torch.ops.aten.leaky_relu_backward(values, after, layer.negative_slope, True)
    return torch.ops.aten.threshold_backward(values, after, 0)


def _weight_grad(layer: nn.Linear | nn.Conv2d, before: Tensor, output_grads: Tensor) -> Tensor:
    if isinstance(layer, nn.Linear):
        return output_grads.mT @ before
    return _convolution_backward(layer, output_grads, before, 1)


def _convolution_backward(
    layer: nn.Conv2d, output_grads: Tensor, before: Tensor, argument: int
) -> Tensor:
    """Compute the gradient by the input (``argument`` 0) or by the weight (1)."""
    # torch.nn.grad gives the same, but allocates a placeholder of the input's size.
    mask = [argument == 0, argument == 1, False]
    geometry = (layer.stride, layer.padding, layer.dilation, False, (0, 0), layer.groups)
    return torch.ops.aten.convolution_backward(
        output_grads, before, layer.weight, None, *geometry, mask
    )[argument]
