"""Graph layers with learned wiring."""
