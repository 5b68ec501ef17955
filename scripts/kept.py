"""Prints a table of docs/video.md: what of a video is kept in which file. Fails where something is lost without a note.

A film with everything that a Matroska file holds, one with alpha and one that is turned are interpolated into each.
"""

import contextlib
import io
import re
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from vfi.commands.main import main
from vfi.video.containers import CONTAINERS
from vfi.video.demux import COVER
from vfi.video.extras import is_chapter_text
from vfi.video.hdr import hdr_of
from vfi.video.timecode import timecode_of
from vfi.video.track_names import title_of

WIDTH, HEIGHT, COUNT, RATE = 128, 96, 12, 25
HDR = "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):max-cll=1000,400"
SUBTITLES = "1\n00:00:00,040 --> 00:00:00,200\nfirst\n\n2\n00:00:00,240 --> 00:00:00,400\nsecond\n"
_NEWER = {"ger": "deu"}  # names of a language
TRACKS = ({"language": "eng", "title": "Film"}, {"language": "deu", "title": "Commentary"})


def picture(number: int, channels: int = 3) -> np.ndarray:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    planes = [128 + 80 * np.sin((x + (2 + c) * number) / (9 + 3 * c)) * np.cos(y / (7 + c)) for c in range(channels)]
    return np.stack(planes, -1).astype(np.uint8)


def add_pictures(out: av.container.OutputContainer, codec: str, pixels: str, **settings: object) -> Iterator[av.Packet]:
    stream = out.add_stream(codec, rate=RATE, options=settings.pop("options", {}))
    stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixels
    for name, value in settings.items():
        setattr(stream.codec_context, name, value)
    channels = 4 if "a" in pixels[3:5] else 3
    frames = [
        av.VideoFrame.from_ndarray(picture(n, channels), format="rgba" if channels == 4 else "rgb24")
        for n in range(COUNT)
    ]
    for number, frame in enumerate(frames):
        frame.pts, frame.time_base = number, Fraction(1, RATE)
    yield from (packet for frame in [*frames, None] for packet in stream.encode(frame))


def add_sound(out: av.container.OutputContainer, number: int) -> Iterator[av.Packet]:
    stream = out.add_stream("aac", rate=48000, layout="stereo")
    stream.metadata.update(TRACKS[number])
    stream.disposition = av.stream.Disposition.default if number else av.stream.Disposition(0)
    tone = np.sin(np.arange(1024) / (6 + 3 * number)).astype(np.float32)
    for place in range(0, 48000 * COUNT // RATE, 1024):
        frame = av.AudioFrame.from_ndarray(np.stack([tone, tone]), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48000, place, Fraction(1, 48000)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def cover() -> bytes:
    stream = av.CodecContext.create("mjpeg", "w")
    stream.width, stream.height, stream.pix_fmt, stream.time_base = 64, 64, "yuvj420p", Fraction(1)
    frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 90, np.uint8), format="rgb24").reformat(format="yuvj420p")
    frame.pts = 0
    return b"".join(bytes(packet) for packet in [*stream.encode(frame), *stream.encode(None)])


def make_film(folder: Path) -> Path:
    """Everything at once."""
    (folder / "text.srt").write_text(SUBTITLES)
    with av.open(str(folder / "text.srt")) as text, av.open(str(folder / "film.mkv"), "w") as out:
        out.metadata.update({"title": "A film", "artist": "Someone"})
        base = Fraction(1, 1000)
        out.set_chapters(
            [
                {"id": n, "start": 200 * n, "end": 200 * n + 200, "time_base": base, "metadata": {"title": f"Part {n}"}}
                for n in range(2)
            ]
        )
        options = {"x265-params": f"log-level=error:{HDR}"}
        colours = {
            "color_primaries": 9,
            "color_trc": 16,
            "colorspace": 9,
            "color_range": 1,
            "sample_aspect_ratio": Fraction(4, 3),
        }
        packets = [*add_pictures(out, "libx265", "yuv420p10le", options=options, **colours)]
        out.streams.video[0].metadata["timecode"] = "01:00:00:00"
        for number in range(2):
            packets += add_sound(out, number)
        titles = out.add_stream_from_template(text.streams.subtitles[0])
        titles.metadata["language"] = "eng"
        out.add_attachment("font.ttf", "font/ttf", b"glyphs" * 9)
        out.add_attachment("cover.jpg", "image/jpeg", cover())
        for packet in text.demux():
            if packet.size:
                packet.stream = titles
                packets.append(packet)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            out.mux(packet)
    return folder / "film.mkv"


def make_see_through(folder: Path) -> Path:
    with av.open(str(folder / "alpha.mov"), "w") as out:
        for packet in add_pictures(out, "prores_ks", "yuva444p10le"):
            out.mux(packet)
    return folder / "alpha.mov"


def make_turned(folder: Path) -> Path:
    with av.open(str(folder / "turned.mp4"), "w") as out:
        packets = [*add_pictures(out, "libx264", "yuv420p")]
        out.streams.video[0].set_display_rotation(90)
        for packet in packets:
            out.mux(packet)
    return folder / "turned.mp4"


