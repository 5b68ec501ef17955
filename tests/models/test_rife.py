"""RIFE, RIFEm and SG-RIFE against golden files; checkpoints; frames at any time and size."""

import json
import sys

import numpy as np
import pytest
import torch
from shared_files import SHARED, needs_shared
from tiny import SMALL_DINO

import vfi_kernels as vk
from vfi.errors import UserError
from vfi.models import rife, sg_rife
from vfi.models.registry import load_model

COUNTS = {  # parameters of the parts, as computed from the architecture and the papers' tables
    "block0": 4_436_645, "block1": 1_747_580, "block2": 635_450, "block_tea": 636_665, "contextnet": 294_000,
    "dino_compressor": 558_848, "dino_refiner": 310_680, "unet": 4_822_137,
}  # fmt: skip


def count(module):
    return sum(p.numel() for p in module.parameters())


def golden(name):
    with np.load(SHARED / "golden" / f"{name}.npz") as file:
        tensors = {key: torch.from_numpy(value) for key, value in file.items()}
    return tensors, [tensors[key].float()[None] / 255 for key in ("frame0", "frame1")]


def seeded(model, **overrides):
    sys.path.insert(0, str(SHARED / "golden"))
    try:
        from seeded_weights import fill_
    finally:
        sys.path.pop(0)
    return fill_(model, overrides)


def assert_near(got, expected):
    torch.testing.assert_close(got[0], expected, rtol=0, atol=5e-4)


@pytest.fixture(params=["cpp", "reference"])
def backend(request):
    with vk.use_backend(request.param):
        yield


@needs_shared
@pytest.mark.parametrize(("variant", "name", "t"), [("rife", "rife_0.5", 0.5), ("rife_m", "rife_m_0.25", 0.25)])
def test_rife_golden(backend, variant, name, t):
    expected, frames = golden(name)
    model = seeded(rife.load(variant=variant))
    with torch.no_grad():
        result = model(*frames, t)
    assert_near(result.stages[0].flow, expected["flow_stage0"])
    assert_near(result.stages[-1].flow, expected["flow"])
    assert_near(result.stages[-1].mask.sigmoid(), expected["mask"])
    assert_near(
        rife.flow.blended(result.stages[1]), expected["coarse"]
    )  # the file's coarse is that of the second block
    assert_near(result.frame, expected["interpolated"])
    torch.testing.assert_close(model.interpolate(*frames, t), result.frame, rtol=0, atol=0)


@needs_shared
def test_sg_rife_golden(backend):
    expected, frames = golden("sg_rife_0.5")
    maps = tuple([expected[f"dino_layer{layer}_frame{i}"] for layer in (8, 11)] for i in (0, 1))
    model = seeded(sg_rife.load(), gamma=0.5)
    with torch.no_grad():
        result = model(*frames, maps=maps)
    assert_near(result.stages[-1].flow, expected["flow"])
    for i, offset in enumerate(result.offsets):
        assert_near(offset, expected[f"offset{i}"])
    assert_near(result.frame, expected["interpolated"])


@needs_shared
@pytest.mark.parametrize(
    ("name", "model"),
    [("rife", rife.RIFE), ("rife_m", lambda: rife.RIFE(rife.Config("rife_m"))), ("sg_rife", sg_rife.SGRIFE)],
)
def test_names_and_shapes_are_those_of_the_public_checkpoint(name, model):
    expected = json.loads((SHARED / "golden" / f"{name}_state_dict.json").read_text())
    assert {key: list(value.shape) for key, value in model().state_dict().items()} == expected


def test_parameter_counts():
    with torch.device("meta"):
        model = sg_rife.SGRIFE()
        dino = sg_rife.dino.make_network()
    assert {name: count(part) for name, part in model.named_children()} == COUNTS
    assert count(dino) == 21_596_544
    assert count(model) - count(model.block_tea) + count(dino) == 34_401_884
    with torch.device("meta"):
        assert count(rife.RIFE()) == 6_819_675 + 636_665 + 294_000 + 2_957_875


