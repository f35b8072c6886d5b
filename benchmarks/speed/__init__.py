"""Measure the speed and the costs of steps, trials and searches."""
