"""Pictures of motion and of comparisons."""
