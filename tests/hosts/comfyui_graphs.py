"""Graphs of the nodes with those of ComfyUI around them, what they work on, and what they have made."""

import shutil

import av
import numpy as np
import torch

from vfi.files.images import write_image


def fill(folder, weights):
    """Four pictures, a film with sound, a longer one, a file of RIFE 4.6, and what is none of these."""
    shutil.copy(weights, folder / "models/vfi/flownet.pkl")
    noise = np.random.default_rng(0).integers(0, 255, (12, 40, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    for number in range(4):
        write_image(folder / f"input/{number}.png", noise[:, 4 * number : 4 * number + 128])
    write_image(folder / "input/small.png", noise[:48, :64])
    film(folder / "input/film.mp4", 8, (128, 96), noise)
    film(folder / "input/film.mkv", 8, (128, 96), noise)
    film(folder / "input/long.mp4", 200, (320, 240), noise.repeat(3, 0).repeat(3, 1))
    (folder / "input/bad.mp4").write_text("no video")
    (folder / "models/vfi/bad.pth").write_text("no weights")


def film(path, frames, size, noise):
    with av.open(str(path), "w") as container:
        video, audio = container.add_stream("libx264", rate=10), container.add_stream("aac", rate=8000, layout="mono")
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        for number in range(frames):
            picture = np.ascontiguousarray(np.roll(noise, -4 * number, 1)[: size[1], : size[0]])
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode(None))
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800 * frames), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 8000
        container.mux([*audio.encode(sound), *audio.encode(None)])


def pictures(graph, count=4):
    """Images that ComfyUI has loaded and put into a batch."""
    batch = graph.add("LoadImage", image="0.png")
    for number in range(1, count):
        loaded = graph.add("LoadImage", image=f"{number}.png")
        batch = graph.add("ImageBatch", image1=[batch, 0], image2=[loaded, 0])
    return [batch, 0]


def model(graph, **given):
    return [graph.add("VFIKernelsLoadModel", **{"model": "flow-splat", "weights": "none", **given}), 0]


def smoother(graph, loaded, frames, **given):
    usual = {"clear_cache_after_n_frames": 10, "multiplier": 2, **given}
    return graph.add("VFIKernelsInterpolateFrames", model=loaded, frames=frames, **usual)


def by_rife(graph, frames, **given):
    usual = {"clear_cache_after_n_frames": 10, "multiplier": 2, "fast_mode": True, "ensemble": True, "scale_factor": 1}
    return graph.add("VFIKernelsRIFE", frames=frames, **{"ckpt_name": "flownet.pkl", **usual, **given})


def smoother_video(graph, video, **given):
    made = graph.add("VFIKernelsInterpolateVideo", video=video, model=model(graph), **{"multiplier": 2, **given})
    graph.add("SaveVideo", video=[made, 0], filename_prefix="film", format="auto", codec="auto")
    return made


def saved(comfy, outputs):
    """The pictures or the videos of a graph that saved them, as files."""
    return [comfy.folder / "output" / each["filename"] for said in outputs.values() for each in said.get("images", ())]


def kept(comfy, name="kept.pt"):
    return torch.load(comfy.folder / "output" / name)


def described(path):
    """Every frame with its time, the rate, the number of tracks of sound."""
    with av.open(str(path)) as container:
        rate, sounds = container.streams.video[0].average_rate, len(container.streams.audio)
        return [(each.time, each.to_ndarray().tobytes()) for each in container.decode(video=0)], rate, sounds
