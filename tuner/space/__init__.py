"""A search space: YAML in, a frozen and resolved search out. No torch, Ray, Optuna or MLflow."""
