"""Likelihoods that several tasks share."""
