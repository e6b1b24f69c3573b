"""Recurrences over whole sequences on TensorFlow, with a gradient written by hand."""
