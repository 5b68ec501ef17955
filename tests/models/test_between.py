"""`vfi.between`: frames in memory, of every kind, layout and depth, come back as they were given."""

import threading

import numpy as np
import pytest
import torch
from PIL import Image

import vfi
from vfi.files.images import read_image, write_image
from vfi.models import kept
from vfi.models.given_frames import form_of
from vfi.models.interpolator import Interpolator

SIZE = 40, 48
LAYOUTS = {"HW": 1, "HWC": 3, "CHW": 3, "BHWC": 3, "BCHW": 3}
DTYPES = ("uint8", "uint16", "float16", "bfloat16", "float32", "float64")


class Mean(Interpolator):
    """The mean of two frames, whatever the time."""

    def interpolate(self, frame0, frame1, t):
        return torch.lerp(frame0, frame1, float(t))


def values(seed, layout, channels):
    shape = {"H": SIZE[0], "W": SIZE[1], "C": channels, "B": 2}
    return np.random.default_rng(seed).random([shape[letter] for letter in layout])


def frame_of(numbers, kind, dtype):
    """The numbers, in [0, 1], as a frame of the kind."""
    scaled = numbers if "float" in dtype else (numbers * np.iinfo(dtype).max).round()
    return torch.from_numpy(scaled).to(getattr(torch, dtype)) if kind == "torch" else scaled.astype(dtype)


def numbers_of(frame, dtype):
    made = frame.to(torch.float64).numpy() if isinstance(frame, torch.Tensor) else np.asarray(frame, np.float64)
    return made if "float" in dtype else made / np.iinfo(dtype).max


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_the_result_is_like_the_frames(kind, layout, dtype, channels):
    if (kind, dtype) == ("numpy", "bfloat16") or (layout == "HW" and channels > 1):
        return
    first, second = (frame_of(values(seed, layout, channels), kind, dtype) for seed in (0, 1))
    if channels == 4:  # what nobody sees through
        at = (slice(None),) * layout.index("C") + (3,)
        first[at], second[at] = (1 if "float" in dtype else np.iinfo(dtype).max,) * 2
    before = numbers_of(first, dtype).copy()
    made, same = vfi.between(first, second, [0.25, 1], model=Mean())
    assert type(made) is type(first) and made.shape == first.shape and made.dtype == first.dtype
    expected = 0.75 * numbers_of(first, dtype) + 0.25 * numbers_of(second, dtype)
    step = {"uint8": 0.51 / 255, "uint16": 0.51 / 65535, "float16": 5e-4, "bfloat16": 4e-3}.get(dtype, 1e-6)
    assert np.abs(numbers_of(made, dtype) - expected).max() <= step
    assert np.array_equal(numbers_of(same, dtype), numbers_of(second, dtype)) and same is not second
    assert np.array_equal(numbers_of(first, dtype), before)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16"])
def test_pictures_of_pillow(mode):
    depth = np.uint16 if mode == "I;16" else np.uint8
    count = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "I;16": 1}[mode]
    shape = SIZE if count == 1 else (*SIZE, count)
    arrays = [np.random.default_rng(seed).integers(0, 200, shape).astype(depth) for seed in (0, 1)]
    if mode.endswith("A"):
        arrays[0][..., -1] = arrays[1][..., -1] = 255
    first, second = map(Image.fromarray, arrays)
    assert first.mode == mode
    made = vfi.between(first, second, 0.5, model=Mean())
    assert isinstance(made, Image.Image) and made.mode == mode and made.size == first.size
    assert np.abs(np.asarray(made, float) - (arrays[0] / 2 + arrays[1] / 2)).max() <= 0.51


def test_alpha_is_what_the_command_makes(tmp_path, sliding):
    """And so are colours, to the last bit."""
    alpha = np.tile(np.linspace(0, 255, 96).astype(np.uint8), (64, 1))
    pair = [np.dstack((sliding(x), np.roll(alpha, x, 1))) for x in (0, 6)]
    for name, pixels in zip("ab", pair):
        write_image(tmp_path / f"{name}.png", pixels)
    vfi.interpolate([tmp_path / "a.png", tmp_path / "b.png"], tmp_path / "out.png", t=0.3)
    made = vfi.between(*pair, 0.3)
    assert np.array_equal(made, read_image(tmp_path / "out.png").pixels)
    assert np.array_equal(np.asarray(vfi.between(*map(Image.fromarray, pair), 0.3)), made)


def test_every_layout_gives_the_same_pixels(sliding):
    first, second = sliding(0), sliding(6)
    made = vfi.between(first, second)
    as_torch = [torch.from_numpy(each) for each in (first, second)]
    planes = [each.permute(2, 0, 1) for each in as_torch]
    assert np.array_equal(vfi.between(*as_torch).numpy(), made)
    assert np.array_equal(vfi.between(*planes).permute(1, 2, 0).numpy(), made)
    assert np.array_equal(vfi.between(*(each[None] for each in planes))[0].permute(1, 2, 0).numpy(), made)
    assert np.array_equal(vfi.between(first[:, ::-1][:, ::-1], second), made)
    big = [each.astype(">u2") for each in (first, second)]
    assert vfi.between(*big).dtype == ">u2"


