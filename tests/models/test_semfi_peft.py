"""Adapters that PEFT saved, read as PEFT computes them: every field of its configuration is honoured or refused."""

import dataclasses
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

pytest.importorskip("peft")
pytest.importorskip("diffusers")

import peft
from test_semfi import inputs, mixed, plain, relative

from vfi.errors import UserError
from vfi.models import semfi
from vfi.models.semfi.mixture import RANK, TARGETS
from vfi.models.semfi.peft_files import PEFT_CONFIG, PEFT_WEIGHTS, USED, WITHOUT_EFFECT, PeftConfig

FIELDS = {field.name for field in dataclasses.fields(peft.LoraConfig)}
FOLDERS = ("universal", *(f"expert_{count}" for count in semfi.FRAME_COUNTS))
REFUSED = {
    "use_dora": True,
    "use_qalora": True,
    "modules_to_save": ["proj_out"],
    "layer_replication": [[0, 1], [0, 2]],
    "target_parameters": ["weight"],
    "trainable_token_indices": [1, 2],
    "megatron_config": {"a": 1},
    "alora_invocation_tokens": [3],
    "velora_config": {"num_groups": 4},
    "monteclora_config": {"a": 1},
    "use_bdlora": {"a": 1},
    "arrow_config": {"a": 1},
    "kasa_config": {"a": 1},
}
HONOURED = {
    "r": {"r": 5, "lora_alpha": 5},
    "lora_alpha": {"lora_alpha": 3},
    "alpha_pattern": {"alpha_pattern": {"to_q": 40, r"blocks\.1\.ffn\.net\.2": 2, "attn": 1}},
    "rank_pattern": {"rank_pattern": {"to_v": 3, "attn1.to_out.0": 7}},
    "use_rslora": {"use_rslora": True, "rank_pattern": {"to_v": 4}, "alpha_pattern": {"to_v": 30}},
    "lora_bias": {"lora_bias": True},
    "target_modules": {"target_modules": ["to_q", "to_v"]},
    "exclude_modules": {"exclude_modules": ["attn2.to_k"]},
    "layers_to_transform": {"layers_to_transform": [1], "layers_pattern": "blocks"},
    "lora_dropout": {"lora_dropout": 0.5},
    "fan_in_fan_out": {"fan_in_fan_out": True},
    "gaussian": {"init_lora_weights": "gaussian"},
}


def ends():
    return sorted({name.split(".", 1)[1] if name.startswith("attn") else name for name in TARGETS})


def saved_by_peft(folder, **options):
    """An adapter in each folder, with weights of its own; the model with the first and the third expert acting."""
    config = peft.LoraConfig(**{"r": RANK, "lora_alpha": RANK, "target_modules": ends(), **options})
    model = peft.PeftModel(plain(), config, adapter_name=FOLDERS[0])
    for name in FOLDERS[1:]:
        model.add_adapter(name, config)
    torch.manual_seed(2)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(folder, safe_serialization=True)
    model.base_model.set_adapter([FOLDERS[0], "expert_17"])
    return model.eval()


@pytest.mark.parametrize("name", [
    name if name in ("alpha_pattern", "lora_bias") else pytest.param(name, marks=pytest.mark.slow) for name in HONOURED
])  # fmt: skip
def test_what_is_honoured_gives_what_peft_gives(name, tmp_path):
    model = saved_by_peft(tmp_path, **HONOURED[name])
    transformer = mixed()
    transformer.set_frames(17)
    semfi.import_peft(transformer, tmp_path)
    with torch.no_grad():
        wanted = model(**inputs()).sample
        assert relative(transformer(**inputs()).sample, wanted) < 1e-5
        assert relative(plain()(**inputs()).sample, wanted) > 1e-2


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    semfi.export_peft(mixed(), folder)
    return folder


@pytest.fixture
def exported(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "exported")


@pytest.fixture(scope="module")
def target():
    """What a wrong file changes nothing of."""
    return mixed(1)


def change(folder, **fields):
    path = folder / "expert_33" / PEFT_CONFIG
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_every_field_is_honoured_or_refused():
    """A new version of PEFT with another field fails here: decide on it."""
    assert set(REFUSED) <= FIELDS, "PEFT has dropped a field"
    assert USED | WITHOUT_EFFECT | set(REFUSED) == FIELDS and not (USED | WITHOUT_EFFECT) & set(REFUSED)


@pytest.mark.parametrize("name, value", [*REFUSED.items(), ("a_field_to_come", "on")])
def test_what_is_refused_is_named_and_changes_nothing(name, value, exported, target):
    change(exported, **{name: value})
    before = {key: tensor.clone() for key, tensor in target.state_dict().items()}
    with pytest.raises(UserError, match=f"^expected an adapter without {name} in .*expert_33.*, got "):
        semfi.import_peft(target, exported)
    assert all(torch.equal(before[key], tensor) for key, tensor in target.state_dict().items())


@pytest.mark.parametrize("name, value", [
    ("peft_type", "LOHA"), ("bias", "all"), ("bias", "lora_only"),
    *(("init_lora_weights", way) for way in ("pissa", "pissa_niter_4", "olora", "corda", "loftq", "lora_ga", "mica")),
])  # fmt: skip
def test_values_with_which_peft_computes_something_else_are_refused(name, value, exported, target):
    change(exported, **{name: value})
    with pytest.raises(UserError, match=f"^expected {name} .*, got '{value}'$"):
        semfi.import_peft(target, exported)


@pytest.mark.parametrize("fields", [
    {"r": None}, {"r": "many"}, {"lora_alpha": []}, {"alpha_pattern": [1]}, {"alpha_pattern": {"to_q": "x"}},
    {"rank_pattern": {"(": 3}},
], ids=str)  # fmt: skip
def test_a_configuration_of_something_else_is_one_sentence(fields, exported, target):
    change(exported, **fields)
    with pytest.raises(UserError, match=r"^expected PEFT's configuration of a LoRA, with r and lora_alpha, in .*"):
        semfi.import_peft(target, exported)


def test_every_value_of_peft_s_defaults_is_read(exported):
    config = peft.LoraConfig(r=RANK, lora_alpha=RANK, target_modules=ends(), lora_bias=True)
    config.save_pretrained(exported / "expert_33")
    assert PeftConfig(exported / "expert_33" / PEFT_CONFIG).scale("blocks.0.attn1.to_q", RANK) == 1


@pytest.mark.parametrize("edit, sentence", [
    (lambda s: s.pop("base_model.model.blocks.0.attn1.to_q.lora_B.weight"), "attn1.to_q in .*, got A.weight"),
    (lambda s: s.update({"base_model.model.proj_out.lora_A.weight": torch.zeros(1)}), "got 1 others, such as proj_out"),
    (lambda s: s.update({k: torch.cat([v, v]) for k, v in s.items() if "lora_A" in k}), "a rank of at most 16 beside"),
    (lambda s: s.update({k: v[:3] for k, v in s.items() if "lora_A" in k}), r"got \(\d+, 16\)"),
])  # fmt: skip
def test_wrong_tensors_are_one_sentence(edit, sentence, exported, target):
    path = exported / "universal" / PEFT_WEIGHTS
    state = load_file(path)
    edit(state)
    save_file(state, path)
    with pytest.raises(UserError, match=sentence):
        semfi.import_peft(target, exported)