def test_without_gamma_it_is_rife():
    """Fresh adapters add nothing: a RIFE checkpoint loaded into SG-RIFE gives RIFE's frames, whatever DINO says."""
    torch.manual_seed(0)
    plain, frames = rife.load(), torch.rand(2, 1, 3, 64, 96)
    guided = sg_rife.load(dino=FakeDino())
    guided.load_state_dict(plain.state_dict(), strict=False)
    with torch.no_grad():
        torch.testing.assert_close(guided(*frames).frame, plain(*frames).frame, rtol=0, atol=1e-6)
        guided.unet.fusion_s2.gamma.fill_(1)
        assert not torch.equal(guided(*frames).frame, plain(*frames).frame)


def test_a_checkpoint_without_adapters_is_told(tmp_path):
    path = tmp_path / "flownet.pkl"
    torch.save(rife.load().state_dict(), path)
    (said,) = sg_rife.load(path, dino=FakeDino()).notices
    assert said == f"{path} has no adapters of SG-RIFE: frames are those of RIFE until some are trained"
    torch.save({k: v for k, v in sg_rife.load(dino=FakeDino()).state_dict().items() if not k.startswith("dino.")}, path)
    assert sg_rife.load(path, dino=FakeDino()).notices == ()


class FakeDino(torch.nn.Module):
    """Maps that depend on the picture, and a record of what was seen."""

    def forward(self, rgb):
        self.seen = rgb
        small = torch.nn.functional.avg_pool2d(rgb, 16).repeat(1, 128, 1, 1)
        return [small, small * 2]


def test_dino_sees_rgb():
    frames = torch.rand(2, 1, 3, 64, 64)
    for order in ("bgr", "rgb"):
        dino = FakeDino()
        with torch.no_grad():
            sg_rife.SGRIFE(dino, sg_rife.GuidedConfig(channel_order=order))(*frames)
        assert torch.equal(dino.seen, torch.cat(list(frames)).flip(1) if order == "bgr" else torch.cat(list(frames)))


def test_any_size_and_time():
    torch.manual_seed(0)
    frame0, frame1 = torch.rand(2, 1, 3, 45, 70)
    for variant in ("rife", "rife_m"):
        model = rife.load(variant=variant)
        start, quarter, middle, end = model.interpolate(frame0, frame1, [0, 0.25, 0.5, 1])
        assert torch.equal(start, frame0) and torch.equal(end, frame1)
        assert quarter.shape == middle.shape == frame0.shape
        assert not torch.equal(quarter, middle)
        assert all(f.isfinite().all() and f.min() >= 0 and f.max() <= 1 for f in (quarter, middle))
        torch.testing.assert_close(model.interpolate(frame0, frame1), middle, rtol=0, atol=0)


@pytest.mark.parametrize("make", [rife.load, lambda: sg_rife.load(dino=FakeDino())], ids=["rife", "sg-rife"])
def test_half_precision(make):
    """As a half network and under autocast: near float32, flow in float32."""
    torch.manual_seed(0)
    model, frames = make(), torch.rand(2, 1, 3, 64, 64)
    expected = model.interpolate(*frames)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        result = model(*frames)
    assert result.stages[-1].flow.dtype == torch.float32
    torch.testing.assert_close(result.frame.float(), expected, rtol=0, atol=0.1)
    half = model.bfloat16().interpolate(*frames)
    assert half.dtype == torch.float32, "frames come back as they were given"
    torch.testing.assert_close(half, expected, rtol=0, atol=0.1)


@pytest.mark.parametrize("make", [
    pytest.param(rife.load, id="rife", marks=pytest.mark.nightly),  # is a part of the other
    pytest.param(lambda: sg_rife.load(dino=FakeDino()), id="sg-rife"),
])  # fmt: skip
def test_compiles_in_one_graph(make):
    torch.manual_seed(0)
    model, frames = make(), torch.rand(2, 1, 3, 64, 64)
    compiled = torch.compile(lambda a, b: model(a, b).frame, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(*frames), model(*frames).frame, rtol=0, atol=1e-5)


