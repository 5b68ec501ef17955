"""`vfi probe`: what is known of a video, or of the images of a sequence."""

import argparse
import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from vfi.commands.program import in_one_line

if TYPE_CHECKING:
    from av.stream import Stream

    from vfi.video.hdr import Hdr
    from vfi.video.inputs import Reader
    from vfi.video.reader import VideoInfo, VideoReader
    from vfi.video.sequence import SequenceReader

# Names of H.273's numbers; the others are told as numbers.
_NAMES: dict[str, dict[int, str]] = {
    "matrix": {0: "RGB", 1: "BT.709", 5: "BT.601", 6: "BT.601", 8: "YCgCo", 9: "BT.2020"},
    "range": {1: "limited", 2: "full"},
    "transfer": {1: "BT.709", 6: "BT.601", 8: "linear", 13: "sRGB", 14: "BT.2020", 15: "BT.2020", 16: "PQ", 18: "HLG"},
    "primaries": {1: "BT.709", 5: "BT.601", 6: "BT.601", 9: "BT.2020", 11: "DCI-P3", 12: "Display P3"},
}
_UNKNOWN = {"matrix": 2, "range": 0, "transfer": 2, "primaries": 2}


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    what = "what is known of a video: its streams, times, colours; of images: how many, their size, what is missing"
    parser = commands.add_parser("probe", help=what, description=f"Prints {what}.")
    what = "a video, - for standard input; or images: a folder, frames_%%05d.png, 'f/*.png'"
    parser.add_argument("input", nargs="+", type=Path, help=what)
    parser.add_argument("--json", action="store_true", help="for programs; colours are numbers of H.273")
    what = "decode every frame: count them and say what is missing; exit code 3 if anything is"
    parser.add_argument("--count", action="store_true", help=what)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from vfi.commands.inputs import images_among, is_image
    from vfi.errors import Incomplete, UserError
    from vfi.video.av_common import STREAM, name_of
    from vfi.video.inputs import opened
    from vfi.video.unreadable import check_file

    source: Path = options.input[0]
    images = images_among(options.input, None, "") or []
    if not images and len(options.input) > 1:
        images = [path for path in options.input if is_image(path)]
        if len(images) < len(options.input):
            raise UserError(f"expected one video, or the images of one sequence, got {len(options.input)} files")
    if not images and source != STREAM:
        check_file(source)
    missing: list[str] = []
    with closing(opened(source, images, sound=True, deinterlace="auto")) as reader:
        known = described(reader)
        if options.count:
            known |= _counted(reader)
            missing = reader.missing(whole=True)
    if options.json:
        print(json.dumps(known, indent=2, ensure_ascii=False))
    else:
        for line in told(known):
            print(in_one_line(line))
    if missing:
        raise Incomplete(f"{name_of(source)} is incomplete: {'; '.join(missing)}")


def _counted(reader: "Reader") -> dict[str, object]:
    """What is known once every frame was decoded."""
    from vfi.video.sequence import Stills

    if reader.demuxer is not None:
        reader.demuxer.keep_sound(())
    frames = sum(1 for _ in reader.frames(seen_from=Fraction(2**62)))
    faults = {"faults": reader.faults()} if isinstance(reader, Stills) else {}
    return {"frames": frames, "repaired": reader.repairs(), **faults, "missing": reader.missing(whole=True)}


def told(known: Mapping[str, object]) -> Iterator[str]:
    """A line for each, in words; none for what there is not."""
    for name, value in known.items():
        for each in value if isinstance(value, list) else [value]:
            if each not in (None, {}, 0):
                yield f"{name.replace('_', ' ')}: {as_words(each) if isinstance(each, dict) else each}"


def described(reader: "Reader") -> dict[str, object]:
    """In words, numbers, and rates as fractions."""
    from vfi.video.reader import VideoReader
    from vfi.video.sequence import SequenceReader

    if isinstance(reader, VideoReader):
        return _of_file(reader)
    if isinstance(reader, SequenceReader):
        return _of_images(reader)
    info = reader.info
    sampled = {"pixels": info.pixels, "bits": 8, "alpha": info.alpha}  # the files say so of opaque ones, too
    return {
        "container": info.codec,
        "frames": reader.count,
        "picture": {"codec": info.codec, **_paced(info), **sampled, **_meant(info)},
        "losses": list(info.losses),
    }


