"""Train BEGAN on digits without our code, to see what its published values make of them.

``python -m benchmarks.fidelity.began``. It is the method once more, from the paper alone (Berthelot
2017, section 3): latents uniform in [-1, 1], ELUs, a critic whose decoder is built as the generator
is, the authors' Adam. What repeats digits here as in ``docs/methods.md`` is no fault of ours. A
linear classifier names the digit of each sample; the first row is of real digits.
"""

import itertools
from collections.abc import Iterator

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

STEPS, BATCH, NUM_SAMPLES = 10_000, 16, 1000
#: A digit is made if it has at least this share of the samples; each has about 0.1 of the data.
MADE = 0.02
#: Ratio gamma, gain lambda, learning rate, length of latents and codes: the authors', then others.
SETTINGS = (
    (0.5, 0.001, 1e-4, 64),
    (0.7, 0.001, 1e-4, 64),
    (0.7, 0.001, 1e-4, 16),
    (0.9, 0.01, 5e-4, 8),
    (0.7, 0.01, 1e-3, 4),
)


def train(
    data: Tensor, gamma: float, gain: float, learning_rate: float, length: int
) -> Iterator[Tensor]:
    """Train; yield samples at the quarters of the training."""
    torch.manual_seed(0)
    generator = _layers(length, 128, 128, data.shape[1])
    generator.append(nn.Tanh())
    critic = _layers(data.shape[1], 128, 128, length, 128, 128, data.shape[1])
    of_generator, of_critic = (
        torch.optim.Adam(network.parameters(), learning_rate, (0.5, 0.999))
        for network in (generator, critic)
    )

    def sample(num: int) -> Tensor:
        return generator(torch.rand(num, length) * 2 - 1)

    def error(samples: Tensor) -> Tensor:
        return (samples - critic(samples)).abs().mean()

    k = 0.0
    for step in range(1, STEPS + 1):
        of_real = error(data[torch.randint(len(data), (BATCH,))])
        _descend(of_critic, of_real - k * error(sample(BATCH).detach()))
        of_fake = error(sample(BATCH))
        _descend(of_generator, of_fake)
        k = min(1.0, max(0.0, k + gain * (gamma * of_real.item() - of_fake.item())))
        if step % (STEPS // 4) == 0:
            with torch.no_grad():
                yield sample(NUM_SAMPLES)


def _layers(*widths: int) -> nn.Sequential:
    pairs = list(itertools.pairwise(widths))
    layers = [layer for pair in pairs for layer in (nn.Linear(*pair), nn.ELU())]
    return nn.Sequential(*layers[:-1])


def _descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def main() -> None:
    """Print a row for each setting: the digits made at each quarter, and how much samples vary."""
    torch.set_num_threads(1)
    images, labels = load_digits(return_X_y=True)
    scaled = (images / 8 - 1).astype(np.float32)
    classifier = LogisticRegression(max_iter=3000).fit(scaled, labels)

    def cells(samples: Tensor) -> str:
        counts = np.bincount(classifier.predict(samples.numpy()), minlength=10)
        num_made = int((counts >= MADE * len(samples)).sum())
        return f"{num_made} of 10 ({samples.std(0).mean():.3f})"

    data = torch.from_numpy(scaled)
    quarters = [f"step {STEPS * quarter // 4:,}" for quarter in (1, 2, 3, 4)]
    print(f"| gamma | lambda | learning rate | latents | {' | '.join(quarters)} |")
    print("|---|---|---|---|---|---|---|---|")
    print(f"| real digits | | | | {cells(data)} | | | |")
    for setting in SETTINGS:
        made = [cells(samples) for samples in train(data, *setting)]
        print(f"| {' | '.join(map(str, (*setting, *made)))} |", flush=True)


if __name__ == "__main__":
    main()
