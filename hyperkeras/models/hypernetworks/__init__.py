"""Hypernetworks around whole Keras models."""
