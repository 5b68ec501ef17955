"""ComfyUI's stand-in with the nodes linked into it, and what they work on."""

import av
import numpy as np
import pytest
import torch
from comfyui_frames import FOLDER
from comfyui_stand_in import ComfyUI

from vfi.models import rife
from vfi.models.flow_splat import FlowSplat


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Files of RIFE 4 with fresh weights, by the names of ComfyUI-Frame-Interpolation."""
    folder = tmp_path_factory.mktemp("weights")
    for name, release in (("rife47.pth", "4.7"), ("rife426.pth", "4.26")):
        torch.manual_seed(0)
        torch.save(rife.load(variant=release).state_dict(), folder / name)
    return folder


@pytest.fixture
def comfy(tmp_path, monkeypatch):
    """ComfyUI with the folder linked into custom_nodes."""
    host = ComfyUI(tmp_path / "ComfyUI")
    host.install(monkeypatch)
    (host.root / "custom_nodes/vfi-kernels").symlink_to(FOLDER)
    host.load(host.root / "custom_nodes/vfi-kernels")
    return host


@pytest.fixture
def linear(monkeypatch):
    """The model without weights mixes the two frames, so that every frame tells its time."""

    def mixed(model, frame0, frame1, times):
        return [torch.lerp(frame0, frame1, float(t)) for t in times]

    monkeypatch.setattr(FlowSplat, "interpolate_many", mixed)


@pytest.fixture
def film(tmp_path):
    """Eight numbered frames with sound, and a scene cut nowhere."""
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as container:
        video, audio = container.add_stream("libx264", rate=10), container.add_stream("aac", rate=8000, layout="mono")
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for number in range(8):
            picture = np.full((48, 64, 3), 40 + 10 * number, np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode(None))
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 6400), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 8000
        container.mux([*audio.encode(sound), *audio.encode(None)])
    return path
