from math import exp, log

import pytest
import torch

from trainables.config import NetworkConfig
from trainables.networks import build_critic, build_generator
from trainables.networks.layers import (
    NUM_REFERENCES,
    Design,
    GroupSort,
    MinibatchDiscrimination,
    ShiftedSoftplus,
    VirtualBatchNorm,
    WithReferences,
    activation,
    halved_sides,
    norm,
)


def maps_under(kind: str) -> torch.Tensor:
    torch.manual_seed(0)
    maps = 5 + 3 * torch.randn(6, 4, 8, 8) * torch.arange(1, 5).view(1, 4, 1, 1)
    return norm(Design(4, 1, "relu", kind), 4)(maps)


def test_softplus_is_gulrajanis() -> None:
    """-1 far below, ln(2)/2 - 1 at -1, and x far above: (2x + 2) / 2 - 1."""
    inputs = torch.tensor([-50.0, -1.0, 50.0])
    torch.testing.assert_close(ShiftedSoftplus()(inputs), torch.tensor([-1.0, log(2) / 2 - 1, 50]))


def test_leaky_relu_has_radfords_slope() -> None:
    leaky = activation(Design(1, 1, "leaky_relu"))
    assert torch.equal(leaky(torch.tensor([-1.0, 2.0])), torch.tensor([-0.2, 2.0]))


def test_group_sort_orders_pairs_and_leaves_an_odd_channel() -> None:
    sort = GroupSort()
    assert sort(torch.tensor([[3.0, 1, -2, 5, 7]])).tolist() == [[1, 3, -2, 5, 7]]
    assert sort(torch.tensor([[4.0]])).tolist() == [[4]]


@pytest.mark.parametrize("shape", [(6, 8), (6, 7), (6, 8, 3, 3)], ids=str)
def test_group_sort_permutes_channels_and_so_keeps_every_norm(shape: tuple[int, ...]) -> None:
    """Of the values and of a gradient sent back (Anil 2019)."""
    inputs = torch.randn(shape, requires_grad=True)
    outputs, cotangent = GroupSort()(inputs), torch.randn(shape)
    torch.testing.assert_close(outputs.sort(1).values, inputs.sort(1).values)
    (gradient,) = torch.autograd.grad(outputs, inputs, cotangent)
    torch.testing.assert_close(gradient.square().sum(1), cotangent.square().sum(1))


def test_group_sort_is_done_once() -> None:
    once = GroupSort()(torch.randn(5, 9))
    assert torch.equal(GroupSort()(once), once)


def test_virtual_batch_norm_normalises_a_sample_as_one_more_of_the_reference_batch() -> None:
    """And the reference batch by itself."""
    torch.manual_seed(0)
    references, samples = 2 + 3 * torch.randn(NUM_REFERENCES, 2, 3, 3), torch.randn(5, 2, 3, 3)
    outputs = VirtualBatchNorm(2)(torch.cat([references, samples]))
    plain = torch.nn.BatchNorm2d(2)
    torch.testing.assert_close(outputs[:NUM_REFERENCES], plain(references))
    for sample, output in zip(samples, outputs[NUM_REFERENCES:], strict=True):
        torch.testing.assert_close(output, plain(torch.cat([references, sample[None]]))[-1])


@pytest.mark.parametrize("architecture", ["dcgan", "resnet"])
def test_a_sample_under_virtual_batch_norm_does_not_depend_on_its_batch(architecture: str) -> None:
    """In training mode, where under batch normalisation it does."""
    latents = torch.randn(6, 5)
    others = torch.cat([latents[:1], 5 + 3 * latents[1:]])
    for kind, is_equal in (("virtual", True), ("batch", False)):
        sizes = {"generator_width": 4, "latent_dim": 5, "generator_norm": kind}
        config = NetworkConfig.model_validate({"architecture": architecture, **sizes})
        generator = build_generator(config, (1, 8, 8))
        first = generator(latents)[0]
        for batch in (others, latents[:3]):
            assert torch.allclose(first, generator(batch)[0], atol=1e-5) == is_equal


def test_the_references_are_a_part_of_the_saved_weights() -> None:
    config = NetworkConfig.model_validate({"architecture": "dcgan", "generator_norm": "virtual"})
    one, other = (build_generator(config, (1, 8, 8)) for _ in range(2))
    assert isinstance(one, WithReferences)
    assert not torch.equal(one.references, other.references)
    other.load_state_dict(one.state_dict())
    latents = torch.randn(2, 100)
    assert torch.equal(one(latents), other(latents))


def similarities(layer: MinibatchDiscrimination, features: torch.Tensor) -> torch.Tensor:
    return layer(features)[:, features.shape[1] :]


