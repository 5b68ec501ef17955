"""Encoders, and settings of theirs whose result looks like the source."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Known:
    """family: of codecs. options: settings whose result looks like the source. quality: the option that `crf` sets, and
    its range. deep, all_chroma: further settings for more than 8 bits, and for as much chroma as luma. values: of
    options, as far as FFmpeg does not know them."""

    family: str
    options: Mapping[str, str] = field(default_factory=dict)
    quality: tuple[str, int, int] | None = None
    deep: Mapping[str, str] = field(default_factory=dict)
    all_chroma: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


_PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo")
_TUNES = ("psnr", "ssim", "grain", "fastdecode", "zerolatency", "animation")
_X264 = {
    "preset": _PRESETS,
    "tune": (*_TUNES, "film", "stillimage"),
    "profile": ("baseline", "main", "high", "high10", "high422", "high444"),
}
ENCODERS = {
    "libx264": Known("h264", {"crf": "17", "preset": "medium"}, ("crf", 0, 51), values=_X264),
    "libx265": Known(
        "hevc", {"crf": "20", "preset": "medium"}, ("crf", 0, 51), values={"preset": _PRESETS, "tune": _TUNES}
    ),
    "libvpx-vp9": Known(
        "vp9", {"crf": "24", "b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"}, ("crf", 0, 63)
    ),
    "libsvtav1": Known("av1", {"crf": "24", "preset": "8"}, ("crf", 0, 63)),
    "prores_ks": Known("prores"),
    "dnxhd": Known(
        "dnxhd", {"profile": "dnxhr_hq"}, deep={"profile": "dnxhr_hqx"}, all_chroma={"profile": "dnxhr_444"}
    ),
    "ffv1": Known("ffv1", {"level": "3", "slicecrc": "1"}),
    "png": Known("png"),
    "gif": Known("gif"),
    "libwebp_anim": Known("webp", {"quality": "90"}),
    "apng": Known("apng"),
    "mpeg4": Known("mpeg4"),
    "mpeg2video": Known("mpeg2video"),
    "h264_nvenc": Known("h264", {"cq": "19", "preset": "p5", "rc": "vbr"}, ("cq", 0, 51)),
    "hevc_nvenc": Known("hevc", {"cq": "21", "preset": "p5", "rc": "vbr"}, ("cq", 0, 51)),
    "av1_nvenc": Known("av1", {"cq": "25", "preset": "p5", "rc": "vbr"}, ("cq", 0, 63)),
    "h264_qsv": Known("h264", {"global_quality": "19"}, ("global_quality", 1, 51)),
    "hevc_qsv": Known("hevc", {"global_quality": "21"}, ("global_quality", 1, 51)),
    "av1_qsv": Known("av1", {"global_quality": "25"}, ("global_quality", 1, 51)),
    "h264_amf": Known("h264", {"rc": "cqp", "qp_i": "19", "qp_p": "19"}, ("qp_i", 0, 51)),
    "hevc_amf": Known("hevc", {"rc": "cqp", "qp_i": "21", "qp_p": "21"}, ("qp_i", 0, 51)),
}
# Other names of families, in use.
_ALSO = {"h265": "hevc", "avc": "h264", "x264": "h264", "x265": "hevc", "dnxhr": "dnxhd"}


def encoder_of(family: str) -> str | None:
    """The encoder of a family of codecs that runs on any machine."""
    family = _ALSO.get(family.lower(), family.lower())
    return next((name for name, encoder in ENCODERS.items() if encoder.family == family), None)
