"""Mixture-of-LoRA in Wan's transformer: beside each of ten linear layers of a block one adapter for every number of
frames, and one for each of a few numbers."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from accelerate import init_empty_weights
from diffusers import (
    ModelMixin,  # noqa: F401  (by which diffusers knows what it loads from this module)
    WanTransformer3DModel,
)
from diffusers.configuration_utils import register_to_config
from diffusers.models.modeling_utils import no_init_weights
from torch import Tensor, nn

import vfi_kernels as vk
from vfi.errors import ArgumentError
from vfi.models.semfi.options import FRAME_COUNTS
from vfi.options import converted, whole

RANK = 16
TARGETS = (
    *(f"{attention}.{name}" for attention in ("attn1", "attn2") for name in ("to_q", "to_k", "to_v", "to_out.0")),
    "ffn.net.0.proj",
    "ffn.net.2",
)  # of each block; not the keys and values of the image
MODES = ("fused", "merged", "naive")


def expert_for(frames: int, counts: Sequence[int] = FRAME_COUNTS) -> int:
    """Which adapter is for `frames` frames, both ends included: 1 for the first of `counts`, and so on.

    The nearest count decides, the smaller of two as near.

    Raises:
        ArgumentError: if frames is no whole number of 1 or more.
    """
    whole("frames", frames, 1)
    return 1 + min(range(len(counts)), key=lambda i: (abs(frames - counts[i]), counts[i]))


class Adapter(nn.Module):
    """(B A x + B a) + b, with biases as published. Fresh, it is 0."""

    def __init__(self, inputs: int, outputs: int, rank: int, **where: Any) -> None:
        super().__init__()
        self.lora_A = nn.Linear(inputs, rank, **where)
        self.lora_B = nn.Linear(rank, outputs, **where)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.kaiming_uniform_(self.lora_A.weight, a=5**0.5)
        for zero in (self.lora_A.bias, self.lora_B.weight, self.lora_B.bias):
            nn.init.zeros_(zero)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.lora_B(self.lora_A(x))
        return result

    def change(self) -> tuple[Tensor, Tensor]:
        """What it adds to weight and bias, in float32 or wider."""
        a, b = self.lora_A, self.lora_B
        wide = torch.promote_types(a.weight.dtype, torch.float32)
        up = b.weight.to(wide)
        return up @ a.weight.to(wide), up @ a.bias.to(wide) + b.bias.to(wide)


class MixtureLinear(nn.Linear):
    """A linear layer with adapters: number 0 always acts, and one of the others, `expert`.

    Attributes:
        expert: 1 for the first of the others.
        mode: "fused": both as one product of rank 2 r, `vfi_kernels.mixture_lora`; "naive": each adapter by itself,
            those that do not act times 0; "merged": both are in weight and bias, or, of a layer without one, in
            `merged_bias`.
    """

    def __init__(self, inputs: int, outputs: int, experts: int, rank: int = RANK, bias: bool = True) -> None:
        counts = {"inputs": inputs, "outputs": outputs, "experts": experts, "rank": rank}
        for name, count in counts.items():
            whole(name, count, 1)
        super().__init__(inputs, outputs, bias=bias)
        self.adapters = nn.ModuleList(Adapter(inputs, outputs, rank) for _ in range(1 + experts))
        self.expert, self.mode = 1, "fused"
        self._kept: tuple[Tensor, ...] | None = None  # the layer's own weight and bias, while others are in place
        self.merged_bias: Tensor | None
        self.register_buffer("merged_bias", None, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.mode == "merged":
            return F.linear(x, self.weight, self.merged_bias if self.bias is None else self.bias)
        if self.mode == "naive":
            y = F.linear(x, self.weight, self.bias)
            for number, adapter in enumerate(self.adapters):
                y = y + float(number in (0, self.expert)) * adapter(x)
            return y
        active = [cast(Adapter, self.adapters[number]) for number in (0, self.expert)]
        parts = [
            torch.stack([getattr(getattr(one, name), kind) for one in active])
            for name, kind in (("lora_A", "weight"), ("lora_B", "weight"), ("lora_A", "bias"), ("lora_B", "bias"))
        ]
        a, b, a_bias, b_bias = parts
        return vk.mixture_lora(x, self.weight, self.bias, a, b, a_bias, b_bias, 1)

    def _save_to_state_dict(self, destination: dict[str, Tensor], prefix: str, keep_vars: bool) -> None:
        """The layer's own weight, never one that adapters were merged into: these stand beside it."""
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self._kept is not None:
            for name, kept in zip(("weight", "bias"), self._kept):
                destination[prefix + name] = kept.to(self.weight.device)

    def _load_from_state_dict(self, *arguments: Any) -> None:
        """Merged weights end here: neither they nor the adapters in them are what is loaded."""
        if self.mode == "merged":
            self.choose(self.expert, "fused")
        super()._load_from_state_dict(*arguments)

    @torch.no_grad()
    def choose(self, expert: int, mode: str) -> None:
        """Chooses; a weight that adapters were merged into is first what it was, to the last bit.

        Raises:
            ArgumentError: if there is no such expert or mode; the layer stays as it is.
        """
        number = converted(int, expert)
        if mode not in MODES or number is None or not 1 <= number < len(self.adapters):
            raise ArgumentError(
                f"MixtureLinear: expected mode {', '.join(MODES)} and expert in 1 to {len(self.adapters) - 1}, "
                f"got {mode!r} and {expert!r}"
            )
        places = [t for t in (self.weight, self.bias) if t is not None]
        own = self._kept or tuple(t.detach() for t in places)
        if mode == "merged":
            merged, self.merged_bias = self._merged(own, expert)
            if self._kept is None:
                own = tuple(t.to("cpu", copy=True) for t in own)
            self._kept = own
        else:
            merged, self._kept, self.merged_bias = own, None, None
        for place, value in zip(places, merged):
            place.copy_(value)
        self.expert, self.mode = expert, mode

    def _merged(self, own: tuple[Tensor, ...], expert: int) -> tuple[tuple[Tensor, ...], Tensor | None]:
        """The layer's own weight and bias with what two adapters add; the bias by itself where the layer has none."""
        acting = [cast(Adapter, self.adapters[number]) for number in (0, expert)]
        changes = [first + second for first, second in zip(*(adapter.change() for adapter in acting))]
        merged = tuple((t.to(change.device, change.dtype) + change).to(t.dtype) for t, change in zip(own, changes))
        return merged, changes[1].to(self.weight.dtype) if len(own) == 1 else None


