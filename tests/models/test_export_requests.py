"""`vfi export`: what is wrong is said before the work; a file is what the model is; nothing else is said."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_export import MODELS, frames, rife4

from vfi.errors import ArgumentError, UserError
from vfi.export import export_onnx, export_package

slow = pytest.mark.slow


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("size", [(128, 192), (96, 160), (96, 128), (70, 101), (40, 48), (33, 200)], ids=str)
def test_a_graph_is_the_model_at_twice_its_scales(size, scale):
    """Also where the size fits the usual scales alone; then the model fills up the frames, as a file does."""
    model = rife4("4.0", 6.0).set_usual(scale=scale)
    pair = frames(*size)
    with torch.no_grad():
        found = model.traced(*pair, torch.tensor([0.5]))
    assert torch.equal(found, model.interpolate(*pair, 0.5))


def test_twice_the_scales_are_at_work_at_every_size(monkeypatch):
    """Or the test above would compare nothing."""
    model, at_work = rife4("4.0", 6.0), []
    usual = model.frame_at_any
    monkeypatch.setattr(model, "frame_at_any", lambda *a: (at_work.append(a[2].flow.shape[2:]), usual(*a))[1])
    for size in ((96, 160), (70, 101), (128, 160)):
        model.interpolate(*frames(*size), 0.5)
    assert [tuple(shape) for shape in at_work] == [(128, 192), (128, 128), (128, 192)]


def refused_early(monkeypatch):
    """Nothing is traced."""
    monkeypatch.setattr(torch.export, "export", lambda *_, **__: pytest.fail("it was traced"))


@pytest.mark.parametrize(("name", "least"), [("rife", 18), ("4.25", 18), ("sg-rife", 19), ("ebme-splat", 18)])
def test_too_old_an_opset_is_refused_before_the_work(name, least, tmp_path, monkeypatch):
    pytest.importorskip("onnxscript")
    refused_early(monkeypatch)
    model = MODELS[name]()
    for opset in (1, 17, least - 1):
        with pytest.raises(ArgumentError, match=f"^expected opset to be {least} or more for this model, got {opset}$"):
            export_onnx(model, tmp_path / "model.onnx", size=(64, 64), opset=opset)
    with pytest.raises(
        ArgumentError, match=r"^expected opset to be .*, the newest that is installed, or less, got 99$"
    ):
        export_onnx(model, tmp_path / "model.onnx", size=(64, 64), opset=99)


@pytest.mark.parametrize("place", ["/proc/model", "nowhere/model", "folder.onnx/model"])
@pytest.mark.parametrize("export", [export_onnx, export_package])
def test_a_place_that_cannot_be_written_is_refused_before_the_work(export, place, tmp_path, monkeypatch):
    pytest.importorskip("onnxscript")
    refused_early(monkeypatch)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.onnx").write_text("")
    with pytest.raises(UserError, match=f"^cannot write {place}"):
        export(MODELS["rife"](), f"{place}.onnx", size=(64, 64))


@slow
@pytest.mark.parametrize("name", ["rife", "sg-rife"])
def test_nothing_is_said_but_what_was_made(name, tmp_path):
    """By torch, its exporter and ours: from a process of its own, whose streams they have from the start."""
    pytest.importorskip("onnxscript")
    program = f"""
import sys
sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[1])]}
import test_export
test_export.export_onnx(test_export.MODELS[{name!r}](), {str(tmp_path / "model.onnx")!r}, size=(64, 96))
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")
    assert (tmp_path / "model.onnx").exists()


def test_models_have_the_names_of_the_registry():
    from vfi.models import registry

    for name, entry in registry.MODELS.items():
        if entry.needs is None:
            assert registry.name_of(entry.loaded()) == name
    assert {key: make().called for key, make in MODELS.items()} == {
        "rife": "rife", "rife_m": "rife", "4.25": "rife", "4.0": "rife", "4.6 ensemble": "rife", "sg-rife": "sg-rife",
        "ebme-splat": "ebme-splat", "apr-vfi": "apr-vfi",
    }  # fmt: skip


@slow
def test_a_flow_network_alone(tmp_path):
    """EBME's, by torch's own exporter."""
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    import vfi_kernels.onnx  # noqa: F401
    from vfi.models import ebme

    torch.manual_seed(0)
    network, pair = ebme.load(), frames(70, 101)
    with torch.no_grad():
        network.flow_estimator.conv_layer6[0].weight.mul_(200)
        expected = network(*pair)
        torch.onnx.export(network, tuple(pair), tmp_path / "flow.onnx", dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "flow.onnx", providers=["CPUExecutionProvider"])
    given = {each.name: frame.numpy() for each, frame in zip(session.get_inputs(), pair, strict=True)}
    torch.testing.assert_close(torch.from_numpy(session.run(None, given)[0]), expected, rtol=0, atol=1e-3)
    assert expected.abs().max() > 0.5
