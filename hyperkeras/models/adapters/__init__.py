"""Hypernetworks that write adapters."""
