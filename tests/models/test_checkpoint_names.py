"""Names of tensors as tools write them: the network is found under them, or what is there is said."""

import itertools

import pytest
import torch

from vfi.errors import UserError
from vfi.files import checkpoints
from vfi.models import ebme, recognition, rife
from vfi.models.registry import MODELS, load_model
from vfi.models.rife4.family import FAMILY
from vfi.models.rife4.model import RIFE4

PREFIXES = ["", "module.", "module.module.", "flownet.", "model.", "_orig_mod.", "net.", "network.", "ema.",
            "_orig_mod.module.", "module._orig_mod.", "model.flownet.module."]  # fmt: skip
OPTIMIZER = {"state": {0: {"step": torch.zeros(()), "exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 0.1}]}
HOLDERS = {
    "nothing": lambda state: state,
    "state_dict": lambda state: {"state_dict": state},
    "model": lambda state: {"model": state, "epoch": 3},
    "ema": lambda state: {"ema": state},
    "two levels": lambda state: {"checkpoint": {"model": state}},
    "a training": lambda state: {"state_dict": state, "optimizer": OPTIMIZER, "args": {"lr": 0.1}, "step": 9},
}  # fmt: skip
NETWORKS = {
    "rife": lambda: rife.RIFE(rife.config.TINY),
    "rife 4": lambda: RIFE4(FAMILY[13].smaller()),
    "flow": ebme.BiFlowNet,
}


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.in_turn
def test_the_network_is_found(prefix, holder, tmp_path):
    path = tmp_path / "w.pth"
    for make in NETWORKS.values():
        state = make().state_dict()
        torch.save(HOLDERS[holder]({prefix + name: value for name, value in state.items()}), path)
        found = checkpoints.read(path)
        assert found.keys() == state.keys() and all(torch.equal(value, state[name]) for name, value in found.items())


def test_modules_that_were_compiled_one_by_one(tmp_path):
    """The prefix stands before any word of a name."""
    model = RIFE4(FAMILY[13].smaller()).eval()
    state = {name.replace("conv0.", "_orig_mod.conv0.", 1): value for name, value in model.state_dict().items()}
    assert any(not name.startswith("_orig_mod") and "_orig_mod" in name for name in state)
    torch.save(state, tmp_path / "w.pth")
    assert rife.load(tmp_path / "w.pth").state_dict().keys() == model.state_dict().keys()


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(PREFIXES, 2)))
def test_two_copies_are_refused(one, other, tmp_path):
    """Of one tensor, or of all: nobody knows which is meant."""
    path, state = tmp_path / "w.pth", RIFE4(FAMILY[13].smaller()).state_dict()
    name = "block2.convblock.1.beta"
    for twice in (state, {name: state[name]}):
        copies = {one + key: value for key, value in state.items()}
        torch.save(copies | {other + key: value + 1 for key, value in twice.items()}, path)
        with pytest.raises(UserError) as caught:
            rife.load(path)
        first = name if len(twice) == 1 else next(iter(state))
        said = f"expected one copy of each tensor in {path}, got two of {first}: {one}{first} and {other}{first}"
        assert str(caught.value) == said


@pytest.mark.parametrize("holders", [("model", "ema"), ("generator", "discriminator"), ("a", "b", "c")])
def test_several_networks_are_named(holders, tmp_path):
    state = RIFE4(FAMILY[13].smaller()).state_dict()
    torch.save({holder: state for holder in holders}, tmp_path / "w.pth")
    with pytest.raises(UserError, match=rf"got dict with {len(holders)} mappings side by side: {', '.join(holders)}$"):
        rife.load(tmp_path / "w.pth")


def test_words_that_are_no_wrapper_stay(tmp_path):
    """Also where some names begin with one."""
    for names in (("lin0.weight", "lin0.bias"), ("model.layer.0.weight", "embeddings.weight"), ("model", "net")):
        torch.save({name: torch.zeros(1) for name in names}, tmp_path / "w.pth")
        assert set(checkpoints.read(tmp_path / "w.pth")) == set(names)


def test_sentences_name_the_model_as_users_know_it(tmp_path):
    """And the file, never a class."""
    makes = {**NETWORKS, "sg-rife": lambda: load_sg_rife().network, "apr-vfi": load_apr}
    places = {"rife": "rife", "rife 4": "rife", "flow": "ebme-splat", "sg-rife": "sg-rife", "apr-vfi": "apr-vfi"}
    known = {*MODELS, *(kind.called for kind in recognition.KINDS)}
    path = tmp_path / "w.pth"
    for name, make in makes.items():
        state = make().state_dict()
        last = list(state)[-1]
        for value in (torch.zeros(7, 1, 2), torch.full_like(state[last], float("nan"))):
            torch.save({**state, last: value}, path)
            with pytest.raises(UserError) as caught:
                load_model(places[name], path)
            said = str(caught.value)
            fits = [f"{path} does not fit {each}: " for each in known]
            assert said.startswith((*fits, f"{path} is most like RIFE ")), said
            assert last in said or value.dim() == 3  # a small one is compared with a published one


def load_sg_rife():
    from tiny import tiny_sg_rife

    return tiny_sg_rife()


def load_apr():
    from vfi.models.apr_vfi import APRVFI, APRConfig

    return APRVFI(APRConfig.tiny())
