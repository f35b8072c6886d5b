"""One session of a search: request, checks, wiring, resume."""
