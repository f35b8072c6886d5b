"""The frozen configuration of a trial, and the published defaults of its methods."""
