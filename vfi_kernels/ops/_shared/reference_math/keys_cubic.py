"""Keys' cubic convolution along keyframes in plain PyTorch: csrc/trajectories/keys_cubic.h, trajectory.h for tensors.

    u = (tau - first) / step,  i = floor(u) in 0 .. K - 2,  s = u - i,  r = 1 - s
    value = a s r^2 f[i-1] + ((1 + 2s) r^2 - a s^2 r) f[i] + (s^2 (3 - 2s) - a s r^2) f[i+1] + a s^2 r f[i+2]

(Keys 1981, eq. 4, in Hermite's form: at a knot all weights but one are exactly 0.) At the ends f[-1] and f[K] are
linear combinations of keyframes: 3 f[0] - 3 f[1] + f[2] (keys), 2 f[0] - f[1] (linear), f[0] (replicate).
K = 1 is constant, K = 2 with keys and linear ends the straight line. A keyframe of weight 0 is not used.
"""

from typing import NamedTuple

import torch
from torch import Tensor

PHANTOM = {"keys": (3, -3, 1), "linear": (2, -1), "replicate": (1,)}


class Curve(NamedTuple):
    """The knots first, first + step ..., and the rules between and beyond them."""

    first: float
    step: float
    a: float
    boundary: str
    extrapolate: bool


def weights(curve: Curve, taus: Tensor, count: int, order: int = 0) -> Tensor:
    """Weight of every keyframe at taus (B, T, H, W), or its derivative of `order` per unit of tau: (B, T, K, H, W)."""
    if count == 1:
        return torch.full_like(taus, 1.0 if order == 0 else 0.0).unsqueeze(2)
    u = (taus - curve.first) / curve.step
    moves = torch.ones_like(u, dtype=torch.bool) if curve.extrapolate else (u >= 0) & (u <= count - 1)
    if not curve.extrapolate:
        u = u.clamp(0, count - 1)
    i = torch.where(u.isnan(), 0, u).detach().floor().clamp(0, count - 2)
    s = u - i
    if count == 2 and curve.boundary != "replicate":
        linear_weights = [(1 - s, s), (-torch.ones_like(s), torch.ones_like(s)), (torch.zeros_like(s),) * 2][order]
        dense = torch.stack(linear_weights, 2)
    else:
        dense = _folded(i, _taps(s, curve.a, order), count, PHANTOM[curve.boundary])
    result = dense / curve.step**order
    return result if order == 0 else torch.where(moves.unsqueeze(2), result, 0)


def _finite_weights(curve: Curve, taus: Tensor, count: int, order: int) -> Tensor:
    """`weights`, 0 at taus where they are not finite; these have no second derivative either."""
    usable = weights(curve, taus.detach(), count, order).isfinite().all(2)
    usable_weights = weights(curve, torch.where(usable, taus, curve.first), count, order)
    return torch.where(usable.unsqueeze(2), usable_weights, 0)


def _folded(i: Tensor, taps: tuple[Tensor, ...], count: int, phantom: tuple[int, ...]) -> Tensor:
    """The weights of f[i-1] ... f[i+2] at their places among K, those of f[-1] and f[K] as ones of keyframes."""
    at = torch.arange(-1, count + 1, device=i.device, dtype=i.dtype).view(-1, 1, 1)
    zero = i.new_zeros(())
    dense = torch.stack([torch.where(i.unsqueeze(2) + m == at, taps[m + 1].unsqueeze(2), zero) for m in range(-1, 3)])
    dense = dense.sum(0)
    before, after = dense[:, :, :1], dense[:, :, -1:]
    start = i.new_tensor([*phantom, *(0,) * count])[:count].view(-1, 1, 1)
    end = start.flip(0)
    folded = torch.where(start != 0, start * before, zero) + torch.where(end != 0, end * after, zero)
    return dense[:, :, 1:-1] + folded


def _taps(s: Tensor, a: float, order: int) -> tuple[Tensor, ...]:
    """The weights of f[i-1] ... f[i+2], or their derivatives along s."""
    r = 1 - s
    if order == 0:
        before, after, here, there = a * s * r * r, a * s * s * r, (1 + 2 * s) * r * r, s * s * (3 - 2 * s)
    elif order == 1:
        before, after, here, there = a * r * (1 - 3 * s), a * s * (2 - 3 * s), -6 * s * r, 6 * s * r
    else:
        before, after, here, there = a * (6 * s - 4), a * (2 - 6 * s), 12 * s - 6, 6 - 12 * s
    return before, here - after, there - before, after


def combine(weight: Tensor, keyframes: Tensor) -> Tensor:
    """sum over k of weight (B, T, K, 1 or H, 1 or W) times keyframes (B, K, 2, H, W): (B, T, 2, H, W)."""
    b, t, count = weight.shape[:3]
    total = keyframes.new_zeros((b, t, *keyframes.shape[2:]))
    for k in range(count):
        w = weight[:, :, k, None]
        total = total + torch.where(w != 0, w * keyframes[:, k, None], 0)
    return total


