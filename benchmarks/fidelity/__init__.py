"""Compare the objective's ranking of generators with that by their true distances."""
