"""How near a frame is to the true one. Data sets are reported with different kinds of SSIM."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vfi.files.opencv import opencv

_LUMA = np.array([0.299, 0.587, 0.114])  # of `skimage.color.rgb2yuv`
_WINDOW = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
_WINDOW /= _WINDOW.sum()


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
    cv2 = opencv()
    apart = cv2.subtract(result, truth, dtype=cv2.CV_64F)  # whole numbers, whose sums are exact
    return _psnr(float(np.vdot(apart, apart)) / truth.size, _limit(truth))


def psnr_y(result: np.ndarray, truth: np.ndarray) -> float:
    """PSNR in dB of the luma that RGB gives, unrounded, as the HD videos are reported (MEMC-Net, RIFE)."""
    return _psnr(float(np.mean((result @ _LUMA - truth @ _LUMA) ** 2)), _limit(truth))


def ssim_gaussian(result: np.ndarray, truth: np.ndarray) -> float:
    """SSIM with a Gaussian window of 11, sigma 1.5, per channel, where the window fits into (H, W, 3) pictures of one
    depth; NaN if it does nowhere. As skimage has it with gaussian_weights."""
    return _ssim(result, truth, _gaussian, edge=5)


def ssim_uniform(result: np.ndarray, truth: np.ndarray) -> float:
    """The same with a uniform window of 7x7 and sample covariance, skimage's default, as Xiph is reported (Niklaus and
    Liu, 2020)."""
    return _ssim(result, truth, _uniform, edge=3, samples=49)


def ssim_volume(result: np.ndarray, truth: np.ndarray) -> float:
    """SSIM of colours as a volume, as Vimeo90K and SNU-FILM are reported (RIFE, EBME: `ssim_matlab`).

    The Gaussian window of 11 with sigma 1.5 also runs over the channels; edges are replicated in all three directions.
    """
    return _ssim(result, truth, lambda picture: _gaussian(picture) @ _over_channels(picture.shape[2]), edge=0)


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
    "flolpips": "FloLPIPS",
    "flolpips_dis": "FloLPIPS by DIS",
    "flolpips_ebme": "FloLPIPS by EBME",
    "motion": "motion px",
}


def _ssim(
    result: np.ndarray, truth: np.ndarray, window: Callable[[np.ndarray], np.ndarray], edge: int, samples: int = 0
) -> float:
    """window: the mean around each pixel. edge: pixels at each border that do not count. samples: in a window, of which
    the covariance is that of a sample; 0: of a population."""
    if min(truth.shape[:2]) <= 2 * edge:
        return 1.0 if np.array_equal(result, truth) else float("nan")
    x, y = (picture / np.float64(_limit(truth)) for picture in (result, truth))
    mean_x, mean_y = window(x), window(y)
    product, squares = mean_x * mean_y, mean_x**2 + mean_y**2
    scale = samples / (samples - 1) if samples else 1.0
    covariance = scale * (window(x * y) - product)
    variances = scale * (window(x * x + y * y) - squares)
    c1, c2 = 0.01**2, 0.03**2
    ssim = (2 * product + c1) * (2 * covariance + c2) / ((squares + c1) * (variances + c2))
    height, width = truth.shape[:2]
    return float(ssim[edge : height - edge, edge : width - edge].mean())


def _gaussian(picture: np.ndarray) -> np.ndarray:
    """Of 11, sigma 1.5, in both directions, with replicated edges."""
    cv2 = opencv()
    return np.asarray(cv2.sepFilter2D(picture, cv2.CV_64F, _WINDOW, _WINDOW, borderType=cv2.BORDER_REPLICATE))


def _uniform(picture: np.ndarray) -> np.ndarray:
    """Of 7x7."""
    return np.asarray(opencv().blur(picture, (7, 7)))


def _over_channels(channels: int) -> np.ndarray:
    """The Gaussian window over channels, the first and the last replicated, as a matrix: (channels, channels)."""
    matrix = np.zeros((channels, channels))
    for to in range(channels):
        for tap, weight in enumerate(_WINDOW):
            matrix[min(max(to + tap - 5, 0), channels - 1), to] += weight
    return matrix


def _limit(truth: np.ndarray) -> int:
    return int(np.iinfo(truth.dtype).max)


def _psnr(error: float, limit: int) -> float:
    return float("inf") if error == 0 else 10 * float(np.log10(limit**2 / error))
