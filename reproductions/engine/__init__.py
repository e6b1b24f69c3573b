"""Seed, fit, evaluate, record; tables from records. Knows no task."""
