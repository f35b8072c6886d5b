"""A notebook that searches, and what executes it."""
