"""MLflow: runs, values, artifacts and models. The only package that imports it."""
