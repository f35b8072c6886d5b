"""The figures of ``examples/theory.ipynb``: each function draws what one in ``theory`` returns."""

import math
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from theory import DeepCritic, Discriminators, Distances, GradientNoise, Plan

#: Colours that also differ without red and green (Okabe & Ito 2008).
BLUE, ORANGE, GREEN, RED, PURPLE, GREY = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#666666",
)  # fmt: skip
COLOUR: Mapping[str, str] = {
    "minimax": RED,
    "non_saturating": ORANGE,
    "relativistic": PURPLE,
    "wasserstein": BLUE,
    "KL": RED,
    "JS": ORANGE,
    "W1": BLUE,
}
LABEL: Mapping[str, str] = {
    "minimax": "minimax: log(1 - D)",
    "non_saturating": "non-saturating: -log D",
    "relativistic": "relativistic (R3GAN)",
    "wasserstein": "Wasserstein",
}


def use_style() -> None:
    """Set fonts and sizes that can be read from the back of a room."""
    plt.rcParams.update({
        "figure.dpi": 96, "figure.constrained_layout.use": True, "font.size": 11,
        "axes.titlesize": 12, "axes.spines.top": False, "axes.spines.right": False,
        "axes.grid": True, "grid.alpha": 0.25, "lines.linewidth": 2, "legend.frameon": False,
        "legend.fontsize": 10,
    })  # fmt: skip


def draw_plan(plan: Plan) -> None:
    """Draw the histograms, the plan that moves one into the other, and the critic that proves it.

    Args:
        plan: Of histograms with a few bins.
    """
    _, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 3.8))
    at = np.arange(len(plan.source))
    left.bar(at - 0.2, plan.source, 0.4, color=BLUE, label="source p")
    left.bar(at + 0.2, plan.target, 0.4, color=ORANGE, label="target q")
    left.set(title="two histograms", xlabel="position", ylabel="mass", xticks=at)
    left.set_ylim(0, 1.35 * max(plan.source.max(), plan.target.max()))
    left.legend(loc="upper center", ncols=2)

    middle.imshow(plan.moved, cmap="Blues", origin="lower", vmax=1.4 * plan.moved.max())
    for i, j in np.argwhere(plan.moved > 0):
        is_moved = "bold" if i != j else "normal"
        colour = "white" if plan.moved[i, j] == plan.moved.max() else "black"
        style = {"ha": "center", "va": "center", "weight": is_moved, "color": colour}
        middle.text(j, i, f"{plan.moved[i, j]:g}", **style)
    middle.axline((0, 0), slope=1, color=GREY, linestyle=":", linewidth=1)
    middle.set(
        title=f"optimal plan: W1 = {plan.w1:g}", xlabel="to position", ylabel="from position"
    )
    middle.set(xticks=at, yticks=at)
    middle.grid(visible=False)

    right.bar(at, plan.source - plan.target, 0.4, color=GREY, alpha=0.5, label="p - q")
    right.plot(at, plan.potential, "o-", color=BLUE, label="critic f, slope at most 1")
    right.axhline(0, color="black", linewidth=0.8)
    right.set(title=f"dual: sum of f (p - q) = {plan.dual:g}", xlabel="position", xticks=at)
    right.set_ylim(top=1.4 * plan.potential.max())
    right.legend(loc="upper center", ncols=2)


