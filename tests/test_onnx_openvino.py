"""DeformConv in OpenVINO, by the extension of vfi_kernels.onnx."""

import itertools
import warnings

import pytest
import torch

import vfi_kernels as vk

openvino = pytest.importorskip("openvino")
pytest.importorskip("onnxscript")
PLACES = {
    "usual": {"padding": 1},
    "all": {"padding": (1, 2), "stride": (2, 1), "dilation": (1, 2), "groups": 2, "offset_groups": 2},
}


class Deformed(torch.nn.Module):
    def __init__(self, place):
        super().__init__()
        self.place = place

    def forward(self, *arguments):
        return vk.modulated_deform_conv2d(*arguments, **self.place)


@pytest.mark.in_turn(of=4)
@pytest.mark.parametrize(("place", "masked", "biased"), list(itertools.product(PLACES, (True, False), (True, False))))
def test_deform_conv(place, masked, biased, tmp_path, rng):
    import vfi_kernels.onnx

    size, groups = ((9, 11), 1) if place == "usual" else ((5, 11), 2)
    x, weight = torch.rand(2, 4, 9, 11, generator=rng), torch.randn(6, 4 // groups, 3, 3, generator=rng)
    offset = 6 * torch.randn(2, 18 * groups, *size, generator=rng)
    offset[0, 0, 0, :3] = torch.tensor([float("nan"), float("inf"), 1e9])  # which read nothing
    mask = torch.rand(2, 9 * groups, *size, generator=rng) if masked else None
    bias = torch.rand(6, generator=rng) if biased else None
    arguments, network = (x, offset, mask, weight, bias), Deformed(PLACES[place])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(network, arguments, dynamo=True, verbose=False, opset_version=19)
    program.save(tmp_path / "deform.onnx")
    core = openvino.Core()
    core.add_extension(vfi_kernels.onnx.openvino_extension())
    model = core.read_model(tmp_path / "deform.onnx")
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = compiled([each.numpy() for each in arguments if each is not None])[0]
    torch.testing.assert_close(torch.from_numpy(found), network(*arguments), rtol=1e-4, atol=1e-4)