def _of_images(reader: "SequenceReader") -> dict[str, object]:
    """Size, depth and the rest are those of the first image that can be read."""
    from vfi.video.sequence import gaps

    info, first, images = reader.info, reader.first, reader.images
    bits = first.header.bits if first.header is not None else 8 * first.pixels.dtype.itemsize
    sampled = {"bits": bits, "float": first.pixels.dtype.kind == "f", "gray": first.gray, "alpha": first.had_alpha}
    return {
        "container": "images",
        "images": len(images),
        "first": images[0].name,
        "last": images[-1].name,
        "picture": {"codec": images[0].suffix[1:].lower(), "size": _size(info), **sampled, **_meant(info)},
        "gaps": gaps(images),
        "losses": list(info.losses),
    }


def _size(info: "VideoInfo") -> str:
    return f"{info.width}x{info.height}"


def _paced(info: "VideoInfo") -> dict[str, object]:
    return {"size": _size(info), "rate": str(info.rate), "even": info.even}


def _meant(info: "VideoInfo") -> dict[str, object]:
    """What the samples mean, and where they lie."""
    return {
        "siting": info.colour.siting or None,
        "pixel_aspect": str(info.pixel_aspect),
        "matrix": info.colour.matrix,
        "range": info.colour.range,
        "transfer": info.colour.transfer,
        "primaries": info.colour.primaries,
    }


def _of_file(reader: "VideoReader") -> dict[str, object]:
    from vfi.video.demux import COVER
    from vfi.video.extras import is_chapter_text
    from vfi.video.timecode import timecode_of

    info, demuxer = reader.info, reader.demuxer
    container = demuxer.container
    subtitles = (stream for stream in container.streams.subtitles if not is_chapter_text(stream))
    return {
        "container": container.format.name,
        "seconds": None if info.duration is None else round(float(info.duration), 6),
        "picture": _picture(reader),
        "sound": [
            {
                **_stream(number, stream),
                "rate": stream.codec_context.sample_rate,
                "layout": stream.codec_context.layout.name,
                **_tags(stream.metadata),
            }
            for number, stream in enumerate(demuxer.audio, 1)
            if stream.codec_context is not None
        ],
        "subtitles": [
            {**_stream(number, stream), **_tags(stream.metadata)}
            for number, stream in enumerate(subtitles, 1)
            if stream.codec_context is not None
        ],
        "timecode": timecode_of(container),
        "chapters": len(container.chapters()),
        "attachments": len(container.streams.attachments),
        "covers": sum(bool(video.disposition & COVER) for video in container.streams.video),
        "other_videos": sum(not video.disposition & COVER for video in container.streams.video) - 1,
        "tags": dict(container.metadata),
        "losses": list(info.losses),
    }


def _picture(reader: "VideoReader") -> dict[str, object]:
    from vfi.errors import require
    from vfi.video.alpha import has_alpha
    from vfi.video.colours import bits_of

    info, context = reader.info, reader.demuxer.video.codec_context
    samples = require("av").VideoFormat(context.pix_fmt)
    alpha = has_alpha(samples) or reader.demuxer.video.metadata.get("alpha_mode") == "1"  # of VP8 and VP9
    return {
        "codec": context.codec.canonical_name,
        **_paced(info),
        "scan": info.scan,
        "pixels": context.pix_fmt,
        "bits": bits_of(samples),
        "alpha": alpha,
        **_meant(info),
        "hdr": None if info.hdr is None else _light(info.hdr),
    }


def _light(hdr: "Hdr") -> dict[str, object]:
    """In candela per square metre."""
    return {
        "least": None if hdr.luminance is None else float(hdr.luminance[0]),
        "most": None if hdr.luminance is None else float(hdr.luminance[1]),
        "primaries": None if hdr.primaries is None else [round(float(value), 4) for value in hdr.primaries],
        "brightest_pixel": None if hdr.light is None else hdr.light[0],
        "brightest_frame": None if hdr.light is None else hdr.light[1],
    }


def _stream(number: int, stream: "Stream") -> dict[str, object]:
    return {"track": number, "codec": stream.codec_context.codec.canonical_name}


def _tags(metadata: dict[str, str]) -> dict[str, str]:
    return {name: metadata[name] for name in ("language", "title") if name in metadata}


def as_words(values: dict[str, object]) -> str:
    """What is known, a word or two each; yes where nothing more is to be said."""
    told = []
    for name, value in values.items():
        if name in _NAMES and isinstance(value, int):
            value = None if value == _UNKNOWN[name] else _NAMES[name].get(value, value)
        if isinstance(value, dict):
            value = f"({as_words(value)})"
        if value is None or value is False:
            continue
        told.append(name.replace("_", " ") if value is True else f"{name.replace('_', ' ')} {value}")
    return ", ".join(told)
