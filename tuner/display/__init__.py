"""Progress, on a terminal or as lines."""
