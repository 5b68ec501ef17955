"""How near a frame is to the true one. Data sets are reported with different kinds of SSIM."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vfi.files.opencv import opencv

_LUMA = np.array([0.299, 0.587, 0.114])  # of `skimage.color.rgb2yuv`
_WINDOW = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
_WINDOW /= _WINDOW.sum()
_REACH, _STRIP = 5, 64  # rows that a window sees on either side of its own; rows at once
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


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
    squares = round(cv2.norm(result, truth, cv2.NORM_L2SQR))  # a whole number, of which it takes a root and the square
    return _psnr(squares / truth.size, _limit(truth))


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
    return _ssim(result, truth, _gaussian_volume, edge=0)


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
    "stlpips": "ST-LPIPS",
    "flolpips": "FloLPIPS",
    "flolpips_dis": "FloLPIPS by DIS",
    "flolpips_ebme": "FloLPIPS by EBME",
    "motion": "motion px",
}


def _ssim(
    result: np.ndarray, truth: np.ndarray, window: Callable[[np.ndarray], np.ndarray], edge: int, samples: int = 0
) -> float:
    """In strips, which stay in the processor's cache.

    Args:
        window: the mean around each pixel, of _REACH pixels at most.
        edge: pixels at each border that do not count.
        samples: in a window, of which the covariance is that of a sample; 0: of a population.
    """
    height, width = truth.shape[:2]
    if min(height, width) <= 2 * edge:
        return 1.0 if np.array_equal(result, truth) else float("nan")
    total = 0.0
    for first in range(edge, height - edge, _STRIP):
        last = min(first + _STRIP, height - edge)
        seen = slice(max(first - _REACH, 0), last + _REACH)
        similar = _similar(result[seen], truth[seen], window, samples / (samples - 1) if samples else 1.0)
        total += float(similar[first - seen.start : last - seen.start, edge : width - edge].sum(dtype=np.float64))
    return total / (truth[edge : height - edge, edge : width - edge].size)


def _similar(
    result: np.ndarray, truth: np.ndarray, window: Callable[[np.ndarray], np.ndarray], scale: float
) -> np.ndarray:
    """SSIM of each value of pictures x and y, float32. scale: of covariances.

    By a = x + y and b = x - y, which is small where they are alike: 2xy = (a^2 - b^2) / 2, x^2 + y^2 = (a^2 + b^2) / 2,
    of means and of variances. The latter are of a less 255, which keeps their digits.
    """
    cv2, limit = opencv(), _limit(truth)
    a = cv2.addWeighted(result, 255 / limit, truth, 255 / limit, -255.0, dtype=cv2.CV_32F)
    b = cv2.addWeighted(result, 255 / limit, truth, -255 / limit, 0.0, dtype=cv2.CV_32F)
    mean_a, mean_b = window(a), window(b)
    variance_a, variance_b = window(np.square(a, out=a)), window(np.square(b, out=b))
    variance_a -= np.square(mean_a, out=a)
    variance_b -= np.square(mean_b, out=mean_b)
    variance_a += np.float32(2 * _C2 / scale)
    mean_a += np.float32(255)
    np.square(mean_a, out=mean_a)
    mean_a += np.float32(2 * _C1)
    above: np.ndarray = np.subtract(mean_a, mean_b, out=a)
    above *= np.subtract(variance_a, variance_b, out=b)
    mean_a += mean_b
    variance_a += variance_b
    mean_a *= variance_a
    above /= mean_a
    return above


def _gaussian(picture: np.ndarray) -> np.ndarray:
    """Of 11, sigma 1.5, in both directions, with replicated edges."""
    cv2 = opencv()
    return np.asarray(cv2.sepFilter2D(picture, cv2.CV_32F, _WINDOW, _WINDOW, borderType=cv2.BORDER_REPLICATE))


def _uniform(picture: np.ndarray) -> np.ndarray:
    """Of 7x7."""
    return np.asarray(opencv().blur(picture, (7, 7)))


def _gaussian_volume(picture: np.ndarray) -> np.ndarray:
    """The Gaussian also over the channels, the first and the last replicated."""
    return np.asarray(opencv().transform(_gaussian(picture), _over_channels(picture.shape[2])))


def _over_channels(channels: int) -> np.ndarray:
    """As a matrix, (channels, channels): of each output the weights."""
    matrix = np.zeros((channels, channels))
    for to in range(channels):
        for tap, weight in enumerate(_WINDOW):
            matrix[to, min(max(to + tap - 5, 0), channels - 1)] += weight
    return matrix


def _limit(truth: np.ndarray) -> int:
    return int(np.iinfo(truth.dtype).max)


def _psnr(error: float, limit: int) -> float:
    return float("inf") if error == 0 else 10 * float(np.log10(limit**2 / error))
