"""Scenes of moving textures whose frames, flow and occlusion are known exactly at every time.

`python -m vfi_models.synthetic --out FOLDER` writes triplets or clips as images.
"""

from vfi_models.synthetic.clips import Clip, clip
from vfi_models.synthetic.scene import Layer, Scene
from vfi_models.synthetic.triplets import Triplet, random_scene, triplet

__all__ = ["Clip", "Layer", "Scene", "Triplet", "clip", "random_scene", "triplet"]
