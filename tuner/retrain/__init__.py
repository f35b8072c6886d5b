"""A winner, trained again."""
