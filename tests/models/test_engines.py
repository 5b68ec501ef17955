"""Engines: what every one of them must do, those that are not installed by stand-ins of their libraries."""

import copy
import re

import engine_stand_ins
import pytest
import torch
from tiny import tiny_sg_rife

import vfi
from vfi.commands.main import main
from vfi.engines import choice, parts, programs
from vfi.engines.machine import Machine
from vfi.engines.plans import USUAL, EngineFailed, Foldable, Plan, built, plans
from vfi.errors import ArgumentError, UserError
from vfi.files.images import read_image, write_image
from vfi.models import rife
from vfi.models.apr_vfi import APRVFI, APRConfig
from vfi.models.ebme import EBMESplat
from vfi.models.ebme import load as load_ebme
from vfi.models.on_engine import on_engine
from vfi.models.rife.config import TINY
from vfi.models.rife4.family import FAMILY, NETWORKS
from vfi.models.rife4.model import RIFE4
from vfi.models.vfi_s import VFIS, Network
from vfi.models.vfi_s.network import TINY as VFIS_TINY
from vfi.networks.layers import channels

pytestmark = pytest.mark.usefixtures("own_cache")
PLAIN = Machine("some CPU", frozenset({"avx2", "avx512f"}), 2)
AMX = Machine("some CPU", frozenset({"avx512f", "amx_bf16", "amx_tile"}), 2)


def rife4(name="4.22.lite"):
    return RIFE4(NETWORKS[name].smaller()).eval()


def make_apr():
    return APRVFI(APRConfig.tiny()).eval().set_usual("static")


MODELS = {
    "rife": lambda: rife.RIFE(TINY).eval(),
    "rife4.22.lite": rife4,
    "rife4.0": lambda: rife4("4.0"),
    "sg-rife": lambda: tiny_sg_rife().network.eval(),
    "ebme-splat": lambda: EBMESplat(load_ebme()).eval(),
    "apr-vfi": make_apr,
    "vfi-s": lambda: VFIS(Network(VFIS_TINY)).eval(),
}


def pair(height=64, width=128):
    return choice.probe((height, width), torch.device("cpu"))


PLANS = [
    USUAL, Plan("torch", "bfloat16"), Plan("openvino", "float32", "CPU"), Plan("openvino", "float16", "GPU"),
    Plan("onnxruntime", "float32", "CPUExecutionProvider"), Plan("onnxruntime", "float16", "CoreMLExecutionProvider"),
    Plan("onnxruntime", "float32", "CUDAExecutionProvider"), Plan("tensorrt", "float16", "TensorrtExecutionProvider"),
]  # fmt: skip
# Every engine by one model, every model by one engine; all pairs in the slow tests
PAIRS = [
    pytest.param(
        name,
        plan,
        id=f"{name} by {plan}",
        marks=() if name == "rife4.22.lite" or plan.engine == "torch" else pytest.mark.slow,
    )
    for name in MODELS
    for plan in PLANS
]


@pytest.mark.parametrize(("name", "plan"), PAIRS)
def test_every_engine_runs_every_model(name, plan, stand_ins):
    model, frames = MODELS[name](), pair()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    expected = model.interpolate(*frames, 0.5)
    twin = built(model, plan)
    result = twin.interpolate(*frames, 0.5)
    assert choice.decibels(result, expected) > (90 if plan.precision == "float32" else 40)
    if plan.engine in ("openvino", "onnxruntime", "tensorrt"):
        assert stand_ins.runs > 0  # and not torch in its place
    assert torch.equal(model.interpolate(*frames, 0.5), expected)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    again = copy.deepcopy(twin)
    assert torch.equal(again.interpolate(*frames, 0.5), result)


@pytest.mark.parametrize("network", FAMILY, ids=lambda network: network.names[0])
def test_what_is_folded_for_inference_is_the_same(network):
    """In double precision to its last digits; a half one keeps the sum out of its weights."""
    torch.manual_seed(0)
    model, frames = RIFE4(network.smaller()).double().eval(), [torch.rand(1, 3, 64, 64).double() for _ in range(2)]
    with torch.no_grad():
        for key, value in model.named_parameters():
            value.mul_(10 if "lastconv" in key else 1).add_(0.1 * torch.rand_like(value) * ("beta" in key))
    expected = model.interpolate(*frames, 0.3)
    for dtype in (torch.float32, torch.bfloat16):
        twin = copy.deepcopy(model).to(memory_format=torch.channels_last)
        folded = [each for each in twin.modules() if isinstance(each, Foldable)]
        assert len(folded) == (8 * len(network.widths) if network.units == "residual" else 0)
        for each in folded:
            each.fold(dtype)
            assert each.adds == (dtype == torch.bfloat16)
        given = [frame.contiguous(memory_format=torch.channels_last) for frame in frames]
        torch.testing.assert_close(twin.interpolate(*given, 0.3), expected, rtol=0, atol=1e-9)


