"""Trained weights for other frameworks."""
