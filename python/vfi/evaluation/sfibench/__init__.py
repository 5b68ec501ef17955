"""SFIBench: how good frames between a first and a last frame are that follow a text, at six lengths.

`vfi evaluate --dataset sfibench`; from Python `benchmark.evaluate`.

Source: Semantic Frame Interpolation (SemFi), section 3.3.2, and VBench (Huang et al., CVPR 2024) for the quality of a
video.
"""
