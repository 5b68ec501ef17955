"""What tests of several hosts use."""

import pytest
import torch
from comfyui_graphs import fill
from comfyui_server import Server

from vfi.engines import plans
from vfi.models import rife


@pytest.fixture
def torch_alone(monkeypatch, tmp_path):
    """The engine "auto" would measure others for seconds."""
    monkeypatch.setattr(plans, "AUTO", ("torch",))
    monkeypatch.setenv("VFI_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """Of a whole RIFE 4.6, seeded."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "flownet.pkl"
    torch.save({f"module.{k}": v for k, v in rife.load(variant="4.6").state_dict().items()}, path)
    return str(path)


@pytest.fixture(scope="session")
def comfyui(tmp_path_factory, weights):
    """A real one that runs, with files to work on."""
    server = Server(tmp_path_factory.mktemp("real") / "ComfyUI")
    try:
        fill(server.folder, weights)
        yield server
    finally:
        server.end()
