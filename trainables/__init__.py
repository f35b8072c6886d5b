"""Trainable Wasserstein GANs: networks, constraints, the training loop and the objective."""
