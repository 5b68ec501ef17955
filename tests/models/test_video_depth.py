"""Bits, matrices, ranges, encoders and HDR metadata: a video comes back as it came."""

import itertools
from fractions import Fraction

import av
import numpy as np
import pytest
from video_runs import refused, run

from vfi.files.images import read_image
from vfi.video.alpha import from_pixels, to_pixels
from vfi.video.av_common import Colour
from vfi.video.colours import _codes, _matrix, bits_of, dithered, from_rgb, sampled_as, to_rgb
from vfi.video.containers import CONTAINERS, encoder_for
from vfi.video.encoder import Picture
from vfi.video.encodings import Encoding
from vfi.video.known_encoders import ENCODERS
from vfi.video.writer import VideoWriter

pytestmark = pytest.mark.usefixtures("mean_frames")

SIDE = 64
PLANAR = [
    *("yuv420p", "yuvj420p", "yuv422p", "yuv444p", "yuv444p9le", "yuv420p10le", "yuv422p10le", "yuv444p10le"),
    *("yuv420p12le", "yuv444p12le", "yuv420p14le", "yuv420p16le", "yuv444p16le"),
    *("gray", "gray10le", "gray12le", "gray16le"),
]
RGB = ["rgb24", "gbrp", "bgr0", "gbrp10le", "gbrp12le", "gbrp16le", "rgb48le"]
HDR10 = "hdr10=1:master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):max-cll=1000,400"


def samples(frame):
    """The planes of a frame, without their padding."""
    size = 2 if bits_of(frame.format) > 8 else 1
    planes = [np.frombuffer(memoryview(p), f"<u{size}").reshape(p.height, -1) for p in frame.planes]
    wide = [
        p.width * (4 if frame.format.name == "bgr0" else 3 if frame.format.name[:3] == "rgb" else 1)
        for p in frame.planes
    ]
    return [plane[:, :width].astype(int) for plane, width in zip(planes, wide)]


