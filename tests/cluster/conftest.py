"""A network of the tests' own, clusters in it, and films."""

import logging
import os
import socket
import sys
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parents[1] / "models")]
collect_ignore_glob = [] if find_spec("ray") and find_spec("psutil") else ["test_*.py"]
ALONE = [name for _, name in socket.if_nameindex()] == ["lo"]


def pytest_collection_modifyitems(items):
    own = [item for item in items if Path(__file__).parent in item.path.parents]
    for item in own:
        item.add_marker(pytest.mark.nightly)
        if not ALONE:
            item.add_marker(
                pytest.mark.skip(reason="it needs a network of its own, and S3's server: make test-cluster")
            )


@pytest.fixture
def nodes(tmp_path):
    """Begins a cluster; all of it ends with the test."""
    from clusters import Nodes

    begun = []

    def begin(count=2, **more):
        begun.append(Nodes(tmp_path, count, **more))
        return begun[-1]

    yield begin
    for each in begun:
        each.end()


@pytest.fixture
def s3(monkeypatch):
    """A server with the bucket "films", through what disturbs it."""
    moto = pytest.importorskip("moto.server", reason="no environment with S3's server: make test-cluster")
    from disturbed import Disturbed

    logging.getLogger("werkzeug").setLevel("ERROR")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    between = Disturbed(server.get_host_and_port()[1])
    for name, value in {
        "AWS_ACCESS_KEY_ID": "name-hidden", "AWS_SECRET_ACCESS_KEY": "key-hidden", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{between.port}",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    reset = f"http://127.0.0.1:{server.get_host_and_port()[1]}/moto-api/reset"
    urllib.request.urlopen(urllib.request.Request(reset, method="POST")).close()
    between.client.create_bucket(Bucket="films")
    yield between
    between.end()
    server.stop()


@pytest.fixture(scope="session")
def film(tmp_path_factory):
    from tiny_videos import make

    return make(tmp_path_factory.mktemp("in") / "in.mkv", 150, sizes=[(64, 48)] * 150, b_frames=2, sound="aac")


@pytest.fixture(scope="session")
def whole(film, tmp_path_factory):
    """What one machine makes of the film: pictures and sound, with their times."""
    from cluster_runs import packets
    from clusters import LOSSLESS

    from vfi.commands.main import main

    out = tmp_path_factory.mktemp("whole") / "out.mkv"
    os.environ["OMP_NUM_THREADS"] = "1"
    assert main(["interpolate", str(film), "-o", str(out), *map(str, LOSSLESS)]) == 0
    return packets(out), packets(out, "audio")


@pytest.fixture
def is_whole(whole):
    """Whether a film is that, beside which nothing is left."""
    from cluster_runs import packets

    def check(path):
        assert (packets(path), packets(path, "audio")) == whole
        assert [each.name for each in path.parent.iterdir()] == [path.name]

    return check