def described(path: Path) -> dict[str, object]:
    """What a video has, by the rows of the table."""
    with av.open(str(path)) as file:
        video = next(video for video in file.streams.video if not video.disposition & COVER)
        tracks, context = file.streams.audio, video.codec_context
        frame = next(file.decode(video))
        hdr, pixels = hdr_of(frame), frame.format
        tags = {key.lower(): value for key, value in file.metadata.items()}
        return {
            "codec": context.codec.canonical_name,
            "bits per sample": 8 if pixels.has_palette else max(c.bits for c in pixels.components),
            "colours (PQ, BT.2020)": (context.color_trc, context.color_primaries, context.colorspace),
            "HDR10": hdr and (hdr.light, hdr.luminance),
            # Viewers of GIF show square pixels, whatever it says.
            "pixel aspect": file.format.name != "gif" and round(float(video.sample_aspect_ratio or 1), 1),
            "sound": [track.codec_context.codec.canonical_name for track in tracks],
            "languages of tracks": [
                _NEWER.get(t.language, t.language) for t in tracks if t.language not in (None, "und")
            ],
            "titles of tracks": [title for track in tracks if (title := title_of(track))],
            "default track": [number for number, track in enumerate(tracks) if track.disposition & 1],
            "subtitles": [
                text.codec_context.codec.canonical_name for text in file.streams.subtitles if not is_chapter_text(text)
            ],
            "chapters": [chapter["metadata"].get("title") for chapter in file.chapters()],
            "title and tags": [tags[key] for key in ("title", "artist") if key in tags],
            "attached files": [each.name for each in file.streams.attachments],
            "cover": len([video for video in file.streams.video if video.disposition & COVER]),
            "timecode": timecode_of(file),
            # That of VP9 is beside the packets, where FFmpeg's own decoder does not look.
            "alpha": bool(frame.to_ndarray(format="rgba")[..., 3].min() < 255) or "alpha_mode" in video.metadata,
            "turned picture": (frame.width, frame.height) if frame.rotation % 180 == 0 else (frame.height, frame.width),
        }


# Which note must say it where a row is not kept.
NOTES = {
    "codec": "^encoded by",
    "bits per sample": "bits per sample become|^encoded by gif",
    "colours (PQ, BT.2020)": "^note: what the colours mean",
    "HDR10": "^note: the HDR metadata",
    "pixel aspect": "^note: the pixel aspect",
    "sound": "^note: the sound(?: .track 1.)? is (encoded again|left out)",
    "languages of tracks": "^note: the (languages of tracks|sound is left out)",
    "titles of tracks": "^note: the (titles of tracks|sound is left out)",
    "default track": "^note: (that track 2 is the default one|the sound is left out)",
    "subtitles": "^note: the subtitles",
    "chapters": "^note: 2 chapters left out",
    "title and tags": "^note: the title and other tags",
    "attached files": "^note: 1 attached file left out",
    "cover": "^note: the cover is left out",
    "timecode": "^note: the timecode",
    "alpha": "alpha channel is left out",
    "turned picture": "(?!)",
}


def interpolated(source: Path, target: Path) -> str:
    """What is said about it."""
    heard = io.StringIO()
    with contextlib.redirect_stderr(heard), contextlib.redirect_stdout(heard):
        code = main(["interpolate", str(source), "-o", str(target), "--factor", "2", "--quiet", "--overwrite"])
    assert code == 0, heard.getvalue()
    return heard.getvalue()


def kept(sources: dict[str, Path], suffix: str) -> dict[str, str]:
    """The cells of one kind of file; fails where a note lacks, or says of something kept that it is lost."""
    cells = {}
    for rows, source in sources.items():
        target = source.with_name(f"out{suffix}")
        said = interpolated(source, target)
        before, after = described(source), described(target)
        for name in rows.split(", ") if rows else [name for name in before if name not in ", ".join(sources)]:
            lost = before[name] != after[name]
            cells[name] = "kept" if not lost else as_cell(after[name])
            if lost != bool(re.search(NOTES[name], said, re.MULTILINE)) and name != "codec":
                raise SystemExit(f"{suffix}, {name}: {before[name]} becomes {after[name]}, and it is said:\n{said}")
    return cells


def as_cell(value: object) -> str:
    if isinstance(value, list) and value and isinstance(value[0], str):
        return str(value[0])
    return str(value) if isinstance(value, (str, int)) and value else "no"


def make_sources(folder: Path) -> dict[str, Path]:
    """By the rows that each is for; the first for all others."""
    return {"": make_film(folder), "alpha": make_see_through(folder), "turned picture": make_turned(folder)}


def table(columns: dict[str, dict[str, str]]) -> Iterator[str]:
    """Kinds of files of which all is alike share a column."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for suffix, cells in columns.items():
        alike.setdefault(tuple(cells.values()), []).append(f"`{suffix}`")
    yield f"| | {' | '.join(map(' '.join, alike.values()))} |"
    yield "|---" * (len(alike) + 1) + "|"
    for number, name in enumerate(next(iter(columns.values()))):
        yield f"| {name} | {' | '.join(cells[number] for cells in alike)} |"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        sources = make_sources(Path(name))
        print("\n".join(table({suffix: kept(sources, suffix) for suffix in CONTAINERS})))
