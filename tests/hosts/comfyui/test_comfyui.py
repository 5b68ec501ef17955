"""The nodes of integrations/comfyui, driven as ComfyUI drives them, by its stand-in."""

import re
import sys
import weakref
from itertools import pairwise

import numpy as np
import pytest
import torch
from comfyui_frames import FOLDER, loaded, ramp, values
from comfyui_stand_in import ComfyUI, InterruptProcessingException, ProgressBar

import vfi
import vfi_kernels as vk
from vfi.errors import require
from vfi.models.flow_splat import FlowSplat


def interpolate(comfy, frames, **given):
    return comfy.run("VFIKernelsInterpolateFrames", model=loaded(comfy), frames=frames, **given)[0]


def test_every_node_is_as_the_interface_wants_it(comfy):
    assert set(comfy.nodes) == set(comfy.shown) and len(comfy.nodes) == 8
    for node in comfy.nodes.values():
        inputs = node.INPUT_TYPES()
        assert set(inputs) <= {"required", "optional"} and node.CATEGORY == "vfi" and node.DESCRIPTION.endswith(".")
        assert callable(getattr(node, node.FUNCTION)) and isinstance(node.RETURN_TYPES, tuple)
        for kind, *settings in [each for group in inputs.values() for each in group.values()]:
            assert isinstance(kind, (str, list)) and all(isinstance(each, dict) for each in settings)


def test_vfi_itself_knows_nothing_of_comfyui():
    for path in (FOLDER.parents[1] / "python").rglob("*.py"):
        assert not re.search(r"\bcomfy|folder_paths", path.read_text()), path


def test_without_videos_in_comfyui_there_is_no_node_for_them(tmp_path, monkeypatch):
    host = ComfyUI(tmp_path, videos=False)
    host.install(monkeypatch)
    assert len(host.load(FOLDER)) == 7 and "VFIKernelsInterpolateVideo" not in host.nodes


def test_the_manifest_is_as_the_registry_wants_it():
    toml = require("tomllib" if sys.version_info >= (3, 11) else "tomli")
    told = toml.loads((FOLDER / "pyproject.toml").read_text())
    project, comfy = told["project"], told["tool"]["comfy"]
    assert re.fullmatch(r"[a-z][a-z0-9]*([-_.][a-z0-9]+)*", project["name"]) and "comfyui" not in project["name"]
    assert project["version"] == vk.__version__ and project["license"] == {"text": "MIT License"}
    assert project["dependencies"] == ["vfi-kernels[models]"] and {"PublisherId", "DisplayName"} <= set(comfy)


def test_frames_stand_where_they_should(comfy, linear):
    frames = ramp(4)
    assert values(interpolate(comfy, frames)) == [0, 0.5, 1, 1.5, 2, 2.5, 3]
    assert values(interpolate(comfy, frames, multiplier=4))[:6] == [0, 0.25, 0.5, 0.75, 1, 1.25]
    assert values(interpolate(comfy, frames, multiplier=1)) == [0, 1, 2, 3]
    assert values(interpolate(comfy, frames, multipliers="4, 1")) == [0, 0.25, 0.5, 0.75, 1, 2, 2.5, 3]
    assert values(interpolate(comfy, frames, multiplier=[3, 0, 1])) == pytest.approx([0, 1 / 3, 2 / 3, 2, 3], abs=1e-3)
    assert values(interpolate(comfy, frames, skip_frames="0, 2")) == [0, 1, 1.5, 2, 3]
    large = interpolate(comfy, frames, multiplier=20)
    assert len(large) == 61 and values(large) == pytest.approx([n / 20 for n in range(61)], abs=1e-3)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 64])
def test_pairs_that_are_made_at_once_are_the_same(comfy, batch_size):
    frames = torch.rand(6, 64, 72, 3, generator=torch.Generator().manual_seed(0))
    given = {"multipliers": "2, 2, 3, 3, 2", "skip_frames": "1"}
    alone = interpolate(comfy, frames, **given)
    assert torch.equal(interpolate(comfy, frames, **given, batch_size=batch_size), alone)
    middle = vfi.between(frames[:1], frames[1:2], 0.5, layout="BHWC")
    assert torch.equal(alone[1:2], middle) and torch.equal(alone[0], frames[0]) and torch.equal(alone[-1], frames[-1])


def test_states_of_either_pack_are_taken(comfy, linear):
    class Theirs:
        """What the other pack gives, by its interface."""

        def is_frame_skipped(self, frame_index):
            return frame_index != 1

    assert values(interpolate(comfy, ramp(4), optional_interpolation_states=Theirs())) == [0, 1, 1.5, 2, 3]
    for listed, among, expected in (("1", False, [0, 1, 1.5, 2, 3]), ("0, 2", True, [0, 1, 1.5, 2, 3])):
        (states,) = comfy.run("VFIKernelsSkipFrames", frame_indices=listed, is_skip_list=among)
        assert values(interpolate(comfy, ramp(4), optional_interpolation_states=states)) == expected


