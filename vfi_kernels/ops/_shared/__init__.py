"""What the ops have in common."""
