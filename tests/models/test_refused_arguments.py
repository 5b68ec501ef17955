"""What every model says of frames, times and numbers that are none: one sentence, an ArgumentError."""

from pathlib import Path

import pytest
import torch
from fresh import fresh

import vfi
import vfi_kernels as vk

NAN = float("nan")
F = torch.rand(1, 3, 32, 32)
FRAMES = {
    "arrays": (F.numpy(), F.numpy()),
    "an array": (F, F.numpy()),
    "nothing": (None, F),
    "a list": ([F], F),
    "meta": (F.to("meta"), F.to("meta")),
    "another device": (F, F.to("meta")),
    "no width": (F[..., :0], F[..., :0]),
    "no height": (F[:, :, :0], F[:, :, :0]),
    "no batch": (F[:0], F[:0]),
    "2 channels": (F[:, :2], F[:, :2]),
    "4 channels": (F[:, [0, 1, 2, 2]], F[:, [0, 1, 2, 2]]),
    "no batch dimension": (F[0], F[0]),
    "a number": (torch.tensor(1.0), torch.tensor(1.0)),
    "another size": (F, F[..., :16]),
    "another batch": (F, F.expand(2, -1, -1, -1)),
    "another dtype": (F, F.double()),
    "sparse": (F.to_sparse(), F.to_sparse()),
    "one sparse": (F, F.to_sparse()),
    **{str(dtype): (F.to(dtype), F.to(dtype)) for dtype in
       (torch.uint8, torch.int64, torch.bool, torch.complex64, torch.float8_e4m3fn)},
}  # fmt: skip
TIMES = ("a", "0.5", b"x", NAN, float("inf"), -0.1, 1.5, True, None, 1j, object(), {}, {0.5}, ["a"], [NAN], [[0.5]],
         torch.tensor([0.1, 2.0]), torch.empty(2, device="meta"))  # fmt: skip
COUNTS = (1, 0, -1, True, False, 2.0, 2.5, "3", None, NAN)


@pytest.fixture(scope="module", params=vfi.MODELS)
def name(request):
    if vfi.MODELS[request.param].needs:
        pytest.importorskip(vfi.MODELS[request.param].needs)
    return request.param


@pytest.fixture(scope="module")
def model(name):
    return fresh(name)


def refused(call, *arguments, **options):
    with pytest.raises(vfi.ArgumentError, match=r"^[^\n]*expected [^\n]+, got [^\n]+$"):
        call(*arguments, **options)


@pytest.mark.parametrize("kind", FRAMES)
def test_frames(model, kind):
    first, last = FRAMES[kind]
    refused(model.interpolate, first, last, 0.5)
    refused(model.interpolate, first, last, 0.0)
    refused(model.interpolate_many, first, last, [0.5])
    refused(model.interpolate_many, first, last, [])
    refused(model.explain, first, last, 0.5)
    refused(model.generate, first, last, "", 3)


def test_times(model):
    for t in TIMES:
        refused(model.interpolate, F, F, t)
        refused(model.interpolate_many, F, F, t)
        refused(model.interpolate_many, F, F, [0.5, t])
        refused(model.explain, F, F, t)


def test_what_generate_takes(model):
    for count in COUNTS:
        refused(model.generate, F, F, "", count)
        refused(model.whole_frames, count)
    for prompt in (None, 3, b"a cat", ["a cat"]):
        refused(model.generate, F, F, prompt, 3)
    refused(model.generate, F.expand(2, -1, -1, -1), F.expand(2, -1, -1, -1), "", 3)


def test_a_network_elsewhere(name):
    """But for those that bring the frames to where they are."""
    elsewhere = fresh(name)
    if isinstance(elsewhere, torch.nn.Module):
        elsewhere.to("meta")
        for call in (elsewhere.interpolate, elsewhere.explain):
            with pytest.raises(vfi.ArgumentError, match="expected frames on meta, where the model is, got some on cpu"):
                call(F, F, 0.5)


ARGUMENTS = [
    *(((name, None), {}, "unknown model") for name in (3, None, [], "", b"rife", "RIFE")),
    *((("ebme-splat", weights), {}, "expected weights to be the name of a file or folder, got")
      for weights in (3, True, 1.5, b"x", [1], object())),
    *((("flow-splat", None, device), {}, "device") for device in
      ("gpu9", "", "cuda:-1", "cpu cpu", 3, True, b"cpu", [], "mps" if not torch.backends.mps.is_available() else "x")),
    (("flow-splat", "x"), {}, "has no weights, so weights cannot be used"),
    (("rife",), {}, "needs weights, such as"),
    (("rife", "x"), {"scales": 1}, "scales is not for the model rife: it has scale, tta, ensemble, tile"),
    (("flow-splat",), {"scale": 1}, "scale is not for the model flow-splat: it has tile"),
    (("rife", "x"), {"scale": "0.5"}, "expected scale 0.25, 0.5, 1, 2, 4, got '0.5'"),
    (("rife", "x"), {"scale": True}, "expected scale 0.25, 0.5, 1, 2, 4, got True"),
    (("rife", "x"), {"scale": NAN}, "expected scale 0.25, 0.5, 1, 2, 4, got nan"),
    (("rife", "x"), {"tta": 1}, "expected tta to be true or false, got 1"),
    (("rife", "x"), {"tile": True}, "expected tile to be a whole number, got True"),
    (("rife", "x"), {"tile": 0}, "expected tile of 1 or more, got 0"),
    (("sg-rife", "x"), {"dino_max_side": -1}, "expected dino_max_side of 1 or more, got -1"),
    (("apr-vfi", "x"), {"routing": 3}, "expected routing apr, static, patches, ratio, got 3"),
    (("apr-vfi", "x"), {"keep": "abcd"}, "expected keep to be 4 values, got 'abcd'"),
    (("apr-vfi", "x"), {"keep": (True,) * 4}, "expected keep to be a number, got True"),
]  # fmt: skip


def test_load_model():
    for arguments, options, said in ARGUMENTS:
        with pytest.raises(vfi.ArgumentError) as caught:
            vfi.load_model(*arguments, **options)
        assert said in str(caught.value) and "\n" not in str(caught.value)


def test_every_option_of_every_model_at_values_of_other_types():
    """Whatever its type: the model's files are not read before."""
    for name, entry in vfi.MODELS.items():
        for option in vars(entry.options_class()()):
            for wrong in (object(), 1j, [], [[]], {}, b"x"):
                refused(vfi.load_model, name, entry.weights and "x", **{option: wrong})


def test_one_except_catches_the_errors_of_models_and_of_ops():
    assert issubclass(vfi.ArgumentError, vk.ArgumentError) and issubclass(vfi.ArgumentError, vfi.UserError)
    for call in (lambda: vfi.load_model("none"), lambda: vk.backward_warp(F, F)):
        for kind in (vk.ArgumentError, ValueError, RuntimeError):
            with pytest.raises(kind):
                call()
    assert {"ArgumentError", "UserError"} <= {*dir(vfi)} and dir(vfi) == sorted(vfi.__all__)
    for name in vfi.__all__:
        assert getattr(vfi, name) is not None


def test_no_error_of_an_argument_is_another():
    """In all of the package: what is wrong with an argument is an ArgumentError, so that one `except` has it."""
    own = {"training/loop.py", "engines/trees.py"}  # caught there
    for path in Path(vfi.__file__).parent.rglob("*.py"):
        if path.relative_to(Path(vfi.__file__).parent).as_posix() not in own:
            assert "raise ValueError" not in path.read_text() and "raise TypeError(f" not in path.read_text(), path
