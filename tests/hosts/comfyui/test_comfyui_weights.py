"""Files of weights: which are found, what is refused, and what becomes of one that changes."""

import inspect

import pytest
import torch
from comfyui_frames import loaded, ramp
from comfyui_stand_in import PromptRefused

import vfi
from vfi.models.flow_splat import FlowSplat
from vfi.models.registry import MODELS


def test_every_model_can_be_chosen_and_files_are_found(comfy, weights):
    folder = comfy.root / "models/vfi/deep"
    folder.mkdir(parents=True)
    (folder / "rife47.pth").write_bytes((weights / "rife47.pth").read_bytes())
    (folder / "notes.txt").write_text("no weights")
    kinds = comfy.nodes["VFIKernelsLoadModel"].INPUT_TYPES()["required"]
    assert kinds["model"][0] == list(MODELS) and kinds["weights"][0] == ["none", "deep/rife47.pth"]
    model = loaded(comfy, model="rife", weights="deep/rife47.pth", options="scale = 0.5\ntta = true")
    assert model.model.called == "rife" and (model.model.scale, model.model.tta) == (0.5, True)
    assert (
        loaded(comfy, model="rife", weights="deep/rife47.pth", options="scale = 0.5\ntta = true").model is model.model
    )
    assert loaded(comfy).model.called == "flow-splat"


def test_a_file_that_changes_is_read_anew(comfy, weights):
    path = comfy.root / "models/vfi/rife.pth"
    path.write_bytes((weights / "rife47.pth").read_bytes())
    first = loaded(comfy, model="rife", weights="rife.pth")
    path.write_bytes((weights / "rife426.pth").read_bytes())
    assert loaded(comfy, model="rife", weights="rife.pth").model is not first.model


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize(
    "name, file", [("LoadModel", "weights"), ("RIFE", "ckpt_name"), ("OpticalFlow", "weights")], ids=lambda name: name
)
def test_every_node_with_a_file_changes_with_it(comfy, name, file, linked):
    """None: the name of the file comes from another node, so that it may be any."""
    path, node = comfy.root / "models/vfi/some.pkl", comfy.nodes[f"VFIKernels{name}"]
    path.write_bytes(b"1")
    given = {file: None if linked else path.name}
    before = node.IS_CHANGED(**given)
    assert node.IS_CHANGED(**given) == before
    path.write_bytes(b"22")
    assert node.IS_CHANGED(**given) != before
    path.unlink()
    assert node.IS_CHANGED(**given) != before


LOAD_REFUSED = {
    "missing": ({"model": "rife", "weights": "nix.pth"}, PromptRefused, "nix.pth is in none of ComfyUI's folders"),
    "outside": ({"model": "rife", "weights": "../../secret.pth"}, PromptRefused, "in none of ComfyUI's folders"),
    "none": ({"model": "rife"}, PromptRefused, "the model rife needs weights"),
    "no such model": ({"model": "nix"}, PromptRefused, "there is no model nix"),
    "model is missing": ({"model": ...}, PromptRefused, "^Required input is missing: model$"),
    "weights are missing": ({"weights": ...}, PromptRefused, "^Required input is missing: weights$"),
    "a number": ({"model": 5}, PromptRefused, "there is no model 5"),
    "a mapping": ({"model": {"a": 1}}, PromptRefused, "there is no model {'a': 1}"),
    "no name": ({"model": "rife", "weights": 5}, PromptRefused, "expected the name of a file, got 5"),
    "not taken": ({"weights": "bad.pth"}, PromptRefused, "the model flow-splat has no weights"),
    "damaged": ({"model": "rife", "weights": "bad.pth"}, RuntimeError, "bad.pth"),
    "option": ({"options": "scale = 0.5"}, RuntimeError, "scale is not for the model flow-splat"),
    "no options": ({"options": "scale: 2"}, RuntimeError, "expected options such as scale = 0.5"),
    "value": ({"options": "tile = 'x'"}, RuntimeError, "expected tile to be a whole number"),
}


@pytest.mark.parametrize("case", LOAD_REFUSED)
def test_what_cannot_be_loaded_is_one_sentence(comfy, case):
    given, kind, said = LOAD_REFUSED[case]
    (comfy.root / "models/vfi/bad.pth").write_bytes(b"no weights")
    (comfy.root / "secret.pth").write_bytes(b"secret")
    with pytest.raises(kind, match=said) as error:
        loaded(comfy, **given)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("pack", ["ComfyUI-Frame-Interpolation", "comfyui-frame-interpolation"])