def test_wrong_frames_get_one_sentence():
    model = rife.load()
    frame = torch.rand(1, 3, 32, 32)
    with pytest.raises(ValueError, match=r"frames of shape \(B, 3, H, W\), got \(3, 32, 32\)"):
        model.interpolate(frame[0], frame[0])
    with pytest.raises(ValueError, match="two frames of one shape and dtype"):
        model.interpolate(frame, frame[..., :16])
    with pytest.raises(ValueError, match=r"expected t in \[0, 1\], got 1\.5"):
        model.interpolate(frame, frame, 1.5)
    with pytest.raises(ValueError, match=r"expected scale 0\.25, 0\.5, 1, 2 or 4, got 3"):
        model.interpolate(frame, frame, scale=3)
    with pytest.raises(ValueError, match=r"expected timestep 0\.5 of the variant rife, got 0\.25"):
        model(frame, frame, 0.25)
    with pytest.raises(ValueError, match="expected variant rife or rife_m, got 'rife4'"):
        rife.Config("rife4")


def test_the_command_says_what_is_missing(tmp_path):
    torch.save(rife.load().state_dict(), tmp_path / "flownet.pkl")
    with pytest.raises(UserError, match=r"rife needs weights, such as flownet\.pkl of any of these"):
        load_model("rife")
    with pytest.raises(UserError, match="sg-rife needs dino"):
        load_model("sg-rife", str(tmp_path / "flownet.pkl"))
    with pytest.raises(UserError, match="dino is not for the model rife: it has scale, tta, ensemble, tile"):
        load_model("rife", str(tmp_path / "flownet.pkl"), dino="x")
    model = load_model("rife", str(tmp_path / "flownet.pkl"), scale=0.5, tta=True, dino=None)
    assert model.scale == 0.5 and model.tta and model.channel_order == "bgr"


@pytest.mark.parametrize("engines", ["torch", pytest.param("every", marks=pytest.mark.slow)])
def test_rife_from_the_command_line(tmp_path, sliding, request, engines):
    """Two pictures in, one out, by torch and by the fastest engine that is here; BGR weights see BGR."""
    if engines == "every":
        request.getfixturevalue("every_engine")
    import cv2

    from vfi.commands.main import main

    torch.manual_seed(0)
    model = rife.RIFE(rife.config.TINY).eval()
    torch.save({f"module.{k}": v for k, v in model.state_dict().items()}, tmp_path / "flownet.pkl")
    frames = [sliding(0), sliding(6)]
    for name, frame in zip("ab", frames, strict=True):
        cv2.imwrite(str(tmp_path / f"{name}.png"), frame[..., ::-1])
    out = tmp_path / "out.png"
    command = ["interpolate", str(tmp_path / "a.png"), str(tmp_path / "b.png"), "-o", str(out)]
    assert main([*command, "--model", "rife", "--weights", str(tmp_path / "flownet.pkl")]) == 0
    bgr = [torch.from_numpy(f[..., ::-1].copy()).permute(2, 0, 1)[None].float() / 255 for f in frames]
    expected = (model.interpolate(*bgr)[0].permute(1, 2, 0) * 255).round().numpy().astype(np.uint8)
    assert np.abs(cv2.imread(str(out)).astype(int) - expected).max() <= 1


@pytest.mark.slow
@needs_shared
def test_every_frame_of_middlebury_is_finite():
    from vfi.evaluation.scoring import evaluate

    scores = list(evaluate(seeded(rife.load()), "middlebury", SHARED / "data" / "middlebury", "cpu"))
    assert len(scores) == 6 and all(np.isfinite(s.values["psnr"]) for s in scores)


@pytest.mark.parametrize("wrong", [{"flow": (3, 3, 3)}, {"flow": (4, 4)}, {"teacher": 0}, {"width": 0}])
def test_wrong_sizes(wrong):
    with pytest.raises(ValueError, match=r"expected .*, got"):
        rife.Config(**wrong)


def test_a_forward_wants_multiples():
    frames = torch.rand(2, 1, 3, 64, 100)
    with pytest.raises(ValueError, match="RIFE: expected height and width to be multiples of 32, got 64 and 100"):
        rife.load()(*frames)
    with pytest.raises(UserError, match="expected dino_max_side of 16 or more, got 0"):
        sg_rife.dino.Dino(sg_rife.dino.make_network(**SMALL_DINO), max_side=0)
