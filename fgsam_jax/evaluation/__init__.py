"""From checkpoints to scores."""
