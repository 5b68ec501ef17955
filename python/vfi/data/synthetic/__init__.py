"""Scenes of moving textures whose frames, flow and occlusion are known exactly at every time.

`python -m vfi.data.synthetic --out FOLDER` writes triplets or clips as images.
"""

from vfi.data.synthetic.clips import Clip, clip
from vfi.data.synthetic.scene import Layer, Scene
from vfi.data.synthetic.triplets import Triplet, random_scene, triplet

__all__ = ["Clip", "Layer", "Scene", "Triplet", "clip", "random_scene", "triplet"]
