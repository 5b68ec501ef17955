"""`vfi probe`: what is known of a video."""

import argparse
import json
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from vfi.commands.program import in_one_line

if TYPE_CHECKING:
    from vfi.video.reader import VideoReader


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    what = "what is known of a video: its streams, times, colours"
    parser = commands.add_parser("probe", help=what, description=f"Prints {what}.")
    parser.add_argument("input", type=Path, help="a video")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--count", action="store_true", help="decode every frame: count them and say what is missing")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from vfi.video.reader import VideoReader
    from vfi.video.unreadable import check_file

    check_file(options.input)
    with closing(VideoReader(options.input, sound=True)) as reader:
        known = described(reader)
        if options.count:
            reader.demuxer.keep_sound(())
            known |= {"frames": sum(1 for _ in reader.frames(seen_from=Fraction(2**62)))}
            known |= {"repaired": reader.repairs(), "missing": reader.missing(whole=True)}
    if options.json:
        print(json.dumps(known, indent=2, ensure_ascii=False))
        return
    for name, value in known.items():
        for line in value if isinstance(value, list) else [value]:
            if line not in (None, {}):
                print(in_one_line(f"{name}: {as_words(line) if isinstance(line, dict) else line}"))


def described(reader: "VideoReader") -> dict[str, object]:
    """In words, numbers, and rates as fractions."""
    info, demuxer = reader.info, reader.demuxer
    container, context = demuxer.container, demuxer.video.codec_context
    picture = {
        "codec": context.codec.canonical_name,
        "size": f"{info.width}x{info.height}",
        "rate": str(info.rate),
        "even": info.even,
        "pixels": context.pix_fmt,
        "pixel_aspect": str(info.pixel_aspect),
        "matrix": info.colour.matrix,
        "range": info.colour.range,
        "transfer": info.colour.transfer,
        "primaries": info.colour.primaries,
    }
    sound = [
        {
            "track": number,
            "codec": stream.codec_context.codec.canonical_name,
            "rate": stream.codec_context.sample_rate,
            "layout": stream.codec_context.layout.name,
            **_tags(stream.metadata),
        }
        for number, stream in enumerate(demuxer.audio, 1)
        if stream.codec_context is not None
    ]
    subtitles = [
        {"track": number, "codec": stream.codec_context.codec.canonical_name, **_tags(stream.metadata)}
        for number, stream in enumerate(container.streams.subtitles, 1)
        if stream.codec_context is not None
    ]
    return {
        "container": container.format.name,
        "seconds": None if info.duration is None else round(float(info.duration), 6),
        "picture": picture,
        "sound": sound,
        "subtitles": subtitles,
        "chapters": len(container.chapters()),
        "attachments": len(container.streams.attachments),
        "tags": dict(container.metadata),
        "losses": list(info.losses),
    }


def _tags(metadata: dict[str, str]) -> dict[str, str]:
    return {name: metadata[name] for name in ("language", "title") if name in metadata}


def as_words(values: dict[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
