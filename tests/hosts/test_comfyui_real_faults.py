"""What is wrong, what is kept and what changes, and how much memory is taken, in a real ComfyUI."""

import pytest
import torch
from comfyui_graphs import by_rife, kept, model, pictures, saved, smoother, smoother_video
from comfyui_server import MARKS, Graph, Refused

from vfi.models import rife

pytestmark = MARKS


def load(**given):
    graph = Graph()
    graph.keep(smoother(graph, model(graph, **given), pictures(graph, 2)))
    return graph


def frames(count=2, **given):
    graph = Graph()
    graph.keep(smoother(graph, model(graph), pictures(graph, count), **given))
    return graph


def replacement(**given):
    graph = Graph()
    graph.keep(by_rife(graph, pictures(graph, 2), **given))
    return graph


def video(file, **given):
    graph = Graph()
    smoother_video(graph, [graph.add("LoadVideo", file=file), 0], **given)
    return graph


def flow(second="1.png", splat=None, **given):
    graph = Graph()
    images = {name: [graph.add("LoadImage", image=file), 0] for name, file in (("first", "0.png"), ("second", second))}
    node = graph.add("VFIKernelsOpticalFlow", **{"method": "dis", **images, **given})
    if splat is not None:
        moved = {"image": images["first"], "flow": [node, 0], "amount": 1, "mode": "softmax"}
        node = graph.add("VFIKernelsSplat", **moved, **({"importance": [images["first"][0], 1]} if splat else {}))
    graph.keep(node)
    return graph


def of_a_model():
    graph = Graph()
    graph.keep(smoother(graph, model(graph), model(graph)))
    return graph


