"""Targets whose weights differ from sample to sample."""
