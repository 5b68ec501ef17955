"""No frame is lost, whatever the file says of its times."""

import itertools
from contextlib import closing
from fractions import Fraction

import av
import pytest
import tiny_videos
from tiny_videos import join, make, number_of
from video_runs import read, refused, run

from vfi.video.frame_times import FrameTimes, nominal_rate
from vfi.video.reader import VideoReader

pytestmark = pytest.mark.usefixtures("mean_frames")


def frames_of(path):
    """Their numbers and times, and what was repaired."""
    with closing(VideoReader(path)) as reader:
        frames = list(reader.frames())
        assert reader.decoded == len(frames) and all(frame.duration > 0 for frame in frames)
        return [number_of(frame.rgb) for frame in frames], [frame.time for frame in frames], reader.repairs()


def steps(times):
    return {later - earlier for earlier, later in itertools.pairwise(times)}


TWENTY_FIFTH = Fraction(1, 25)
CONTAINERS = [".mp4", ".mov", ".mkv", ".avi", ".ts", ".m2ts", ".flv", ".mpg", ".vob", ".mxf"]


@pytest.mark.parametrize("suffix", CONTAINERS)
@pytest.mark.parametrize("b_frames", [0, 2])
def test_every_frame_arrives_in_order(tmp_path, suffix, b_frames):
    codec = "mpeg2video" if suffix in (".mpg", ".vob", ".mxf") else "libx264"
    numbers, times, _ = frames_of(make(tmp_path / f"in{suffix}", codec=codec, b_frames=b_frames))
    assert numbers == list(range(12)) and steps(times) == {TWENTY_FIFTH}


def test_without_times_of_display(tmp_path):
    """H.264 with B-frames in AVI has times of decoding only; raw streams have none, and their headers know the rate."""
    numbers, times, repairs = frames_of(make(tmp_path / "in.avi", b_frames=2))
    assert numbers == list(range(12)) and steps(times) == {TWENTY_FIFTH}
    assert repairs == ["12 frames with times of decoding only"]
    numbers, times, repairs = frames_of(make(tmp_path / "in.264", rate=30, b_frames=2))
    assert numbers == list(range(12)) and steps(times) == {Fraction(1, 30)}
    assert repairs == ["11 frames without a time"]


@pytest.mark.parametrize("suffix, codec", [(".ts", "libx264"), (".vob", "mpeg2video"), (".mpg", "mpeg2video")])
@pytest.mark.parametrize("b_frames", [0, 2])
@pytest.mark.parametrize("start", [0, 90000, pytest.param(1500, marks=pytest.mark.slow)])
def test_joined_files(tmp_path, suffix, codec, b_frames, start):
    """The clock starts anew, or jumps by a minute or an hour."""
    stamps = [start + number for number in range(8)]
    parts = [
        make(tmp_path / f"a{suffix}", 8, codec=codec, b_frames=b_frames),
        make(tmp_path / f"b{suffix}", 8, codec=codec, b_frames=b_frames, first=8, stamps=stamps),
    ]
    numbers, times, repairs = frames_of(join(tmp_path / f"in{suffix}", *parts))
    assert numbers == list(range(16)) and repairs == ["1 jump of the file's clock"]
    assert times[-1] <= 18 * TWENTY_FIFTH, "in time, but for frames that a join lacks"


def test_joined_files_with_sound_stay_in_step(tmp_path, capsys):
    parts = [make(tmp_path / f"{name}.ts", 25, sound="aac", first=0) for name in "ab"]
    assert run(join(tmp_path / "in.ts", *parts), "-o", tmp_path / "out.mp4") == 0
    printed = capsys.readouterr()
    assert "100 frames" in printed.out and "from 50 frames of in.ts" in printed.out
    assert "1 jump of the file's clock" in printed.err
    times, _ = read(tmp_path / "out.mp4")
    assert float(times[-1]) == pytest.approx(1.98, abs=0.06)
    with closing(VideoReader(tmp_path / "out.mp4", sound=True)) as reader:
        list(reader.frames())
        (sound,) = reader.demuxer.sound.values()
        assert float(sound[-1][0]) == pytest.approx(2, abs=0.1)


def test_a_pause_of_one_stream_is_none_of_the_clock(tmp_path):
    """Where the sound goes on, a transport stream whose picture rests for long is not cut short."""
    stamps = [*range(5), *range(305, 310)]
    source = make(tmp_path / "in.ts", 10, stamps=stamps, sound="aac")
    _, times, repairs = frames_of(source)
    assert times[-1] < 1 and repairs, "without sound meanwhile it is a jump"
    whole = tmp_path / "whole.ts"
    make_with_long_sound(whole, stamps)
    _, times, repairs = frames_of(whole)
    assert times[-1] == 309 * TWENTY_FIFTH and not repairs


