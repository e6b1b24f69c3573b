"""Layers that read a computational graph and make its weights: parts of `GraphHypernetwork`."""
