"""Recurrences over whole sequences on PyTorch, with a gradient written by hand."""
