"""SemFi: adapters in Wan's transformer in three modes, experts, the pipeline, files."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

pytest.importorskip("diffusers")

from diffusers import WanTransformer3DModel

from vfi.errors import UserError
from vfi.models import semfi
from vfi.models.semfi.files import NAMES, adapter_state, our_name, semfi_name
from vfi.models.semfi.mixture import RANK, TARGETS
from vfi.networks.wan import I2V_14B

SIZES = {
    "num_attention_heads": 2, "attention_head_dim": 12, "in_channels": 36, "out_channels": 16, "text_dim": 16,
    "freq_dim": 16, "ffn_dim": 40, "num_layers": 2, "image_dim": 20, "added_kv_proj_dim": 24, "rope_max_seq_len": 32,
}  # fmt: skip


def plain(seed=0):
    torch.manual_seed(seed)
    return WanTransformer3DModel(**SIZES).eval()


def mixed(seed=0, std=0.1):
    """With adapters that change something, and their biases."""
    mixture = semfi.with_adapters(plain(seed))
    for parameter in mixture.adapter_parameters():
        torch.nn.init.normal_(parameter, std=std)
    return mixture.requires_grad_(False)


def inputs(batch=1):
    make = torch.Generator().manual_seed(1)
    return {
        "hidden_states": torch.randn(batch, 36, 2, 4, 6, generator=make),
        "timestep": torch.full((batch,), 700.0),
        "encoder_hidden_states": torch.randn(batch, 512, 16, generator=make),
        "encoder_hidden_states_image": torch.randn(batch, 10, 20, generator=make),
    }


def relative(values, wanted):
    return ((values - wanted).abs().max() / wanted.abs().max()).item()


def test_the_expert_is_the_nearest_and_the_smaller_of_two():
    wanted = {
        1: range(2, 8), 2: range(8, 14), 3: range(14, 26), 4: range(26, 50), 5: range(50, 74), 6: range(74, 200)
    }  # fmt: skip
    for expert, frames in wanted.items():
        assert {semfi.expert_for(n) for n in frames} == {expert}
    assert semfi.FRAME_COUNTS == (5, 9, 17, 33, 65, 81)
    assert semfi.expert_for(10, (4, 16)) == 1


def test_sizes_of_the_published_model():
    with torch.device("meta"):
        transformer = semfi.SemFiTransformer(**I2V_14B)
    parameters = transformer.adapter_parameters()
    assert sum(p.numel() for p in parameters) == 553_557_760
    assert len(parameters) == len(adapter_state(transformer)) == 11_200
    each = transformer.blocks[0].attn1.to_q.adapters
    assert len(each) == 7 and each[0].lora_A.weight.shape == (RANK, 5120)
    assert sum(
        p.numel() for name in TARGETS for p in transformer.blocks[3].get_submodule(name).adapters[2].parameters()
    ) == (1_976_992)


def test_fresh_adapters_change_nothing():
    base = plain()
    transformer = semfi.with_adapters(base)
    with torch.no_grad():
        torch.testing.assert_close(transformer(**inputs()).sample, base(**inputs()).sample, atol=1e-6, rtol=1e-6)
    assert transformer.blocks[0].attn1.to_q.weight.data_ptr() == base.blocks[0].attn1.to_q.weight.data_ptr()  # shared
    adapter = transformer.blocks[1].ffn.net[2].adapters[4]
    assert adapter.lora_A.weight.abs().max() > 0
    assert not any(p.any() for p in (adapter.lora_A.bias, adapter.lora_B.weight, adapter.lora_B.bias))


@pytest.mark.parametrize("frames", [5, 33, 100])
def test_modes_agree_with_each_other_and_with_merged_wan(frames):
    transformer, base = mixed(), plain()
    expert = semfi.expert_for(frames)
    state = base.state_dict()
    for block in range(2):
        for name in TARGETS:
            layer = transformer.blocks[block].get_submodule(name)
            for number in (0, expert):
                a, b = layer.adapters[number].lora_A, layer.adapters[number].lora_B
                key = f"blocks.{block}.{name}"
                state[f"{key}.weight"] += b.weight @ a.weight
                state[f"{key}.bias"] += b.weight @ a.bias + b.bias
    base.load_state_dict(state)
    with torch.no_grad():
        wanted = base(**inputs()).sample
        for mode in ("fused", "naive", "merged", "fused"):
            assert transformer.set_frames(frames, mode) == expert and (transformer.mode, transformer.expert) == (
                mode,
                expert,
            )
            assert relative(transformer(**inputs()).sample, wanted) < 1e-5, mode


def test_experts_differ_and_only_one_acts():
    transformer = mixed()
    results = []
    with torch.no_grad():
        for count in semfi.FRAME_COUNTS:
            transformer.set_frames(count)
            results.append(transformer(**inputs()).sample)
        for other in (2, 3, 4, 5, 6):
            for _, layer in transformer.mixtures():
                layer.adapters[other].lora_A.weight.fill_(float("nan"))
        transformer.set_frames(5, "fused")
        assert torch.equal(transformer(**inputs()).sample, results[0])  # the others are not read
    assert all(not torch.equal(results[0], result) for result in results[1:])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_merged_weights_come_back_to_the_last_bit(dtype):
    transformer = torch.nn.Module.to(mixed(std=1.0), dtype)
    before = {key: value.clone() for key, value in transformer.state_dict().items()}
    for frames in (5, 81, 17):
        transformer.set_frames(frames, "merged")
        assert not torch.equal(transformer.blocks[0].ffn.net[2].weight, before["blocks.0.ffn.net.2.weight"])
    transformer.set_frames(17, "fused")
    assert all(torch.equal(value, before[key]) for key, value in transformer.state_dict().items())


def test_saved_while_merged_it_is_not_merged(tmp_path):
    transformer = mixed()
    state = {key: value.clone() for key, value in transformer.state_dict().items()}
    transformer.set_frames(9, "merged")
    assert all(torch.equal(value, state[key]) for key, value in transformer.state_dict().items())
    merged = transformer.blocks[0].attn1.to_v.weight.clone()
    transformer.save_pretrained(tmp_path)
    assert transformer.mode == "merged" and torch.equal(transformer.blocks[0].attn1.to_v.weight, merged)
    again = semfi.SemFiTransformer.from_pretrained(tmp_path)
    with torch.no_grad():
        again.set_frames(9)
        torch.testing.assert_close(again(**inputs()).sample, transformer(**inputs()).sample, atol=1e-5, rtol=1e-4)
    assert torch.equal(again.blocks[0].attn1.to_v.weight, plain().blocks[0].attn1.to_v.weight)


def test_only_acting_adapters_have_gradients():
    transformer = mixed()
    for parameter in transformer.adapter_parameters():
        parameter.requires_grad_(True)
    transformer.set_frames(33)
    transformer(**inputs()).sample.square().mean().backward()
    for name, layer in transformer.mixtures():
        assert layer.weight.grad is None
        for number, adapter in enumerate(layer.adapters):
            has = [p.grad is not None for p in adapter.parameters()]
            assert all(has) if number in (0, 4) else not any(has), (name, number)


def test_compiles_without_graph_breaks():
    layer = semfi.MixtureLinear(12, 8, 6).requires_grad_(False)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    x = torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(0))
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), layer(x))


def test_loading_ends_the_merging():
    transformer, other = mixed(), mixed(1)
    transformer.set_frames(9, "merged")
    transformer.load_state_dict(other.state_dict())
    other.set_frames(9)
    with torch.no_grad():
        assert transformer.mode == "fused" and torch.equal(transformer(**inputs()).sample, other(**inputs()).sample)


def test_wrong_choices():
    with pytest.raises(ValueError, match="expected a rank of 1 or more and rising frame_counts"):
        semfi.SemFiTransformer(**SIZES, frame_counts=[9, 5])


def test_names_of_the_published_adapters():
    """11,200 of them at 14B; here 2 blocks."""
    names = [semfi_name(key) for key in adapter_state(mixed())]
    assert len(set(names)) == 2 * 10 * 7 * 4
    assert {"blocks.0.self_attn.lora_q.0.lora_A.weight", "blocks.1.cross_attn.lora_o.6.lora_B.bias",
            "blocks.0.lora_ffn_0.3.lora_A.bias", "blocks.1.lora_ffn_2.1.lora_B.weight"} <= set(names)  # fmt: skip
    assert [our_name(name) for name in names] == list(adapter_state(mixed()))
    assert our_name("blocks.0.self_attn.q.weight") is None and our_name("head.head.weight") is None


def test_semfi_ckpt(tmp_path):
    source, transformer = mixed(), mixed(1)
    torch.save({semfi_name(k): v for k, v in adapter_state(source).items()}, tmp_path / "semfi.ckpt")
    transformer.set_frames(9, "merged")
    semfi.load_adapters(transformer, tmp_path / "semfi.ckpt")
    assert transformer.mode == "merged"
    source.load_state_dict({**source.state_dict(), **{k: v for k, v in plain(1).state_dict().items()}})
    source.set_frames(9)
    with torch.no_grad():
        assert relative(transformer(**inputs()).sample, source(**inputs()).sample) < 1e-5
    semfi.save_adapters(source, tmp_path / "again.safetensors")
    again = load_file(tmp_path / "again.safetensors")
    assert set(again) == set(torch.load(tmp_path / "semfi.ckpt", weights_only=True))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda s: s.clear(), "expected adapters of SemFi in"),
        (lambda s: s.pop("blocks.0.lora_ffn_2.1.lora_B.weight"), "1 keys missing: blocks.0.ffn.net.2.adapters.1"),
        (lambda s: s.update({"blocks.0.self_attn.q.weight": torch.zeros(1)}), "alone in .*, got 1 others"),
        (lambda s: s.update({"blocks.0.lora_ffn_2.1.lora_B.weight": torch.zeros(3, 3)}), "of another shape"),
    ],
)
def test_wrong_adapters_are_one_sentence(change, sentence, tmp_path):
    transformer = mixed()
    state = {semfi_name(key): value for key, value in adapter_state(transformer).items()}
    change(state)
    state = state or {"blocks.0.self_attn.q.weight": torch.zeros(1)}
    save_file(state, tmp_path / "semfi.safetensors")
    with pytest.raises(UserError, match=sentence):
        semfi.load_adapters(transformer, tmp_path / "semfi.safetensors")


def test_peft_and_back(tmp_path):
    """PEFT itself loads what is exported, and gives what SemFi gives."""
    peft = pytest.importorskip("peft")
    transformer = mixed()
    folders = semfi.export_peft(transformer, tmp_path, "Wan2.1-I2V-14B-720P")
    assert [folder.name for folder in folders] == ["universal", *(f"expert_{n}" for n in semfi.FRAME_COUNTS)]
    assert json.loads((folders[0] / "adapter_config.json").read_text())["r"] == RANK
    model = peft.PeftModel.from_pretrained(plain(), folders[0], adapter_name="universal")
    model.load_adapter(folders[3], adapter_name="expert_17")
    model.base_model.set_adapter(["universal", "expert_17"])
    transformer.set_frames(17)
    with torch.no_grad():
        wanted = transformer(**inputs()).sample
        assert relative(model(**inputs()).sample, wanted) < 1e-5
        again = mixed(0, std=0.3)
        again.set_frames(17, "merged")
        semfi.import_peft(again, tmp_path)
        assert again.mode == "merged" and relative(again(**inputs()).sample, wanted) < 1e-5
        # PEFT's scale
        for folder in folders:
            config = json.loads((folder / "adapter_config.json").read_text())
            (folder / "adapter_config.json").write_text(json.dumps({**config, "lora_alpha": 4 * RANK}))
        model = peft.PeftModel.from_pretrained(plain(), folders[0], adapter_name="universal")
        model.load_adapter(folders[3], adapter_name="expert_17")
        model.base_model.set_adapter(["universal", "expert_17"])
        semfi.import_peft(again, tmp_path)
        assert relative(again(**inputs()).sample, model(**inputs()).sample) < 1e-5
    (tmp_path / "expert_9" / "adapter_model.safetensors").unlink()
    with pytest.raises(UserError, match=r"expected adapter_model.safetensors in the folders universal and expert_5"):
        semfi.import_peft(again, tmp_path)


def test_every_target_has_a_published_name():
    assert set(NAMES) == set(TARGETS)
