"""Heads: layers that turn a hypernetwork's features into another network's weights."""
