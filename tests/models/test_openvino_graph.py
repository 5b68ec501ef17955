"""OpenVINO's graphs of parts, built from torch's: where OpenVINO is installed."""

import copy

import pytest
import torch
from test_engines import MODELS
from torch import nn

from vfi.engines import parts
from vfi.models.rife4.family import NETWORKS
from vfi.models.rife4.model import RIFE4

openvino = pytest.importorskip("openvino")

from vfi.engines import openvino_engine, openvino_graph  # noqa: E402

NAMES = ("4.0", "4.5", "4.6", "4.7", "4.10", "4.14.lite", "4.25")


def agrees(part, tensors):
    """The translated part computes what torch does."""
    program = torch.export.export(part, tuple(tensor.clone() for tensor in tensors))
    model = openvino_graph.translated(program)
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    results = openvino_engine.Request(compiled)(tensors)
    with torch.no_grad():
        for result, expected in zip(results, part(*tensors), strict=True):
            torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [*NAMES, "rife", "ebme-splat"])
@pytest.mark.in_turn(of=3)
def test_every_part_is_translated(name):
    torch.manual_seed(0)
    model = MODELS[name]() if name in MODELS else RIFE4(NETWORKS[name].smaller()).eval()
    seen, frames = [], torch.rand(2, 1, 3, 64, 96)

    def build(part_name, part, tensors):
        seen.append(part_name)
        agrees(part, tensors)

    twin = copy.deepcopy(model)
    parts.replace(twin, parts.found(twin, lambda: twin.interpolate(*frames, 0.5)), build)
    twin.interpolate(*frames, 0.5)
    assert seen


@pytest.mark.parametrize("layer", [
    nn.Conv2d(4, 6, 3, 2, 1, dilation=2, groups=2), nn.Conv2d(4, 6, 3, bias=False), nn.ConvTranspose2d(4, 2, 4, 2, 1),
    nn.Sequential(nn.Conv2d(4, 8, 1), nn.PixelShuffle(2), nn.Sigmoid()), nn.Sequential(nn.Conv2d(4, 4, 1), nn.PReLU(1)),
    nn.Sequential(nn.Conv2d(4, 4, 1), nn.Upsample(scale_factor=2, mode="bilinear"), nn.LeakyReLU(0.3)),
], ids=repr)  # fmt: skip
def test_layers_are_translated(layer):
    agrees(parts.Flat(layer, (tuple, ("tensor",))), [torch.rand(1, 4, 12, 14)])


@pytest.mark.parametrize("layer", [
    nn.Tanh(), nn.ConvTranspose2d(4, 4, 3, 2, 1, output_padding=1), nn.Conv2d(4, 4, 3, padding="same"),
    nn.Upsample(scale_factor=1.3, mode="bilinear"), nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
], ids=repr)  # fmt: skip
def test_all_else_is_left_to_the_converter(layer):
    program = torch.export.export(parts.Flat(layer, (tuple, ("tensor",))), (torch.rand(1, 4, 9, 11),))
    with pytest.raises(openvino_graph.Untranslated):
        openvino_graph.translated(program)
