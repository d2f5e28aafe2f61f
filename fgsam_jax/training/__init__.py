"""From random or converted weights to checkpoints, phase by phase."""
