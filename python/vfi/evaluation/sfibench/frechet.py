"""The Frechet distance between two sets of features, each as a normal distribution."""

import torch
from torch import Tensor

from vfi.errors import ArgumentError


class Moments:
    """Mean and covariance of features that come in parts, in float64."""

    def __init__(self) -> None:
        self.count = 0
        self.total: Tensor | None = None
        self.products: Tensor | None = None

    def add(self, features: Tensor) -> None:
        """features: (N, D)."""
        x = features.double()
        if self.total is None or self.products is None:
            self.total, self.products = x.new_zeros(x.shape[1]), x.new_zeros(x.shape[1], x.shape[1])
        self.count += len(x)
        self.total += x.sum(0)
        self.products += x.T @ x

    def normal(self, unbiased: bool = True) -> tuple[Tensor, Tensor]:
        """Mean (D,) and covariance (D, D), of a sample, or of all there are."""
        if self.total is None or self.products is None or self.count < 2:
            raise ArgumentError(f"expected at least 2 features, got {self.count}")
        mean = self.total / self.count
        return mean, (self.products - self.count * torch.outer(mean, mean)) / (self.count - int(unbiased))


def distance(first: Moments, second: Moments, unbiased: bool = True) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1^(1/2) C2 C1^(1/2))^(1/2)); 0 for equal sets.

    The square root is the one of C1 C2 in the usual form, of a symmetric matrix with the same eigenvalues.

    Args:
        unbiased: covariances of a sample, as in pytorch-fid; else of all there are, as in cd-fvd.

    Source: Heusel et al., GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium, 2017.
    """
    (mean1, cov1), (mean2, cov2) = first.normal(unbiased), second.normal(unbiased)
    values, vectors = torch.linalg.eigh(cov1)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    inner = root @ cov2 @ root
    shared = torch.linalg.eigvalsh((inner + inner.T) / 2).clamp(min=0).sqrt().sum()
    apart = (mean1 - mean2).square().sum() + cov1.trace() + cov2.trace() - 2 * shared
    return float(apart.clamp(min=0))