def test_what_a_convolution_reads_is_in_its_order():
    """Whatever is put together; torch.cat would give it another, at the cost of a copy."""
    last = torch.channels_last
    parts = [torch.rand(1, 7, 4, 6).contiguous(memory_format=last)[:, :3], torch.rand(1, 1, 1, 1).expand(1, 1, 4, 6),
             None, torch.rand(1, 2, 4, 6, dtype=torch.float64)]  # fmt: skip
    expected = torch.cat([part.float() for part in parts if part is not None], 1)
    with torch.no_grad():
        found = channels(*parts)
    assert found.is_contiguous(memory_format=last) and found.dtype == torch.float32 and torch.equal(found, expected)
    assert torch.equal(channels(*parts), expected)  # with gradients


def test_parts_leave_our_ops_in_torch():
    model, frames = MODELS["rife"](), pair()
    names = [part.name for part in parts.found(model, lambda: model.interpolate(*frames, 0.5))]
    assert {"block0", "block1", "block2", "contextnet.conv1", "unet"} <= {*names}  # whole blocks, and not the warps
    assert "contextnet" not in names and not any(name.startswith("block_tea") for name in names)


def test_the_precision_is_what_the_cpu_has_units_for(tmp_path):
    for flags, fast in (("avx512f avx512_bf16", "bfloat16"), ("amx_tile amx_bf16", "bfloat16"), ("avx2", "float32")):
        file = tmp_path / "cpuinfo"
        file.write_text(f"processor : 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t\t: fpu {flags} sse\n\nprocessor : 1\n")
        machine = Machine.here("cpu", file)
        assert (machine.cpu, machine.fast) == ("Some CPU @ 2 GHz", fast)
        assert plans("torch", "auto", "cpu", machine)[0] == Plan("torch", fast)
    file.write_text("processor\t: 0\nFeatures\t: fp asimd bf16 i8mm\n")  # ARM
    assert Machine.here("cpu", file).fast == "bfloat16"
    assert Machine.here("cpu", tmp_path / "none").fast == "float32"
    assert Machine("c", frozenset(), 2, gpu="some GPU").fast == "float16"


def test_auto_offers_what_is_installed(stand_ins):
    assert [*map(str, plans("auto", "auto", "cpu", AMX))] == [
        "torch in bfloat16", "openvino (GPU) in float16", "openvino (CPU) in bfloat16",
        "onnxruntime (CoreML) in float16",
        "torch in float32", "openvino (GPU) in float32", "openvino (CPU) in float32", "onnxruntime (CoreML) in float32",
        "onnxruntime (CPU) in float32",
    ]  # fmt: skip
    assert {plan.precision for plan in plans("auto", "float32", "cpu", AMX)} == {"float32"}
    stand_ins.remove()
    assert plans("auto", "auto", "cpu", PLAIN) == [USUAL]
    assert plans("auto", "auto", "cpu", AMX) == [Plan("torch", "bfloat16"), USUAL]


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime", "tensorrt"])
def test_what_is_not_installed_says_which_package(engine, stand_ins):
    stand_ins.remove()
    extra = "openvino" if engine == "openvino" else "onnx"
    with pytest.raises(UserError, match=rf'pip install "vfi-kernels\[{extra}\]"'):
        on_engine(rife4(), engine, "auto", "cpu")


def test_wrong_requests_are_a_sentence(stand_ins):
    with pytest.raises(ArgumentError, match=r"expected engine auto, torch, .*, got 'tensorflow'"):
        vfi.load_model("flow-splat", engine="tensorflow")
    with pytest.raises(ArgumentError, match=r"expected precision auto, float32, .*, got 8"):
        vfi.load_model("flow-splat", precision=8)
    with pytest.raises(ArgumentError, match="flow-splat has no network that engines run, got engine openvino"):
        vfi.load_model("flow-splat", engine="openvino")
    with pytest.raises(ArgumentError, match="onnxruntime has no precision bfloat16 here: it has float16, float32"):
        on_engine(rife4(), "onnxruntime", "bfloat16", "cpu")
    with pytest.raises(UserError, match="tensorrt needs a model on a GPU of Nvidia"):
        on_engine(rife4(), "tensorrt", "auto", "cpu")
    with pytest.raises(UserError, match="openvino runs models whose device is cpu"):
        plans("openvino", "auto", "cuda:0", PLAIN)
    assert type(vfi.load_model("flow-splat", engine="auto")).__name__ == "FlowSplat"


@pytest.mark.parametrize("where", ["build", "run"])
def test_a_provider_that_fails_stops_or_gives_way_once(where, stand_ins):
    model, frames, said = rife4(), pair(), []
    named = on_engine(model, "openvino", "float32", "cpu")
    auto = on_engine(model, "auto", "float32", "cpu", said.append)
    auto.by_size = {(64, 128): Plan("openvino", "float32", "CPU"), (64, 192): Plan("openvino", "float32", "CPU")}
    stand_ins.fails = where
    with pytest.raises(EngineFailed, match="openvino"):
        named.interpolate(*frames, 0.5)
    expected = model.interpolate(*frames, 0.5)
    assert choice.decibels(auto.interpolate(*frames, 0.5), expected) > 90
    auto.interpolate(*pair(64, 192), 0.5)
    assert len(said) == 1 and "torch in float32 takes over" in said[0]