LOAD, RIFE = "VFIKernelsLoadModel", "VFIKernelsRIFE"
REFUSED = {  # before anything runs
    "missing file": (replacement(ckpt_name="rife49.pth"), RIFE, "rife49.pth is in none of ComfyUI's folders vfi and"),
    "missing weights": (load(model="rife", weights="nix.pth"), LOAD, "nix.pth is in none of ComfyUI's folders"),
    "outside": (load(model="rife", weights="../../input/0.png"), LOAD, "in none of ComfyUI's folders"),
    "no weights": (load(model="rife"), LOAD, "the model rife needs weights"),
    "weights too many": (load(weights="flownet.pkl"), LOAD, "the model flow-splat has no weights"),
    "no such model": (load(model="nix"), LOAD, "there is no model nix"),
    "no model": (load(model=None), LOAD, "Required input is missing: model"),
    "no weights given": (load(weights=None), LOAD, "Required input is missing: weights"),
    "a model that is a number": (load(model=5), LOAD, "there is no model 5"),
    "a file that is a number": (replacement(ckpt_name=5), RIFE, "expected the name of a file, got 5"),
    "no file": (replacement(ckpt_name=None), RIFE, "Required input is missing: ckpt_name"),
    "scale": (replacement(scale_factor=3), RIFE, "Value not in list: scale_factor: '3'"),
    "multiplier": (frames(multiplier=0), "VFIKernelsInterpolateFrames", "Value 0 smaller than min of 1: multiplier"),
    "kind": (of_a_model(), "VFIKernelsInterpolateFrames", "received_type(VFI_MODEL) mismatch input_type(IMAGE)"),
    "flow": (flow(weights="nix.pkl"), "VFIKernelsOpticalFlow", "nix.pkl is in none of ComfyUI's folders"),
}
FAILED = {
    "option": (load(options="scale = 0.5"), LOAD, "scale is not for the model flow-splat"),
    "options": (load(options="scale: 2"), LOAD, "expected options such as scale = 0.5"),
    "damaged": (load(model="rife", weights="bad.pth"), LOAD, "bad.pth is not a checkpoint"),
    "one frame": (frames(1), "VFIKernelsInterpolateFrames", "expected two frames or more, got 1"),
    "skipped": (frames(skip_frames="1;2"), "VFIKernelsInterpolateFrames", "expected frames to skip such as"),
    "sizes": (flow("small.png"), "VFIKernelsOpticalFlow", "expected images of one size, got 128x96 and 64x48"),
    "ebme": (flow(method="ebme"), "VFIKernelsOpticalFlow", "needs weights"),
    "importance": (flow(splat=False), "VFIKernelsSplat", "the mode softmax needs importance"),
    "mask": (flow(splat=True), "VFIKernelsSplat", "expected importance of 128x96 as the image is, got 64x64"),
    "no video": (video("bad.mp4"), "VFIKernelsInterpolateVideo", "bad.mp4 as a video"),
    "tile": (load(options="tile = 'x'"), LOAD, "expected tile to be a whole number"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_run_is_refused_with_a_sentence_on_its_node(comfyui, case):
    graph, node, said = REFUSED[case]
    with pytest.raises(Refused) as error:
        comfyui.begin(graph)
    assert set(error.value.errors) == {node}
    for told in error.value.errors[node]:
        assert said in told and "\n" not in told and "exception" not in told.lower()


@pytest.mark.parametrize("case", FAILED)
def test_what_fails_is_one_sentence_on_its_node(comfyui, case):
    graph, node, said = FAILED[case]
    told = comfyui.failed(graph)
    message = told["exception_message"].strip()
    assert told["node_type"] == node and said in message and "\n" not in message
    assert told["exception_type"] == "vfi.NodeError"


@pytest.fixture
def changing(comfyui):
    """Writes a file of RIFE anew, with other weights; its name may also come from a node."""
    path = comfyui.folder / "models/vfi/changing.pth"
    torch.save(path.name, comfyui.folder / "input/name.pt")

    def write(seed):
        torch.manual_seed(seed)
        torch.save(rife.load(variant="4.7").state_dict(), path)

    return write


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("by", ["RIFE", "LoadModel"])
def test_only_what_changed_is_made_again(comfyui, changing, by, linked):
    graph = Graph()
    file = [graph.add("Give", name="name.pt"), 0] if linked else "changing.pth"
    batch = pictures(graph, 2)
    if by == "RIFE":
        made = by_rife(graph, batch, ckpt_name=file)
    else:
        made = smoother(graph, model(graph, model="rife", weights=file), batch)
    graph.keep(made)
    changing(1)
    comfyui.run(graph)
    first = kept(comfyui)
    cached = comfyui.cached(graph)
    assert cached == set(graph)
    changing(2)
    cached = comfyui.cached(graph)
    assert made not in cached and batch[0] in cached and not torch.equal(kept(comfyui), first)


def test_a_schedule_comes_from_another_node(comfyui):
    torch.save([3, 0, 2], comfyui.folder / "input/schedule.pt")
    graph = Graph()
    schedule = [graph.add("Give", name="schedule.pt"), 0]
    graph.keep(smoother(graph, model(graph), pictures(graph), multiplier=schedule))
    comfyui.run(graph)
    assert len(kept(comfyui)) == 3 + 0 + 2 + 1


def test_memory_is_that_of_the_result(comfyui):
    graph = Graph()
    film = [graph.add("LoadVideo", file="long.mp4"), 0]
    batch = [graph.add("GetVideoComponents", video=film), 0]
    loaded = model(graph)
    for frames in (batch, [smoother(graph, loaded, pictures(graph)), 0]):
        graph.add("PreviewImage", images=[graph.add("ImageFromBatch", image=frames, batch_index=0, length=1), 0])
    comfyui.run(graph)  # what was loaded stays
    made = smoother(graph, loaded, batch)
    graph.add("PreviewImage", images=[graph.add("ImageFromBatch", image=[made, 0], batch_index=0, length=1), 0])
    comfyui.forget_most()
    before = comfyui.memory()
    comfyui.run(graph)
    result = 399 * 240 * 320 * 3 * 4
    assert comfyui.memory("VmHWM") - before < result + 100e6


def test_a_long_video_takes_no_more_memory_than_a_short_one(comfyui):
    comfyui.run(video("film.mp4", fps=15))  # what it needs for any
    comfyui.forget_most()
    before = comfyui.memory()
    assert saved(comfyui, comfyui.run(video("long.mp4")))
    frames = 400 * 240 * 320 * 3 * 4
    assert comfyui.memory("VmHWM") - before < 100e6 < frames
