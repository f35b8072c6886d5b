"""Measurements, each printed with its own baseline."""
