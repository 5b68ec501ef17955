"""A stage begins with the weights of the one before: what files say of themselves, and what is refused."""

import pytest
import torch
from tiny import tiny_rife, tiny_sg_rife

from vfi.commands import main
from vfi.errors import UserError
from vfi.files import checkpoints
from vfi.models.registry import load_objective
from vfi.models.sg_rife.model import SGRIFE
from vfi.training import Job, train

QUICK = {"data": "synthetic:2", "batch": 2, "crop": 64, "steps": 1}


def trained(folder, model, stage, weights=None, **options):
    torch.manual_seed(0)
    objective = load_objective(model, weights, tiny=weights is None or model == "sg-rife", **options)
    train(objective, Job(model, stage, output=folder, quiet=True, **QUICK))
    return str(folder / "weights.safetensors")


def test_files_say_what_they_are_of(tmp_path):
    first = trained(tmp_path / "1", "apr-vfi", 1)
    second = trained(tmp_path / "2", "apr-vfi", 2, first)
    assert checkpoints.notes(tmp_path / "1" / "weights.safetensors") == {"model": "apr-vfi", "stage": "1"}
    assert checkpoints.notes(tmp_path / "2" / "weights.safetensors") == {"model": "apr-vfi", "stage": "2"}
    trained(tmp_path / "3", "apr-vfi", 3, second)
    trained(tmp_path / "again", "apr-vfi", 2, second)
    sentence = "^expected weights of stage 2 of apr-vfi to begin stage 3 with, got .*/1/.*, of stage 1 of apr-vfi$"
    with pytest.raises(UserError, match=sentence):
        trained(tmp_path / "x", "apr-vfi", 3, first)
    assert not (tmp_path / "x").exists()


def test_stages_of_sg_rife(tmp_path):
    """Its second is refused without adapters: of RIFE's own file, of a training of RIFE, and of fresh ones."""
    published = tmp_path / "flownet.pkl"
    torch.save(tiny_rife().network.state_dict(), published)
    of_rife = trained(tmp_path / "rife", "rife", 1)
    for weights, sentence in (
        (str(published), "^stage 2 begins with weights of stage 1, got none with adapters$"),
        (of_rife, "^expected weights of stage 1 of sg-rife to begin stage 2 with, got .*, of stage 1 of rife$"),
        (None, "^stage 2 begins with weights of stage 1, got none with adapters$"),
    ):
        with pytest.raises(UserError, match=sentence):
            trained(tmp_path / "x", "sg-rife", 2, weights)
    first = trained(tmp_path / "1", "sg-rife", 1, of_rife)
    trained(tmp_path / "2", "sg-rife", 2, first)


def test_a_file_that_says_nothing_is_remarked_on(tmp_path, capsys):
    published = tmp_path / "flownet.pkl"
    torch.save(tiny_sg_rife().network.state_dict(), published)
    words = ["train", "--model", "sg-rife", "--tiny", "--weights", str(published), "--data", "synthetic:2"]
    words += ["--batch", "2", "--crop", "64", "--steps", "1"]
    assert main.main([*words, "--stage", "2", "-o", str(tmp_path / "2")]) == 0
    said = f"stage 2 begins with weights of stage 1 of sg-rife; {published} does not say what it is of"
    assert said in capsys.readouterr().out.splitlines()
    assert main.main([*words, "--stage", "1", "-o", str(tmp_path / "1")]) == 0
    assert "does not say" not in capsys.readouterr().out


@pytest.mark.parametrize(("variant", "weight"), [("rife", 0.01), ("rife_m", 0.005)])
def test_the_weight_of_distillation(tmp_path, variant, weight):
    assert load_objective("rife", None, True, variant=variant).weights["distillation"] == weight
    assert load_objective("rife", None, True, variant=variant, distillation=0.002).weights["distillation"] == 0.002
    with pytest.raises(UserError, match="distillation is for the variants rife and rife_m, which have a teacher"):
        load_objective("rife", None, True, variant="4.25", distillation=0.002)


def test_adapters_begin_as_he_says():
    """Standard deviation sqrt(2 / (outputs of a group times taps)), no bias, and the same output as RIFE's."""
    torch.manual_seed(0)
    network = SGRIFE()
    checked = 0
    for part in (network.dino_compressor, network.dino_refiner):
        for layer in part.modules():
            if isinstance(layer, torch.nn.Conv2d):
                fan = layer.out_channels // layer.groups * layer.weight[0, 0].numel()
                if layer.groups > 1:
                    fan = layer.out_channels * layer.weight[0, 0].numel()  # torch counts all outputs
                assert layer.weight.std().item() == pytest.approx((2 / fan) ** 0.5, rel=0.1), layer
                assert not layer.bias.any()
                checked += 1
    assert checked == 18