def make_with_long_sound(path, stamps):
    import av

    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"bf": "0"})
        video.width = video.height = tiny_videos.SIDE
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("aac", rate=48000, layout="stereo")
        packets = tiny_videos._silence(audio, 0, Fraction(stamps[-1], 25))
        for index, stamp in enumerate(stamps):
            frame = av.VideoFrame.from_ndarray(tiny_videos.numbered(index), format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = stamp, TWENTY_FIFTH
            packets += video.encode(frame)
        packets += video.encode(None)
        container.mux(sorted(packets, key=lambda packet: packet.dts * packet.time_base))


def test_variable_rates_negative_starts_and_pauses_are_left_as_they_are(tmp_path):
    ms = [0, 33, 67, 90, 133, 166, 400, 433, 2466, 2500]
    numbers, times, repairs = frames_of(make(tmp_path / "v.mkv", 10, stamps=ms, clock=Fraction(1, 1000)))
    assert numbers == list(range(10)) and not repairs
    assert [float(time) for time in times] == pytest.approx([stamp / 1000 for stamp in ms], abs=1e-3)
    late = make(tmp_path / "late.mkv", stamps=[50 + number for number in range(12)])
    assert frames_of(late)[:2] == (list(range(12)), [number * TWENTY_FIFTH for number in range(12)])
    # An edit list hides what is before 0.
    early = make(tmp_path / "early.mp4", stamps=[number - 5 for number in range(12)])
    numbers, times, repairs = frames_of(early)
    assert numbers == list(range(5, 12)) and steps(times) == {TWENTY_FIFTH} and not repairs


@pytest.mark.parametrize("claimed, clock", [(1000, 1000), (90000, 90000)])
def test_rates_that_are_the_clock_s_own(tmp_path, claimed, clock):
    """Screen recordings claim 1000 or 90000 frames a second."""
    stamps = [round(number * clock / 30) for number in range(12)]
    with closing(
        VideoReader(make(tmp_path / "in.mkv", rate=claimed, stamps=stamps, clock=Fraction(1, clock)))
    ) as reader:
        assert reader.info.rate == 30


def test_high_rates(tmp_path, capsys):
    for name, rate in (("in.mp4", 4000), ("in.mkv", 2000)):
        numbers, times, _ = frames_of(make(tmp_path / name, rate=rate))
        assert numbers == list(range(12))
        assert float(times[-1]) == pytest.approx(11 / rate, abs=1.1e-3)
    assert run(tmp_path / "in.mp4", "-o", tmp_path / "out.mov") == 0
    times, _ = read(tmp_path / "out.mov")
    assert times == [Fraction(number, 8000) for number in range(24)]
    assert "at most 1000 frames per second, not 8000; use .mp4, or --fps 1000" in refused(
        capsys, tmp_path / "in.mp4", "-o", tmp_path / "out.avi"
    )


def test_another_size_in_the_middle_keeps_its_proportions(tmp_path, capsys):
    parts = [
        make(tmp_path / "a.ts", 6),
        make(tmp_path / "b.ts", 6, first=6, sizes=[(64, 32)] * 6),
    ]
    assert run(join(tmp_path / "in.ts", *parts), "-o", tmp_path / "out.mp4") == 0
    printed = capsys.readouterr()
    assert "6 frames of another size than the first" in printed.err and "24 frames" in printed.out
    _, frames = read(tmp_path / "out.mp4")
    assert frames[-1].shape == (32, 32, 3)
    assert frames[-1][:6].mean() < 20 and frames[-1][12:20].mean() > 60, "bars above and below"


def test_times_that_do_not_grow():
    times = FrameTimes(Fraction(0), Fraction(25), Fraction(1, 1000))
    pairs = [Fraction(stamp, 25) for stamp in (0, 0, 1, 1, 2, 2, 3)]
    assert [25 * times.following(stamp) for stamp in pairs] == [0, 0.5, 1, 1.5, 2, 2.5, 3]
    assert times.repaired == {"with a time that does not grow": 3}
    still = FrameTimes(Fraction(0), Fraction(25), Fraction(1, 1000))
    stamps = [still.following(Fraction(0)) for _ in range(40)]
    assert all(later > earlier for earlier, later in itertools.pairwise(stamps)) and stamps[-1] > Fraction(36, 25)
    back = FrameTimes(Fraction(0), Fraction(25), Fraction(1, 1000))
    stamps = [25 * back.following(Fraction(stamp, 25)) for stamp in (*range(50), *range(50))]
    assert stamps == list(range(100)), "started anew"
    none = FrameTimes(Fraction(3), Fraction(25), Fraction(1, 1000))
    assert [25 * none.following(stamp) for stamp in (Fraction(3), None, None, Fraction(78, 25))] == [0, 1, 2, 3]


@pytest.mark.parametrize("rate", [24, Fraction(24000, 1001), 25, Fraction(30000, 1001), 60, Fraction(60000, 1001), 240])
@pytest.mark.parametrize("clock", [1000, 90000])
def test_the_rate_that_rounded_times_mean(rate, clock):
    stamps = [Fraction(round(number * clock / Fraction(rate)), clock) for number in range(60)]
    told = Fraction(rate).limit_denominator(400)
    assert nominal_rate(stamps[:8], Fraction(1, clock), [told]) == rate
    assert abs(nominal_rate(stamps[:8], Fraction(1, clock), [Fraction(clock)]) / rate - 1) < 0.01
    times = FrameTimes(Fraction(0), Fraction(rate), Fraction(1, clock))
    assert [times.following(stamp) for stamp in stamps] == [number / Fraction(rate) for number in range(60)]


def test_a_part_counts_its_own_frames(tmp_path, capsys):
    assert run(make(tmp_path / "in.mkv"), "-o", tmp_path / "out.mkv", "--start", "0.16", "--end", "0.4") == 0
    assert "from 6 frames of in.mkv" in capsys.readouterr().out


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), Fraction(60000, 1001), Fraction(30), Fraction(25)])
@pytest.mark.parametrize("suffix", [".mov", ".mp4", ".ts"])
def test_times_that_were_milliseconds_mean_their_rate(tmp_path, suffix, rate):
    """Of a Matroska file whose packets were copied as they are into one with a finer clock."""
    source, copied = make(tmp_path / "in.mkv", 30, rate=rate, b_frames=2), tmp_path / f"copied{suffix}"
    with av.open(str(source)) as file, av.open(str(copied), "w") as out:
        stream = out.add_stream_from_template(file.streams.video[0])
        for packet in file.demux(video=0):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    numbers, times, repaired = frames_of(copied)
    assert numbers == list(range(30)) and steps(times) == {1 / rate} and repaired == []
