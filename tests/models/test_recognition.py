"""A checkpoint of another network is named, whichever it is and wherever it is given."""

import functools
import re

import pytest
import torch
from torch import nn

import vfi
from vfi.errors import UserError
from vfi.files import checkpoints
from vfi.models import recognition, registry
from vfi.models.apr_vfi.config import APRConfig
from vfi.models.apr_vfi.model import APRVFI
from vfi.models.ebme.flow import BiFlowNet
from vfi.models.rife.config import TINY
from vfi.models.rife.model import RIFE, Config
from vfi.models.rife4.family import FAMILY
from vfi.models.rife4.model import FlowNet
from vfi.models.sg_rife.config import TINY as TINY_GUIDED
from vfi.models.sg_rife.model import SGRIFE
from vfi.models.vfi_s.network import Network


def named(*names):
    return {name: torch.zeros(2, 16, 1, 1) for name in names}


def rife(variant):
    return RIFE(Config(variant, flow=TINY.flow, teacher=TINY.teacher, width=TINY.width)).state_dict()


RELEASES = {f"RIFE {'/'.join(network.names)}": network for network in FAMILY}
OTHERS = [*RELEASES][1:]  # where no RIFE belongs, one stands for all
# What each is called -> its tensors, and where it is right
KINDS = {
    **{name: (lambda n=network: FlowNet(n.smaller()).state_dict(), {"rife"}) for name, network in RELEASES.items()},
    "RIFE (ECCV 2022)": (lambda: rife("rife"), {"rife", "sg-rife"}),
    "RIFEm": (lambda: rife("rife_m"), {"rife", "sg-rife"}),
    "SG-RIFE": (lambda: SGRIFE(None, TINY_GUIDED).state_dict(), {"sg-rife"}),
    "vfi-s": (lambda: Network().state_dict(), {"vfi-s"}),
    "EBME's flow network": (lambda: BiFlowNet().state_dict(), {"ebme-splat", "flow"}),
    "APR-VFI": (lambda: APRVFI(APRConfig.tiny()).state_dict(), {"apr-vfi"}),
    "SemFi's adapters": (lambda: named("blocks.0.self_attn.lora_q.0.lora_A.weight"), {"semfi"}),
    "RDVFI-D": (lambda: named(recognition.LATENTS, "synthesis.down0.conv1.0.weight"), {"rdvfi-d"}),
    "RDVFI-U": (
        lambda: named("synthesis.down0.conv1.0.weight") | {recognition.LATENTS: torch.zeros(2, 4, 3, 3)}, {"rdvfi-u"}
    ),
    "DINOv3": (lambda: named("layer.0.norm1.weight", "embeddings.patch_embeddings.weight"), {"dino"}),
    "DINOv3 ": (lambda: named("blocks.0.attn.qkv.weight", "blocks.0.ls1.gamma", "cls_token"), {"dino"}),
    "Wan 2.1's transformer": (lambda: named("patch_embedding.weight", "blocks.0.self_attn.q.weight"), set()),
    "Wan 2.1's transformer ": (lambda: named("patch_embedding.weight", "blocks.0.attn1.to_q.weight"), set()),
    "Wan 2.1's VAE": (lambda: named("encoder.conv1.weight", "decoder.conv1.weight"), set()),
    "Wan 2.1's text encoder": (lambda: named("token_embedding.weight", "blocks.0.attn.q.weight"), set()),
    "Wan 2.1's image encoder": (lambda: named("visual.patch_embedding.weight", "textual.norm.weight"), set()),
    "AlexNet": (lambda: named("features.0.weight", "features.3.weight", "classifier.1.weight"), set()),
    "LPIPS' linear layers": (lambda: named(*(f"lin{n}.model.1.weight" for n in range(5))), set()),
    "ST-LPIPS": (lambda: named("net.slice1.0.weight", *(f"lin{n}.model.1.weight" for n in range(5))), set()),
    "the Inception-v3 of FID": (lambda: named("Conv2d_1a_3x3.conv.weight", "Mixed_5b.branch1x1.conv.weight"), set()),
}  # fmt: skip
UNKNOWN = {
    "a few layers": lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 3, 3)).state_dict(),
    "blocks": lambda: named(*(f"block{n}.weight" for n in range(5))),
    "lists": lambda: named("features.0.weight", "conv1.weight", "layer1.0.weight"),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kinds")
    made = {}
    for number, (name, make) in enumerate({**{n: k[0] for n, k in KINDS.items()}, **UNKNOWN}.items()):
        made[name] = folder / f"{number}.pkl"
        torch.save(make(), made[name])
    return made