def draw_lines(distances: Distances, estimates: Mapping[str, np.ndarray], at: list[int]) -> None:
    """Draw two parallel lines, their distances, and what critics estimate while they train.

    Args:
        distances: Over theta.
        estimates: By name, of two of the lines.
        at: The critic steps of the estimates.
    """
    _, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 3.8), width_ratios=(0.7, 1, 1))
    for x, colour, name in ((0.0, BLUE, "real"), (0.5, ORANGE, "generated")):
        left.plot([x, x], [0, 1], color=colour, linewidth=5, solid_capstyle="butt")
        left.text(x, 1.03, name, ha="center", color=colour)
    left.annotate("", (0.49, 0.5), (0.01, 0.5), arrowprops={"arrowstyle": "<->", "linewidth": 1.5})
    left.text(0.25, 0.53, r"$\theta$", ha="center", fontsize=14)
    left.set(title="two lines in the plane", xlabel="x", ylabel="y", xlim=(-0.3, 0.8))
    left.set(ylim=(-0.05, 1.15), xticks=[0, 0.5])

    theta = distances.theta
    middle.plot(theta, distances.exact_w1, color=BLUE, label=r"W1 = $|\theta|$, exact")
    middle.plot(theta, distances.w1, "o", color=BLUE, label="W1, independent critics")
    for side in (-1, 1):
        middle.plot([0, side], [math.log(2)] * 2, color=ORANGE, label="JS" if side > 0 else None)
    middle.plot(0, math.log(2), "o", mfc="white", color=ORANGE, zorder=3)
    middle.plot(theta, distances.jensen_shannon, "s", color=ORANGE, label="JS, a GAN's critic")
    for side in (-1, 1):
        middle.plot([side * 0.02, side], [1.3] * 2, color=RED, linestyle="--")
        middle.annotate(
            "", (side, 1.55), (side, 1.3), arrowprops={"arrowstyle": "->", "color": RED}
        )
    middle.text(0, 1.36, r"KL = $\infty$", color=RED, ha="center")
    middle.set(title="how far apart?", xlabel=r"$\theta$", ylim=(-0.08, 2.2))
    middle.legend(loc="upper center", ncols=2, columnspacing=1, handlelength=1.5)

    for name, values in estimates.items():
        right.plot(at, values, color=COLOUR[name], label=f"critic of {name}")
    right.axhline(math.log(2), color=ORANGE, linestyle=":", linewidth=1)
    right.text(at[1], math.log(2) * 1.15, "log 2", color=ORANGE, fontsize=9)
    right.set_yscale("symlog", linthresh=1)
    right.set_yticks([0, 1, 10, 100, 1000], ["0", "1", "10", "100", "1000"])
    right.set(title=r"estimates at $\theta$ = 0.5", xlabel="critic steps", ylim=(-1, None))
    right.legend(loc="center right")


def draw_discriminators(discriminators: Discriminators) -> None:
    """Draw the densities, and the trained discriminator on the optimal one."""
    found = discriminators
    _, axes = plt.subplots(figsize=(8, 3.8))
    axes.fill_between(found.x, found.real, color=BLUE, alpha=0.3, label="real density p")
    axes.fill_between(found.x, found.fake, color=ORANGE, alpha=0.3, label="generated density q")
    axes.plot(found.x, found.optimal, color="black", label="D* = p / (p + q)")
    axes.plot(found.x, found.trained, "--", color=GREEN, label="trained D = sigmoid(score)")
    axes.set(xlabel="x", ylim=(0, 1.05))
    axes.set_title(
        f"JS in nats: {found.exact:.3f} exact, {found.estimate:.3f} by the trained critic"
    )
    axes.legend(loc="center right", bbox_to_anchor=(1, 0.6))


def draw_gradients(
    thetas: Sequence[float],
    at_optimum: Mapping[str, Sequence[float]],
    steps: Sequence[int],
    in_training: Mapping[str, GradientNoise],
) -> None:
    """Draw the size of the generator's gradient by the distance, and while a critic trains.

    Args:
        thetas: Distances between two Gaussians.
        at_optimum: The gradients there, by loss.
        steps: Critic steps.
        in_training: Gradients on 8 Gaussians after these steps, by loss.
    """
    _, (left, right) = plt.subplots(1, 2, figsize=(12, 4))
    for loss, values in at_optimum.items():
        dashed = "--" if loss == "relativistic" else "-"
        left.semilogy(thetas, values, dashed, color=COLOUR[loss], label=LABEL[loss])
    left.set(title="optimal critic, two Gaussians", ylabel="gradient of the generator")
    left.set(xlabel=r"distance $\theta$ in standard deviations", ylim=(1e-6, 30))
    left.legend(loc="lower left")
    for loss, gradients in in_training.items():
        right.loglog(steps, gradients.mean_norm, "o-", color=COLOUR[loss], label=LABEL[loss])
    right.set(title="a critic in training, 8 Gaussians", xlabel="critic steps")
    right.set(ylabel="norm of the mean gradient")
    right.legend(loc="lower left")


