"""Every op in ONNX: exported by torch, checked, run by onnxruntime, and what ONNX cannot express."""

import importlib
import re
import warnings
from pathlib import Path

import pytest
import torch
from onnx_runs import assert_agree, exported, onnx, onnxruntime, ran
from op_calls import CASES, first_cases, make, mutated, schemas

import vfi_kernels as vk
import vfi_kernels.onnx
from vfi_kernels.onnx._values import TRANSLATIONS
from vfi_kernels.testing import map_tensors, tensors

PAGE = (Path(__file__).resolve().parents[1] / "docs/onnx.md").read_text()
INF, NAN = float("inf"), float("nan")
# What is not finite is multiplied by weights of 0 there.
NOTED = ("backward_warp", "warp_blend", "trajectory_warp", "modulated_deform_conv2d")


def test_every_op_has_a_translation():
    forward = {name for name, schema in schemas().items() if not name.endswith("_grad") and not mutated(schema)}
    assert forward == TRANSLATIONS.keys() == vfi_kernels.onnx.OPSETS.keys()
    assert {case.op for case in CASES.values()} <= forward
    assert max(vfi_kernels.onnx.OPSETS.values()) == vfi_kernels.onnx.OPSETS["modulated_deform_conv2d"] == 19


def changing(case):
    """Which sizes of the arguments go with those of the image."""
    pairs = zip(tensors(make(case)), tensors(make(case, (3, 3, 70, 140))))
    auto = torch.export.Dim.AUTO
    shapes = iter([{n: auto for n in range(a.dim()) if a.shape[n] != b.shape[n]} for a, b in pairs])
    return map_tensors(lambda _: next(shapes), make(case))


