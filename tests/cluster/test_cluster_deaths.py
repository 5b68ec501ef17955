"""Processes and nodes die: the film is the one that it would have been, and no task is run more than three times."""

import signal
import time

import pytest
from clusters import LOSSLESS, ended, until

from vfi.commands.cluster.nodes import MOST_RUNS


@pytest.fixture
def out(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "out.mkv"


def test_one_worker_is_killed(nodes, film, out, is_whole):
    cluster = nodes(2, delay=0.03)
    driver = cluster.start(film, "-o", out, *LOSSLESS)
    cluster.wait_for("render", 2)[0].kill()
    code, _, errors = ended(driver)
    assert code == 0 and errors == ""
    is_whole(out)
    runs = cluster.runs()
    assert sum(runs.values()) == len(runs) + 1 and max(runs.values()) == 2, "one is run again"


@pytest.mark.parametrize("what", ["plan", "join", "at_once"])
def test_whatever_it_was_at(nodes, film, out, is_whole, what):
    cluster = nodes(1, pause=2.0)
    segments = ("--segment", 0) if what == "at_once" else ()
    driver = cluster.start(film, "-o", out, *LOSSLESS, *segments)
    cluster.wait_for(what)[0].kill()
    code, _, errors = ended(driver)
    assert code == 0 and errors == "" and cluster.runs()[what] == 2
    if not segments:
        is_whole(out)
    assert [each.name for each in out.parent.iterdir()] == [out.name]


def test_what_dies_always_is_given_up(nodes, film, out, is_whole):
    """And what is finished is not made again."""
    cluster = nodes(1, delay=0.02)
    driver = cluster.start(film, "-o", out, *LOSSLESS)
    for again in range(1, MOST_RUNS + 1):
        until(lambda again=again: cluster.runs()["render 2"] == again)
        cluster.wait_for("render 2")[0].kill()
    code, printed, errors = ended(driver)
    assert code == 1 and "wrote" not in printed and not out.exists()
    assert f"what worked on it died, {MOST_RUNS} times" in errors and "add --resume to go on" in errors
    assert cluster.runs()["render 2"] == MOST_RUNS
    done = {name for name in cluster.runs() if name.startswith("render") and name != "render 2"}
    cluster.forget_runs()
    code, _, errors = cluster.run(film, "-o", out, *LOSSLESS, "--resume")
    assert code == 0 and not done & set(cluster.runs()) and cluster.runs()["render 2"] == 1
    is_whole(out)


def test_a_node_is_lost(nodes, film, out, is_whole):
    cluster = nodes(2, delay=0.03)
    driver = cluster.start(film, "-o", out, *LOSSLESS)
    cluster.wait_for("render", 2)
    cluster.remove(cluster.nodes[0])
    code, _, errors = ended(driver)
    assert code == 0 and errors == ""
    is_whole(out)
    assert max(cluster.runs().values()) <= MOST_RUNS


def test_the_last_node_is_lost(nodes, film, out, is_whole):
    """It is said, and one that comes later takes over."""
    cluster = nodes(1, delay=0.03)
    driver = cluster.start(film, "-o", out, *LOSSLESS)
    cluster.wait_for("render 1")
    cluster.remove(cluster.nodes[0])
    time.sleep(15)
    assert driver.poll() is None
    cluster.add()
    code, _, errors = ended(driver)
    assert code == 0 and "no node that could work is left: waiting for one" in errors
    is_whole(out)
    assert max(cluster.runs().values()) <= MOST_RUNS


def test_a_worker_stands_still_for_a_while(nodes, film, out, is_whole):
    cluster = nodes(2, delay=0.03)
    driver = cluster.start(film, "-o", out, *LOSSLESS)
    worker = cluster.wait_for("render", 2)[0]
    worker.suspend()
    time.sleep(20)
    worker.resume()
    code, _, errors = ended(driver)
    assert code == 0 and errors == "" and set(cluster.runs().values()) == {1}
    is_whole(out)


def test_a_node_stands_still_and_comes_back(nodes, film, out, is_whole):
    """It is taken for dead; what its worker still does disturbs nobody."""
    cluster = nodes(2, delay=0.03)
    driver = cluster.start(film, "-o", out, *LOSSLESS)
    cluster.wait_for("render", 2)
    raylet = cluster.raylet(cluster.nodes[0])
    raylet.suspend()
    until(lambda: len(cluster.alive()) == 2)
    time.sleep(2)
    raylet.resume()
    code, _, errors = ended(driver)
    assert code == 0 and errors == "" and max(cluster.runs().values()) <= MOST_RUNS
    is_whole(out)


def test_a_driver_is_killed(nodes, film, out, is_whole):
    """Its tasks end with it; the next one goes on."""
    cluster = nodes(2, delay=0.03)
    driver = cluster.start(film, "-o", out, *LOSSLESS)
    until(lambda: sum(cluster.runs().values()) >= 5)
    cluster.kill(driver)
    assert not out.exists()
    code, _, errors = cluster.run(film, "-o", out, *LOSSLESS)
    assert code == 1 and "add --resume to go on with them" in errors and not out.exists()
    finished = {f"render {int(path.stem[-6:])}" for path in out.parent.glob(".*/*-*.json")}
    cluster.forget_runs()
    code, _, errors = cluster.run(film, "-o", out, *LOSSLESS, "--resume")
    assert code == 0 and finished and not finished & set(cluster.runs())
    is_whole(out)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_driver_is_stopped(nodes, film, out, is_whole, number, tmp_path):
    cluster = nodes(2, delay=0.03)
    driver = cluster.start(film, "-o", out, *LOSSLESS)
    until(lambda: sum(cluster.runs().values()) >= 5)
    driver.send_signal(number)
    code, _, errors = ended(driver)
    assert code == 130 and not out.exists()
    assert errors == "note: what is finished is kept: add --resume to go on\nvfi: interrupted\n"
    until(lambda: not cluster.at_work(""))
    code, _, errors = cluster.run(film, "-o", out, *LOSSLESS, "--resume")
    assert code == 0 and errors == ""
    is_whole(out)


def test_before_anything_is_finished(nodes, film, out):
    """Nothing is left then."""
    cluster = nodes(1, pause=5.0)
    driver = cluster.start(film, "-o", out, *LOSSLESS)
    cluster.wait_for("render")
    driver.send_signal(signal.SIGINT)
    code, _, errors = ended(driver)
    assert code == 130 and errors == "vfi: interrupted\n"
    until(lambda: not cluster.at_work(""))
    assert not list(out.parent.iterdir())
