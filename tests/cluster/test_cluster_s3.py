"""Films in a bucket of S3, whose server fails: the film is the same, or there is one sentence and nothing half-made."""

import pytest
from cluster_runs import packets
from clusters import LOSSLESS, ended, until

from vfi.commands.cluster.nodes import MOST_RUNS

IN, OUT = "s3://films/in.mkv", "s3://films/out/out.mkv"


@pytest.fixture
def sent(s3, film):
    s3.client.upload_file(str(film), "films", "in.mkv")
    return s3


@pytest.fixture
def is_whole(s3, whole, tmp_path):
    def check(key="out/out.mkv", beside=("in.mkv",)):
        assert s3.names() == sorted([*beside, key])
        s3.client.download_file("films", key, str(tmp_path / "got.mkv"))
        assert (packets(tmp_path / "got.mkv"), packets(tmp_path / "got.mkv", "audio")) == whole

    return check


def no_secret(text):
    assert "hidden" not in text


def test_from_bucket_to_bucket(nodes, sent, is_whole):
    code, printed, errors = nodes(2).run(IN, "-o", OUT, *LOSSLESS)
    assert code == 0 and errors == "" and f"wrote {OUT}: 300 frames" in printed
    is_whole()


def test_a_worker_is_killed(nodes, sent, is_whole):
    cluster = nodes(2, delay=0.03)
    driver = cluster.start(IN, "-o", OUT, *LOSSLESS)
    cluster.wait_for("render", 2)[0].kill()
    code, _, errors = ended(driver)
    assert code == 0 and errors == "" and max(cluster.runs().values()) == 2
    is_whole()


def test_a_driver_is_killed(nodes, sent, is_whole):
    cluster = nodes(2, delay=0.03)
    driver = cluster.start(IN, "-o", OUT, *LOSSLESS)
    until(lambda: sum(cluster.runs().values()) >= 5)
    cluster.kill(driver)
    finished = {f"render {int(name[-11:-5])}" for name in sent.names() if name[-11:-5].isdigit()}
    assert finished and "out/out.mkv" not in sent.names()
    cluster.forget_runs()
    code, _, errors = cluster.run(IN, "-o", OUT, *LOSSLESS, "--resume")
    assert code == 0 and errors == "" and not finished & set(cluster.runs())
    is_whole()


FAULTS = [("500", "^GET /films/in"), ("500", "^PUT"), ("cut", "^GET /films/in"), ("cut request", "^PUT")]


@pytest.mark.parametrize("how, which", FAULTS)
def test_it_fails_for_a_while(nodes, sent, is_whole, how, which):
    cluster = nodes(2)
    sent.disturb(how, which, 3)
    code, _, errors = cluster.run(IN, "-o", OUT, *LOSSLESS)
    assert code == 0 and errors == "" and sent.happened == 3
    is_whole()
    assert max(cluster.runs().values()) <= MOST_RUNS


@pytest.mark.parametrize("how, which", [("cut", "^GET /films/in"), ("500", "^PUT /films/out/.out.mkv.parts/.*packets")])
def test_it_fails_for_good_and_is_mended(nodes, sent, is_whole, how, which):
    cluster = nodes(2, delay=0.01)
    driver = cluster.start(IN, "-o", OUT, *LOSSLESS)
    cluster.wait_for("render")
    sent.disturb(how, which)
    code, _, errors = ended(driver)
    assert code == 1 and "cannot use s3://films/" in errors and "out/out.mkv" not in sent.names()
    no_secret(errors)
    assert max(cluster.runs().values()) <= MOST_RUNS
    sent.disturb("", "(?!)", 0)
    code, _, errors = cluster.run(IN, "-o", OUT, *LOSSLESS, "--resume")
    assert code == 0 and errors == ""
    is_whole()


def test_the_film_itself_cannot_be_put(nodes, sent, is_whole):
    """All that was rendered is kept."""
    cluster = nodes(2)
    sent.disturb("403", "^(PUT|POST) /films/out/out.mkv")
    code, _, errors = cluster.run(IN, "-o", OUT, *LOSSLESS)
    assert code == 1 and f"cannot use {OUT}: permission denied; what is finished is kept: add --resume" in errors
    assert "out/out.mkv" not in sent.names()
    sent.disturb("", "(?!)", 0)
    cluster.forget_runs()
    code, _, errors = cluster.run(IN, "-o", OUT, *LOSSLESS, "--resume")
    assert code == 0 and not any(name.startswith("render") for name in cluster.runs())
    is_whole()


REFUSED = [
    ("s3://nothing/in.mkv", OUT, "s3://nothing/in.mkv"),
    ("s3://films/none.mkv", OUT, "s3://films/none.mkv does not exist"),
    (IN, "s3://nothing/out.mkv", "s3://nothing"),
]


@pytest.mark.parametrize("source, target, said", REFUSED)
def test_what_is_not_there(nodes, sent, source, target, said):
    code, _, errors = nodes(1).run(source, "-o", target, *LOSSLESS)
    assert code in (1, 2) and said in errors and len(errors.splitlines()) <= 2
    no_secret(errors)
    assert sent.names() == ["in.mkv"]


@pytest.mark.parametrize("which", ["^(GET|HEAD) /films/in", "^PUT"])
def test_who_may_not(nodes, sent, which):
    cluster = nodes(1)
    sent.disturb("403", which)
    code, _, errors = cluster.run(IN, "-o", OUT, *LOSSLESS)
    assert code in (1, 2) and ("permission denied" in errors or "forbidden" in errors)
    assert len(errors.splitlines()) <= 2
    no_secret(errors)
    assert sent.names() == ["in.mkv"]


def test_many_films(nodes, sent, film, is_whole, tmp_path):
    sent.client.upload_file(str(film), "films", "all/a.mkv")
    sent.client.upload_file(str(film), "films", "all/more/b.mkv")
    sent.client.put_object(Bucket="films", Key="all/broken.mkv", Body=b"nothing")
    cluster = nodes(2)
    code, printed, _ = cluster.run("s3://films/all", "--recursive", "-o", "s3://films/made/", *LOSSLESS)
    assert code == 1 and "3 videos: 2 done, 1 failed\n  failed: s3://films/all/broken.mkv\n" in printed
    given = ("in.mkv", "all/a.mkv", "all/more/b.mkv", "all/broken.mkv")
    is_whole("made/a.mkv", (*given, "made/more/b.mkv"))
    is_whole("made/more/b.mkv", (*given, "made/a.mkv"))
    code, printed, _ = cluster.run("s3://films/all", "--recursive", "-o", "s3://films/made/", *LOSSLESS)
    assert code == 1 and "2 skipped" in printed
