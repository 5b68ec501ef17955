"""`vfi.interpolate` and `vfi.frames`: the command's own work and words, as Python calls and spells them."""

import argparse
import sys
from fractions import Fraction

import av
import numpy as np
import pytest
from video_runs import read, readers, refused, run

import vfi
from vfi.commands import from_python, settings_file
from vfi.commands.main import build_parser
from vfi.files.images import read_image, write_image
from vfi.video import writer

pytestmark = pytest.mark.usefixtures("mean_frames")


SAME = {
    "twice": ({"factor": 2}, ["--factor", 2]),
    "a rate": ({"fps": Fraction(60000, 1001)}, ["--fps", "60000/1001"]),
    "slower": ({"slow_motion": 2, "audio": "stretch"}, ["--slow-motion", 2, "--audio", "stretch"]),
    "a part": ({"start": 0.2, "end": "0:00.6", "no_audio": True}, ["--start", 0.2, "--end", "0:00.6", "--no-audio"]),
    "moments": ({"times": [0.25, 0.5]}, ["--times", 0.25, 0.5]),
    "numbers of numpy": ({"times": np.array([0.25, 0.5]), "crf": np.int64(30)}, ["--times", 0.25, 0.5, "--crf", 30]),
    "no cuts": ({"scene_cuts": False}, ["--scene-cuts", "off"]),
    "an encoder": (
        {"codec": "mpeg4", "encoder_option": {"g": 3}, "bitrate": "1M"},
        ["--codec", "mpeg4", "--encoder-option", "g=3", "--bitrate", "1M"],
    ),
    "nothing": ({"factor": None, "dedup": False, "overwrite": False}, []),
}


@pytest.mark.parametrize("case", SAME)
def test_it_writes_what_the_command_writes(tmp_path, capsys, film, case):
    keywords, words = SAME[case]
    (tmp_path / "one").mkdir(), (tmp_path / "two").mkdir()
    done = vfi.interpolate(film, tmp_path / "one/out.mp4", progress=False, **keywords)
    assert capsys.readouterr() == ("", "")
    assert run(film, "-o", tmp_path / "two/out.mp4", *words) == 0
    told = capsys.readouterr()
    assert (tmp_path / "one/out.mp4").read_bytes() == (tmp_path / "two/out.mp4").read_bytes()
    assert [line.replace("one/", "two/") for line in done.said] == told.out.splitlines()
    assert [f"note: {note}" for note in done.notes] == told.err.splitlines()
    assert done.path == tmp_path / "one/out.mp4" and done.frames == len(read(done.path)[0])
    assert done.interpolated > 0 and f"from {done.source_frames} frames" in told.out and done.encoder in told.out


def test_images(tmp_path, sliding):
    for number in (0, 1):
        write_image(tmp_path / f"{number}.png", sliding(4 * number))
    pair = [str(tmp_path / "0.png"), tmp_path / "1.png"]
    one = vfi.interpolate(pair, tmp_path / "middle.png")
    three = vfi.interpolate(pair, tmp_path / "f_%d.png", factor=4)
    assert one.paths == (tmp_path / "middle.png",) and three.interpolated == 3
    assert [path.name for path in three.paths] == ["f_1.png", "f_2.png", "f_3.png"]
    assert np.array_equal(read_image(one.path).rgb, read_image(three.paths[1]).rgb)
    video = vfi.interpolate(pair, tmp_path / "ab.mp4", factor=3, progress=False)
    assert (video.frames, video.interpolated) == (4, 2) and video.path == tmp_path / "ab.mp4"
    many = vfi.interpolate(tmp_path / "f_%d.png", tmp_path / "g_%d.png", input_fps=10, progress=False)
    assert many.frames == len(many.paths) == 6


def test_many_videos(tmp_path, make_video, slide):
    (tmp_path / "in").mkdir(), (tmp_path / "out").mkdir()
    for name in ("a", "b"):
        make_video(slide, f"in/{name}.mp4")
    (tmp_path / "in/c.mp4").write_bytes(b"no video")
    with pytest.raises(vfi.UserError, match=r"1 of 3 videos could not be done: cannot read .*c\.mp4"):
        vfi.interpolate(tmp_path / "in", tmp_path / "out", progress=False)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.mp4", "b.mp4"]


