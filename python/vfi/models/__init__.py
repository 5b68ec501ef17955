"""The interpolation models, each with its files and its training."""
