"""Optuna: trials are proposed and kept here. The only package that imports it."""