def check(case):
    """A program of sizes that may change, at two of them; and with flow that is nowhere, or far away."""
    program, notes = exported(case.call, make(case), changing(case), opset_version=vfi_kernels.onnx.OPSETS[case.op])
    assert any(case.op in note for note in notes) == (case.op in NOTED)
    for shape in ((2, 3, 7, 9), (1, 3, 13, 21)):
        arguments = make(case, shape)
        assert_agree(ran(program, arguments), case.call(*arguments))
    if case.flow is None:
        return
    for kind in ("integer", "point", "zero"):
        arguments = make(case, flow=kind)
        assert_agree(ran(program, arguments), case.call(*arguments))
    flat = arguments[case.flow].view(-1)
    flat[::5] = torch.tensor([NAN, INF, -INF, 1e9, -1e30]).repeat(len(flat) // 5 + 1)[: len(flat[::5])]
    assert_agree(ran(program, arguments), case.call(*arguments))


def test_splat_of_any_size():
    check(CASES["splat-softmax-weight"])


@pytest.mark.slow
@pytest.mark.parametrize("case", first_cases(), ids=lambda c: c.name)
def test_first_cases(case):
    check(case)


@pytest.mark.nightly
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_every_case(case):
    check(case)


@pytest.mark.nightly
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_every_case_of_one_size(case):
    for shape in case.small:
        arguments = make(case, shape)
        assert_agree(ran(exported(case.call, arguments)[0], arguments), case.call(*arguments))


def random(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def lists(route, picture, patches, weight):
    """All that works on lists of patches, also in place."""
    indices, count = vk.patch_indices(route, capacity=5, return_count=True)
    found = vk.patch_scatter_(patches, indices, picture * 2)
    bias, options = torch.ones(len(weight)), {"padding_mode": "image", "activation": "leaky_relu"}
    written = vk.routed_conv2d_(picture, weight, bias, indices, 4, base=torch.ones(1, 3, 8, 12), **options)
    fresh = vk.routed_conv2d(picture, weight, bias, indices, 4, activation="gelu", base=written * 2)
    return vk.patch_indices(route), indices, count, found, written, fresh, vk.patch_gather(picture, indices, 4, halo=3)


def test_the_page_has_every_op():
    """With the opset that its operators need."""
    rows = re.findall(r"^\| (`.+`) \| (\d+) \|", PAGE, flags=re.MULTILINE)
    told = {name: int(opset) for names, opset in rows for name in re.findall(r"`(\w+)`", names)}
    assert told == vfi_kernels.onnx.OPSETS


THEIRS = """
import torch
import torch.nn.functional as F

def warp(image, flow):
    b, _, h, w = flow.shape
    xs = torch.linspace(-1.0, 1.0, w).view(1, 1, 1, w).expand(b, -1, h, -1)
    ys = torch.linspace(-1.0, 1.0, h).view(1, 1, h, 1).expand(b, -1, -1, w)
    scaled = torch.cat([flow[:, 0:1] / ((w - 1.0) / 2.0), flow[:, 1:2] / ((h - 1.0) / 2.0)], 1)
    grid = (torch.cat([xs, ys], 1) + scaled).permute(0, 2, 3, 1)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=True)

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.flow = torch.nn.Conv2d(6, 2, 3, 1, 1)

    def forward(self, first, second):
        return warp(first, 4 * self.flow(torch.cat([first, second], 1)))
"""


@pytest.mark.slow
def test_the_pages_example(tmp_path, monkeypatch):
    """A network of somebody else's, patched; then with operators of our own."""
    (tmp_path / "their_network.py").write_text(THEIRS)
    monkeypatch.syspath_prepend(tmp_path)
    net = importlib.import_module("their_network").Net().eval()
    frames = random(1, 3, 20, 30), random(1, 3, 30, 20).transpose(2, 3).contiguous()
    blocks = re.findall(r"^```py\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)
    first, second = blocks[0], next(block for block in blocks if "operators()" in block)
    names = {"net": net, "frames": frames, "path": tmp_path / "net.onnx"}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec(first, names)
            model = onnx.load(names["path"])
            assert {"GridSample", "Conv"} <= {node.op_type for node in model.graph.node}
            session = onnxruntime.InferenceSession(names["path"])
            given = {each.name: frame[..., 3:, 5:].numpy() for each, frame in zip(session.get_inputs(), frames)}
            expected = net(*(frame[..., 3:, 5:] for frame in frames))
            assert_agree(session.run(None, given), expected)
            exec(second, names)
    finally:
        vk.compat.unpatch()
    nodes = onnx.load(names["path"]).graph.node
    assert ("vfi_kernels", "backward_warp") in {(node.domain, node.op_type) for node in nodes}


@pytest.mark.slow
def test_lists_of_patches():
    route = torch.tensor([[[True, False, True], [False, True, False]]])
    arguments = route, random(1, 2, 8, 12), random(5, 2, 4, 4), random(3, 2, 3, 3)
    for capacity in (arguments, (~route, *arguments[1:]), (route | True, *arguments[1:])):
        assert_agree(ran(exported(lists, capacity)[0], capacity), lists(*capacity))


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [None, {2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}], ids=["one", "any"])
def test_two_lists_of_patches(sizes):
    """Of one route or of two: how many each has is known when they run, also whether they go together."""

    def routed(picture, scores):
        first, second = (scores[:, n, ::8, ::8] > 0.5 for n in (0, 1))
        doubled = 2 * vk.patch_gather(picture, vk.patch_indices(first), 8)
        base = vk.patch_scatter(doubled, vk.patch_indices(first), picture)
        summed = torch.conv2d(vk.patch_gather(base, vk.patch_indices(second), 8), kernel, padding=1)
        return vk.patch_scatter(summed, vk.patch_indices(second), base)

    kernel, arguments = random(3, 3, 3, 3), (random(2, 3, 32, 48), random(2, 3, 32, 48))
    program, _ = exported(routed, arguments, sizes and (sizes, sizes))
    for given in (arguments, tuple(t.flip(3) for t in arguments)):
        assert_agree(ran(program, given), routed(*given))


@pytest.mark.slow
def test_a_routed_block():
    layers = torch.nn.Sequential(torch.nn.Conv2d(2, 4, 3, 1, 1), torch.nn.ReLU(), torch.nn.Conv2d(4, 2, 3, 1, 1))
    block = vk.nn.RoutedBlock(layers, 4, 2).eval()
    route = torch.tensor([[[True, False, True], [False, True, False]]])

    class Routed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.block = block

        def forward(self, picture, route):
            return self.block(picture, vk.patch_indices(route))

    arguments = random(1, 2, 8, 12), route
    program, _ = exported(Routed(), arguments)
    for given in (route, ~route):
        found = ran(program, (arguments[0], given))
        assert_agree(found, block(arguments[0], vk.patch_indices(given)))


@pytest.mark.slow
def test_what_is_not_finite():
    """Where no weight of 0 is multiplied, the rules of docs/conventions.md hold: pixels, metrics, taus, features."""
    image, flow, metric = random(1, 2, 5, 7), 3 * random(1, 2, 5, 7), random(1, 1, 5, 7)
    image[0, 0, 0, 0], image[0, 1, 2, 3], metric[0, 0, 1, 3], metric[0, 0, 2, 3] = INF, NAN, NAN, INF
    keyframes, taus = random(1, 4, 2, 5, 7), torch.tensor([0.0, 0.3, NAN, 1.5, -INF])
    keyframes[0, 1, 0, 2, 2] = INF
    first, second, positions = random(1, 3, 5, 7), random(1, 3, 5, 7), 4 + 4 * random(1, 2, 5, 7)
    first[0, 0, 0, 0], second[0, 0, 2, 2], positions[0, 0, 1, 1], positions[0, :, 4, 4] = NAN, INF, INF, 2

    def calls(image, flow, metric, keyframes, taus, first, second, positions):
        padded = torch.nn.functional.pad(image, (1, 0, 1, 0))
        return (
            vk.splat(image, flow, mode="sum"),
            vk.splat(image, flow, metric, return_weight=True),
            vk.sample_trajectory(keyframes, taus),
            vk.sample_trajectory(keyframes[:, :1], taus, derivative=True),
            vk.trajectory_splat(image, keyframes[..., :3], taus, mode="average"),
            vk.correlation(first, second, 2),
            vk.correlation_lookup(first, second, positions, 2),
            vk.adacof(padded, flow[:, :1].repeat(1, 4, 1, 1), flow.repeat(1, 2, 1, 1), flow.repeat(1, 2, 1, 1)),
            vk.sepconv(padded, flow, flow),
        )

    arguments = image, flow, metric, keyframes, taus, first, second, positions
    assert_agree(ran(exported(calls, arguments)[0], arguments), calls(*arguments))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float16, torch.float64], ids=str)
