"""How near a frame is to the true one. Data sets are reported with different kinds of SSIM."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vfi.errors import require

_LUMA = np.array([0.299, 0.587, 0.114])  # of `skimage.color.rgb2yuv`


@dataclass(frozen=True)
class Quality:
    psnr: float  # dB, infinite for equal frames
    ssim: float  # 1 for equal frames

    def __str__(self) -> str:
        return f"PSNR {self.psnr:.2f} dB, SSIM {self.ssim:.4f}"


def compare(result: np.ndarray, truth: np.ndarray) -> Quality:
    """PSNR and SSIM (Gaussian window, sigma 1.5) of two (H, W, 3) pictures of one size and depth."""
    return Quality(psnr(result, truth), ssim_gaussian(result, truth))


def psnr(result: np.ndarray, truth: np.ndarray) -> float:
    """In dB, of all channels together; infinite for equal pictures (H, W, 3) of one depth."""
    return _psnr(result.astype(np.float64), truth.astype(np.float64), _limit(truth))


def psnr_y(result: np.ndarray, truth: np.ndarray) -> float:
    """PSNR in dB of the luma that RGB gives, unrounded, as the HD videos are reported (MEMC-Net, RIFE)."""
    return _psnr(result @ _LUMA, truth @ _LUMA, _limit(truth))


def ssim_gaussian(result: np.ndarray, truth: np.ndarray) -> float:
    """skimage's SSIM with a Gaussian window of 11, sigma 1.5, per channel; NaN if the window does not fit in."""
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return _ssim_by_skimage(result, truth, 11, settings)


def ssim_uniform(result: np.ndarray, truth: np.ndarray) -> float:
    """skimage's SSIM with a uniform window of 7x7 and sample covariance, per channel, as Xiph is reported (Niklaus and
    Liu, 2020)."""
    return _ssim_by_skimage(result, truth, 7, {})


def ssim_volume(result: np.ndarray, truth: np.ndarray) -> float:
    """SSIM of colours as a volume, as Vimeo90K and SNU-FILM are reported (RIFE, EBME: `ssim_matlab`).

    The Gaussian window of 11 with sigma 1.5 also runs over the channels; edges are replicated in all three directions.
    """
    x, y = (picture.astype(np.float64) / _limit(truth) for picture in (result, truth))
    mean_x, mean_y, square_x, square_y, product = map(_gaussian_volume, (x, y, x * x, y * y, x * y))
    variances = square_x - mean_x**2 + square_y - mean_y**2
    covariance = product - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    ssim = (2 * mean_x * mean_y + c1) * (2 * covariance + c2) / ((mean_x**2 + mean_y**2 + c1) * (variances + c2))
    return float(ssim.mean())


Measure = Callable[[np.ndarray, np.ndarray], float]  # a picture (H, W, 3), and the true one
# By what scores are called in files; and what in tables.
MEASURES: dict[str, Measure] = {
    "psnr": psnr,
    "psnr_y": psnr_y,
    "ssim_gaussian": ssim_gaussian,
    "ssim_uniform": ssim_uniform,
    "ssim_volume": ssim_volume,
}
TITLES = {
    "psnr": "PSNR dB",
    "psnr_y": "PSNR Y dB",
    "ssim_gaussian": "SSIM gaussian",
    "ssim_uniform": "SSIM uniform",
    "ssim_volume": "SSIM volume",
    "lpips": "LPIPS",
}


def _ssim_by_skimage(result: np.ndarray, truth: np.ndarray, window: int, settings: dict[str, bool | float]) -> float:
    # The window must fit into the picture.
    if min(truth.shape[:2]) < window:
        return 1.0 if np.array_equal(result, truth) else float("nan")
    similarity = require("skimage.metrics").structural_similarity
    return float(similarity(result, truth, channel_axis=2, data_range=_limit(truth), **settings))


def _limit(truth: np.ndarray) -> int:
    return int(np.iinfo(truth.dtype).max)


def _psnr(result: np.ndarray, truth: np.ndarray, limit: int) -> float:
    error = float(np.mean((result - truth) ** 2))
    return float("inf") if error == 0 else 10 * float(np.log10(limit**2 / error))


def _gaussian_volume(volume: np.ndarray) -> np.ndarray:
    """Filters (H, W, C) in all three directions, 5 elements to either side, with replicated edges."""
    result: np.ndarray = require("scipy.ndimage").gaussian_filter(volume, 1.5, mode="nearest", radius=5)
    return result
