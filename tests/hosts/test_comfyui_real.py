"""The nodes of integrations/comfyui in a real ComfyUI, by what its page says over HTTP.

VFI_COMFYUI=/path/to/ComfyUI VFI_COMFYUI_PYTHON=/path/to/its/python pytest tests/hosts/test_comfyui_real*.py
"""

import re
import shlex
import subprocess
import time

import av
import numpy as np
import pytest
import torch
from comfyui_graphs import by_rife, described, kept, model, pictures, saved, smoother, smoother_video
from comfyui_server import COMFYUI, MARKS, PYTHON, ROOT, Graph

pytestmark = MARKS
PAGE = ROOT / "integrations/comfyui"
SHOWN = {
    "Load VFI Model", "Interpolate Frames (VFI)", "RIFE VFI (vfi-kernels)", "Frames to Skip (VFI)",
    "Warp by Flow (VFI)", "Optical Flow (VFI)", "Splat along Flow (VFI)", "Interpolate Video (VFI)",
}  # fmt: skip

# What the nodes are compared with, made by the same interpreter.
BY_PYTHON = """
import sys, numpy as np, torch, vfi, vfi_kernels as vk
from pathlib import Path
from PIL import Image
from vfi.models.flow_by_name import load_flow
folder, out = Path(sys.argv[1]), Path(sys.argv[2])
frames = torch.from_numpy(np.stack([np.array(Image.open(folder / f"input/{n}.png")) for n in range(4)])).float() / 255

def between(model, times):
    made = []
    for first, second in zip(frames[:-1], frames[1:]):
        made += [first[None], *(vfi.between(first[None], second[None], t, model=model, layout="BHWC") for t in times)]
    return torch.cat([*made, frames[-1:]])

torch.save(between("flow-splat", [1 / 3, 2 / 3]), out / "thirds.pt")
weights = folder / "models/vfi/flownet.pkl"
torch.save(between(vfi.load_model("rife", weights, ensemble=True), [1 / 2]), out / "rife.pt")
torch.save(between(vfi.load_model("rife", weights, scale=0.5), [1 / 2]), out / "loaded.pt")
planes = frames.movedim(-1, 1)
flow = load_flow("dis")(planes[:1], planes[1:2])
torch.save(flow, out / "flow.pt")
torch.save(vk.backward_warp(planes[1:2], flow).movedim(1, -1), out / "warped.pt")
torch.save(vk.splat(planes[:1], flow * 0.5).movedim(1, -1), out / "splatted.pt")
vfi.interpolate(folder / "input/film.mp4", out / "film.mp4", factor=3, model="flow-splat", segment=0)
"""


@pytest.fixture(scope="module")
def by_python(comfyui, tmp_path_factory):
    folder = tmp_path_factory.mktemp("by_python")
    subprocess.run([PYTHON, "-c", BY_PYTHON, str(comfyui.folder), str(folder)], check=True, cwd=COMFYUI)
    return folder


def test_the_torch_that_is_there_is_what_pip_keeps(tmp_path):
    """By the first command of the page: of the package index, torch.__version__ ends in +cu130, its name does not."""
    command = re.search(r"^python (-c .*) > torch.txt", (PAGE / "README.md").read_text(), re.MULTILINE)[1]
    (tmp_path / "torch.txt").write_text(subprocess.check_output([PYTHON, *shlex.split(command)], text=True))
    pip = [PYTHON, "-m", "pip", "install", "--dry-run", "--no-index", "--constraint", "torch.txt", "torch"]
    told = subprocess.run(pip, cwd=tmp_path, capture_output=True, text=True)
    assert told.returncode == 0 and "already satisfied: torch" in told.stdout, told.stdout + told.stderr


def test_the_page_has_every_node_with_its_words(comfyui):
    ours = {name: said for name, said in comfyui.get("/object_info").items() if name.startswith("VFIKernels")}
    assert {said["display_name"] for said in ours.values()} == SHOWN
    for said in ours.values():
        assert said["category"] == "vfi" and said["description"].endswith(".")
        for kind, *settings in [each for group in said["input"].values() for each in group.values()]:
            if isinstance(kind, list) or kind in ("INT", "FLOAT", "STRING", "BOOLEAN"):
                assert settings[0]["tooltip"] and ("default" in settings[0] or "flownet.pkl" in kind)
    assert "Traceback" not in comfyui.log.read_text()


def test_frames_are_those_of_python_and_of_every_pair(comfyui, by_python):
    graph = Graph()
    made = smoother(graph, model(graph), pictures(graph), multiplier=3)
    graph.keep(made)
    graph.add("SaveImage", images=[made, 0], filename_prefix="made")
    files = saved(comfyui, comfyui.run(graph))
    frames = torch.load(by_python / "thirds.pt")
    assert torch.equal(kept(comfyui), frames) and len(files) == len(frames) == 10
    with av.open(str(files[1])) as container:
        picture = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert np.array_equal(picture, (frames[1] * 255).clamp(0, 255).byte().numpy())


