"""How far a result may be from the float64 oracle."""

from unittest.mock import patch

import torch
from torch import Tensor

from vfi_kernels import use_backend
from vfi_kernels.ops._shared.reference_math import splatting
from vfi_kernels.testing import map_tensors, tensors

# One rounding to the result's dtype, plus float32 sums over a few dozen terms.
ROUNDING = {torch.float64: 1e-12, torch.float32: 4e-6, torch.float16: 2**-10, torch.bfloat16: 2**-7}


def coarsest(arguments) -> torch.dtype:
    """The least precise dtype among the arguments."""
    return max((t.dtype for t in tensors(arguments)), key=ROUNDING.__getitem__)


def assert_near(got: Tensor, expected: Tensor, slack: float = 1.0, dtype: torch.dtype | None = None) -> None:
    """|got - expected| <= rounding of `dtype` * (1 + largest finite |expected|), NaN and inf in the same places; or 0
    where the oracle says that the op may give it."""
    if hasattr(expected, "or_zero"):
        expected = torch.where(expected.or_zero & (got == 0).to(expected.device), 0, expected)
    finite = expected[expected.isfinite()].abs()
    scale = 1 + (finite.max().item() if finite.numel() else 0)
    bound = ROUNDING[dtype or got.dtype] * slack
    torch.testing.assert_close(got.double(), expected.double(), rtol=bound, atol=bound * scale, equal_nan=True)


def widen(arguments):
    """The same numbers in float64: the oracle must not suffer from the dtype under test."""
    return map_tensors(lambda t: t.detach().double(), arguments)


def forward(call, arguments) -> list[Tensor]:
    return tensors(call(*arguments))


def gradients(call, arguments, cotangents) -> list[Tensor]:
    """Gradient of sum(out * cotangent) for every tensor argument."""
    return with_gradients(call, arguments, lambda outs: cotangents)[1]


def with_gradients(call, arguments, cotangents_of) -> tuple[list[Tensor], list[Tensor]]:
    """The results, and the gradients for what `cotangents_of` makes of the results."""
    leaves = map_tensors(lambda t: t.detach().clone(memory_format=torch.preserve_format).requires_grad_(), arguments)
    outs = tensors(call(*leaves))
    cotangents = [c.to(o.dtype) for c, o in zip(cotangents_of(outs), outs)]
    return [out.detach() for out in outs], list(torch.autograd.grad(outs, tensors(leaves), cotangents))


def oracle_forward(call, arguments) -> list[Tensor]:
    with use_backend("reference"):
        return forward(call, widen(arguments))


class Asked(dict):
    """Remembers whether it was read."""

    asked = False

    def __getitem__(self, key):
        self.asked = True
        return super().__getitem__(key)


def oracle_gradients(call, arguments, cotangents) -> list[Tensor]:
    return oracle_results(call, arguments, lambda outs: [c.double() for c in cotangents])[1]


def oracle_results(call, arguments, cotangents_of) -> tuple[list[Tensor], list[Tensor]]:
    """Results and gradients, by one run. Where the splats may give 0 because a float32 would be mostly rounding
    (csrc/splatting/splat_rules.h), an element of `or_zero` is true: the rule is asked in float64 with float32's
    rounding and a tenth more."""
    wide = widen(arguments)
    usual = Asked(splatting.DOUBT)
    with use_backend("reference"), patch.object(splatting, "DOUBT", usual):
        outs, expected = with_gradients(call, wide, cotangents_of)
        if usual.asked and any(t.dtype == torch.float32 for t in tensors(arguments)):
            rounding = 1.1 * splatting.NOISE[torch.float32] / splatting.NOISE[torch.float64]
            usual[torch.float64] *= rounding
            for t, zeroed in zip(expected, with_gradients(call, wide, cotangents_of)[1]):
                t.or_zero = (zeroed == 0) & (t != 0)
    return outs, expected


def make_cotangents(call, arguments) -> list[Tensor]:
    return cotangents_for(oracle_forward(call, arguments))


def cotangents_for(outs: list[Tensor]) -> list[Tensor]:
    """Fixed pseudo-random cotangents; where an output is not finite (log-weight of a hole) it gets 0."""
    generator = torch.Generator().manual_seed(7)
    cotangents = []
    for out in outs:
        # Eighths: exact in every dtype.
        noise = torch.randn(out.shape, generator=generator, dtype=torch.float64).mul(8).round() / 8
        cotangents.append(torch.where(out.isfinite(), noise.to(out.device), 0))
    return cotangents
