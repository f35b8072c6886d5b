"""Hyperparameter search for Wasserstein GANs with Ray Tune, Optuna and MLflow."""