def plain(name, codes, colour):
    """A frame of one colour, given by the codes of its planes."""
    frame = av.VideoFrame(SIDE, SIDE, name)
    frame.colorspace, frame.color_range = colour.matrix, colour.range
    size = 2 if bits_of(frame.format) > 8 else 1
    for plane, code in zip(frame.planes, codes):
        plane.update(np.full((plane.height, plane.line_size // size), code, f"<u{size}").tobytes())
    return frame


def is_nightly(item):
    """Of plain pictures each format has two of the ten matrices in each range by day, all of them at night."""
    places = item.callspec.indices if hasattr(item, "callspec") else {}
    return "sampled" in places and (places["name"] - places["matrix"]) % 5 != places["sampled"]


@pytest.mark.parametrize("sampled", (0, 1, 2))
@pytest.mark.parametrize("matrix", (1, 2, 4, 5, 6, 7, 8, 9, 10, 14))
@pytest.mark.parametrize("name", PLANAR)
def test_a_plain_picture_comes_back(name, matrix, sampled):
    """At most one code value off, through RGB and back; black and white are black and white."""
    rng, bits = np.random.default_rng(0), bits_of(av.VideoFormat(name))
    colour = Colour(matrix, 2 if name.startswith("yuvj") else sampled)
    scale, offset = _codes(bits, colour.range)
    for rgb in (np.zeros(3), np.ones(3), *rng.random((6, 3))):
        codes = _matrix(matrix) @ rgb * scale + offset
        if name.startswith("gray"):
            codes[:] = rgb[0] * (2**bits - 1)
        frame = plain(name, codes.round().clip(0, 2**bits - 1).astype(int), colour)
        seen = to_rgb(frame, SIDE, SIDE)
        assert seen.dtype == (np.uint16 if bits > 8 else np.uint8)
        expected = (rgb if not name.startswith("gray") else rgb[:1].repeat(3)) * np.iinfo(seen.dtype).max
        if matrix not in (10, 14):
            assert np.abs(seen - expected).max() <= max(3 * np.iinfo(seen.dtype).max / 2**bits, 2)
        for before, after in zip(samples(frame), samples(from_rgb(seen, name, sampled_as(frame))), strict=True):
            assert np.abs(after - before).max() <= 1


@pytest.mark.parametrize("name", RGB)
def test_rgb_comes_back_to_the_bit(name):
    rgb = np.random.default_rng(0).integers(0, 65536, (SIDE, SIDE, 3)).astype(np.uint16)
    frame = from_rgb(rgb, name, Colour(0, 2))
    again = from_rgb(to_rgb(frame, SIDE, SIDE), name, Colour(0, 2))
    for before, after in zip(samples(frame), samples(again), strict=True):
        assert np.array_equal(before, after) or name == "bgr0"  # the fourth byte means nothing


ALPHA = [
    *("yuva420p", "yuva422p", "yuva444p", "yuva420p10le", "yuva444p10le", "yuva444p12le", "yuva422p16le"),
    *("rgba", "bgra", "gbrap", "gbrap10le", "gbrap12le", "gbrap16le", "rgba64le", "rgba64be"),
    *("ya8", "ya16le", "ya16be"),
]


@pytest.mark.parametrize("name", ALPHA)
def test_alpha_comes_back(name):
    """Whatever the colours are; a picture that has none is opaque."""
    bits, rgb = bits_of(av.VideoFormat(name)), av.VideoFormat(name).is_rgb
    kind = np.dtype(np.uint16 if bits > 8 else np.uint8)
    most, colour = np.iinfo(kind).max, Colour(0, 2) if rgb else Colour(1, 2 if name.startswith("ya") else 1)
    pixels = np.full((SIDE, SIDE, 4), 0.4 * most, kind)
    pixels[..., 3] = np.linspace(0, most, SIDE * SIDE).reshape(SIDE, SIDE)
    frame = from_pixels(pixels, name, colour)
    frame.colorspace, frame.color_range = colour.matrix, colour.range
    again = to_pixels(frame, SIDE, SIDE)
    assert again.dtype == kind and np.abs(again.astype(int) - pixels).max() <= 1.01 * most / (2**bits - 1)
    assert np.array_equal(to_pixels(from_pixels(again, name, colour), SIDE, SIDE)[..., 3], again[..., 3])
    assert (to_pixels(from_pixels(pixels[..., :3], name, colour), SIDE, SIDE)[..., 3] == most).all()


@pytest.mark.parametrize("name", ("gbrpf32le", "gbrpf32be", "grayf32le", "gbrapf32le", "gbrpf16le", "grayf16le"))
def test_float_becomes_sixteen_bits(name):
    frame = av.VideoFrame(SIDE, SIDE, name)
    size = 4 if "32" in name else 2
    values = [-1, 0, 0.25, 0.5, 1, 40, np.nan]
    for plane in frame.planes:
        codes = np.resize(np.array(values), (plane.height, plane.line_size // size))
        plane.update(codes.astype(f"{'>' if name.endswith('be') else '<'}f{size}").tobytes())
    expected = np.resize(np.array([0, 0, 16384, 32768, 65535, 65535, 0]), SIDE)
    for seen in to_pixels(frame, SIDE, SIDE)[0].T:
        assert np.abs(seen.astype(int) - expected).max() <= 1


def test_dithering_keeps_means_and_whole_levels():
    whole = np.repeat((np.arange(256) * 257).astype(np.uint16).reshape(16, 16, 1), 3, 2)
    assert np.array_equal(dithered(whole)[..., 0].ravel(), np.arange(256))
    for level in (100, 12_345, 65_400):
        between = dithered(np.full((64, 64, 3), level, np.uint16))
        assert abs(between.mean() * 257 - level) <= 257 / 64 and np.ptp(between) <= 1


def film(path, codec, pixels, *, colour=None, options=None, count=3):
    """A ramp that moves, of as many levels as its samples have."""
    colour = colour or (Colour(0, 2, 1, 1) if av.VideoFormat(pixels).is_rgb else Colour(1, 1, 1, 1))
    height, width = (128, 256) if codec == "dnxhd" else (SIDE, SIDE)
    ramp = np.linspace(0.1, 0.9, width)[None, :, None] * np.array([1, 0.9, 0.8])
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height = width, height
        stream.pix_fmt, context = pixels, stream.codec_context
        context.colorspace, context.color_range = colour.matrix, colour.range
        context.color_trc, context.color_primaries = colour.transfer, colour.primaries
        for n in range(count):
            rgb = np.broadcast_to(np.roll(ramp, n, 1) * 65535, (height, width, 3)).round().astype(np.uint16)
            frame = from_rgb(rgb, pixels, colour)
            frame.pts, frame.time_base = n, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def decoded(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream.codec_context.codec.canonical_name, list(container.decode(stream))


KEPT = {
    "hevc, 10 bits": ("in.mp4", "libx265", "yuv420p10le", ".mp4"),
    "hevc, 12 bits, 4:2:2": ("in.mkv", "libx265", "yuv422p12le", ".mkv"),
    "h264, 10 bits, 4:4:4": ("in.mkv", "libx264", "yuv444p10le", ".mp4"),
    "h264 in a transport stream": ("in.ts", "libx264", "yuv420p10le", ".ts"),
    "av1": ("in.mp4", "libsvtav1", "yuv420p10le", ".mkv"),
    "vp9, 4:4:4": ("in.webm", "libvpx-vp9", "yuv444p", ".webm"),
    "prores": ("in.mov", "prores_ks", "yuv422p10le", ".mov"),
    "prores 4444": ("in.mov", "prores_ks", "yuv444p10le", ".mov"),
    "dnxhr": ("in.mov", "dnxhd", "yuv422p10le", ".mov"),
    "ffv1, 16 bits": ("in.mkv", "ffv1", "yuv420p16le", ".mkv"),
    "ffv1, rgb": ("in.mkv", "ffv1", "gbrp12le", ".mkv"),
    "png": ("in.mov", "png", "rgb48be", ".mov"),
}


@pytest.mark.parametrize("case", KEPT)
def test_family_and_samples_are_kept(tmp_path, capsys, case):
    """The frames given come back as an encoder of good quality leaves them; what is written says how."""
    name, codec, pixels, suffix = KEPT[case]
    options = {"dnxhd": {"profile": "dnxhr_hqx"}, "libx265": {"x265-params": "log-level=none", "crf": "4"}}.get(
        codec, {}
    )
    source = film(tmp_path / name, codec, pixels, options=options, count=8)
    out = tmp_path / f"out{suffix}"
    assert run(source, "-o", out, "--scene-cuts", "off") == 0
    said = capsys.readouterr()
    assert "note" not in said.err and f"encoded by {codec}, {pixels}" in said.out
    (family, before), (again, after) = decoded(source), decoded(out)
    assert family == again and len(after) == 2 * len(before)
    for first, second in zip(before, after[::2]):
        assert second.format.name == first.format.name
        assert sampled_as(second) == sampled_as(first)
        a, b = (to_rgb(frame, frame.width, frame.height).astype(int) for frame in (first, second))
        assert np.abs(a - b).mean() / np.iinfo(to_rgb(first, 8, 8).dtype).max < 0.006  # lossy, of fine ramps


@pytest.mark.parametrize(
    "codec, pixels", [("libx265", "yuv420p10le"), ("libx264", "yuv420p10le"), ("libsvtav1", "yuv420p10le")]
)
def test_hdr_stays_so(tmp_path, capsys, codec, pixels):
    """Transfer, primaries, matrix, mastering display and light level, HLG's transfer, too."""
    pq, hlg = Colour(9, 1, 16, 9), Colour(9, 1, 18, 9)
    source = film(tmp_path / "in.mp4", "libx265", pixels, colour=pq, options={"x265-params": f"log-level=none:{HDR10}"})
    assert run(source, "-o", tmp_path / "out.mkv", "--codec", codec) == 0
    assert "HDR" not in capsys.readouterr().err
    first, second = (decoded(path)[1][0] for path in (source, tmp_path / "out.mkv"))
    assert sampled_as(second) == sampled_as(first) == pq
    for kind in ("MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"):
        a, b = (np.frombuffer(bytes(frame.side_data.get(kind)), np.int32) for frame in (first, second))
        if kind.startswith("MASTERING"):
            a, b = (x[0:20:2] / x[1:20:2] for x in (a, b))
        assert np.allclose(a, b, rtol=1e-3), kind
    assert run(source, "-o", tmp_path / "out.mov", "--codec", "prores") == 0
    assert "HDR metadata" in capsys.readouterr().err
    assert run(film(tmp_path / "hlg.mp4", "libx265", pixels, colour=hlg), "-o", tmp_path / "hlg2.mp4") == 0
    assert sampled_as(decoded(tmp_path / "hlg2.mp4")[1][0]) == hlg


def test_full_range_and_fewer_bits(tmp_path, capsys):
    """A codec that says no range gets limited range; one of 8 bits is dithered, and the mean stays."""
    source = film(tmp_path / "in.mkv", "ffv1", "yuv420p10le", colour=Colour(1, 2, 1, 1))
    for name in ("out.avi", "out.mpg", "out.mp4", "out.gif"):
        assert (
            run(
                source,
                "-o",
                tmp_path / name,
                "--fps",
                25,
                "--pixel-format=yuv420p"[: 0 if "mp4" not in name else 99] or "--quiet",
            )
            == 0
        )
        a, b = (to_rgb(decoded(path)[1][0], SIDE, SIDE) for path in (source, tmp_path / name))
        assert b.dtype == np.uint8 and abs(a.mean() / 257 - b.mean()) < 1.2, name
    assert "the 10 bits per sample become 8, dithered" in capsys.readouterr().err


def test_a_ramp_of_ten_bits_keeps_its_levels(tmp_path):
    """More levels than 8 bits have between the darkest and the brightest of a slow ramp: no step through 8 bits."""
    slow = np.broadcast_to(np.linspace(20_000, 22_000, SIDE)[None, :, None], (SIDE, SIDE, 3)).astype(np.uint16)
    writer = VideoWriter(
        tmp_path / "in.mkv", Picture(SIDE, SIDE, Fraction(25), Fraction(1, 25)), Encoding("ffv1", pixels="yuv444p12le")
    )
    for n in range(3):
        writer.write(slow + 200 * n, Fraction(n, 25))
    writer.finish()
    assert run(tmp_path / "in.mkv", "-o", tmp_path / "out.mkv") == 0
    for frame in decoded(tmp_path / "out.mkv")[1]:
        assert len(np.unique(samples(frame)[0][SIDE // 2])) > SIDE * 0.8
    assert run(tmp_path / "in.mkv", "-o", tmp_path / "f%d.png") == 0
    assert read_image(next(tmp_path.glob("f*2.png"))).rgb.dtype == np.uint16


@pytest.mark.parametrize("suffix, family", [(suffix, family) for suffix, c in CONTAINERS.items() for family in c.also])
def test_files_hold_what_stays_in_them(tmp_path, suffix, family):
    path = tmp_path / f"out{suffix}"
    codec = encoder_for(path, Fraction(25), family)
    assert codec is not None and ENCODERS[codec].family == family
    height, width = (128, 256) if family == "dnxhd" else (SIDE, SIDE)
    writer = VideoWriter(path, Picture(width, height, Fraction(25), Fraction(1, 25), codec=family), Encoding())
    for n in range(3):
        writer.write(np.full((height, width, 3), 40 * n + 60, np.uint8), Fraction(n, 25))
    writer.finish()
    again, frames = decoded(path)
    assert (again, len(frames)) == (family, 3)


def test_options_of_an_encoder(tmp_path, capsys):
    source, out = film(tmp_path / "in.mkv", "libx264", "yuv420p"), tmp_path / "out.mp4"
    assert "no option 'nonsense'" in refused(capsys, source, "-o", out, "--encoder-option", "nonsense=3")
    assert "from 0 (best) to 51 for the codec libx264, got 70" in refused(capsys, source, "-o", out, "--crf", 70)
    assert "--crf and --bitrate exclude" in refused(capsys, source, "-o", out, "--crf", 3, "--bitrate", "1M")
    assert "no --pixel-format yuv411p" in refused(capsys, source, "-o", out, "--pixel-format", "yuv411p")
    assert "yuv420p10le" in refused(capsys, source, "-o", out, "--pixel-format", "yuv411p")
    message = refused(capsys, source, "-o", tmp_path / "out.mov", "--codec", "dnxhr")
    assert "the encoder dnxhd, yuv422p, profile dnxhr_hq cannot be opened for 64x64" in message and "--codec" in message
    assert not out.exists()
    given = ("--codec", "hevc", "--preset", "ultrafast", "--bitrate", "300k", "--encoder-option", "forced-idr=1")
    assert run(source, "-o", out, *given) == 0
    assert "encoded by libx265, yuv420p, preset ultrafast" in capsys.readouterr().out
    assert decoded(out)[0] == "hevc"


@pytest.mark.parametrize("name", sorted(itertools.chain(ENCODERS)))
def test_every_setting_is_known_to_its_encoder(name):
    try:
        options = av.CodecContext.create(name, "w").supported_options
    except ValueError:
        pytest.skip(f"{name} is not in this build of PyAV")
    known = {option.name: option for option in (*options.private, *options.generic)}
    encoder = ENCODERS[name]
    assert {*encoder.options, *encoder.deep} <= known.keys()
    if encoder.quality is not None:
        option, least, most = encoder.quality
        assert known[option].min <= least < most <= max(known[option].max, 51)
