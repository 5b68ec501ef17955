"""Wrong values of an encoder's options: one sentence with the option and what it takes, and no words of others."""

import io
from fractions import Fraction

import av
import pytest
from tiny_videos import make
from video_runs import refused, run

from vfi.errors import ArgumentError
from vfi.video.encoder import Encoder, Picture
from vfi.video.encodings import Encoding
from vfi.video.known_encoders import ENCODERS
from vfi.video.writer import close_unfinished, open_output

FILES = {"libvpx-vp9": "o.webm", "gif": "o.gif", "libwebp_anim": "o.webp", "apng": "o.apng", "mpeg2video": "o.mpg"}
PRESETS = "ultrafast, superfast, veryfast, faster, fast, medium, slow, slower, veryslow, placebo"


def usable():
    for name in ENCODERS:
        try:
            av.Codec(name, "w")
        except ValueError:
            continue
        if "_" not in name or name in ("prores_ks", "libwebp_anim"):  # hardware is not there
            yield name


def opened(path, encoding):
    container = open_output(path, io.BytesIO())
    try:
        return Encoder(container, path, Picture(256, 128, Fraction(25), Fraction(1, 25)), encoding)
    finally:
        close_unfinished(container)


def values_of(name):
    """Options of an encoder that FFmpeg knows the values of, or their bounds."""
    for option in av.CodecContext.create(name, "w").supported_options.private:
        if option.choices:
            yield option.name, "nonsense", ", ".join(choice.name for choice in option.choices)
        elif option.min < option.max < 1000 and option.min > -1000 and "DOUBLE" not in str(option.type):
            yield option.name, str(int(option.max) + 1000), f"from {option.min:g} to {option.max:g}"


@pytest.mark.parametrize("name", list(usable()))
def test_every_option_whose_values_are_known(tmp_path, capfd, name):
    path = tmp_path / FILES.get(name, "o.mov" if name != "ffv1" else "o.mkv")
    opened(path, Encoding(codec=name))
    tried = 0
    for option, wrong, takes in values_of(name):
        with pytest.raises(ArgumentError) as caught:
            opened(path, Encoding(codec=name, options=((option, wrong),)))
        said = caught.value.for_command()
        assert said == f"expected --encoder-option {option} {takes} for the codec {name}, got {wrong!r}"
        tried += 1
    assert tried or name in ("gif", "mpeg4", "apng", "mpeg2video")
    assert capfd.readouterr().err == ""


WRONG = {
    "x264": ("libx264", ("--preset", "turbo"), f"expected --preset {PRESETS} for the codec libx264, got 'turbo'"),
    "x265": ("libx265", ("--preset", "turbo"), f"expected --preset {PRESETS} for the codec libx265, got 'turbo'"),
    "av1": ("libsvtav1", ("--preset", "turbo"), "expected --preset from -2 to 13 for the codec libsvtav1, got 'turbo'"),
    "av1, 99": ("libsvtav1", ("--preset", "99"), "expected --preset from -2 to 13 for the codec libsvtav1, got '99'"),
    "vp9": ("libvpx-vp9", ("--preset", "slow"), "the encoder libvpx-vp9 has no option 'preset'"),
    "tune": ("libx264", ("--encoder-option", "tune=x"), "expected --encoder-option tune psnr, ssim, grain"),
    "profile": ("libx265", ("--encoder-option", "profile=x"), "does not take 'x' for --encoder-option profile"),
    "number": ("libx264", ("--encoder-option", "g=x"), "does not take 'x' for --encoder-option g"),
    "two": ("libx264", ("--preset", "turbo", "--encoder-option", "g=x"), "expected --preset ultrafast"),
    "in a list": ("libx264", ("--encoder-option", "x264-params=ref=2:foo=1"), "does not take 'foo = 1' in"),
    "in x265's": ("libx265", ("--encoder-option", "x265-params=foo=1"), "does not take 'foo' in --encoder-option"),
    "value in it": ("libx265", ("--encoder-option", "x265-params=aq-mode=x"), "does not take 'aq-mode: x' in"),
    "in svt's": ("libsvtav1", ("--encoder-option", "svtav1-params=foo=1"), "does not take 'foo: 1' in"),
    "svt's value": ("libsvtav1", ("--encoder-option", "svtav1-params=tune=99"), "svtav1-params"),
}


@pytest.mark.parametrize("case", WRONG)
def test_one_sentence(tmp_path, capfd, case):
    codec, words, said = WRONG[case]
    source, out = make(tmp_path / "in.mkv", 3), tmp_path / ("o.webm" if "vpx" in codec else "o.mp4")
    capfd.readouterr()
    message = refused(capfd, source, "-o", out, "--codec", codec, *words)
    assert said in message and not out.exists()
    assert run(source, "-o", out, "--codec", codec, *words) == 2
    assert len(capfd.readouterr().err.splitlines()) == 1, "and no words of the encoder's own"


def test_right_values_are_taken(tmp_path, capfd):
    source = make(tmp_path / "in.mkv", 3)
    capfd.readouterr()
    options = ("--preset", "fast", "--encoder-option", "x264-params=ref=2:deblock=0,0", "--encoder-option", "tune=film")
    assert run(source, "-o", tmp_path / "o.mp4", *options) == 0
    assert capfd.readouterr().err == ""
