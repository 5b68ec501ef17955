"""`vfi export`: models as files, run without them; what cannot be exported, and why."""

import dataclasses
import importlib.util
import subprocess
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import vfi
from vfi.commands.main import main
from vfi.errors import ArgumentError
from vfi.export import export_onnx, export_package
from vfi.models import apr_vfi, ebme, flow_splat, rife, sg_rife
from vfi.models.interpolator import Interpolator, reordered
from vfi.models.rife4.family import FAMILY, NETWORKS
from vfi.models.rife4.model import RIFE4
from vfi.models.sg_rife.training import tiny_dino

slow, nightly = pytest.mark.slow, pytest.mark.nightly


def livelier(model, factor=10.0, seed=0):
    """Seeded weights with flows of several pixels."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * parameter[0].numel() ** -0.5)
            if "lastconv" in name:
                parameter.mul_(factor)
            if "gamma" in name:
                parameter.fill_(0.5)
    return model.eval()


def rife_m():
    return livelier(rife.RIFE(dataclasses.replace(rife.config.TINY, variant="rife_m")))


def rife4(name, factor=10.0):
    torch.manual_seed(0)  # of the biases
    return livelier(RIFE4(NETWORKS[name].smaller()), factor)


def guided():
    return livelier(sg_rife.SGRIFE(tiny_dino(), sg_rife.config.TINY))


def routed(routing="static"):
    return livelier(apr_vfi.APRVFI(apr_vfi.APRConfig(width=8, middle=8, patch=32))).set_usual(routing=routing)


MODELS = {
    "rife": lambda: livelier(rife.RIFE(rife.config.TINY)),
    "rife_m": rife_m,
    "4.25": lambda: rife4("4.25"),
    "4.0": lambda: rife4("4.0", 1.0),
    "4.6 ensemble": lambda: rife4("4.6").set_usual(ensemble=True),
    "sg-rife": guided,
    "ebme-splat": lambda: ebme.EBMESplat(livelier(ebme.load())),
    "apr-vfi": routed,
}


def frames(height, width):
    generator = torch.Generator().manual_seed(height)
    return [F.interpolate(torch.rand(1, 3, 6, 9, generator=generator), (height, width), mode="bicubic").clamp(0, 1)
            for _ in range(2)]  # fmt: skip


def assert_file_agrees(run, model, size, dtype=torch.float32, bound=1e-4):
    """At times that the model reaches, as its own interpolate, which has its own order of channels."""
    pair = frames(*size)
    for t in (0.5, 0.3, 1.0) if model.any_time else (0.5, 1.0):
        found = run(*(frame.to(dtype) for frame in pair), torch.tensor([t]))
        expected = reordered(model, model.interpolate(*(reordered(model, frame) for frame in pair), t))
        torch.testing.assert_close(found.float(), expected, rtol=0, atol=bound)
    if not model.any_time:
        assert run(*(frame.to(dtype) for frame in pair), torch.tensor([0.25])).isnan().all()


def session(path):
    """A file in onnxruntime, its shapes and metadata."""
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    onnx.checker.check_model(path, full_check=True)
    opened = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(*arguments):
        given = dict(zip(("frame0", "frame1", "t"), [a.numpy() for a in arguments], strict=True))
        return torch.from_numpy(opened.run(["frame"], given)[0])

    return run, opened


def check_onnx(make, path, size, sizes, dtype=torch.float32, bound=1e-4):
    pytest.importorskip("onnxscript")
    model = make()
    export_onnx(model, path, size=size, dtype=dtype)
    run, opened = session(path)
    assert [each.name for each in opened.get_inputs()] == ["frame0", "frame1", "t"]
    assert [each.name for each in opened.get_outputs()] == ["frame"]
    told = opened.get_modelmeta().custom_metadata_map
    assert told["vfi.size"] == ("any" if size is None else f"{size[0]}x{size[1]}")
    assert told["vfi.times"] == ("any" if model.any_time else "0.5")
    for each in sizes:
        assert_file_agrees(run, model, each, dtype, bound)
    assert not list(path.parent.glob(".*"))  # nothing unfinished


FEW = ("4.25",)


@pytest.mark.parametrize("name", [pytest.param(n, marks=slow if n in FEW else nightly) for n in MODELS])
def test_onnx_of_one_size(name, tmp_path):
    check_onnx(MODELS[name], tmp_path / "model.onnx", (70, 101), [(70, 101)])


@pytest.mark.parametrize("name", [pytest.param(n, marks=slow if n == "rife" else nightly) for n in list(MODELS)[:-2]])
def test_onnx_of_any_size(name, tmp_path):
    check_onnx(MODELS[name], tmp_path / "model.onnx", None, [(64, 96), (33, 140), (2, 1)])


@nightly
@pytest.mark.parametrize("network", FAMILY, ids=lambda network: network.names[0])
def test_onnx_of_the_family(network, tmp_path):
    check_onnx(lambda: livelier(RIFE4(network.smaller())), tmp_path / "model.onnx", (64, 128), [(64, 128)])


@nightly
def test_a_network_that_works_at_twice_its_scale(tmp_path):
    """Flows of more than 32 pixels both ways: the file has both frames, and takes that of the larger scale."""
    model = rife4("4.0", 6.0)
    with torch.no_grad():
        stages = list(model.stages(*(model.encoded(frame) for frame in frames(128, 192)), 0.5, widens=False))
        assert model.moves_far(stages[1].flow - stages[0].flow)
        usual = model.frame(*frames(128, 192), stages[-1])
        assert (model.interpolate(*frames(128, 192), 0.5) - usual).abs().max() > 1e-2
    check_onnx(lambda: model, tmp_path / "model.onnx", None, [(128, 192)])


@slow
def test_float16(tmp_path):
    check_onnx(lambda: livelier(rife.RIFE(rife.config.TINY), 1.0), tmp_path / "model.onnx", (64, 96), [(64, 96)],
               torch.float16, 1e-2)  # fmt: skip


@nightly
@pytest.mark.parametrize("size", [(64, 96), None])
def test_package(size, tmp_path):
    """Loaded by torch, as C++ does."""
    model, path = MODELS["rife"](), tmp_path / "model.pt2"
    export_package(model, path, size=size)
    loaded = torch._inductor.aoti_load_package(str(path))
    assert loaded.get_metadata()["vfi.size"] == ("any" if size is None else "64x96")
    for each in [(64, 96)] if size else [(64, 96), (70, 101)]:
        assert_file_agrees(lambda *arguments: loaded(*arguments), model, each)


@nightly
def test_package_without_python(tmp_path):
    """In a C++ program that knows torch and the library of our ops alone."""
    model, path, program = MODELS["rife"](), tmp_path / "model.pt2", tmp_path / "program"
    export_package(model, path, size=(64, 96))
    root = Path(torch.__file__).parent
    headers = [flag for folder in ("include", "include/torch/csrc/api/include") for flag in ("-isystem", root / folder)]
    libraries = ["-Wl,--no-as-needed", f"-L{root / 'lib'}", f"-Wl,-rpath,{root / 'lib'}", "-ltorch", "-ltorch_cpu",
                 "-lc10", "-ldl"]  # fmt: skip
    source = Path(__file__).with_name("package_without_python.cpp")
    subprocess.run(["g++", "-std=c++20", source, "-o", program, *headers, *libraries], check=True)
    linked = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    assert "libtorch.so" in linked and "python" not in linked.replace(str(root), "")
    library = importlib.util.find_spec("vfi_kernels._C").origin
    done = subprocess.run([program, library, path, "64", "96"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    frame = (torch.arange(3 * 64 * 96).remainder(97) / 97).view(1, 3, 64, 96)
    expected = model.interpolate(frame.flip(1), 1 - frame.flip(1)).mean()
    assert float(done.stdout) == pytest.approx(float(expected), abs=1e-5)


@slow
def test_the_command(tmp_path, capsys):
    """From weights to a file that onnxruntime runs; the model stays as it was."""
    pytest.importorskip("onnxscript")
    weights, path = tmp_path / "flownet.pkl", tmp_path / "rife.onnx"
    torch.save({f"module.{key}": value for key, value in rife4("4.6").state_dict().items()}, weights)
    arguments = ["export", "--model", "rife", "--weights", str(weights), "-o", str(path), "--size", "64", "96"]
    assert main(arguments) == 0
    assert "rife, float32, takes frames of 64 x 96 pixels, height first" in capsys.readouterr().out
    assert_file_agrees(session(path)[0], vfi.load_model("rife", weights), (64, 96))
    assert main(arguments) == 2
    assert "exists already; add --overwrite to replace it" in capsys.readouterr().err


class Unknown(Interpolator):
    def interpolate(self, frame0, frame1, t):
        return frame0


@pytest.mark.parametrize(
    ("make", "size", "said"),
    [
        (Unknown, None, "Unknown cannot be exported: it has no graph for torch.export"),
        (flow_splat.FlowSplat, (64, 64), "flow-splat cannot be exported: its optical flow is found by OpenCV, of which "
         "there is no graph"),
        (lambda: routed("apr"), (64, 64), "apr-vfi cannot be exported: which patches it works on depends on the "
         "frames: take routing static"),
        (routed, None, "apr-vfi cannot be exported: it works at more resolutions the larger the frames are: give a "
         "size"),
        (lambda: rife4("4.6").set_usual(tta=True), None, "rife cannot be exported: tta is two runs: leave it out"),
        (lambda: rife4("4.6").set_usual(tile=128), None, "rife cannot be exported: tile cuts pictures of which it "
         "must know the size: leave it out"),
        (MODELS["rife"], (0, 64), "expected size of 1 or more, got 0"),
    ],
)  # fmt: skip
def test_what_is_not_exported_says_why(make, size, said, tmp_path):
    for export, name in ((export_onnx, "model.onnx"), (export_package, "model.pt2")):
        if export is export_onnx:
            pytest.importorskip("onnxscript")
        with pytest.raises(ArgumentError) as caught:
            export(make(), tmp_path / name, size=size)
        assert str(caught.value) == said
    assert list(tmp_path.iterdir()) == []


def test_wrong_dtypes_and_opsets_say_what_is_right(tmp_path):
    pytest.importorskip("onnxscript")
    with pytest.raises(ArgumentError, match=r"^expected dtype to be float32 or float16, got bfloat16$"):
        export_onnx(MODELS["rife"](), tmp_path / "model.onnx", size=None, dtype=torch.bfloat16)
    with pytest.raises(ArgumentError, match=r"^ebme-splat cannot be exported: it computes in float32 alone$"):
        export_onnx(MODELS["ebme-splat"](), tmp_path / "model.onnx", size=(64, 64), dtype=torch.float16)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-o", "model.txt"], "expected a name that ends in .onnx or .pt2, got model.txt"),
        (["-o", "model.pt2", "--opset", "18"], "--opset is for ONNX, got model.pt2"),
        (["-o", "model.pt2", "--precision", "bfloat16"], "expected --precision float32 or float16, got bfloat16"),
        (["-o", "model.pt2"], "flow-splat cannot be exported: its optical flow is found by OpenCV, of which there is "
         "no graph"),
        (["-o", "/proc/model.onnx"], "cannot write /proc/model.onnx: No such file or directory"),
        (["-o", "nowhere/model.onnx"], "cannot write nowhere/model.onnx: the folder nowhere does not exist"),
    ],
)  # fmt: skip
def test_wrong_requests_are_one_sentence(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["export", *arguments]) == 2
    assert capsys.readouterr().err == f"vfi: {said}\n"
    assert list(tmp_path.iterdir()) == []
