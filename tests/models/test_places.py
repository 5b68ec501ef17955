"""Files at addresses: what is refused, what is never shown, and what a place that fails leaves."""

from pathlib import PurePosixPath

import fsspec
import pytest
from cluster_runs import packets, run_in_parts
from tiny_videos import make
from video_runs import refused, run

from vfi.commands.main import main
from vfi.errors import UserError
from vfi.files import places
from vfi.files.images import write_image
from vfi.video.demux import Demuxer
from vfi.video.encoder import Encoder

pytestmark = pytest.mark.usefixtures("mean_frames")

COUNT = 75
LOSSLESS = ("--segment", 1, "--codec", "ffv1", "--encoder-option", "threads=1")


@pytest.fixture
def memory():
    """fsspec's files in memory, empty."""
    files = fsspec.filesystem("memory")
    files.store.clear()
    files.pseudo_dirs[:] = [""]
    yield files
    files.store.clear()


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return make(tmp_path_factory.mktemp("in") / "in.mkv", COUNT, b_frames=2, sound="aac")


@pytest.fixture
def sent(memory, film):
    memory.makedirs("/in")
    memory.put_file(str(film), "/in/in.mkv")
    return "memory://in/in.mkv"


SECRETS = [
    "s3://name:hidden@bucket/film.mp4",
    "s3://name:hid/den@bucket/film.mp4",
    "https://hidden@host/film.mp4",
    "https://host/film.mp4?X-Amz-Signature=hidden",
    "s3://\u2100hidden/film.mp4",
    "s3://[hidden/film.mp4",
]


@pytest.mark.parametrize("address", SECRETS)
@pytest.mark.parametrize("where", ["in", "out"])
def test_a_password_is_refused_and_not_shown(capsys, address, where):
    words = [address, "-o", "out.mp4"] if where == "in" else ["in.mp4", "-o", address]
    assert main(["interpolate", *words, "--ray"]) == 2
    shown = "".join(capsys.readouterr())
    assert "expected an address" in shown and "hid" not in shown and "Traceback" not in shown


@pytest.mark.parametrize("address", ["nosuch://a/b.mp4", "S3X://a/b.mp4"])
def test_kinds_that_are_unknown(address):
    with pytest.raises(UserError, match=r"cannot use .*://a/b\.mp4: "):
        places.place(address)


def test_names_of_this_machine(tmp_path):
    assert places.place(f"file://{tmp_path}/a.mp4") == tmp_path / "a.mp4"
    for text in ("a.mp4", "a:b.mp4", "C:\\a.mp4", "x::s3://a"):
        assert not places.is_remote(places.place(text))


def test_an_address_that_is_only_read_from(film):
    with pytest.raises(UserError, match="https is only read from"):
        places.check_writable(PurePosixPath("https://host/out.mp4"))  # as good: the kind may not be installed
    places.check_writable(film)


REFUSED = {
    "memory://out/f_%03d.png": "expected a video as output at an address",
    "memory://out/out.y4m": "expected a video as output at an address",
    "http://host/out.mkv": "cannot write",
}


@pytest.mark.parametrize("output", REFUSED)
def test_what_is_not_put_at_an_address(film, memory, capsys, output):
    if output.startswith("http"):
        pytest.importorskip("aiohttp")
    assert REFUSED[output] in refused(capsys, film, "-o", output)


def test_to_go_on_at_an_address_needs_a_cluster(film, memory, capsys):
    said = refused(capsys, film, "-o", "memory://out/out.mkv", "--resume")
    assert "--resume is for outputs of this machine, and for --ray, only" in said


