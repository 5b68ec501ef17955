"""How near a frame is to the true one."""

from dataclasses import dataclass

import numpy as np

from vfi_models.errors import require


@dataclass(frozen=True)
class Quality:
    psnr: float  # dB, infinite for equal frames
    ssim: float  # 1 for equal frames

    def __str__(self) -> str:
        return f"PSNR {self.psnr:.2f} dB, SSIM {self.ssim:.4f}"


def compare(result: np.ndarray, truth: np.ndarray) -> Quality:
    """PSNR and SSIM (Gaussian window, sigma 1.5) of two (H, W, 3) pictures of one size and depth."""
    metrics = require("skimage.metrics")
    limit = int(np.iinfo(truth.dtype).max)
    error = float(np.mean((result.astype(np.float64) - truth) ** 2))
    psnr = float("inf") if error == 0 else 10 * float(np.log10(limit**2 / error))
    # The window of 11 pixels must fit into the picture.
    if min(truth.shape[:2]) < 11:
        return Quality(psnr, 1.0 if error == 0 else float("nan"))
    ssim = metrics.structural_similarity(
        result, truth, channel_axis=2, data_range=limit, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    return Quality(psnr, float(ssim))