def loaders(tmp_path):
    """Each place where a checkpoint is given."""
    named = {name: entry for name, entry in registry.MODELS.items() if entry.weights is not None}

    def of_model(name):
        more = {"dino": files_of_dino(tmp_path)} if name == "sg-rife" else {}
        return lambda path: vfi.load_model(name, path, **more)

    def beside_backbone(name):
        return lambda path: vfi.load_model(name, path, backbone=tmp_path)

    def flow(path):
        return registry.load_objective("apr-vfi", None, True, flow=path)

    def dino(path):
        from vfi.models.sg_rife import dino

        return dino.load(path)

    named_without = {"sg-rife without dino": lambda path: vfi.load_model("sg-rife", path)}
    diffusion = {f"{name} with a backbone": beside_backbone(name) for name in ("rdvfi-d", "rdvfi-u", "semfi")}
    return {**{name: of_model(name) for name in named}, **named_without, **diffusion, "flow": flow, "dino": dino}


def files_of_dino(tmp_path):
    """Of a DINO of the right size: sg-rife reads it first."""
    from vfi.models.sg_rife import dino

    with torch.device("meta"):
        shapes = dino.make_network().state_dict()
    path = tmp_path / "dino.safetensors"
    checkpoints.save(path, {name: torch.zeros(value.shape) for name, value in shapes.items()})
    return path


@pytest.mark.nightly
def test_every_pair(files, tmp_path, monkeypatch):
    from vfi.models.sg_rife import dino

    monkeypatch.setattr(dino, "load", functools.cache(dino.load))  # sg-rife reads the same one before each file
    wrong = []
    for place, load in loaders(tmp_path).items():
        for name, (_, right) in KINDS.items():
            if name in OTHERS and place != "rife":
                continue
            try:
                load(files[name])
                said = ""
            except UserError as error:
                said = str(error)
            if place.partition(" with")[0] in right:
                fits = "looks like" not in said
            else:
                start = re.escape(f"{files[name]} looks like weights of {in_words(name)}")
                fits = re.fullmatch(rf"{start}[^\n]+; expected those of [^\n;]+", said) is not None
            wrong += [] if fits else [(place, name, said)]
    assert wrong == [], "\n".join(map(str, wrong))


def in_words(name):
    """A small network of RIFE 4 is like the release whose names of tensors it has."""
    return "RIFE like 4." if name in RELEASES else f"{name.strip()}, for "


def test_what_is_none_of_them_is_shown(files, tmp_path):
    for place, load in loaders(tmp_path).items():
        if place.startswith(("rdvfi", "semfi")):  # which ask for more first
            continue
        for name, make in UNKNOWN.items():
            with pytest.raises(UserError) as caught:
                load(files[name])
            said = str(caught.value)
            assert str(files[name]) in said and "\n" not in said, place
            assert all(key in said for key in list(make())[:3]) or "keys missing" in said, (place, said)


@pytest.mark.parametrize("name", RELEASES)
def test_releases_are_named(name):
    """Of the published sizes."""
    with torch.device("meta"):
        state = FlowNet(RELEASES[name]).state_dict()
    with pytest.raises(UserError, match=rf"looks like weights of {re.escape(name)}, for the model rife; expected"):
        recognition.expect(state, "flownet.pkl", "APR-VFI")


def test_patterns_tell_networks_apart():
    for name, (make, _) in KINDS.items():
        state = make()
        found = {kind.called for kind in recognition.KINDS if kind.fits(state)}
        wanted = "RIFE 4" if name in RELEASES else name.strip()
        assert wanted in found and recognition.kind_of(state).called == wanted, found
    assert [name for name, make in UNKNOWN.items() if recognition.kind_of(make()) is not None] == []
