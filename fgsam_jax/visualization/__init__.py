"""Pictures of data sets and of trained models."""
