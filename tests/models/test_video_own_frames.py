"""Frames of the source at their own times keep their samples, and alpha stays where codec and file can hold it."""

import io
from fractions import Fraction

import av
import numpy as np
import pytest
from processes import warm_python
from test_video_depth import ALPHA, PLANAR, RGB, film, samples
from tiny_videos import make
from video_runs import run

from vfi.errors import UserError
from vfi.video.alpha import from_pixels, has_alpha, to_pixels
from vfi.video.av_common import Colour
from vfi.video.colours import bits_of
from vfi.video.encodings import Encoding, codec_named, pixel_format
from vfi.video.known_encoders import ENCODERS
from vfi.video.reader import VideoReader
from vfi.video.siting import siting_of

SIDE = 64


def pictures(path):
    """Frames as they are decoded, of VP9 with its alpha."""
    reader = VideoReader(path)
    frames = [frame.own for frame in reader.frames()]
    reader.close()
    return frames


def noise(path, codec, pixels, colour=None, options=None, count=3, **attributes):
    """A film of noise in every plane: nothing comes through a conversion as it was."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25, options=options or {})
        stream.width = stream.height = SIDE
        stream.pix_fmt, context = pixels, stream.codec_context
        colour = colour or (Colour(0, 2, 1, 1) if av.VideoFormat(pixels).is_rgb else Colour(1, 1, 1, 1))
        context.colorspace, context.color_range = colour.matrix, colour.range
        context.color_trc, context.color_primaries = colour.transfer, colour.primaries
        for number in range(count):
            frame = av.VideoFrame(SIDE, SIDE, pixels)
            bits = bits_of(frame.format)
            for plane in frame.planes:
                size = 2 if bits > 8 else 1
                codes = rng.integers(16 << bits - 8, 235 << bits - 8, (plane.height, plane.line_size // size))
                plane.update(codes.astype(f"<u{size}").tobytes())
            frame.pts, frame.time_base = number, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


X264 = ("--codec", "libx264", "--crf", "0")
FFV1 = ("--codec", "ffv1")
LOSSLESS = {
    **{name: ("in.mkv", "ffv1", name, ".mkv", FFV1) for name in (
        "yuv420p", "yuv422p", "yuv444p", "yuv411p", "yuv420p10le", "yuv422p12le", "yuv444p16le", "gray", "gray10le",
        "gray16le", "gbrp10le", "gbrp16le", "bgr0", "bgra", "yuva420p", "yuva444p10le", "gbrap12le", "ya8")},
    "h264": ("in.mp4", "libx264", "yuv420p", ".mp4", X264),
    "hevc, 10 bits": ("in.mkv", "libx265", "yuv422p10le", ".mkv", FFV1),
    "h264, full range": ("in.mp4", "libx264", "yuvj420p", ".mp4", X264),
    "another codec": ("in.mp4", "libx264", "yuv420p", ".mkv", FFV1),
    "vp9": ("in.webm", "libvpx-vp9", "yuv420p", ".mkv", FFV1),
    "png": ("in.mov", "png", "rgb24", ".mov", ()),
    "png, 16 bits, alpha": ("in.mov", "png", "rgba64be", ".mov", ()),
    "png, gray with alpha": ("in.mov", "png", "ya16be", ".mov", ()),
}  # fmt: skip
EXACT = {"libx264": {"qp": "0"}, "libx265": {"x265-params": "log-level=none"}}


@pytest.mark.parametrize("segment", (0, "0.05"))
@pytest.mark.parametrize("case", LOSSLESS)
def test_frames_at_their_times_keep_their_samples(tmp_path, case, segment):
    """Plane by plane, whether the file is written at once or in segments."""
    name, codec, pixels, suffix, options = LOSSLESS[case]
    if segment and suffix != ".mkv":
        pytest.skip("segments are tried with one container")
    colour = Colour(1, 2, 1, 1) if "j" in pixels else None
    source = noise(tmp_path / name, codec, pixels, colour, EXACT.get(codec))
    out = tmp_path / f"out{suffix}"
    assert run(source, "-o", out, "--scene-cuts", "off", "--segment", segment, *options) == 0
    before, after = pictures(source), pictures(out)
    assert len(after) == 2 * len(before)
    for first, second in zip(before, after[::2], strict=True):
        for a, b in zip(samples(first), samples(second), strict=True):
            assert np.array_equal(a, b) or case == "bgr0", case  # its fourth byte means nothing


def test_repeated_frames_and_pipes_keep_them_too(tmp_path, monkeypatch):
    source = noise(tmp_path / "in.mkv", "ffv1", "yuv420p")
    assert run(source, "-o", tmp_path / "cuts.mkv", *FFV1, "--scene-cuts", "auto", "--factor", 4) == 0
    (tmp_path / "list.txt").write_text("0.04\n0.08\n")
    assert run(source, "-o", tmp_path / "cuts.mkv", *FFV1, "--scene-cuts", tmp_path / "list.txt", "--overwrite") == 0
    before, after = pictures(source), pictures(tmp_path / "cuts.mkv")
    for number, frame in enumerate(after):
        assert all(np.array_equal(a, b) for a, b in zip(samples(frame), samples(before[number // 2])))
    program = "import sys; from vfi.commands.main import main; sys.exit(main(sys.argv[1:]))"
    import subprocess

    done = subprocess.run(
        [*warm_python(), "-c", program, "interpolate", source, "-o", "-", "--quiet", "--scene-cuts", "off"],
        stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    with av.open(io.BytesIO(done.stdout)) as container:
        for frame, own in zip(list(container.decode(video=0))[::2], before, strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(samples(frame), samples(own)))


@pytest.mark.parametrize("change", ("matrix", "range", "format", "size"))
def test_what_is_written_otherwise_is_converted(tmp_path, change):
    """The same picture in other samples: the copy of planes would be wrong."""
    colour = Colour(6, 2, 1, 1) if change == "range" else Colour(1, 1, 1, 1)
    source = film(tmp_path / "in.mkv", "ffv1", "yuv420p", colour=colour)
    out, options = tmp_path / "out.mkv", ["--codec", "ffv1"]
    if change == "range":
        options = ["--codec", "prores", "--pixel-format", "yuv422p10le"]
    if change == "format":
        options += ["--pixel-format", "yuv444p"]
    if change == "size":
        source = make(tmp_path / "in.mkv", 4, codec="ffv1", sizes=[(64, 64), (32, 64), (64, 64), (64, 64)])
    assert run(source, "-o", out, "--scene-cuts", "off", *options) == 0
    before, after = pictures(source), pictures(out)
    for first, second in zip(before, after[::2]):
        if first is not None:
            a, b = (
                to_pixels(each, SIDE, SIDE).astype(float) / (65535 if bits_of(each.format) > 8 else 255)
                for each in (first, second)
            )
            assert np.abs(a - b).mean() < 0.01


def see_through(path, codec, pixels, count=3):
    """A disc that slides over nothing, of a colour that changes."""
    colour = Colour(0, 2, 1, 1) if av.VideoFormat(pixels).is_rgb else Colour(1, 1, 1, 1)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    options = {"crf": "8", "b": "0"} if "vpx" in codec else {}
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25, options=options)
        stream.width = stream.height = SIDE
        stream.pix_fmt, context = pixels, stream.codec_context
        context.colorspace, context.color_range = colour.matrix, colour.range
        for number in range(count):
            alpha = (np.clip(18 - np.hypot(rows - 32, columns - 24 - 4 * number), 0, 1) * 65535)[..., None]
            rgb = np.broadcast_to([40_000, 30_000, 20_000 + 3_000 * number], (SIDE, SIDE, 3))
            frame = from_pixels(np.concatenate([rgb, alpha], 2).astype(np.uint16), pixels, colour)
            frame.colorspace, frame.color_range = colour.matrix, colour.range
            frame.pts, frame.time_base = number, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


SOURCES = {
    "prores": ("in.mov", "prores_ks", "yuva444p10le"), "vp9": ("in.webm", "libvpx-vp9", "yuva420p"),
 "ffv1": ("in.mkv", "ffv1", "yuva420p"),
    "ffv1 rgb": ("in.mkv", "ffv1", "bgra"), "png": ("in.mov", "png", "rgba"), "png 16": ("in.mov", "png", "rgba64be"),
    "png gray": ("in.mov", "png", "ya16be"), "apng": ("in.apng", "apng", "rgba"),
}  # fmt: skip
TARGETS = {
    "out.mov": (), "out.mkv": ("--codec", "ffv1"), "out.webm": (), "out.gif": (),
    "x.mov": ("--codec", "prores"), "y.mov": ("--codec", "png"),
}  # fmt: skip


@pytest.mark.in_turn("source", "target")
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("source", SOURCES)
def test_alpha_is_kept_or_a_note_says_that_it_is_not(tmp_path, capsys, source, target):
    name, codec, pixels = SOURCES[source]
    given, out = see_through(tmp_path / name, codec, pixels), tmp_path / target
    assert run(given, "-o", out, "--scene-cuts", "off", *TARGETS[target]) == 0
    said = capsys.readouterr()
    before, after = pictures(given), pictures(out)
    kept = has_alpha(after[0].format)
    assert kept == ("the alpha channel is left out" not in said.err)
    assert kept or (target == "out.mov" and source in ("vp9", "ffv1", "ffv1 rgb", "apng")), "all others can"
    step = len(after) // len(before)
    for number, first in enumerate(before if kept else ()):
        a, b = (to_pixels(each, SIDE, SIDE) for each in (first, after[step * number]))
        a, b = (each / np.iinfo(each.dtype).max for each in (a, b))
        assert np.abs(a - b)[..., 3].mean() < (0.03 if "gif" in target else 0.004)
        solid = a[4:-4, 4:-4, 3] == 1
        assert np.abs(a - b)[4:-4, 4:-4, :3][solid].mean() < 0.03
    if kept:
        between = to_pixels(after[1], SIDE, SIDE)
        rows, columns = np.mgrid[:SIDE, :SIDE]
        truth = np.clip(18 - np.hypot(rows - 32, columns - 26), 0, 1)
        assert np.abs(between[..., 3] / np.iinfo(between.dtype).max - truth).mean() < 0.03


@pytest.mark.parametrize("source", (None, *PLANAR, *RGB, *ALPHA, "pal8", "yuv440p", "yuv411p", "nv12", "gbrpf32le"))
def test_every_encoder_takes_every_source(source):
    """A format that the encoder has, and with alpha only if the source has it or there is no other."""
    for name in [*ENCODERS, "libwebp_anim", "hap", "qtrle", "utvideo", "magicyuv", "mjpeg", "tiff"]:
        try:
            codec = codec_named(name)
        except UserError:
            continue
        known = [pixels.name for pixels in codec.video_formats]
        chosen = pixel_format(codec, Encoding(), source, "matroska")
        assert chosen in known or chosen == "pal8"
        alpha = source is not None and has_alpha(av.VideoFormat(source))
        planar = [each for each in known if not has_alpha(av.VideoFormat(each)) and each != "pal8"]
        assert alpha or not planar or not has_alpha(av.VideoFormat(chosen))


@pytest.mark.parametrize("clock", (Fraction(1, 90_000), Fraction(1, 12_800), Fraction(1001, 30_000)))
def test_a_frame_that_is_looked_at_stays_as_it_is(clock):
    frame = av.VideoFrame(SIDE, SIDE, "yuv420p")
    frame.pts, frame.time_base = 12_345, clock
    assert siting_of(frame, "ffv1") == ""
    assert (frame.pts, frame.time_base) == (12_345, clock)


def test_opaque_alpha_changes_no_colour(tmp_path, capsys):
    """A film whose alpha hides nothing is the one without; nothing is said of it."""
    made = []
    for pixels in ("bgra", "bgr0"):
        source = film(tmp_path / f"{pixels}.mkv", "ffv1", pixels)
        assert run(source, "-o", tmp_path / f"{pixels}.mp4") == 0
        assert "alpha" not in capsys.readouterr().err
        made.append([samples(frame) for frame in pictures(tmp_path / f"{pixels}.mp4")])
    for one, other in zip(*made, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, other))


def ramps(path, codec, pixels, siting, options=None):
    """A film of ramps in the chroma, across in blue and down in red, whose samples lie as `siting` says."""
    with av.open(str(path), "w") as out:
        said = {"chroma_sample_location": siting} if siting else {}
        stream = out.add_stream(codec, rate=25, options={**said, **(options or {})})
        stream.width = stream.height = SIDE
        stream.pix_fmt = pixels
        for number in range(3):
            frame = av.VideoFrame(SIDE, SIDE, pixels)
            unit = 2 ** (bits_of(frame.format) - 8)
            for place, plane in enumerate(frame.planes):
                across, down = SIDE // plane.width, SIDE // plane.height
                rows, columns = np.mgrid[: plane.height, : plane.line_size // (2 if unit > 1 else 1)]
                moving = 100 + 4 * np.sin((columns - 3 * number) / 3)
                level = [moving, 60 + 2 * across * columns, 60 + 2 * down * rows][place]
                plane.update((level.clip(0, 240) * unit).round().astype("u1" if unit == 1 else "<u2").tobytes())
            frame.pts, frame.time_base = number, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


PLACES = {
    "left": ("libx264", "yuv420p", "left", {"qp": "0"}), "top left": ("libx264", "yuv420p", "topleft", {"qp": "0"}),
    "middle": ("libx264", "yuv420p", "center", {"qp": "0"}), "not said": ("ffv1", "yuv420p", "", {}),
    "hevc, 10 bits": ("libx265", "yuv420p10le", "topleft", {"x265-params": "log-level=none:lossless=1"}),
    "4:2:2": ("ffv1", "yuv422p10le", "left", {}), "ffv1": ("ffv1", "yuv420p", "topleft", {}),
}  # fmt: skip
WRITERS = {
    "out.mp4": ("--codec", "libx264", "--crf", "0"), "out.mkv": ("--codec", "ffv1"), "out.mov": ("--codec", "prores"),
    "hevc.mp4": ("--codec", "hevc", "--crf", 1), "vp9.webm": ("--crf", 1), "out.mpg": (), "y4m": (),
    "av1.mkv": ("--codec", "av1", "--encoder-option", "svtav1-params=lossless=1"),
}  # fmt: skip


@pytest.mark.in_turn("place", "writer")
@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("place", PLACES)
def test_chroma_stays_where_it_is(tmp_path, place, writer):
    """Of frames given and made: shifted by half a sample of luma, the ramps would be a level off, and flicker."""
    codec, pixels, siting, options = PLACES[place]
    source, out = ramps(tmp_path / "in.mkv", codec, pixels, siting, options), tmp_path / writer
    if writer == "y4m":
        import subprocess

        program = "import sys; from vfi.commands.main import main; sys.exit(main(sys.argv[1:]))"
        command = [*warm_python(), "-c", program, "interpolate", source, "-o", "-", "--quiet"]
        out.write_bytes(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    else:
        assert run(source, "-o", out, *WRITERS[writer]) == 0
    given, made = (VideoReader(path).info.colour.siting for path in (source, out))
    told = writer in ("out.mkv", "av1.mkv", "out.mp4", "vp9.webm") or (writer == "hevc.mp4" and place != "4:2:2")
    if told and siting not in ("", "center"):
        assert made == given
    frames = pictures(out)
    unit = 2 ** (bits_of(frames[0].format) - 8)
    for number in (1, 3):
        for earlier, between in list(zip(samples(frames[number - 1]), samples(frames[number])))[1:3]:
            inner = slice(4, -4)
            assert abs((between - earlier)[inner, inner].mean()) < 0.45 * unit
