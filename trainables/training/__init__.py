"""The training loop of a WGAN and all that it changes: losses, constraints, optimizers, state."""
