"""Measure the savings of ASHA and of the sampler, by replays of recorded trials."""
