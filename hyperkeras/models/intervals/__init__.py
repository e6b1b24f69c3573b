"""Hypernetworks on boxes of embeddings."""
