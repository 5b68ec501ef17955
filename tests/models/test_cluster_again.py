"""Tasks that are run again: their worker died after it gave a file its name, or in the middle; and sources of nodes."""

import pickle
from functools import partial
from types import SimpleNamespace

import pytest
from cluster_runs import packets, run_in_parts
from tiny_videos import make
from video_runs import run

from vfi.commands.cluster import films, joining, nodes, work
from vfi.errors import UserError
from vfi.video import segments

pytestmark = pytest.mark.usefixtures("mean_frames")
FUNCTIONS = {"plan": work.plan, "render": work.render, "join": joining.join, "at_once": work.at_once}
FFV1 = ("--codec", "ffv1", "--encoder-option", "threads=1")
WAYS = {
    "joined": ("out.mkv", ("--segment", 1, *FFV1)),
    "at once": ("out.mkv", FFV1),
    "y4m": ("out.y4m", ()),
    "animation": ("out.apng", ()),
    "images": ("f_%03d.png", ()),
}


def twice(name, given):
    """The first worker dies before it can answer."""
    answer = films.answered(FUNCTIONS[name], pickle.loads(pickle.dumps(given)))
    assert answer.failed is None


@pytest.mark.in_turn
@pytest.mark.parametrize("way", WAYS)
def test_each_task_is_run_twice(tmp_path, monkeypatch, capsys, way):
    name, options = WAYS[way]
    path = make(tmp_path / "in.mkv", 60, b_frames=2)
    for folder in ("alone", "parts"):
        (tmp_path / folder).mkdir()
    assert run(path, "-o", tmp_path / "alone" / name, *options) == 0
    code, ray = run_in_parts(monkeypatch, path, "-o", tmp_path / "parts" / name, *options, before=twice)
    assert code == 0, capsys.readouterr().err
    assert ("join" if way == "joined" else "at_once") in ray.names
    made, alone = (sorted((tmp_path / folder).iterdir()) for folder in ("parts", "alone"))
    assert [each.name for each in made] == [each.name for each in alone] != []
    if name.endswith(".mkv"):
        assert packets(*made) == packets(*alone)
    else:
        assert [each.read_bytes() for each in made] == [each.read_bytes() for each in alone]


def test_another_file_stays(tmp_path, monkeypatch, capsys):
    """One that is made by others, before the task is run again, is no work of ours."""
    path, out = make(tmp_path / "in.mkv", 20), tmp_path / "out.mkv"

    def before(name, given):
        if name == "at_once":
            twice(name, given)
            out.write_bytes(b"of others")

    code, _ = run_in_parts(monkeypatch, path, "-o", out, before=before)
    assert code == 1 and "exists already" in capsys.readouterr().err
    assert out.read_bytes() == b"of others" and sorted(each.name for each in tmp_path.iterdir()) == ["in.mkv", out.name]


class Died(BaseException):
    pass


def test_a_sequence_that_is_half_made(tmp_path, monkeypatch, capsys, pictures_of):
    """Its worker dies after the second of its segments."""
    (tmp_path / "out").mkdir()
    options = ("--segment", 1, "--input-fps", 25, *FFV1)
    folder, original = pictures_of(60), segments.Work.add

    def add(self, *given):
        original(self, *given)
        if len(self.segments) == 2:
            raise Died

    def before(name, given):
        if name == "at_once":
            with monkeypatch.context() as patch, pytest.raises(Died):
                patch.setattr(segments.Work, "add", add)
                films.answered(work.at_once, given)

    assert run(folder, "-o", tmp_path / "alone.mkv", *options) == 0
    code, ray = run_in_parts(monkeypatch, folder, "-o", tmp_path / "out" / "out.mkv", *options, before=before)
    assert code == 0 and "at_once" in ray.names, capsys.readouterr().err
    (made,) = (tmp_path / "out").iterdir()
    assert packets(made) == packets(tmp_path / "alone.mkv")


@pytest.fixture
def pictures_of(tmp_path, sliding):
    from vfi.files.images import write_image

    def pictures(count):
        (tmp_path / "in").mkdir()
        for number in range(count):
            write_image(tmp_path / "in" / f"{number:03}.png", sliding(number))
        return tmp_path / "in"

    return pictures


def gone(path):
    path.unlink()


def another(path):
    path.write_bytes(b"another one")


@pytest.mark.parametrize(
    ("change", "said"), [(gone, "node a .1+. has no .*b.mkv"), (another, "b.mkv is another file on node a"), (None, "")]
)
def test_each_source_is_compared(tmp_path, change, said):
    """Not of the first film alone; what a node finds is found here in its place, after a change."""
    pytest.importorskip("ray")
    for name in "ab":
        (tmp_path / f"{name}.mkv").write_bytes(b"film")

    def answered(call, timeout):
        if change is not None:
            change(tmp_path / "b.mkv")
        return call()

    node = {"NodeID": "1" * 56, "NodeManagerAddress": "a", "Resources": {"CPU": 1.0}, "Alive": True}
    ray = SimpleNamespace(
        nodes=lambda: [node],
        remote=lambda **_: lambda function: SimpleNamespace(remote=partial(partial, function)),
        get=answered,
    )
    asked = nodes.Cluster(ray, {"CPU": 1.0}), [], [], [tmp_path / "a.mkv", tmp_path / "b.mkv"]
    if change is None:
        nodes.check(*asked)
        return
    with pytest.raises(UserError, match=said):
        nodes.check(*asked)
