"""How near a frame is to the true one. Data sets are reported with different kinds of SSIM."""

from dataclasses import dataclass

import numpy as np

from vfi.errors import require


@dataclass(frozen=True)
class Quality:
    psnr: float  # dB, infinite for equal frames
    ssim: float  # 1 for equal frames

    def __str__(self) -> str:
        return f"PSNR {self.psnr:.2f} dB, SSIM {self.ssim:.4f}"


def compare(result: np.ndarray, truth: np.ndarray) -> Quality:
    """PSNR and SSIM (Gaussian window, sigma 1.5) of two (H, W, 3) pictures of one size and depth."""
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return _compare_by_skimage(result, truth, 11, settings)


def compare_uniform(result: np.ndarray, truth: np.ndarray) -> Quality:
    """PSNR and SSIM (uniform window of 7x7, sample covariance), as Xiph is reported (Niklaus and Liu, 2020)."""
    return _compare_by_skimage(result, truth, 7, {})


def compare_volume(result: np.ndarray, truth: np.ndarray) -> Quality:
    """PSNR and SSIM of colours as a volume, as Vimeo90K and SNU-FILM are reported (RIFE, EBME: `ssim_matlab`).

    The Gaussian window of 11 with sigma 1.5 also runs over the channels; edges are replicated in all three directions.
    """
    limit = int(np.iinfo(truth.dtype).max)
    x, y = (picture.astype(np.float64) / limit for picture in (result, truth))
    mean_x, mean_y, square_x, square_y, product = map(_gaussian_volume, (x, y, x * x, y * y, x * y))
    variances = square_x - mean_x**2 + square_y - mean_y**2
    covariance = product - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    ssim = (2 * mean_x * mean_y + c1) * (2 * covariance + c2) / ((mean_x**2 + mean_y**2 + c1) * (variances + c2))
    return Quality(_psnr(result, truth), float(ssim.mean()))


def _compare_by_skimage(
    result: np.ndarray, truth: np.ndarray, window: int, settings: dict[str, bool | float]
) -> Quality:
    metrics = require("skimage.metrics")
    psnr = _psnr(result, truth)
    # The window must fit into the picture.
    if min(truth.shape[:2]) < window:
        return Quality(psnr, 1.0 if psnr == float("inf") else float("nan"))
    limit = int(np.iinfo(truth.dtype).max)
    return Quality(
        psnr, float(metrics.structural_similarity(result, truth, channel_axis=2, data_range=limit, **settings))
    )


def _psnr(result: np.ndarray, truth: np.ndarray) -> float:
    limit = int(np.iinfo(truth.dtype).max)
    error = float(np.mean((result.astype(np.float64) - truth) ** 2))
    return float("inf") if error == 0 else 10 * float(np.log10(limit**2 / error))


def _gaussian_volume(volume: np.ndarray) -> np.ndarray:
    """Filters (H, W, C) in all three directions, 5 elements to either side, with replicated edges."""
    result: np.ndarray = require("scipy.ndimage").gaussian_filter(volume, 1.5, mode="nearest", radius=5)
    return result
