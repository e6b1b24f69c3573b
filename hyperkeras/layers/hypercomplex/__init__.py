"""Parameterized hypercomplex multiplication layers."""