def test_before_a_cut_the_frame_is_repeated(comfy):
    random = np.random.default_rng(0)
    coarse = torch.from_numpy(random.random((2, 3, 8, 12), np.float32))
    scenes = torch.nn.functional.interpolate(coarse, size=(64, 96), mode="bicubic").clamp(0, 1).movedim(1, -1)
    frames = torch.cat([scenes[:1].expand(5, -1, -1, -1), scenes[1:].expand(5, -1, -1, -1)])
    made = interpolate(comfy, frames, scene_cuts=True)
    assert len(made) == 19 and torch.equal(made[9], frames[4]) and torch.equal(made[10], frames[5])
    assert not torch.equal(interpolate(comfy, frames)[9], frames[4])


def test_alpha_and_half_precision_come_back_as_they_are(comfy, linear):
    frames = torch.cat([ramp(3), torch.ones(3, 8, 10, 1)], -1)
    assert values(interpolate(comfy, frames)[..., :3]) == [0, 0.5, 1, 1.5, 2]
    made = interpolate(comfy, ramp(3).half())
    assert made.dtype == torch.float16 and made.device.type == "cpu"


def test_the_bar_shows_every_frame_and_the_cache_is_cleared(comfy, linear):
    interpolate(comfy, ramp(6), multiplier=3, clear_cache_after_n_frames=2)
    bar = ProgressBar.bars[-1]
    assert bar.seen[-1] == (16, 16) and [now for now, _ in bar.seen] == sorted(now for now, _ in bar.seen)
    assert comfy.cache_cleared == 3


def test_memory_is_that_of_the_result(comfy, monkeypatch):
    """Not more frames than one pair and its results are held beside it."""
    alive, most = weakref.WeakSet(), []

    def mixed(model, frame0, frame1, times):
        made = [torch.lerp(frame0, frame1, float(t)) for t in times]
        for each in made:
            alive.add(each)
        most.append(len(alive))
        return made

    monkeypatch.setattr(FlowSplat, "interpolate_many", mixed)
    interpolate(comfy, ramp(9), multiplier=33)
    assert len(most) == 32 and max(most) <= 16


def test_what_is_made_of_a_frame_serves_both_pairs_that_it_is_in(comfy, monkeypatch):
    """Models keep it by the tensor, which says by its version whether it is as it was."""
    pairs = []

    def mixed(model, frame0, frame1, times):
        pairs.append((frame0, frame1))
        assert not frame0.is_inference() and not frame0.requires_grad
        return [torch.lerp(frame0, frame1, float(t)) for t in times]

    monkeypatch.setattr(FlowSplat, "interpolate_many", mixed)
    interpolate(comfy, ramp(5), multiplier=20)
    for (first, second), (next_first, next_second) in pairwise(pairs):
        assert (first is next_first and second is next_second) or second is next_first


@pytest.mark.parametrize("cancelled_at", [1, 2, 7])
def test_a_job_that_is_cancelled_ends_within_a_frame(comfy, linear, cancelled_at):
    model = loaded(comfy)
    ComfyUI.interrupt_at = cancelled_at
    with pytest.raises(InterruptProcessingException):
        comfy.run("VFIKernelsInterpolateFrames", model=model, frames=ramp(20))
    assert len(ProgressBar.bars[-1].seen) == cancelled_at


FRAMES_REFUSED = {
    "one frame": ({"frames": ramp(1)}, "two frames or more, got 1"),
    "none": ({"frames": ramp(2)[:0]}, r"expected frames \(B, H, W, 3\), got \(0, 8, 10, 3\)"),
    "a picture": ({"frames": ramp(2)[0]}, r"got \(8, 10, 3\)"),
    "latents": ({"frames": {"samples": ramp(2)}}, "got dict"),
    "not a number": ({"frames": ramp(3) + torch.nan}, "finite numbers"),
    "of 255": ({"frames": ramp(3) * 2550}, r"floats in \[0, 1\]"),
    "whole numbers": ({"frames": ramp(3).int()}, "got int32"),
    "list": ({"frames": ramp(3), "multipliers": "2, x"}, "expected multipliers such as 1, 2, 5-8, got x"),
    "negative": ({"frames": ramp(3), "multiplier": [-1, 2]}, "multiplier from 0 to 1000, a whole number, got -1"),
    "endless factor": ({"frames": ramp(3), "multiplier": [float("inf")]}, "got inf"),
    "fraction": ({"frames": ramp(3), "multiplier": [1.5]}, "got 1.5"),
    "skip": ({"frames": ramp(3), "skip_frames": "1;2"}, "frames to skip"),
    "backwards": ({"frames": ramp(3), "skip_frames": "5-2"}, "got 5-2"),
    "no end": ({"frames": ramp(3), "skip_frames": "5-"}, "got 5-"),
    "endless": ({"frames": ramp(3), "skip_frames": "0-99999999999"}, "1000000 at most"),
    "both": ({"frames": ramp(3), "skip_frames": "1", "optional_interpolation_states": object()}, "give only one"),
}


@pytest.mark.parametrize("case", FRAMES_REFUSED)
def test_what_is_wrong_with_frames_is_one_sentence(comfy, case):
    given, said = FRAMES_REFUSED[case]
    with pytest.raises(RuntimeError, match=said) as error:
        interpolate(comfy, **given)
    kind = type(error.value)
    assert f"{kind.__module__}.{kind.__qualname__}" == "vfi.NodeError" and "\n" not in str(error.value)
