"""The choice of settings on validation data, with the same number of trials for each model."""
