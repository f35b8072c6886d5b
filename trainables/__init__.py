"""Wasserstein GANs as trainables: networks, constraints, the training loop and the objective."""