def by_hand() -> MinibatchDiscrimination:
    """One feature x; kernel 0 maps it to (x, 2x), kernel 1 to (0, -x)."""
    layer = MinibatchDiscrimination(1, 2, 2)
    with torch.no_grad():
        layer.kernels.copy_(torch.tensor([[[1.0, 2], [0, -1]]]))
    return layer


def test_minibatch_discrimination_worked_by_hand() -> None:
    """Points 0, 1 and 3: distances 3 |x - y| under kernel 0, |x - y| under kernel 1."""
    points = torch.tensor([[0.0], [1], [3]])
    outputs = by_hand()(points)
    assert torch.equal(outputs[:, :1], points)
    expected = [
        [exp(-3) + exp(-9), exp(-1) + exp(-3)],
        [exp(-3) + exp(-6), exp(-1) + exp(-2)],
        [exp(-9) + exp(-6), exp(-3) + exp(-2)],
    ]
    torch.testing.assert_close(outputs[:, 1:], torch.tensor(expected))


def test_equal_samples_have_a_similarity_of_1_to_each_other_and_none_to_themselves() -> None:
    assert similarities(by_hand(), torch.full((5, 1), 0.3)).tolist() == [[4, 4]] * 5
    assert similarities(by_hand(), torch.tensor([[0.3]])).tolist() == [[0, 0]]


def test_minibatch_discrimination_does_not_depend_on_the_order_of_the_batch() -> None:
    features, order = torch.randn(6, 3), [4, 0, 5, 2, 1, 3]
    layer = MinibatchDiscrimination(3, 4, 2)
    torch.testing.assert_close(layer(features[order]), layer(features)[order])


def test_minibatch_discrimination_compares_nothing_in_evaluation_mode() -> None:
    features = torch.randn(6, 3)
    layer = MinibatchDiscrimination(3, 4, 2).eval()
    assert not similarities(layer, features).any()
    assert torch.equal(layer(features)[2:3], layer(features[2:3]))


def test_minibatch_discrimination_has_finite_gradients_for_equal_and_for_distant_samples() -> None:
    layer = MinibatchDiscrimination(2, 3, 2)
    for features in (torch.zeros(4, 2), 1e4 * torch.randn(4, 2)):
        features.requires_grad_()
        gradients = torch.autograd.grad(layer(features).sum(), [features, layer.kernels])
        assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize(
    ("kind", "over"), [("batch", (0, 2, 3)), ("layer", (1, 2, 3)), ("instance", (2, 3))]
)
def test_a_norm_has_mean_0_and_variance_1_over_its_own_dimensions(
    kind: str, over: tuple[int, ...]
) -> None:
    maps = maps_under(kind)
    variances, means = torch.var_mean(maps, over, correction=0)
    torch.testing.assert_close(means, torch.zeros_like(means), atol=1e-5, rtol=0)
    torch.testing.assert_close(variances, torch.ones_like(variances), atol=1e-3, rtol=0)


def test_no_norm_changes_nothing_and_only_then_have_convolutions_a_bias() -> None:
    maps = torch.randn(2, 4, 3, 3)
    assert torch.equal(norm(Design(4, 1, "relu", "none"), 4)(maps), maps)
    assert [Design(4, 1, "relu", kind).bias for kind in ("none", "batch", "layer", "instance")] == [
        True, False, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("height", "width", "ends_at", "halvings"),
    [
        (8, 8, (4, 4), 1), (16, 16, (4, 4), 2), (28, 28, (7, 7), 2), (32, 32, (4, 4), 3),
        (64, 64, (4, 4), 4), (128, 128, (4, 4), 5), (12, 8, (6, 4), 1), (64, 16, (16, 4), 2),
    ],
)  # fmt: skip
def test_sides_are_halved_while_both_are_even_and_halves_at_least_4(
    height: int, width: int, ends_at: tuple[int, int], halvings: int
) -> None:
    sides = halved_sides("dcgan", (3, height, width))
    assert (len(sides), sides[-1]) == (halvings, ends_at)
    assert sides[0] == (height // 2, width // 2)


@pytest.mark.parametrize(
    ("architecture", "count"), [("mlp", 3), ("dcgan", 6), ("resnet", 3)], ids=str
)
def test_critics_have_dropout_after_each_hidden_layer_if_they_have_any(
    architecture: str, count: int
) -> None:
    """At a depth of 3: mlp 3 layers, dcgan 3 at each of 2 sides, resnet 3 blocks."""
    sizes = {"critic_width": 4, "critic_depth": 3}
    config = NetworkConfig.model_validate({"architecture": architecture, **sizes})

    def rates(dropout: float | None) -> list[float]:
        critic = build_critic(config, (1, 32, 16), dropout=dropout)
        return [layer.p for layer in critic.modules() if isinstance(layer, torch.nn.Dropout)]

    assert rates(None) == rates(0.0) == []
    assert rates(0.3) == [0.3] * count
