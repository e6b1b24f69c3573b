"""The papers' experiments: one module a task, run by `python -m reproductions`."""