@pytest.mark.parametrize("name", ["out.png", "out.mkv"])
def test_of_two_images_at_an_address(tmp_path, sliding, memory, capsys, name):
    for each in "ab":
        write_image(tmp_path / f"{each}.png", sliding(2))
    said = refused(capsys, tmp_path / "a.png", tmp_path / "b.png", "-o", f"memory://out/{name}")
    assert "expected a file of this machine as output of two images" in said


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Where folders of this machine are made for what is not whole."""
    (tmp_path / "own").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "own"))
    return tmp_path / "own"


@pytest.mark.parametrize("segment", [0, 1])
def test_a_film_is_put_at_an_address(memory, film, tmp_path, capsys, own, segment):
    options = (*LOSSLESS, "--segment", segment)
    assert run(film, "-o", "memory://out/a b.mkv", *options) == 0
    shown = capsys.readouterr()
    assert "wrote memory://out/a b.mkv: " in shown.out and str(own) not in shown.out + shown.err
    assert memory.ls("/out", detail=False) == ["/out/a b.mkv"] and not list(own.iterdir())
    memory.get_file("/out/a b.mkv", str(tmp_path / "out.mkv"))
    assert run(film, "-o", tmp_path / "alone.mkv", *options) == 0
    for kind in ("video", "audio"):
        assert packets(tmp_path / "out.mkv", kind) == packets(tmp_path / "alone.mkv", kind)
    capsys.readouterr()
    assert run(film, "-o", "memory://out/a b.mkv", *options) == 2
    assert "add --overwrite to replace it" in capsys.readouterr().err
    assert run(film, "-o", "memory://out/a b.mkv", *options, "--overwrite") == 0


def test_a_folder_is_put_at_an_address(memory, sent, film, capsys, own):
    memory.put_file(str(film), "/in/more/b.mp4")
    memory.pipe_file("/in/broken.mkv", b"nothing")
    for again in (False, True):
        assert run("memory://in/", "--recursive", "-o", "memory://out/", *LOSSLESS) == 1
        assert ("2 skipped" if again else "2 done") in capsys.readouterr().out
        assert sorted(memory.find("/out")) == ["/out/in.mkv", "/out/more/b.mp4"]
    assert not list(own.iterdir())


def test_what_cannot_be_put(memory, film, capsys, own, monkeypatch):
    monkeypatch.setattr(type(memory), "put_file", failing)
    assert run(film, "-o", "memory://out/out.mkv", *LOSSLESS) == 2
    shown = capsys.readouterr()
    assert "cannot use memory://out/out.mkv: no answer" in shown.err and "wrote" not in shown.out
    assert not memory.find("/out") and not list(own.iterdir())


@pytest.mark.parametrize("segment", [0, 1])
def test_nothing_is_kept_of_a_run_that_is_interrupted(memory, film, capsys, own, monkeypatch, segment):
    """Nor promised."""
    count, original = [0], Encoder.encode

    def encode(self, *given):
        count[0] += 1
        if count[0] > 120:
            raise KeyboardInterrupt
        return original(self, *given)

    monkeypatch.setattr(Encoder, "encode", encode)
    assert run(film, "-o", "memory://out/out.mkv", *LOSSLESS, "--segment", segment) == 130
    assert capsys.readouterr().err == "vfi: interrupted\n" and count[0] > 120
    assert not memory.find("/out") and not list(own.iterdir())


def test_a_film_is_read_from_an_address(sent, film, tmp_path):
    assert run(sent, "-o", tmp_path / "out.mkv", *LOSSLESS) == 0
    assert run(film, "-o", tmp_path / "alone.mkv", *LOSSLESS) == 0
    assert packets(tmp_path / "out.mkv") == packets(tmp_path / "alone.mkv")


@pytest.mark.parametrize("segment", [0, 1])
def test_from_address_to_address(memory, sent, film, tmp_path, monkeypatch, segment):
    code, ray = run_in_parts(monkeypatch, sent, "-o", "memory://out/a b.mkv", *LOSSLESS, "--segment", segment)
    assert code == 0 and ("render" in ray.names) == bool(segment)
    assert memory.ls("/out", detail=False) == ["/out/a b.mkv"], "no parts are left"
    memory.get_file("/out/a b.mkv", str(tmp_path / "out.mkv"))
    assert run(film, "-o", tmp_path / "alone.mkv", *LOSSLESS, "--segment", segment) == 0
    for kind in ("video", "audio"):
        assert packets(tmp_path / "out.mkv", kind) == packets(tmp_path / "alone.mkv", kind)


def test_a_folder_at_an_address(memory, sent, film, monkeypatch, capsys):
    memory.put_file(str(film), "/in/more/b.mp4")
    memory.pipe_file("/in/broken.mkv", b"nothing")
    for again in (False, True):
        code, _ = run_in_parts(monkeypatch, "memory://in/", "--recursive", "-o", "memory://out/", *LOSSLESS)
        assert code == 1
        shown = capsys.readouterr()
        assert shown.out.endswith("  failed: memory://in/broken.mkv\n")
        assert ("2 skipped" if again else "2 done") in shown.out
        assert sorted(memory.find("/out")) == ["/out/in.mkv", "/out/more/b.mp4"]


def test_what_is_there_is_kept(memory, sent, monkeypatch, capsys):
    memory.pipe_file("/out/out.mkv", b"precious")
    code, ray = run_in_parts(monkeypatch, sent, "-o", "memory://out/out.mkv", *LOSSLESS)
    assert code == 2 and not ray.names and "add --overwrite to replace it" in capsys.readouterr().err
    assert memory.cat_file("/out/out.mkv") == b"precious"
    assert run_in_parts(monkeypatch, sent, "-o", "memory://out/out.mkv", *LOSSLESS, "--overwrite")[0] == 0
    assert memory.cat_file("/out/out.mkv") != b"precious"


def test_what_is_not_there(memory, monkeypatch, capsys):
    code, _ = run_in_parts(monkeypatch, "memory://in/none.mkv", "-o", "memory://out/out.mkv")
    assert code == 2 and "memory://in/none.mkv does not exist" in capsys.readouterr().err


def broken_after(monkeypatch, reads):
    """From then on, every read fails; returns how many there were."""
    count, original = [0], places.RemoteFile._read

    def read(self, size):
        count[0] += 1
        if count[0] > reads:
            raise OSError("connection reset")
        return original(self, size)

    monkeypatch.setattr(places.RemoteFile, "_read", read)
    return count


@pytest.mark.nightly
def test_a_place_that_breaks_off_is_no_end_of_a_film(memory, sent, monkeypatch, capsys):
    """Whenever it does."""
    with monkeypatch.context() as patch:
        count = broken_after(patch, 10**9)
        assert run_in_parts(monkeypatch, sent, "-o", "memory://out/out.mkv", *LOSSLESS)[0] == 0
    memory.rm("/out", recursive=True)
    capsys.readouterr()
    for reads in {*range(0, count[0], max(1, count[0] // 12)), count[0] - 1}:
        with monkeypatch.context() as patch:
            broken_after(patch, reads)
            assert run_in_parts(monkeypatch, sent, "-o", "memory://out/out.mkv", *LOSSLESS)[0] in (1, 2), reads
        assert "connection reset" in capsys.readouterr().err
        assert not memory.exists("/out/out.mkv")
        assert run_in_parts(monkeypatch, sent, "-o", "memory://out/out.mkv", *LOSSLESS, "--resume")[0] == 0
        assert memory.ls("/out", detail=False) == ["/out/out.mkv"]
        memory.rm("/out", recursive=True)
        capsys.readouterr()


def test_bytes_that_do_not_come_are_trouble(sent, monkeypatch):
    """A server that says nothing and sends less than it told."""
    path = places.place(sent)
    with places.read_from(path) as file:
        assert len(file.read(8)) == 8 and file.read() and file.read(1) == b""
    file = places.RemoteFile(path)
    file.seek(100)
    monkeypatch.setattr(file._file, "read", lambda size: b"", raising=False)
    with pytest.raises(places.StorageTrouble, match="it broke off after 100 of"):
        file.read(10)
    with pytest.raises(places.StorageTrouble):
        file.check()


def test_a_demuxer_says_what_the_place_said(sent, monkeypatch):
    demuxer = Demuxer(places.place(sent))
    broken_after(monkeypatch, 0)
    with pytest.raises(places.StorageTrouble, match="connection reset"):
        list(demuxer.pictures()), demuxer.reopen()


def test_a_file_is_put_whole_or_not_at_all(memory, film, monkeypatch):
    target = places.place("memory://out/out.mkv")
    places.put(film, target)
    monkeypatch.setattr(type(memory), "put_file", failing)
    with pytest.raises(places.StorageTrouble, match=r"cannot use memory://out/other.mkv: no answer"):
        places.put(film, places.place("memory://out/other.mkv"))
    assert memory.ls("/out", detail=False) == ["/out/out.mkv"]


def failing(*_, **__):
    raise TimeoutError("no answer")


def test_where_there_are_folders_a_file_is_renamed(memory, film, monkeypatch):
    """What is unfinished has another name, and does not stay."""
    monkeypatch.setattr(places, "_OBJECT_STORES", set())
    target = places.place("memory://out/out.mkv")
    places.make_folder(target.parent)
    places.put(film, target)
    assert memory.ls("/out", detail=False) == ["/out/out.mkv"]
    monkeypatch.setattr(type(memory), "mv", failing)
    with pytest.raises(places.StorageTrouble):
        places.put(film, target.with_name("other.mkv"))
    assert memory.ls("/out", detail=False) == ["/out/out.mkv"]
