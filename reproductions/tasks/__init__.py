"""The papers' experiments, one a module or package."""
