"""What a checkpoint is, told from the names of its tensors: for a sentence where it is another than expected."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from vfi.errors import UserError


@dataclass(frozen=True)
class Kind:
    """A network that this package reads.

    Args:
        called: in sentences.
        place: where it is given, in sentences.
        has: patterns, each of which begins the name of a tensor.
        lacks: patterns that begin no name.
        sizes: of tensors that have to be there: name, axis, size.
    """

    called: str
    place: str
    has: tuple[str, ...]
    lacks: tuple[str, ...] = ()
    sizes: tuple[tuple[str, int, int], ...] = ()

    def fits(self, state: Mapping[str, Tensor]) -> bool:
        names = "\n".join(state)
        found = [re.search(rf"^(?:{pattern})", names, re.MULTILINE) is not None for pattern in self.has + self.lacks]
        return found == [True] * len(self.has) + [False] * len(self.lacks) and all(
            name in state and tuple(state[name].shape)[axis : axis + 1] == (size,) for name, axis, size in self.sizes
        )


FIRST = "block0.conv0.0.0.weight"  # of RIFE
LATENTS = "estimator.features.0.0.weight"  # of RDVFI
ECCV = (r"block0\.conv0\.", r"contextnet\.")
KINDS = (
    Kind("SG-RIFE", "the model sg-rife", (*ECCV, r"dino_compressor\.")),
    Kind("RIFEm", "the model rife", ECCV, (r"dino_compressor\.",), ((FIRST, 1, 7),)),
    Kind("RIFE (ECCV 2022)", "the model rife", ECCV, (r"dino_compressor\.",)),
    Kind("RIFE 4", "the model rife", (r"block\d\.conv0\.",), (r"contextnet\.", r"unet\.")),
    Kind("vfi-s", "the model vfi-s", (r"encoder\.levels\.", r"colours\.body\.")),
    Kind("EBME's flow network", "the model ebme-splat", (r"feat_pyramid\.conv_stage1\.", r"flow_estimator\.")),
    Kind("APR-VFI", "the model apr-vfi", (r"flow\.feat_pyramid\.", r"router\.|synthesis\.")),
    Kind("RDVFI-D", "the model rdvfi-d", (r"estimator\.", r"synthesis\."), sizes=((LATENTS, 1, 16),)),
    Kind("RDVFI-U", "the model rdvfi-u", (r"estimator\.", r"synthesis\."), sizes=((LATENTS, 1, 4),)),
    Kind("SemFi's adapters", "the model semfi", (r"blocks\.\d+\..*(lora_.*\.lora_A|adapters\.\d+\.lora_A)\.",)),
    Kind("DINOv3", "`dino` of sg-rife", (r"blocks\.0\.attn\.qkv\.", r"blocks\.0\.ls1\.")),
    Kind("DINOv3", "`dino` of sg-rife", (r"(model\.)?layer\.0\.", r"embeddings\.patch_embeddings\.")),
    Kind("Wan 2.1's transformer", "`backbone`", (r"patch_embedding\.", r"blocks\.0\.(attn1|self_attn)\.")),
    Kind("Wan 2.1's VAE", "`backbone`", (r"encoder\.conv(1|_in)\.", r"decoder\.conv(1|_in)\.")),
    Kind("Wan 2.1's text encoder", "`backbone`", (r"token_embedding\.|shared\.", r"(encoder\.)?blocks?\.0\.")),
    Kind("Wan 2.1's image encoder", "`backbone`", (r"visual\.|(vision_model\.)?embeddings\.position_embedding\.",)),
    Kind("AlexNet", "LPIPS", (r"features\.0\.", r"features\.3\.", r"classifier\.")),
    Kind("LPIPS' linear layers", "LPIPS", (r"lin0\.", r"lin4\."), (r"net\.",)),
    Kind("ST-LPIPS", "`stlpips` of `vfi evaluate`", (r"net\.slice1\.0\.", r"lin4\.model\.")),
    Kind("the Inception-v3 of FID", "SFIBench", (r"Mixed_5b\.",)),
)


def kind_of(state: Mapping[str, Tensor]) -> Kind | None:
    """The first that fits; None: it is none of them, or of too little of one to tell."""
    return next((kind for kind in KINDS if kind.fits(state)), None)


def expect(state: Mapping[str, Tensor], path: str | Path, *wanted: str) -> None:
    """
    Args:
        wanted: the kinds that may be, by `called`; others have their own sentences for what is none of all.

    Raises:
        UserError: if the tensors are those of another kind, which it names.
    """
    kind = kind_of(state)
    if kind is not None and kind.called not in wanted:
        called = kind.called if kind.called != "RIFE 4" else f"RIFE {'/'.join(releases_of(state))}"
        raise UserError(f"{path} looks like weights of {called}, for {kind.place}; expected those of {wanted[0]}")


def releases_of(state: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Of RIFE 4, the names of those that have these tensors, or are most like them."""
    from vfi.models.rife4.model import recognised  # which imports the network

    return recognised(state).names