def test_other_dtypes(dtype):
    """Computed in float32, which the export says of float64; patches are copied as they are."""
    image, flow = random(1, 2, 8, 8), random(1, 2, 8, 8)

    def calls(image, flow):
        indices = vk.patch_indices(torch.ones(1, 2, 2, dtype=torch.bool))
        return vk.splat(image, flow), vk.backward_warp(image, flow), vk.patch_gather(image, indices, 4, halo=1)

    arguments = image.to(dtype), flow.to(dtype)
    program, notes = exported(calls, arguments)
    assert ("vfi_kernels in ONNX: what is float64 is computed in float32" in notes) == (dtype == torch.float64)
    found, expected = ran(program, arguments), calls(*arguments)
    assert_agree(found[:2], expected[:2], 2e-3 if dtype == torch.float16 else 1e-4)
    assert torch.equal(torch.from_numpy(found[2]), expected[2])


class Deformed(torch.nn.Module):
    def forward(self, x, offset, weight):
        return vk.modulated_deform_conv2d(x, offset, None, weight, padding=1)


def test_an_opset_that_is_too_old_gets_one_sentence():
    arguments = random(1, 2, 5, 5), random(1, 18, 5, 5), random(3, 2, 3, 3)
    """A warning says it before torch's error, which is long."""
    sentence = "expected an opset_version from 19 up, got 18"
    with (
        pytest.warns(UserWarning, match=f"^modulated_deform_conv2d in ONNX: {sentence}$"),
        pytest.raises(torch.onnx.OnnxExporterError, match=f"modulated_deform_conv2d: {sentence}"),
    ):
        torch.onnx.export(Deformed().eval(), arguments, dynamo=True, verbose=False, opset_version=18)


def test_operators_of_our_own():
    """By choice each op is one node; torch's option finds nothing else in the graph."""

    def calls(image, flow):
        warped = vk.backward_warp(image, flow, padding_mode="zeros")
        return vk.splat([image, warped], flow, flow[:, :1], return_weight=True)[0]

    arguments = random(1, 2, 5, 5), random(1, 2, 5, 5)
    program, notes = exported(calls, arguments, custom_translation_table=vfi_kernels.onnx.operators())
    onnx.checker.check_model(program.model_proto, full_check=True)
    warp, splat = (node for node in program.model_proto.graph.node if node.domain == "vfi_kernels")
    values = {each.name: onnx.helper.get_attribute_value(each) for each in splat.attribute}
    assert (warp.op_type, len(warp.input), warp.attribute[0].name, warp.attribute[0].i) == (
        "backward_warp", 2, "padding_mode", 1,
    )  # fmt: skip
    assert (splat.op_type, len(splat.input), len(splat.output)) == ("splat", 4, 4)
    values.pop("deterministic")  # as the process was when it exported
    assert values == {"mode": 3, "holes": 0, "keep_weight": 1} and notes == []