def test_what_disagrees_with_float32_is_not_chosen(monkeypatch, stand_ins):
    stand_ins.error = 0.02  # of every result
    model = rife4()
    picked = choice.measured(model, (64, 128), [Plan("openvino", "float32", "CPU"), USUAL])
    assert picked.plan == USUAL and "dB to float32" in picked.refused[Plan("openvino", "float32", "CPU")]
    assert re.fullmatch(
        r"torch in float32: .* s a frame .* \(openvino \(CPU\) in float32 not: .* dB to float32\)", f"{picked}"
    )
    monkeypatch.setattr(choice, "BOUND", 1e9)
    assert choice.measured(model, (64, 128), [USUAL]).plan == USUAL  # nothing agrees: what it is compared with


def test_one_graph_for_each_size_is_recorded_and_replayed():
    cuda, model = engine_stand_ins.Cuda(), rife4()
    twin = built(model, USUAL, cuda)
    for _ in range(3):
        for frames in (pair(), pair(64, 192)):
            for t in (0.3, 0.7):
                result, expected = twin.interpolate(*frames, t), model.interpolate(*frames, t)
                assert choice.decibels(result, expected) > 90
    assert cuda.recorded == 4 and cuda.replayed > 8  # encoder and the rest, of two sizes
    first = twin.interpolate(*pair(), 0.3)
    kept = first.clone()
    twin.interpolate(*pair(), 0.7)
    assert torch.equal(first, kept)  # results are not where the next one is written


def test_what_cannot_be_recorded_runs_as_it_is():
    cuda, model, frames = engine_stand_ins.Cuda(fails=True), rife4("4.0"), pair()
    result = built(model, USUAL, cuda).interpolate(*frames, 0.3)
    assert choice.decibels(result, model.interpolate(*frames, 0.3)) > 90
    assert cuda.replayed == 0 and not programs.Recorded.recording


def test_compile_takes_the_programs(monkeypatch):
    calls = []

    def compiled(function, **options):
        return lambda *arguments: (calls.append((function.__name__, arguments[-2:])), function(*arguments))[1]

    monkeypatch.setattr(torch, "compile", compiled)
    model, frames = rife4(), pair()
    result = on_engine(model, "compile", "float32", "cpu").interpolate(*frames, 0.3)
    assert choice.decibels(result, model.interpolate(*frames, 0.3)) > 90
    assert [name for name, _ in calls] == ["encoded", "encoded", "between"]
    assert isinstance(calls[-1][1][0], torch.Tensor)  # the time: else each one would be compiled by itself


@pytest.mark.nightly
def test_compile_agrees():
    model, frames = rife4("4.22.lite"), pair(64, 64)
    result = on_engine(model, "compile", "float32", "cpu").interpolate(*frames, 0.3)
    assert choice.decibels(result, model.interpolate(*frames, 0.3)) > 90


@pytest.mark.parametrize(("engine", "package"), [("openvino", "openvino"), ("onnxruntime", "onnxruntime")])
def test_the_real_ones_agree(engine, package):
    pytest.importorskip(package)
    model, frames = rife4(), pair()
    result = on_engine(model, engine, "float32", "cpu").interpolate(*frames, 0.3)
    assert choice.decibels(result, model.interpolate(*frames, 0.3)) > 90


@pytest.mark.slow
def test_the_command_takes_engines(tmp_path, sliding, stand_ins, capsys):
    torch.save(rife4().state_dict(), tmp_path / "flownet.pkl")
    for name, x in zip("ab", (0, 6), strict=True):
        write_image(tmp_path / f"{name}.png", sliding(x))
    words = ["interpolate", tmp_path / "a.png", tmp_path / "b.png", "-o", tmp_path / "m.png", "--overwrite"]
    words = [str(word) for word in (*words, "--model", "rife", "--weights", tmp_path / "flownet.pkl")]

    def result(*options):
        assert main([*words, *options]) == 0
        return read_image(tmp_path / "m.png").rgb.astype(int), capsys.readouterr().err

    exact, said = result("--engine", "torch", "--precision", "float32")
    assert "note: engine torch in float32\n" in said
    near, said = result()  # whatever is installed, in float32
    assert "note: engine " in said and " in float32" in said and abs(near - exact).max() <= 1
    runs = stand_ins.runs
    near, said = result("--engine", "openvino", "--precision", "bfloat16")
    assert stand_ins.runs > runs and said.count("note: engine openvino (CPU) in bfloat16\n") == 1
    assert abs(near - exact).max() <= 1
    stand_ins.remove()
    assert main([*words, "--engine", "openvino"]) == 2
    assert 'pip install "vfi-kernels[openvino]"' in capsys.readouterr().err
    assert main([*words, "--engine", "tensorrt", "--device", "cpu"]) == 2
    assert main(["interpolate", *words[1:6], "--precision", "float16"]) == 2  # flow-splat has no network
    assert "has no network that engines run, got --precision float16\n" in capsys.readouterr().err
