"""Measurements of the whole platform, each a module to run with `python -m` from the project's root."""
