"""Pictures in float, of film and with alpha: EXR, DPX, TIFF, PNG, WebP, AVIF, one by one and as sequences."""

import numpy as np
import pytest
import torch
from video_runs import refused, run

from vfi.commands.main import main
from vfi.files.images import Image, as_kind, on_screen, read_image, write_image
from vfi.files.light import Range, decoded, encoded, finite

oiio = pytest.importorskip("OpenImageIO")
SIZE = (64, 96)


def scene(place, *, hidden=0.0, most=40.0, alpha=True):
    """A bright disc of texture that slides, on black that cannot be seen; linear light, multiplied by alpha."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float32)
    inside = np.clip(20 - np.hypot(rows - 32, columns - 40 - place), 0, 1)
    waves = (
        0.5 + 0.4 * np.sin((columns - place) / 2.5)[..., None] * np.array([1, 0.8, 0.6]) * np.cos(rows / 3)[..., None]
    )
    colour = waves**2 * np.where(np.hypot(rows - 32, columns - 40 - place) < 4, most, 1)[..., None]
    result = np.dstack((colour * inside[..., None] + hidden * (1 - inside[..., None]), inside)).astype(np.float32)
    return result if alpha else np.ascontiguousarray(result[..., :3])


def half(pixels):
    return pixels.astype(np.float16).astype(np.float32)


def sequence(folder, suffix, count=4, make=half, **options):
    folder.mkdir(exist_ok=True)
    for number in range(count):
        write_image(folder / f"f_{number:03d}{suffix}", make(scene(4 * number, **options)))
    return folder / f"f_%03d{suffix}"


def test_the_curve_of_light_can_be_undone():
    values = torch.tensor([0.0, 1e-6, 0.003, 0.18, 1, 3, 100, 65504], dtype=torch.float64)
    values = torch.cat([values, -values])
    assert torch.allclose(decoded(encoded(values)), values, rtol=1e-12, atol=0)
    assert float(encoded(torch.tensor(0.18))) == pytest.approx(0.4614, abs=1e-3)
    assert encoded(torch.tensor([0, 1.0])).tolist() == pytest.approx([0, 1])
    assert torch.equal(encoded(values.sort().values).sort().values, encoded(values.sort().values)), "it grows"
    slopes = encoded(torch.tensor([1 - 1e-6, 1, 1 + 1e-6], dtype=torch.float64)).diff()
    assert torch.allclose(slopes[0], slopes[1], rtol=1e-5)
    plain = torch.rand(3, 5)
    assert torch.allclose(Range.of(plain).to_model(plain), encoded(plain), rtol=1e-6)
    wild = torch.tensor([[-3.0, 0.5], [700, 2]])
    inside = Range.of(wild).to_model(wild)
    assert inside.min() == 0 and inside.max() == 1
    assert torch.allclose(Range.of(wild).from_model(inside), wild, rtol=1e-5)
    broken = torch.tensor([float("nan"), float("inf"), -float("inf"), 5])
    assert finite(broken).tolist() == [0, 5, -5, 5]


HELD = {
    ".png": ("uint8", "uint16"), ".tif": ("uint8", "uint16", "float32"), ".exr": ("float32",), ".dpx": ("uint16",),
    ".webp": (), ".avif": (), ".bmp": ("uint8",), ".ppm": ("uint8",),
}  # fmt: skip


@pytest.mark.parametrize("channels", (3, 4))
@pytest.mark.parametrize("suffix", HELD)
def test_what_a_format_holds_comes_back_to_the_bit(tmp_path, suffix, channels):
    for kind in HELD[suffix]:
        pixels = np.random.default_rng(0).random((9, 7, channels)) * (1 if kind == "float32" else np.iinfo(kind).max)
        pixels = half(pixels) if kind == "float32" else pixels.astype(kind)
        write_image(tmp_path / f"x{suffix}", pixels)
        again = read_image(tmp_path / f"x{suffix}").pixels
        kept = channels if suffix in (".png", ".tif", ".exr") else 3
        assert again.dtype == kind and np.array_equal(again, pixels[..., :kept])
    for kind in ("uint8", "uint16", "float32"):
        plain = as_kind(np.full((16, 16, channels), (180, 180, 180, 255)[:channels], np.uint8), np.dtype(kind))
        write_image(tmp_path / f"p{suffix}", plain)
        seen = as_kind(on_screen(read_image(tmp_path / f"p{suffix}").pixels), np.dtype(np.uint8))
        assert np.abs(seen.astype(int) - 180).max() <= (2 if suffix in (".webp", ".avif", ".jpg") else 1)


def test_numbers_become_others_and_come_back():
    """What is between 8 bits and float and back is the same, with alpha and without."""
    for channels in (3, 4):
        pixels = np.random.default_rng(1).integers(0, 256, (16, 16, channels)).astype(np.uint8)
        pixels[..., 3:] |= 1
        for kind in (np.uint16, np.float32):
            assert np.array_equal(as_kind(as_kind(pixels, np.dtype(kind)), np.dtype(np.uint8)), pixels)
    assert as_kind(np.array([[[-1, np.nan, 90]]], np.float32), np.dtype(np.uint8)).tolist() == [[[0, 0, 255]]]


def test_an_exr_sequence_stays_what_it_is(tmp_path, capsys):
    """Frames given come back bit by bit, with NaN and infinity; what is between is as bright as they are."""
    given = sequence(tmp_path / "in", ".exr")
    odd = half(scene(0))
    odd[0, :3] = [np.nan, 1, 2, 0.5], [np.inf, 1, 1, 1], [-0.5, 0, 0, 1]
    write_image(tmp_path / "in/f_000.exr", odd)
    (tmp_path / "out").mkdir()
    assert run(given, "-o", tmp_path / "out/g_%04d.exr") == 0
    assert "note" not in capsys.readouterr().err
    for number in range(4):
        before, after = (
            read_image(tmp_path / name).pixels for name in (f"in/f_{number:03d}.exr", f"out/g_{2 * number + 1:04d}.exr")
        )
        assert np.array_equal(before, after, equal_nan=True)
    between, truth = read_image(tmp_path / "out/g_0004.exr").pixels, scene(6)
    assert np.isfinite(between).all() and between.max() > 20
    both = [encoded(torch.from_numpy(each[..., :3])) for each in (between, truth)]
    assert float((both[0] - both[1]).abs().mean()) < 0.02
    assert np.abs(between[..., 3] - truth[..., 3]).mean() < 0.01


@pytest.mark.parametrize("name", ("gbrpf32", "gbrpf16", "rgb48", "rgb24"))
@pytest.mark.parametrize("suffix", (".exr", ".tif", ".png"))
def test_the_numbers_asked_for(tmp_path, suffix, name):
    given = sequence(tmp_path / "in", ".png", 2, lambda pixels: as_kind(pixels, np.dtype(np.uint16)), most=1)
    assert run(given, "-o", tmp_path / f"o_%d{suffix}", "--pixel-format", name, "--factor", 1) == 0
    image = read_image(tmp_path / f"o_1{suffix}")
    most = {".exr": "float32", ".png": "uint16"}.get(suffix)
    asked = {"gbrpf32": "float32", "gbrpf16": "float32", "rgb48": "uint16", "rgb24": "uint8"}[name]
    kinds = ["uint8", "uint16", "float32"]
    expected = "float32" if suffix == ".exr" else min(asked, most or asked, key=kinds.index)
    assert image.pixels.dtype == expected
    if suffix == ".exr":
        assert image.header.kind == ("float" if name == "gbrpf32" else "half")
    a, b = (
        as_kind(on_screen(each), np.dtype(np.uint8)).astype(int)
        for each in (image.pixels, read_image(str_of(given)).pixels)
    )
    assert np.abs(a - b)[read_image(str_of(given)).pixels[..., 3] > 0].max() <= 1


def str_of(pattern):
    return pattern.with_name(pattern.name.replace("%03d", "000"))


def test_light_becomes_a_picture_of_a_screen_with_a_note(tmp_path, capsys):
    given = sequence(tmp_path / "in", ".exr")
    assert run(given, "-o", tmp_path / "out.mp4") == 0
    said = capsys.readouterr().err
    assert "linear light in float becomes 16 bits of sRGB, without what is below 0 or above 1" in said
    assert "the alpha channel is left out" in said
    assert run(given, "-o", tmp_path / "o_%d.jpg") == 0
    assert "becomes 8 bits of sRGB" in capsys.readouterr().err
    a, b = read_image(tmp_path / "o_1.jpg").pixels, on_screen(scene(0)) / 257
    assert np.abs(a - b)[read_image(tmp_path / "in/f_000.exr").pixels[..., 3] == 1].mean() < 6


def test_two_images_in_float(tmp_path, capsys):
    """Into one like them, one with fewer numbers, a video: what is lost is said, and nothing else."""
    pair = [tmp_path / "a.exr", tmp_path / "b.exr"]
    for number, path in enumerate(pair):
        write_image(path, half(scene(4 * number)))
    for name, said in {"m.exr": "", "m.png": "linear light", "m.jpg": "alpha channel", "m.mkv": "linear light"}.items():
        assert main(["interpolate", *map(str, pair), "-o", str(tmp_path / name)]) == 0
        message = capsys.readouterr().err
        assert said in message and (said or message == "")
    between, truth = read_image(tmp_path / "m.exr").pixels, scene(2)
    assert between.max() > 20 and np.abs(between[..., 3] - truth[..., 3]).mean() < 0.01
    write_image(tmp_path / "b.png", as_kind(scene(4, most=1), np.dtype(np.uint8)))
    assert main(["interpolate", str(pair[0]), str(tmp_path / "b.png"), "-o", str(tmp_path / "mixed.exr")]) == 0


def written(path, pixels, names, kind="half", **attributes):
    """An EXR with such channels."""
    spec = oiio.ImageSpec(pixels.shape[1], pixels.shape[0], pixels.shape[2], kind)
    spec.channelnames = names
    window = attributes.pop("window", None)
    if window is not None:
        spec.x, spec.y, spec.full_x, spec.full_y, spec.full_width, spec.full_height = window
    for name, value in attributes.items():
        spec.attribute(*((name, value) if not isinstance(value, tuple) else (name, *value)))
    out = oiio.ImageOutput.create("openexr")
    assert out.open(str(path), spec) and out.write_image(pixels) and out.close()


def test_other_channels_and_the_header(tmp_path, capsys):
    chromaticities = ("float[8]", (0.68, 0.32, 0.265, 0.69, 0.15, 0.06, 0.3127, 0.329))
    for number in range(2):
        pixels = np.dstack((scene(4 * number), np.full(SIZE, 7.0, np.float32)))
        written(
            tmp_path / f"a_{number}.exr", pixels, ["R", "G", "B", "A", "Z"], PixelAspectRatio=2.0, compression="piz",
            chromaticities=chromaticities, **{"smpte:TimeCode": ("timecode", (number + 1, 0))},
        )  # fmt: skip
    assert run(tmp_path / "a_%d.exr", "-o", tmp_path / "b_%d.exr") == 0
    assert capsys.readouterr().err.count("note: of") == 1
    for number in range(1, 5):
        spec = oiio.ImageInput.open(str(tmp_path / f"b_{number}.exr")).spec()
        assert spec.get_float_attribute("PixelAspectRatio") == 2 and spec.get_string_attribute("compression") == "piz"
        assert np.allclose(spec.getattribute("chromaticities"), chromaticities[1])
        code = spec.getattribute("smpte:TimeCode")
        assert (code is not None) == (number != 2) and (code is None or code[0] == (number + 1) // 2)
    assert run(tmp_path / "a_%d.exr", "-o", tmp_path / "c.mkv") == 0
    assert "the channels Z are left out" in capsys.readouterr().err


def test_windows_of_display_and_data(tmp_path, capsys):
    """A picture smaller than its window, one larger, and one that reaches further than the first."""
    for name, windows in {"s": ((10, 5), (12, 6)), "l": ((-8, -8), (-8, -8)), "x": ((0, 0), (-4, 0))}.items():
        shown = (0, 0, 200, 100) if name == "s" else (0, 0, 80, 60)
        for number, corner in enumerate(windows):
            written(tmp_path / f"{name}_{number}.exr", scene(0), ["R", "G", "B", "A"], window=(*corner, *shown))
        done = run(tmp_path / f"{name}_%d.exr", "-o", tmp_path / f"{name}o_%d.exr", "--factor", 1)
        message = capsys.readouterr().err
        assert (done == 3) == (name == "x") == ("1 image cut off at the windows of the first one" in message)
        image, spec = read_image(tmp_path / f"{name}o_1.exr"), read_image(tmp_path / f"{name}o_1.exr").header.spec
        assert (spec.full_x, spec.full_y, spec.full_width, spec.full_height) == shown
        left, top = windows[0][0] - spec.x, windows[0][1] - spec.y
        assert np.array_equal(image.pixels[top : top + SIZE[0], left : left + SIZE[1]], half(scene(0)))


@pytest.mark.parametrize("names", (["Y"], ["beauty.R", "beauty.G", "beauty.B"], ["Z"], ["red", "green", "blue"]))
def test_channels_by_other_names(tmp_path, names):
    pixels = scene(0, alpha=False)[..., : len(names)]
    written(tmp_path / "x.exr", np.ascontiguousarray(pixels), names)
    image = read_image(tmp_path / "x.exr")
    assert image.gray == (len(names) == 1) and np.array_equal(image.pixels, half(np.broadcast_to(pixels, (*SIZE, 3))))


def test_film_of_ten_bits_stays_so(tmp_path):
    for number in range(2):
        pixels = (as_kind(scene(4 * number, most=1, alpha=False), np.dtype(np.uint16)) >> 6 << 6).astype(np.uint16)
        spec = oiio.ImageSpec(SIZE[1], SIZE[0], 3, "uint16")
        spec.attribute("oiio:BitsPerSample", 10)
        out = oiio.ImageOutput.create("dpx")
        assert out.open(str(tmp_path / f"a_{number}.dpx"), spec) and out.write_image(pixels) and out.close()
    assert run(tmp_path / "a_%d.dpx", "-o", tmp_path / "b_%d.dpx", "--factor", 1) == 0
    for number in range(2):
        a, b = read_image(tmp_path / f"a_{number}.dpx"), read_image(tmp_path / f"b_{number + 1}.dpx")
        assert np.array_equal(a.pixels, b.pixels) and a.header.bits == b.header.bits == 10


def test_hidden_colours_do_not_come_in(tmp_path):
    """Colours of what nobody sees make no difference, and a picture that is opaque is what it is without alpha."""

    def made(name, change):
        for number in range(2):
            write_image(
                tmp_path / f"{name}_{number}.png", change(as_kind(scene(4 * number, most=1), np.dtype(np.uint8)))
            )
        given = [str(tmp_path / f"{name}_{number}.png") for number in range(2)]
        assert main(["interpolate", *given, "-o", str(tmp_path / f"{name}.png")]) == 0
        return read_image(tmp_path / f"{name}.png").pixels

    def bright(pixels):
        pixels[pixels[..., 3] == 0, :3] = 230
        return pixels

    dark = made("dark", lambda pixels: pixels)
    assert np.array_equal(dark, made("bright", bright))
    truth = as_kind(scene(2, most=1), np.dtype(np.uint8)).astype(int)
    assert np.abs(dark.astype(int) - truth)[..., 3].mean() < 3
    assert np.abs(dark.astype(int) - truth)[truth[..., 3] == 255].mean() < 4
    opaque = made("opaque", lambda pixels: pixels | np.array([0, 0, 0, 255], np.uint8))
    plain = made("plain", lambda pixels: np.ascontiguousarray(pixels[..., :3]))
    assert opaque.shape[2] == 4 and (opaque[..., 3] == 255).all() and np.array_equal(opaque[..., :3], plain)


def test_wrong_files(tmp_path, capsys, monkeypatch):
    given = sequence(tmp_path / "in", ".exr", 2)
    whole = (tmp_path / "in/f_000.exr").read_bytes()
    for name, content in {
        "empty": b"",
        "text": b"no image",
        "cut": whole[:400],
        "half": whole[: len(whole) // 2],
    }.items():
        (tmp_path / "in/f_001.exr").write_bytes(content)
        message = refused(capsys, given, "-o", tmp_path / f"{name}_%d.exr")
        assert f"cannot read {tmp_path / 'in/f_001.exr'}: it is" in message and "damaged" in message
    message = refused(capsys, given, "-o", tmp_path / "o_%d.exr", "--pixel-format", "nonsense")
    assert "expected --pixel-format rgb24, rgb48, gbrpf16 or gbrpf32, got 'nonsense'" in message
    monkeypatch.setitem(__import__("sys").modules, "OpenImageIO", None)
    message = refused(capsys, given, "-o", tmp_path / "o_%d.exr")
    assert 'pip install "vfi-kernels[stills]"' in message and "OpenImageIO" in message


def test_images_say_what_they_are(tmp_path):
    write_image(tmp_path / "x.exr", scene(0), kind="float")
    image = read_image(tmp_path / "x.exr")
    assert (
        isinstance(image, Image)
        and image.had_alpha
        and image.header.kind == "float"
        and np.array_equal(image.pixels, scene(0))
    )