def test_a_model_that_is_loaded(tmp_path, film):
    model = vfi.load_model("flow-splat")
    one, two = (vfi.interpolate(film, tmp_path / f"{n}.mp4", progress=False, **more)
                for n, more in enumerate(({}, {"model": model})))  # fmt: skip
    assert one.path.read_bytes() == two.path.read_bytes()
    assert all(map(np.array_equal, vfi.frames(film, end=0.3, model=model), vfi.frames(film, end=0.3)))
    for more, name in (({"tile": 64}, "tile"), ({"weights": "a"}, "weights"), ({"engine": "torch"}, "engine"),
                       ({"resume": True}, "resume"), ({"device": ["cpu", "cpu"]}, "one device")):  # fmt: skip
        with pytest.raises(vfi.UserError, match=name):
            vfi.interpolate(film, tmp_path / "no.mp4", model=model, **more)
    assert not (tmp_path / "no.mp4").exists()


def test_notes_call_options_as_python_does(tmp_path, film):
    done = vfi.interpolate(film, tmp_path / "out.mp4", slow_motion=2, scene_cuts=np.array([0.05]), progress=False)
    assert any("audio stretch keeps it" in note for note in done.notes)
    assert any(note.startswith("scene_cuts: of 1 time, 1 with no frame") for note in done.notes)


