"""What can be seen through stays so, at its depth, where the file has a codec for it, without a word of options."""

from contextlib import closing

import numpy as np
import pytest
from test_video_own_frames import see_through
from video_runs import refused, run

from vfi.files.images import read_image, write_image
from vfi.video.alpha import has_alpha
from vfi.video.colours import bits_of
from vfi.video.reader import VideoReader

pytestmark = pytest.mark.usefixtures("mean_frames")

SOURCES = {
    "prores": ("in.mov", "prores_ks", "yuva444p10le"),
    "vp9": ("in.webm", "libvpx-vp9", "yuva420p"),
    "ffv1": ("in.mkv", "ffv1", "yuva420p"),
    "ffv1, 10 bits": ("in.mkv", "ffv1", "yuva444p10le"),
    "ffv1 rgb": ("in.mkv", "ffv1", "bgra"),
    "ffv1, 16 bits": ("in.mkv", "ffv1", "rgba64le"),
    "png": ("in.mov", "png", "rgba"),
    "png, 16 bits": ("in.mov", "png", "rgba64be"),
    "apng": ("in.apng", "apng", "rgba"),
}
SUFFIXES = {".mov": 16, ".mkv": 16, ".avi": 16, ".mxf": 10, ".webm": 8}  # and the bits that they hold


def decoded(path):
    with closing(VideoReader(path)) as reader:
        frames = [frame.own for frame in reader.frames()]
        return reader.demuxer.video.codec_context.codec.canonical_name, frames


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.in_turn
def test_alpha_stays_without_options(tmp_path, capsys, source, suffix):
    name, codec, pixels = SOURCES[source]
    path = see_through(tmp_path / name, codec, pixels)
    depth, out = bits_of(decoded(path)[1][0].format), tmp_path / f"out{suffix}"
    assert run(path, "-o", out, "--scene-cuts", "off") == 0
    said = capsys.readouterr().err
    frames = decoded(out)[1]
    again = codec == "prores_ks" and suffix in (".mov", ".mkv", ".mxf")  # decoded to more bits than it has
    assert has_alpha(frames[0].format) and "alpha" not in said
    assert bits_of(frames[0].format) >= min(depth, 10 if again else SUFFIXES[suffix])
    assert ("bits per sample become" in said) == (depth > SUFFIXES[suffix] and not again)
    alphas = [frame.to_ndarray(format="rgba")[..., 3] for frame in (frames[0], frames[1])]
    assert all(alpha.min() < 9 and alpha.max() > 246 for alpha in alphas)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kind", ("images", "16 bits", "pair", "webp"))
def test_of_images_and_animations(tmp_path, capsys, suffix, kind):
    rows, columns = np.mgrid[:64, :64]
    names = []
    for number in range(3):
        alpha = np.clip(18 - np.hypot(rows - 32, columns - 24 - 4 * number), 0, 1)[..., None]
        rgba = np.concatenate([np.full((64, 64, 3), 120 + 9 * number), alpha * 255], 2).round().astype(np.uint8)
        names.append(tmp_path / f"f_{number}.png")
        write_image(names[-1], rgba.astype(np.uint16) * 257 if kind == "16 bits" else rgba)
    given = names[:2] if kind == "pair" else [tmp_path / "f_%d.png"]
    if kind == "webp":
        assert run(*given, "-o", tmp_path / "in.webp", "--factor", 1) == 0
        given = [tmp_path / "in.webp"]
    capsys.readouterr()
    out = tmp_path / f"out{suffix}"
    assert run(*given, "-o", out) == 0
    said, frames = capsys.readouterr().err, decoded(out)[1]
    assert has_alpha(frames[0].format) and "alpha" not in said
    if kind == "16 bits":
        assert bits_of(frames[0].format) in (SUFFIXES[suffix], 12)  # which ProRes is decoded to


def test_a_codec_that_was_asked_for_is_taken(tmp_path, capsys):
    path = see_through(tmp_path / "in.mov", "prores_ks", "yuva444p10le")
    picture = see_through(tmp_path / "in.webm", "libvpx-vp9", "yuva420p")
    plain = ("--pixel-format", "yuv420p")
    for source, name, options in ((path, "a.mkv", ("--codec", "h264")), (path, "b.mp4", ()), (picture, "c.mkv", plain)):
        assert run(source, "-o", tmp_path / name, *options) == 0
        assert "the alpha channel is left out" in capsys.readouterr().err
    said = refused(capsys, picture, "-o", tmp_path / "d.mov", "--crf", 20)
    assert "--crf has no meaning for the codec prores_ks, which keeps the alpha channel; --codec names another" in said
    assert run(picture, "-o", tmp_path / "d.mkv", "--crf", 20) == 0


def test_what_is_opaque_is_as_before(tmp_path):
    for suffix in SUFFIXES:
        write_image(tmp_path / "f_1.png", np.full((32, 32, 4), 255, np.uint8))
        write_image(tmp_path / "f_2.png", np.full((32, 32, 4), 255, np.uint8))
        assert run(tmp_path / "f_%d.png", "-o", tmp_path / f"o{suffix}") == 0
        assert decoded(tmp_path / f"o{suffix}")[0] in ("h264", "vp9", "mpeg4", "mpeg2video")


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".avif", ".exr"])
def test_stills_with_alpha(tmp_path, capsys, suffix):
    if suffix == ".exr":
        pytest.importorskip("OpenImageIO")
    path = see_through(tmp_path / "in.webm", "libvpx-vp9", "yuva420p")
    assert run(path, "-o", tmp_path / f"f_%d{suffix}", "--scene-cuts", "off") == 0
    assert "the alpha" not in capsys.readouterr().err
    for number in range(1, 7):
        alpha = read_image(tmp_path / f"f_{number}{suffix}").pixels[..., 3]
        most = 1 if suffix == ".exr" else 255
        assert alpha.min() < 0.05 * most and alpha.max() > 0.95 * most


@pytest.mark.parametrize("count", (3, 30))
@pytest.mark.parametrize("suffix", (".png", ".tif", ".webp", ".exr"))
def test_what_fades_is_seen_through(tmp_path, capsys, suffix, count):
    """Where the first image is opaque; and where it has no alpha that is said."""
    if suffix == ".exr":
        pytest.importorskip("OpenImageIO")
    for number in range(count):
        alpha = np.full((32, 32, 1), 255 - 240 * number // (count - 1), np.uint8)
        rgb = np.full((32, 32, 3), 120, np.uint8)
        write_image(tmp_path / f"a_{number:02d}{suffix}", np.concatenate([rgb, alpha], 2))
        write_image(tmp_path / f"b_{number:02d}{suffix}", rgb if number == 0 else np.concatenate([rgb, alpha], 2))
    assert run(tmp_path / f"a_%02d{suffix}", "-o", tmp_path / "a.mov") == 0
    assert "alpha channel" not in capsys.readouterr().err and has_alpha(decoded(tmp_path / "a.mov")[1][-1].format)
    for name in ("b.mov", "c_%d.png"):
        assert run(tmp_path / f"b_??{suffix}", "-o", tmp_path / name) == 0
        said = capsys.readouterr().err
        lost = f"the alpha channel of {count - 1} images is left out: the first has none"
        assert (lost in said) == (suffix not in (".png", ".webp")), "of which some more are looked at"