@pytest.mark.parametrize(("shape", "meant"), [((3, 40, 3), "HWC or CHW"), ((2, 3, 40, 4), "BHWC or BCHW")])
def test_a_shape_that_may_be_two_is_refused(shape, meant):
    frames = np.random.default_rng(0).random((2, *shape), np.float32)
    with pytest.raises(vfi.ArgumentError, match=rf"may be {meant}: say which by layout"):
        vfi.between(*frames)
    for layout in meant.split(" or "):
        assert vfi.between(*frames, model=Mean(), layout=layout).shape == shape


RGB = np.zeros((8, 9, 3), np.uint8)
REFUSED = {
    "sizes": (RGB, np.zeros((8, 10, 3), np.uint8), {}, r"one shape and type, got \(8, 9, 3\), uint8 and \(8, 10, 3\)"),
    "dtypes": (RGB, RGB.astype(np.float32), {}, "one shape and type"),
    "kinds": (RGB, torch.from_numpy(RGB), {}, "one kind, got numpy and torch"),
    "a list": (RGB.tolist(), RGB, {}, "numpy arrays, PIL images or torch tensors, got list"),
    "nothing": (None, None, {}, "got NoneType"),
    "no pixels": (RGB[:0], RGB[:0], {}, "with pixels"),
    "two channels": (RGB[..., :2], RGB[..., :2], {}, "with 1, 3 or 4 channels"),
    "one dimension": (RGB[0, 0], RGB[0, 0], {}, "of shape HW, HWC, CHW, BHWC, BCHW"),
    "five": (RGB[None, None], RGB[None, None], {}, "of shape HW"),
    "whole numbers": (RGB.astype(np.int64), RGB.astype(np.int64), {}, "got int64"),
    "true or false": (RGB > 1, RGB > 1, {}, "got bool"),
    "of 255": (RGB + 255.0, RGB + 255.0, {}, r"floats in \[0, 1\], got 255 to 255"),
    "not a number": (RGB + np.nan, RGB + np.nan, {}, "finite numbers"),
    "infinite": (torch.full((3, 8, 9), torch.inf), torch.zeros(3, 8, 9), {}, "finite numbers"),
    "meta": (torch.zeros(3, 8, 9, device="meta"), torch.zeros(3, 8, 9, device="meta"), {}, "have values"),
    "sparse": (torch.zeros(8, 9).to_sparse(), torch.zeros(8, 9).to_sparse(), {}, "have values"),
    "nested": (torch.nested.nested_tensor([torch.zeros(8, 9)], layout=torch.jagged),) * 2 + ({}, "got a nested tensor"),
    "palette": (Image.new("P", (9, 8)), Image.new("P", (9, 8)), {}, "mode L, LA, RGB, RGBA, I;16, got P"),
    "modes": (Image.new("L", (9, 8)), Image.new("RGB", (9, 8)), {}, "9x8, L and 9x8, RGB"),
    "t": (RGB, RGB, {"t": 1.5}, r"t in \[0, 1\]"),
    "t is NaN": (RGB, RGB, {"t": [0.5, float("nan")]}, r"t in \[0, 1\]"),
    "t is text": (RGB, RGB, {"t": "half"}, "t to be a number"),
    "model": (RGB, RGB, {"model": "nix"}, "unknown model 'nix'"),
    "weights": (RGB, RGB, {"model": "rife"}, "needs weights"),
    "no weights": (RGB, RGB, {"weights": "a"}, "has no weights"),
    "option": (RGB, RGB, {"scale": 2}, "scale is not for the model flow-splat"),
    "loaded": (RGB, RGB, {"model": Mean(), "tile": 64}, "tile is for a model that is named"),
    "layout": (RGB, RGB, {"layout": "HCW"}, "layout HW, HWC"),
    "another layout": (RGB, RGB, {"layout": "CHW"}, "of shape CHW"),
    "device": (RGB, RGB, {"device": "nowhere"}, "device 'nowhere' cannot be used"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_is_one_sentence(case):
    first, second, more, said = REFUSED[case]
    with pytest.raises(vfi.ArgumentError, match=said) as error:
        vfi.between(first, second, **more)
    assert "\n" not in str(error.value)


def test_a_missing_file_of_weights(tmp_path):
    with pytest.raises(vfi.UserError, match="nix"):
        vfi.between(RGB, RGB, model="rife", weights=tmp_path / "nix.pkl")


def test_a_model_is_loaded_once(monkeypatch):
    loads = []
    real = kept.load_model
    monkeypatch.setattr(kept, "load_model", lambda *names, **more: (loads.append(names), real(*names, **more))[1])
    monkeypatch.setattr(kept, "_kept", type(kept._kept)())
    frames = np.zeros((2, 70, 80, 3), np.uint8)
    for _ in range(3):
        vfi.between(*frames)
    assert len(loads) == 1
    vfi.between(*frames, tile=64)
    vfi.between(*frames)
    assert len(loads) == 2


def test_threads_share_it(sliding):
    pairs = [(sliding(x), sliding(x + 5)) for x in range(4)]
    alone = [vfi.between(*pair) for pair in pairs]
    made = {}
    threads = [threading.Thread(target=lambda n=n: made.update({n: vfi.between(*pairs[n])})) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(made[n], alone[n]) for n in range(4))


def test_gradients_are_left_out():
    frames = torch.rand(2, 3, 40, 48, requires_grad=True)
    assert not vfi.between(*frames, 0.5).requires_grad and form_of(*frames).layout == "CHW"