def test_rife_by_either_node(comfyui, by_python):
    graph = Graph()
    graph.keep(by_rife(graph, pictures(graph)), name="rife.pt")
    loaded = model(graph, model="rife", weights="flownet.pkl", options="scale = 0.5")
    graph.keep(smoother(graph, loaded, pictures(graph)), name="loaded.pt")
    comfyui.run(graph)
    assert torch.equal(kept(comfyui, "rife.pt"), torch.load(by_python / "rife.pt"))
    assert torch.equal(kept(comfyui, "loaded.pt"), torch.load(by_python / "loaded.pt"))


@pytest.mark.parametrize("skipped", [True, False])
def test_frames_to_skip_by_their_node(comfyui, by_python, skipped):
    graph = Graph()
    states = graph.add("VFIKernelsSkipFrames", frame_indices="0, 2" if skipped else "1", is_skip_list=skipped)
    graph.keep(by_rife(graph, pictures(graph), optional_interpolation_states=[states, 0]))
    comfyui.run(graph)
    assert torch.equal(kept(comfyui), torch.load(by_python / "rife.pt")[[0, 2, 3, 4, 6]])


def test_flow_and_what_moves_along_it(comfyui, by_python):
    graph = Graph()
    first, second = ([graph.add("LoadImage", image=name), 0] for name in ("0.png", "1.png"))
    flow = graph.add("VFIKernelsOpticalFlow", first=first, second=second, method="dis")
    warped = graph.add("VFIKernelsWarp", image=second, flow=[flow, 0], amount=1, padding_mode="border")
    splatted = graph.add("VFIKernelsSplat", image=first, flow=[flow, 0], amount=0.5, mode="average")
    for name, node in {"flow.pt": flow, "warped.pt": warped, "splatted.pt": splatted}.items():
        graph.keep(node, name=name)
    for node in (warped, splatted):
        mask = graph.add("MaskToImage", mask=[node, 1])
        graph.add("SaveImage", images=[mask, 0], filename_prefix="mask")
    graph.add("SaveImage", images=[flow, 1], filename_prefix="flow")
    assert len(saved(comfyui, comfyui.run(graph))) == 3
    for name in ("flow.pt", "warped.pt", "splatted.pt"):
        assert torch.equal(kept(comfyui, name), torch.load(by_python / name)), name


def test_a_video_is_that_of_python_and_is_saved_with_its_sound(comfyui, by_python):
    graph = Graph()
    smoother_video(graph, [graph.add("LoadVideo", file="film.mp4"), 0], multiplier=3)
    (path,) = saved(comfyui, comfyui.run(graph))
    assert described(path) == described(by_python / "film.mp4")
    frames, rate, sounds = described(path)
    assert (len(frames), rate, sounds) == (24, 30, 1)


def test_a_video_of_matroska_is_saved_whole(comfyui):
    graph = Graph()
    smoother_video(graph, [graph.add("LoadVideo", file="film.mkv"), 0])
    (path,) = saved(comfyui, comfyui.run(graph))
    frames, rate, sounds = described(path)
    assert (len(frames), rate, sounds) == (16, 20, 1)


@pytest.mark.parametrize("rate", [29.97, 30000 / 1001, 24])
def test_a_video_that_comfyui_has_made_of_images(comfyui, rate):
    graph = Graph()
    video = graph.add("CreateVideo", images=pictures(graph, 3), fps=rate)
    smoother_video(graph, [video, 0], fps=round(2 * rate, 3))
    (path,) = saved(comfyui, comfyui.run(graph))
    frames, got, _ = described(path)
    assert len(frames) == 6 and float(got) == pytest.approx(2 * rate, abs=0.01)


def test_progress_comes_over_the_websocket(comfyui):
    graph = Graph()
    made = smoother(graph, model(graph), pictures(graph), multiplier=5)
    graph.keep(made)
    job = comfyui.begin(graph)
    comfyui.finished(job)
    told = [(each["value"], each["max"]) for each in comfyui.of(job, "progress") if each["node"] == made]
    assert told == sorted(told) and len(told) > 5 and told[-1] == (16, 16)


@pytest.mark.parametrize("kind", ["frames", "video"])
def test_a_job_that_is_interrupted_ends_and_leaves_no_file(comfyui, kind):
    def files():
        return sorted(path for name in ("temp", "output", "models") for path in (comfyui.folder / name).rglob("*"))

    graph = Graph()
    film = [graph.add("LoadVideo", file="long.mp4"), 0]
    if kind == "video":
        smoother_video(graph, film, fps=50)
    else:
        frames = [graph.add("GetVideoComponents", video=film), 0]
        graph.keep(smoother(graph, model(graph), frames, multiplier=5), name="never.pt")
    before, job = files(), comfyui.begin(graph)
    while len(comfyui.of(job, "progress")) < 5:
        time.sleep(0.02)
    pressed = time.monotonic()
    comfyui.interrupt()
    messages = dict(comfyui.finished(job)["status"]["messages"])
    assert "execution_interrupted" in messages and time.monotonic() - pressed < 10
    assert len(comfyui.of(job, "progress")) < 200 and files() == before
    graph = Graph()
    graph.keep(smoother(graph, model(graph), pictures(graph, 2)))
    comfyui.run(graph)