class SemFiTransformer(WanTransformer3DModel):
    """Wan's transformer with a Mixture-of-LoRA: diffusers' arguments, and

    Args:
        rank: of each adapter.
        frame_counts: the numbers of frames, both ends included, that have an adapter of their own; rising.

    Source: SemFi, Semantic Frame Interpolation with Mixture-of-LoRA, section 3.2.
    """

    @register_to_config
    def __init__(
        self,
        patch_size: tuple[int, ...] = (1, 2, 2),
        num_attention_heads: int = 40,
        attention_head_dim: int = 128,
        in_channels: int = 16,
        out_channels: int = 16,
        text_dim: int = 4096,
        freq_dim: int = 256,
        ffn_dim: int = 13824,
        num_layers: int = 40,
        cross_attn_norm: bool = True,
        qk_norm: str | None = "rms_norm_across_heads",
        eps: float = 1e-6,
        image_dim: int | None = None,
        added_kv_proj_dim: int | None = None,
        rope_max_seq_len: int = 1024,
        pos_embed_seq_len: int | None = None,
        rank: int = RANK,
        frame_counts: Sequence[int] = FRAME_COUNTS,
    ) -> None:
        super().__init__(
            tuple(patch_size), num_attention_heads, attention_head_dim, in_channels, out_channels, text_dim, freq_dim,
            ffn_dim, num_layers, cross_attn_norm, qk_norm, eps, image_dim, added_kv_proj_dim, rope_max_seq_len,
            pos_embed_seq_len,
        )  # fmt: skip
        if rank < 1 or not frame_counts or list(frame_counts) != sorted(set(frame_counts)):
            raise ArgumentError(
                f"SemFiTransformer: expected a rank of 1 or more and rising frame_counts, got {rank} and {frame_counts}"
            )
        for block in self.blocks:
            for name in TARGETS:
                plain = block.get_submodule(name)
                sizes = plain.in_features, plain.out_features
                block.set_submodule(name, MixtureLinear(*sizes, len(frame_counts), rank, plain.bias is not None))

    def mixtures(self) -> Iterator[tuple[str, MixtureLinear]]:
        """The layers with adapters, by name."""
        for name, layer in self.named_modules():
            if isinstance(layer, MixtureLinear):
                yield name, layer

    @property
    def mode(self) -> str:
        return next(self.mixtures())[1].mode

    @property
    def expert(self) -> int:
        return next(self.mixtures())[1].expert

    def set_frames(self, frames: int, mode: str | None = None) -> int:
        """Has the expert for `frames` frames act, in `mode` (None: as it is), and returns its number."""
        expert, mode = expert_for(frames, self.config.frame_counts), mode or self.mode
        if (expert, mode) != (self.expert, self.mode):
            for _, layer in self.mixtures():
                layer.choose(expert, mode)
        return expert

    def reset_adapters(self) -> None:
        """Fresh ones, which change nothing."""
        for _, layer in self.mixtures():
            for adapter in layer.adapters.children():
                cast(Adapter, adapter).reset_parameters()

    def adapter_parameters(self) -> list[nn.Parameter]:
        return [parameter for _, layer in self.mixtures() for parameter in layer.adapters.parameters()]


def with_adapters(
    transformer: WanTransformer3DModel, rank: int = RANK, frame_counts: Sequence[int] = FRAME_COUNTS
) -> SemFiTransformer:
    """Wan's transformer with fresh adapters, which change nothing; its parameters are shared, not copied."""
    whole("rank", rank, 1)
    for count in frame_counts:
        whole("frame_counts", count, 1)
    config: Mapping[str, object] = transformer.config
    names = {key: value for key, value in config.items() if not key.startswith("_")}
    with init_empty_weights(include_buffers=False), no_init_weights():
        adapted = SemFiTransformer(**names, rank=rank, frame_counts=tuple(frame_counts))
    left = adapted.load_state_dict(transformer.state_dict(), strict=False, assign=True)
    if left.unexpected_keys or any(".adapters." not in key for key in left.missing_keys):
        raise ArgumentError("with_adapters: expected a WanTransformer3DModel without adapters")
    for _, layer in adapted.mixtures():
        weight = layer.weight
        layer.adapters = layer.adapters.to(weight.dtype).to_empty(device=weight.device)
        for adapter in layer.adapters.children():
            if isinstance(adapter, Adapter):
                adapter.reset_parameters()
    result: SemFiTransformer = adapted.train(transformer.training)
    return result
