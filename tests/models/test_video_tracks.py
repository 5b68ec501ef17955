"""Sound never ends a job: how each track is written is settled before the first frame."""

from fractions import Fraction

import av
import numpy as np
import pytest
from tiny_videos import SIDE, join, make, numbered
from video_runs import read, refused, run

from vfi.video.audio import AudioTransfer
from vfi.video.writer import VideoWriter

pytestmark = pytest.mark.usefixtures("mean_frames")


def with_sound(path, tracks, *, video="libx264", seconds=0.5):
    """tracks: (codec, rate, layout, metadata) of each; the pitch is 440 Hz times its number."""
    with av.open(str(path), "w") as container:
        picture = container.add_stream(video, rate=25)
        picture.width = picture.height = SIDE
        picture.pix_fmt = "yuv420p"
        streams = []
        for codec, rate, layout, metadata in tracks:
            stream = container.add_stream(codec, rate=rate, layout=layout)
            stream.metadata.update(metadata)
            stream.codec_context.bit_rate = 96_000
            streams.append(stream)
        packets = []
        for number in range(round(25 * seconds)):
            frame = av.VideoFrame.from_ndarray(numbered(number), format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            packets += picture.encode(frame)
        packets += picture.encode(None)
        for number, stream in enumerate(streams, 1):
            packets += encoded(stream, 440 * number, seconds)
        container.mux(sorted(packets, key=lambda packet: packet.dts * packet.time_base))
    return path


def encoded(stream, pitch, seconds):
    context, packets = stream.codec_context, []
    resampler = av.AudioResampler(context.format, context.layout, context.sample_rate)
    for start in range(0, round(seconds * context.sample_rate), 1024):
        time = np.arange(start, start + 1024) / context.sample_rate
        wave = (8000 * np.sin(2 * np.pi * pitch * time)).astype(np.int16)
        channels = np.repeat(wave[:, None], context.layout.nb_channels, axis=1)
        frame = av.AudioFrame.from_ndarray(channels.reshape(1, -1), format="s16", layout=context.layout.name)
        frame.sample_rate, frame.pts, frame.time_base = context.sample_rate, start, Fraction(1, context.sample_rate)
        packets += [packet for part in resampler.resample(frame) for packet in stream.encode(part)]
    return packets + stream.encode(None)


def heard(path):
    """Seconds, codec and pitch of each track."""
    found = []
    with av.open(str(path)) as container:
        count = len(container.streams.audio)
    for index in range(count):
        with av.open(str(path)) as container:
            resampler = av.AudioResampler("flt", "mono", 8000)
            parts = [r.to_ndarray()[0] for f in container.decode(audio=index) for r in resampler.resample(f)]
            samples = np.concatenate(parts)
            spectrum = np.abs(np.fft.rfft(samples))
            name = container.streams.audio[index].codec_context.codec.canonical_name
            found.append((len(samples) / 8000, name, spectrum.argmax() * 8000 / len(samples)))
    return found


CASES = {
    "5.1(side) to Opus": ("in.mkv", "ac3", 48000, "5.1(side)", "out.webm"),
    "2.1 to Opus": ("in.mkv", "flac", 48000, "2.1", "out.webm"),
    "5.1 to AVI": ("in.mkv", "libopus", 48000, "5.1", "out.avi"),
    "a rate that Opus lacks": ("in.mkv", "flac", 96000, "stereo", "out.webm"),
    "a rate that nobody has": ("in.avi", "pcm_u8", 12345, "mono", "out.mp4"),
    "ADPCM, copied or not": ("in.avi", "adpcm_ima_wav", 22050, "stereo", "out.avi"),
    "WMA": ("in.wmv", "wmav2", 44100, "stereo", "out.mp4"),
    "AAC into a transport stream": ("in.mp4", "aac", 48000, "stereo", "out.ts"),
    "PCM into a transport stream": ("in.mov", "pcm_s16le", 18900, "stereo", "out.ts"),
    "AAC into a program stream": ("in.mp4", "aac", 44100, "stereo", "out.mpg"),
    "AAC into MXF": ("in.mp4", "aac", 48000, "stereo", "out.mxf"),
    "AAC into Flash": ("in.mkv", "flac", 48000, "5.1", "out.flv"),
}

QUICK = ("5.1(side) to Opus", "a rate that nobody has", "WMA", "PCM into a transport stream", "AAC into MXF")


@pytest.mark.parametrize(
    "case", [*QUICK, *(pytest.param(case, marks=pytest.mark.slow) for case in CASES if case not in QUICK)]
)
def test_sound_is_kept(tmp_path, case):
    source, codec, rate, layout, target = CASES[case]
    video = {"in.avi": "mpeg4", "in.wmv": "wmv2"}.get(source, "libx264")
    with_sound(tmp_path / source, [(codec, rate, layout, {})], video=video)
    assert run(tmp_path / source, "-o", tmp_path / target) == 0
    ((before, _, _),), ((after, _, pitch),) = heard(tmp_path / source), heard(tmp_path / target)
    assert after == pytest.approx(before, abs=0.12) and pitch == pytest.approx(440, abs=8)


def test_lossless_sound_stays_so(tmp_path, capsys):
    source = with_sound(tmp_path / "in.mov", [("alac", 48000, "stereo", {})])
    assert run(source, "-o", tmp_path / "out.ts") == 0
    assert "from alac to aac" in capsys.readouterr().err
    assert run(source, "-o", tmp_path / "out.flv") == 0
    assert run(source, "-o", tmp_path / "out.avi") == 0
    assert "from alac to flac" in capsys.readouterr().err


def test_tracks_that_few_players_of_flash_know(tmp_path, capsys):
    for count in (1, 2, 3):
        source = with_sound(tmp_path / "in.mkv", [("aac", 48000, "stereo", {})] * count)
        assert run(source, "-o", tmp_path / "out.flv", "--overwrite") == 0
        said = capsys.readouterr().err
        assert (f"of the {count} sound tracks most players of .flv files know one" in said) == (count > 1)
        assert len(heard(tmp_path / "out.flv")) == count
    assert run(source, "-o", tmp_path / "out.flv", "--overwrite", "--tracks", 2) == 0
    assert "most players" not in capsys.readouterr().err


def test_pcm_that_does_not_tell_its_channels(tmp_path, capsys):
    source = with_sound(tmp_path / "in.mov", [("pcm_s16le", 48000, "stereo", {})])
    source.write_bytes(source.read_bytes().replace(b"chan", b"free"))
    assert run(source, "-o", tmp_path / "out.mp4") == 0
    ((seconds, codec, pitch),) = heard(tmp_path / "out.mp4")
    assert codec == "flac" and seconds == pytest.approx(0.5, abs=0.1) and pitch == pytest.approx(440, abs=8)
    assert "from pcm_s16le to flac" in capsys.readouterr().err


def damaged_in_the_middle(path, target, change):
    with av.open(str(path)) as file, av.open(str(target), "w") as out:
        streams = {stream.index: out.add_stream_from_template(stream) for stream in file.streams}
        heard_so_far = 0
        for packet in file.demux():
            if not packet.size:
                continue
            if packet.stream.type == "audio":
                heard_so_far += 1
                if heard_so_far == 10:
                    changed = av.Packet(change(bytes(packet)))
                    changed.pts, changed.dts, changed.duration = packet.pts, packet.dts, packet.duration
                    changed.time_base, changed.stream = packet.time_base, packet.stream
                    packet = changed
            packet.stream = streams[packet.stream.index]
            out.mux(packet)
    return target


@pytest.mark.parametrize("kind", ["zeros", "half", "no header"])
@pytest.mark.parametrize("target", ["out.mp4", "out.webm"])
def test_damaged_packets_are_left_out(tmp_path, kind, target):
    change = {
        "zeros": lambda data: bytes(len(data)),
        "half": lambda data: data[: len(data) // 2],
        "no header": lambda data: b"\0\0" + data[2:],
    }[kind]
    whole = with_sound(tmp_path / "whole.ts", [("aac", 48000, "stereo", {})], seconds=1)
    source = damaged_in_the_middle(whole, tmp_path / "in.ts", change)
    assert run(source, "-o", tmp_path / target) == 0
    assert len(read(tmp_path / target)[0]) == 50
    with av.open(str(tmp_path / target)) as container:
        assert sum(packet.size > 0 for packet in container.demux(audio=0)) > 40


def test_a_track_that_fails_is_cut_and_said(tmp_path, capsys, monkeypatch):
    source = with_sound(tmp_path / "in.mp4", [("aac", 48000, "stereo", {})], seconds=1)
    original, calls = AudioTransfer._encode, []

    def fail(self, track, frame):
        calls.append(frame)
        if len(calls) == 20:
            raise av.error.InvalidDataError(1, "no such frame")
        original(self, track, frame)

    monkeypatch.setattr(AudioTransfer, "_encode", fail)
    assert run(source, "-o", tmp_path / "out.webm") == 0
    assert "sound track 1 is cut off at 0.4" in capsys.readouterr().err
    assert len(read(tmp_path / "out.webm")[0]) == 50 and heard(tmp_path / "out.webm")[0][0] == pytest.approx(
        0.4, abs=0.1
    )


def test_a_full_disk_is_no_fault_of_the_sound(tmp_path, capsys, monkeypatch):
    def full(self, track, packet):
        raise av.error.OSError(28, "No space left on device", "x")

    monkeypatch.setattr(AudioTransfer, "_copy", full)
    source = with_sound(tmp_path / "in.mp4", [("aac", 48000, "stereo", {})])
    assert "no space left on device" in refused(capsys, source, "-o", tmp_path / "out.mp4")


TWO = [
    ("aac", 48000, "stereo", {"language": "eng", "title": "Film"}),
    ("aac", 48000, "mono", {"language": "deu", "title": "Commentary"}),
]


def second_is_default(path):
    """The same file, with the default flag on the second track of sound."""
    target = path.with_name(f"marked{path.suffix}")
    with av.open(str(path)) as file, av.open(str(target), "w") as out:
        streams = {stream.index: out.add_stream_from_template(stream) for stream in file.streams}
        for stream in file.streams:
            streams[stream.index].metadata.update(stream.metadata)
        for stream, default in zip(out.streams.audio, (False, True)):
            stream.disposition = av.stream.Disposition.default if default else av.stream.Disposition(0)
        for packet in file.demux():
            if packet.size:
                packet.stream = streams[packet.stream.index]
                out.mux(packet)
    return target


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_all_tracks_keep_language_and_default(tmp_path, suffix):
    source = second_is_default(with_sound(tmp_path / f"in{suffix}", TWO))
    assert run(source, "-o", tmp_path / f"out{suffix}") == 0
    with av.open(str(tmp_path / f"out{suffix}")) as container:
        tracks = container.streams.audio
        assert [track.language for track in tracks] == ["eng", "deu"]
        assert [bool(track.disposition & 1) for track in tracks] == [False, True]
        if suffix == ".mkv":
            assert [track.metadata["title"] for track in tracks] == ["Film", "Commentary"]
    assert [pitch for _, _, pitch in heard(tmp_path / f"out{suffix}")] == pytest.approx([440, 880], abs=8)


def test_chosen_tracks(tmp_path, capsys):
    source = with_sound(tmp_path / "in.mkv", TWO)
    assert run(source, "-o", tmp_path / "second.mkv", "--tracks", 2) == 0
    ((_, _, pitch),) = heard(tmp_path / "second.mkv")
    assert pitch == pytest.approx(880, abs=8)
    assert run(source, "-o", tmp_path / "none.mkv", "--no-audio") == 0 and heard(tmp_path / "none.mkv") == []
    assert run(source, "-o", tmp_path / "opus.mkv", "--audio", "opus") == 0
    assert [codec for _, codec, _ in heard(tmp_path / "opus.mkv")] == ["opus", "opus"]
    assert run(source, "-o", tmp_path / "copy.webm", "--audio", "copy") == 0 and heard(tmp_path / "copy.webm") == []
    assert "the sound is left out: track 1 (aac): .webm files do not take aac as it is" in capsys.readouterr().err
    out = tmp_path / "out.mkv"
    assert "has no sound track 3; it has 2" in refused(capsys, source, "-o", out, "--tracks", 3)
    assert "no encoder of sound" in refused(capsys, source, "-o", out, "--audio", "libx264")
    assert "only one of --no-audio and --audio" in refused(capsys, source, "-o", out, "--no-audio", "--audio", "aac")
    assert not out.exists()


def test_sound_that_begins_before_the_picture(tmp_path, capsys):
    """The first frame is held meanwhile."""
    source = make(tmp_path / "in.mkv", 10, stamps=[20 + number for number in range(10)], sound="flac")
    assert run(source, "-o", tmp_path / "out.mkv", "--crf", 5) == 0
    assert "the first frame is held for 0.80 seconds: the sound begins so much earlier" in capsys.readouterr().err
    times, frames = read(tmp_path / "out.mkv")
    assert times[0] == 0 and float(times[-1]) == pytest.approx(0.8 + 0.38, abs=2e-3)
    assert abs(frames[1].astype(int) - frames[0]).mean() < 1
    assert run(source, "-o", tmp_path / "part.mkv", "--start", 0.1) == 0
    assert "held" not in capsys.readouterr().err


def test_a_failed_video_is_not_taken_for_sound(tmp_path, capsys, monkeypatch):
    def fail(self, *frame):
        raise MemoryError

    monkeypatch.setattr(VideoWriter, "write", fail)
    source = join(tmp_path / "in.ts", make(tmp_path / "a.ts", sound="aac"))
    assert "not enough memory" in refused(capsys, source, "-o", tmp_path / "out.mp4")


def test_what_becomes_of_sound_where_there_is_nothing_to_stretch(tmp_path, capsys):
    source = make(tmp_path / "in.mkv", sound="flac")
    for words in ((), ("--slow-motion", 1), ("--fps", 60)):
        assert run(source, "-o", tmp_path / "out.mkv", "--audio", "stretch", "--overwrite", *words) == 0
        assert "--audio stretch changes nothing here: only --slow-motion" in capsys.readouterr().err
    assert run(source, "-o", tmp_path / "out.mkv", "--times", 0.1, 0.2, "--overwrite") == 0
    assert "the sound is left out, because single frames are taken\n" in capsys.readouterr().err
