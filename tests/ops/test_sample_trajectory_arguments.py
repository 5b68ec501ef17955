"""The arguments of sample_trajectory: numbers, arrays, knots far from zero, and wrong ones."""

import functools

import numpy as np
import pytest
import torch
from ops.keyframes import ALONG, IMAGE, keyframes_like

import vfi_kernels as vk


def test_errors_are_one_sentence(backend):
    keyframes = keyframes_like(4)
    wrong = {
        r"keyframe_flows of shape \(B, K, 2, H, W\) with K >= 1, got \(2, 4, 3, 4\)": (keyframes[:, :, 0], [0.5], {}),
        r"taus of shape \(T,\), \(B, T\) or \(B, T, H, W\) with B = 2 and \(H, W\) = \(3, 4\), got \(3, 5\)": (
            keyframes, torch.zeros(3, 5), {},
        ),
        r"boundary 'keys', 'linear' or 'replicate', got 'wrap'": (keyframes, [0.5], {"boundary": "wrap"}),
        r"4 knots, one per keyframe, got \[0, 1, 2\]": (keyframes, [0.5], {"knots": [0, 1, 2]}),
        r"4 knots, one per keyframe, got 'abcd'": (keyframes, [0.5], {"knots": "abcd"}),
        r"4 knots, one per keyframe, got 1.0": (keyframes, [0.5], {"knots": 1.0}),
        r"knots that increase in equal steps, got \[nan": (keyframes, [0.5], {"knots": [torch.nan] * 4}),
        r"knots that increase .*, got \[0, 1, nan, 3\]": (keyframes, [0.5], {"knots": [0, 1, torch.nan, 3]}),
        r"knots that increase .*, got \[0, 1, 2, inf\]": (keyframes, [0.5], {"knots": [0, 1, 2, torch.inf]}),
        r"a to be a finite number, got 'x'": (keyframes, [0.5], {"a": "x"}),
        r"a to be a finite number, got nan": (keyframes, [0.5], {"a": torch.nan}),
        r"a to be a finite number, got None": (keyframes, [0.5], {"a": None}),
        r"boundary 'keys', 'linear' or 'replicate', got NoneType": (keyframes, [0.5], {"boundary": None}),
        r"extrapolate to be True or False, got 'no'": (keyframes, [0.5], {"extrapolate": "no"}),
        r"derivative to be True or False, got 1": (keyframes, [0.5], {"derivative": 1}),
        r"taus to be a tensor or numbers, got array\(\['a'\], dtype='<U1'\)$": (keyframes, np.array(["a"]), {}),
        r"taus to be a tensor or numbers, got array\(.{,40}$": (keyframes, np.ones(99) * 1j, {}),
        r"taus to be a tensor or numbers, got None": (keyframes, None, {}),
        r"knots that increase in equal steps, got \[0, 1, 3, 4\]": (keyframes, [0.5], {"knots": [0, 1, 3, 4]}),
        r"knots that increase in equal steps, got \[3.0, 2.0, 1.0, 0.0\]": (
            keyframes, [0.5], {"knots": torch.tensor([3.0, 2.0, 1.0, 0.0])},
        ),
        r"taus to be a tensor or numbers, got \['a'\]": (keyframes, ["a"], {}),
        r"taus of dtype float64, float32, float16 or bfloat16, got int64": (keyframes, torch.tensor([0, 1]), {}),
    }  # fmt: skip
    for sentence, (flows, taus, options) in wrong.items():
        with pytest.raises(RuntimeError, match=f"^sample_trajectory: expected {sentence}"):
            vk.sample_trajectory(flows, taus, **options)


@pytest.mark.parametrize("kind", [list, np.array, lambda taus: torch.tensor(taus, dtype=torch.float64)])
def test_knots_far_from_zero(kind, backend):
    """Seconds since 1970, of which float32 knows every 128th."""
    keyframes, knots = keyframes_like(4, torch.float32, (4, 6)), [1.7e9 + 0.25 * n for n in range(4)]
    image, near = IMAGE.float(), [0.0, 0.1, 0.5, 0.6]
    taus = kind([1.7e9 + t for t in near])
    for op in (
        vk.sample_trajectory,
        functools.partial(vk.sample_trajectory, derivative=True),
        functools.partial(vk.trajectory_warp, image),
        functools.partial(vk.trajectory_splat, image, mode="average"),
    ):
        expected = op(keyframes, near, knots=[0.25 * n for n in range(4)])
        torch.testing.assert_close(op(keyframes, taus, knots=knots), expected, rtol=1e-4, atol=1e-4)


def test_arrays_are_taken_as_numbers_are(backend):
    keyframes, each = keyframes_like(4, torch.float32), np.array([[0.1, 0.2, 0.9], [0.3, 0.4, 1.0]])
    expected = vk.sample_trajectory(keyframes, torch.from_numpy(each).float())
    for dtype in (np.float64, np.float32):
        result = vk.sample_trajectory(keyframes, each.astype(dtype))
        assert result.dtype == torch.float32
        torch.testing.assert_close(result, expected)
    assert torch.equal(vk.sample_trajectory(keyframes, np.array([0, 1])), vk.sample_trajectory(keyframes, [0.0, 1.0]))
    assert torch.equal(vk.sample_trajectory(keyframes, np.float32(0.5)), vk.sample_trajectory(keyframes, 0.5))


def test_numbers_in_one_graph():
    """Also where the compiler takes them for symbols."""
    keyframes = keyframes_like(3, torch.float32)

    def sample(tau):
        both = vk.sample_trajectory(keyframes, [tau, 0.2], knots=[-1, 0, 1])
        return both + vk.sample_trajectory(keyframes, tau)

    compiled = torch.compile(sample, fullgraph=True, backend="aot_eager")
    for tau in (0.1, 0.25, 0.7):
        torch.testing.assert_close(compiled(tau), sample(tau))


@pytest.mark.parametrize("op", ["warp", "splat"])
def test_shapes_in_errors_are_those_that_were_given(op, backend):
    with pytest.raises(
        RuntimeError, match=r"^trajectory_\w+: expected keyframe_flows with B = 2 as \w+ has, got \(1, 4, 2, 12, 8\)"
    ):
        ALONG[op](torch.zeros(1, 4, 2, 12, 8), [0.5])
    wrong = {"warp": {"padding_mode": None}, "splat": {"holes": None}}[op]
    with pytest.raises(RuntimeError, match=r"^trajectory_\w+: expected (padding_mode|holes) '.*, got NoneType"):
        ALONG[op](keyframes_like(4, size=(4, 6)), [0.5], **wrong)
