"""Data for semantic frame interpolation: clips of several lengths with captions, chosen from videos by what changes.

`python -m vfi.commands.make_clips` makes a manifest of them, `clips` reads it for training.

Source: Semantic Frame Interpolation (SemFi), section 3.3.1.
"""
