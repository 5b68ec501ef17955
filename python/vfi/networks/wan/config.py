"""Sizes of the published transformers, as arguments of WanTransformer3DModel; what is not named is its default."""

_IMAGE_TO_VIDEO = {"in_channels": 36, "image_dim": 1280}  # noise 16, mask 4, frames 16; features of CLIP

FUN_1_3B: dict[str, object] = {
    **_IMAGE_TO_VIDEO, "num_attention_heads": 12, "ffn_dim": 8960, "num_layers": 30, "added_kv_proj_dim": 1536,
}  # fmt: skip
I2V_14B: dict[str, object] = {
    **_IMAGE_TO_VIDEO, "num_attention_heads": 40, "ffn_dim": 13824, "num_layers": 40, "added_kv_proj_dim": 5120,
}  # fmt: skip