def resize(planes: Tensor, size: tuple[int, int]) -> Tensor:
    """F.interpolate(bilinear, align_corners=False) of flow (B, K, 2, h, w), its vectors scaled by W / w and H / h."""
    h, w = planes.shape[3:]
    if (h, w) == tuple(size) or planes.numel() == 0:
        return planes if (h, w) == tuple(size) else planes.new_zeros((*planes.shape[:3], *size))
    y0, y1, ly = _positions(h, size[0], planes)
    x0, x1, lx = _positions(w, size[1], planes)
    ly = ly[:, None]
    rows = _between(planes.index_select(3, y0), planes.index_select(3, y1), ly)
    resized = _between(rows.index_select(4, x0), rows.index_select(4, x1), lx)
    return resized * _scale(planes, size)


def resize_adjoint(g: Tensor, size: tuple[int, int]) -> Tensor:
    """The transpose of `resize`: (B, K, 2, H, W) -> (B, K, 2, h, w)."""
    height, width = g.shape[3:]
    h, w = size
    if (h, w) == (height, width) or g.numel() == 0:
        return g if (h, w) == (height, width) else g.new_zeros((*g.shape[:3], h, w))
    y0, y1, ly = _positions(h, height, g)
    x0, x1, lx = _positions(w, width, g)
    ly = ly[:, None]
    g = g * _scale(g.new_empty((0, 0, 2, h, w)), (height, width))
    columns = g.new_zeros((*g.shape[:4], w)).index_add(4, x0, (1 - lx) * g).index_add(4, x1, _part(lx, g))
    rows = g.new_zeros((*g.shape[:3], h, w))
    return rows.index_add(3, y0, (1 - ly) * columns).index_add(3, y1, _part(ly, columns))


def _part(fraction: Tensor, g: Tensor) -> Tensor:
    """fraction g, and 0 where the neighbour is not used."""
    return torch.where(fraction == 0, 0, fraction * g)


def _between(first: Tensor, second: Tensor, fraction: Tensor) -> Tensor:
    return torch.where(fraction == 0, first, (1 - fraction) * first + fraction * second)


def _positions(size: int, out_size: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Both neighbours and the fraction of every output pixel: exactly those of ((2 x + 1) size - out) / (2 out)."""
    x = torch.arange(out_size, device=like.device)
    numerator = ((2 * x + 1) * size - out_size).clamp_min(0)
    first = torch.div(numerator, 2 * out_size, rounding_mode="floor")
    fraction = (numerator - first * 2 * out_size).to(like.dtype) / (2 * out_size)
    fraction = torch.where(first >= size - 1, 0, fraction)
    first = first.clamp_max(size - 1)
    return first, (first + 1).clamp_max(size - 1), fraction


def _scale(planes: Tensor, size: tuple[int, int]) -> Tensor:
    h, w = planes.shape[3:]
    return planes.new_tensor([size[1] / max(w, 1), size[0] / max(h, 1)]).view(2, 1, 1)


def flows(curve: Curve, keyframes: Tensor, taus: Tensor, size: tuple[int, int], order: int = 0) -> Tensor:
    """keyframes (B, K, 2, h, w) at taus (B, T, 1 or H, 1 or W): (B, T, 2, H, W)."""
    return combine(weights(curve, taus, keyframes.shape[1], order), resize(keyframes, size))


def flows_grad(
    g: Tensor, curve: Curve, keyframes: Tensor, taus: Tensor, size: tuple[int, int], order: int, need_taus: bool
) -> tuple[Tensor, Tensor | None]:
    """Gradients of `flows` for g (B, T, 2, H, W). A tau whose weights are not finite adds nothing to the keyframes', a
    pixel whose derivative along tau is not finite nothing to that of tau."""
    weight = _finite_weights(curve, taus, keyframes.shape[1], order)
    used = weight != 0
    along = [torch.where(used[:, :, k, None], weight[:, :, k, None] * g, 0).sum(1) for k in range(keyframes.shape[1])]
    grad_keyframes = resize_adjoint(torch.stack(along, 1), (keyframes.shape[3], keyframes.shape[4]))
    if not need_taus:
        return grad_keyframes, None
    velocity = combine(_finite_weights(curve, taus, keyframes.shape[1], order + 1), resize(keyframes, size))
    usable = weights(curve, taus.detach(), keyframes.shape[1], order + 1).isfinite().all(2).unsqueeze(2)
    usable_velocity = usable & velocity.isfinite()
    terms = torch.where(usable_velocity, g * torch.where(usable_velocity, velocity, 0), 0).sum(2)
    shared = taus.shape[2:] != terms.shape[2:]
    return grad_keyframes, terms.sum((2, 3), keepdim=True) if shared else terms
