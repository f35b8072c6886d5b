"""The files that a search leaves in its folder."""
