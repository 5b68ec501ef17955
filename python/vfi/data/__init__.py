"""Data sets, made-up scenes, and clips with captions."""