def draw_noise(
    by_loss: Mapping[str, np.ndarray],
    steps: Sequence[int],
    in_training: Mapping[str, GradientNoise],
) -> None:
    """Draw the tails of the generator's gradient, and its spread over batches.

    Args:
        by_loss: Gradients under a critic with noise, by loss.
        steps: Critic steps.
        in_training: Gradients on 8 Gaussians after these steps, by loss.
    """
    _, (left, right) = plt.subplots(1, 2, figsize=(12, 4))
    for loss, gradients in by_loss.items():
        sizes = np.sort(np.abs(gradients))
        share = 1 - np.arange(len(sizes)) / len(sizes)
        rows = np.unique(np.geomspace(1, len(sizes), 400).astype(int)) - 1
        rows = np.concatenate([rows, len(sizes) - 1 - rows])
        rows.sort()
        left.loglog(sizes[rows], share[rows], color=COLOUR[loss], label=LABEL[loss])
    points = np.geomspace(1e-3, 1e5, 200)
    left.loglog(points, 2 / np.pi * np.arctan2(1, points), "k:", label="Cauchy")
    left.set(title="a critic with noise: the tail", xlabel="t", ylabel="P(|gradient| > t)")
    left.set(xlim=(1e-3, 1e5), ylim=(1e-5, 2))
    left.legend(loc="lower left")
    for loss, gradients in in_training.items():
        right.loglog(steps, gradients.std, "o-", color=COLOUR[loss], label=LABEL[loss])
    right.set(title="a critic in training: spread over batches", xlabel="critic steps")
    right.set(ylabel="standard deviation of the gradient", ylim=(1e-3, 3))
    right.legend(loc="upper left")


def draw_instance_noise(
    thetas: np.ndarray,
    exact: Mapping[float, Sequence[float]],
    gradients: Mapping[float, Sequence[float]],
    estimates: Mapping[float, tuple[Sequence[float], Sequence[float]]],
) -> None:
    """Draw JS between noisy lines, and the gradient of the minimax loss.

    Args:
        thetas: Distances between the lines.
        exact: JS there, by the noise.
        gradients: The minimax gradient there, by the noise.
        estimates: Distances, and what trained critics estimate there, by the noise.
    """
    _, (left, right) = plt.subplots(1, 2, figsize=(12, 4))
    colours = dict(zip(exact, (GREY, PURPLE, BLUE, GREEN), strict=False))
    for std, values in exact.items():
        label = "no noise: log 2 at once" if std == 0 else f"noise {std:g}"
        left.plot(thetas, values, color=colours[std], label=label)
    for std, (places, values) in estimates.items():
        left.plot(places, values, "o", color=colours[std], label=f"trained critic, noise {std:g}")
    left.set(title="JS between two lines", xlabel=r"$\theta$", ylabel="nats", ylim=(-0.02, 0.95))
    left.legend(loc="upper left", ncols=2)
    for std, values in gradients.items():
        right.plot(thetas, values, color=colours[std], label=f"noise {std:g}")
    right.plot(thetas, 0 * thetas, color=GREY, label="no noise")
    right.set(title="gradient of the minimax loss", xlabel=r"$\theta$", ylabel="by theta")
    right.legend()


def draw_critics(critics: Sequence[DeepCritic]) -> None:
    """Draw the gradients of deep critics by layer, and the weights of two of them.

    Args:
        critics: The first under the gradient penalty, then by clip value.
    """
    _, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 3.8))
    for critic, colour in zip(critics, (BLUE, RED, ORANGE, PURPLE), strict=True):
        layers = np.arange(1, len(critic.gradient_norms) + 1)
        left.semilogy(layers, critic.gradient_norms, "o-", color=colour, label=name_of(critic))
    left.set(title="gradient of the score", xlabel="hidden layer", ylabel="norm")
    left.set(ylim=(1e-30, 1e9), xticks=[1, 4, 8, 12])
    left.legend(loc="lower right")
    for axes, critic, colour in ((middle, critics[2], ORANGE), (right, critics[0], BLUE)):
        share = np.full(len(critic.weights), 1 / len(critic.weights))
        axes.hist(critic.weights, 60, weights=share, color=colour)
        axes.set(title=f"weights, {name_of(critic)}", xlabel="weight", ylabel="share")
        axes.locator_params(axis="x", nbins=5)


def name_of(critic: DeepCritic) -> str:
    """Name a critic by its constraint."""
    return "penalty" if critic.clip_value is None else f"clip {critic.clip_value:g}"