def test_a_graph_of_the_other_pack_needs_one_type_changed(comfy, weights, pack):
    """Its inputs in their order, with its defaults, and the file where it has put it: a clone, or as the registry
    names its folder."""
    folder = comfy.root / "custom_nodes" / pack / "ckpts/rife"
    folder.mkdir(parents=True)
    for name in ("rife47.pth", "rife426.pth"):
        (folder / name).write_bytes((weights / name).read_bytes())
    comfy.load(comfy.root / "custom_nodes/vfi-kernels")
    kinds = comfy.nodes["VFIKernelsRIFE"].INPUT_TYPES()
    expected = {
        "ckpt_name": "rife47.pth", "frames": None, "clear_cache_after_n_frames": 10, "multiplier": 2, "fast_mode": True,
        "ensemble": True, "scale_factor": 1.0,
    }  # fmt: skip
    later = {"dtype": "float32", "torch_compile": False, "batch_size": 1, "optional_interpolation_states": None}
    for group, wanted in (("required", expected), ("optional", later)):
        told = {name: kind[1].get("default") if len(kind) > 1 else None for name, kind in kinds[group].items()}
        assert list(told.items()) == list(wanted.items())
    frames = torch.rand(3, 64, 96, 3, generator=torch.Generator().manual_seed(0))
    (made,) = comfy.run("VFIKernelsRIFE", ckpt_name="rife47.pth", frames=frames, multiplier=3)
    model = vfi.load_model("rife", folder / "rife47.pth", ensemble=True)
    expected = vfi.between(frames[:1], frames[1:2], 1 / 3, model=model, layout="BHWC")
    assert len(made) == 7 and torch.equal(made[1:2], expected)
    (newer,) = comfy.run("VFIKernelsRIFE", ckpt_name="rife426.pth", frames=frames, scale_factor=0.5)
    assert len(newer) == 5  # which has no ensemble
    with pytest.raises(PromptRefused, match=r"rife49.pth is in none"):
        comfy.run("VFIKernelsRIFE", ckpt_name="rife49.pth", frames=frames)


def test_what_runs_the_network_is_chosen_by_its_options(comfy, monkeypatch):
    (comfy.root / "models/vfi/r.pth").touch()
    node, asked = comfy.nodes["VFIKernelsRIFE"], []

    def kept(name, path, device, **options):
        asked.append(options)
        return FlowSplat(), None

    monkeypatch.setitem(node.vfi.__wrapped__.__globals__, "kept_model", kept)
    for more in ({}, {"dtype": "bfloat16"}, {"torch_compile": True, "ensemble": False, "scale_factor": 0.5}):
        comfy.run("VFIKernelsRIFE", ckpt_name="r.pth", frames=ramp(2, (64, 64)), **more)
    usual = {"scale": 1.0, "ensemble": True}
    compiled = {"engine": "compile", "precision": "float32", "scale": 0.5, "ensemble": False}
    assert asked == [usual, {**usual, "engine": "torch", "precision": "bfloat16"}, compiled]
    loaded(comfy, precision="auto", engine="openvino")
    assert asked[-1] == {"engine": "openvino", "precision": "auto"}


@pytest.mark.parametrize("name", ["VFIKernelsLoadModel", "VFIKernelsRIFE", "VFIKernelsOpticalFlow"])
def test_what_comes_from_another_node_is_not_judged_before_it_is_there(comfy, name):
    node = comfy.nodes[name]
    inputs = [
        each for each in ("model", "weights", "ckpt_name") if each in str(inspect.signature(node.VALIDATE_INPUTS))
    ]
    assert inputs and node.VALIDATE_INPUTS(**dict.fromkeys(inputs)) is True


def test_without_a_file_the_node_says_where_to_put_one(comfy):
    with pytest.raises(PromptRefused, match="put a file of RIFE 4"):
        comfy.run("VFIKernelsRIFE", frames=ramp(3))
    with pytest.raises(PromptRefused, match=r"^Required input is missing: ckpt_name$"):
        comfy.run("VFIKernelsRIFE", frames=ramp(3), ckpt_name=...)
