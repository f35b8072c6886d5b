"""The event log of a search."""