def test_a_full_disk_is_one_sentence(tmp_path, film, monkeypatch):
    def full(self, rgb, time, own=None):
        with writer.writing(self.path):
            raise av.error.OSError(28, "No space left on device", "x")

    monkeypatch.setattr(writer.VideoWriter, "write", full)
    with pytest.raises(vfi.UserError, match=r"^cannot write .*out\.mp4: no space left on device$"):
        vfi.interpolate(film, tmp_path / "out.mp4", progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_progress_is_told_and_ends_the_work(tmp_path, film):
    told = []
    vfi.interpolate(film, tmp_path / "out.mp4", progress=lambda *numbers: told.append(numbers))
    assert told == [(number, 16) for number in range(1, 17)]
    before = set(tmp_path.iterdir())

    def stop(done, total):
        if done == 5:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        vfi.interpolate(film, tmp_path / "other.mp4", progress=stop)
    assert set(tmp_path.iterdir()) == before and not readers()


def test_a_notebook_has_a_bar(tmp_path, capsys, monkeypatch, film):
    monkeypatch.setitem(sys.modules, "ipykernel", object())
    vfi.interpolate(film, tmp_path / "out.mp4")
    assert "out.mp4: 100%" in capsys.readouterr().err


def test_an_input_that_ends_early_is_done_with_a_warning(tmp_path, make_video, slide):
    video = make_video(slide * 4, "in.ts")
    video.write_bytes(video.read_bytes()[: 188 * (video.stat().st_size // 188 * 2 // 3) - 90])
    with pytest.warns(UserWarning, match=r"in\.ts is incomplete"):
        done = vfi.interpolate(video, tmp_path / "out.mp4", progress=False)
    assert done.path.is_file() and "incomplete" in done.incomplete and done.incomplete in done._repr_html_()
    with pytest.warns(UserWarning, match=r"in\.ts is incomplete"):
        assert len(list(vfi.frames(video))) == done.frames


REFUSED = {
    "no such file": ("nix.mp4", {}, r"nix\.mp4 does not exist"),
    "empty": ("empty.mp4", {}, "it is empty"),
    "no video": ("text.mp4", {}, r"cannot read .*text\.mp4"),
    "a name that no file has": ("a\0b.mp4", {}, "names that files can have"),
    "an empty name": ([""], {}, "names that files can have, got ''"),
    "no name": ([], {}, "got none"),
    "a number": (3, {}, "names of files, got int"),
    "option": ("in.mp4", {"faktor": 2}, "vfi.interpolate has no option faktor; is it factor?"),
    "spelling": ("in.mp4", {"slowmotion": 2}, "is it slow_motion?"),
    "own option": ("in.mp4", {"config": "a.toml"}, "has no option config"),
    "number": ("in.mp4", {"factor": float("nan")}, "factor: expected a number"),
    "range": ("in.mp4", {"factor": 0}, "factor must be from 1 to 1000"),
    "cuts": ("in.mp4", {"scene_cuts": [0.1, "soon"]}, "scene_cuts: expected seconds or H:MM:SS, got 'soon'"),
    "dash": ("in.mp4", {"device": ["--overwrite"]}, "device without a dash"),
    "object": ("in.mp4", {"fps": object()}, "fps to be words, numbers, true or false, got object"),
    "switch": ("in.mp4", {"dedup": "yes"}, "dedup to be true or false, got 'yes'"),
    "both": ("in.mp4", {"factor": 2, "fps": 60}, "only one of factor, fps and times"),
    "model": ("in.mp4", {"model": "nix"}, "unknown model 'nix'"),
    "weights": ("in.mp4", {"model": "rife", "weights": "nix.pkl"}, r"nix\.pkl"),
    "progress": ("in.mp4", {"progress": 3}, "progress to be true, false or a function"),
    "images": ("in.mp4", {"t": 0.5}, "t is for two images only"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_is_one_sentence_and_nothing_is_left(tmp_path, film, case):
    name, keywords, said = REFUSED[case]
    (tmp_path / "empty.mp4").touch(), (tmp_path / "text.mp4").write_text("no video")
    source = tmp_path / name if isinstance(name, str) and "\0" not in name else name
    before = sorted(tmp_path.iterdir())
    with pytest.raises(vfi.UserError, match=said) as error:
        vfi.interpolate(source, tmp_path / "out.mp4", **keywords)
    assert "\n" not in str(error.value) and "--" not in str(error.value)
    assert sorted(tmp_path.iterdir()) == before


OUTPUTS = {
    "empty": ("", "names that files can have, got ''"),
    "format": ("out.xyz", "names no video format"),
    "long": ("n" * 300 + ".mp4", "the name is too long"),
    "folder": ("nix/out.mp4", "the folder .*nix does not exist"),
    "input": ("in.mp4", "it is also an input"),
    "there": ("there.mp4", "exists already; add overwrite to replace it"),
    "number": (3, "names of files, got int"),
}


@pytest.mark.parametrize("case", OUTPUTS)
def test_outputs_that_cannot_be_written(tmp_path, film, case):
    name, said = OUTPUTS[case]
    (tmp_path / "there.mp4").write_bytes(b"kept")
    with pytest.raises(vfi.UserError, match=said):
        vfi.interpolate(film, tmp_path / name if name and isinstance(name, str) else name)
    assert (tmp_path / "there.mp4").read_bytes() == b"kept"


def test_every_option_of_the_command_is_a_keyword(tmp_path):
    (subparsers,) = (each for each in build_parser()._actions if isinstance(each, argparse._SubParsersAction))
    names = {each.dest for each in subparsers.choices["interpolate"]._actions if each.option_strings}
    own = from_python._keywords()
    assert {each.dest for each in own._actions if each.option_strings} == names
    for name in names - {*settings_file._OWN, "output"}:
        assert own._named(name).dest == name


def test_what_a_loop_does_is_heard_by_its_own(tmp_path, capsys, film):
    """A run within the loop, and the command, which prints."""
    for frame in vfi.frames(film, factor=2):
        if frame.interpolated:
            assert vfi.interpolate(film, tmp_path / "inner.mp4", progress=False, overwrite=True).said
            assert run(film, "-o", tmp_path / "inner.mp4", "--overwrite") == 0
            assert "wrote" in capsys.readouterr().out
            break
    assert "exists already" in refused(capsys, film, "-o", tmp_path / "inner.mp4")


def test_notebooks_show_it(tmp_path, film):
    done = vfi.interpolate(film, tmp_path / "a<b>.mp4", progress=False)
    shown = done._repr_html_()
    assert shown.startswith("<video controls") and "a&lt;b&gt;.mp4" in shown and "a<b>" not in shown
    assert "wrote" in str(done) and "7 interpolated" in shown
    dry = vfi.interpolate(film, tmp_path / "b.mp4", progress=False, dry_run=True)
    assert dry.path is None and "about 16 frames" in dry._repr_html_() and not (tmp_path / "b.mp4").exists()
    frame = next(vfi.frames(film))
    (tmp_path / "frame.png").write_bytes(frame._repr_png_())
    assert np.array_equal(read_image(tmp_path / "frame.png").rgb, frame.pixels)
    assert repr(frame) == "Frame(96x64, uint8, 0.000 s)" and np.asarray(frame, np.float32).dtype == np.float32
