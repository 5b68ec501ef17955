"""Outlines of objects: polygons that their centre sees all of, among them ellipses, bars and blobs."""

import numpy as np


def outline(rng: np.random.Generator, radius: float) -> np.ndarray:
    """A random outline (N, 2) around (0, 0), sorted by angle, at most `radius` px away."""
    kind = rng.choice(("ellipse", "polygon", "bar", "blob"), p=(0.25, 0.3, 0.15, 0.3))
    if kind == "polygon":
        count = int(rng.integers(3, 9))
        angles = (np.arange(count) + rng.uniform(-0.3, 0.3, count)) * 2 * np.pi / count
        distances = rng.uniform(0.45, 1, count)
    elif kind == "bar":
        half = np.arctan(rng.uniform(0.08, 0.3))
        angles = np.array([-half, half, np.pi - half, np.pi + half])
        distances = np.ones(4)
    else:
        angles = np.arange(96) * 2 * np.pi / 96
        distances = _ellipse(rng, angles) if kind == "ellipse" else _blob(rng, angles)
    turned = angles + rng.uniform(0, 2 * np.pi)
    vertices = distances[:, None] * np.stack((np.cos(turned), np.sin(turned)), axis=1)
    result: np.ndarray = vertices * radius / np.linalg.norm(vertices, axis=1).max()
    return result


def _ellipse(rng: np.random.Generator, angles: np.ndarray) -> np.ndarray:
    result: np.ndarray = 1 / np.hypot(np.cos(angles), np.sin(angles) / rng.uniform(0.3, 1))
    return result


def _blob(rng: np.random.Generator, angles: np.ndarray) -> np.ndarray:
    waves = np.arange(2, 7)[:, None]
    sizes = rng.normal(size=waves.shape) / waves
    bumps = (sizes * np.sin(waves * angles + rng.uniform(0, 2 * np.pi, waves.shape))).sum(0)
    result: np.ndarray = 1 + 0.6 * bumps / np.abs(bumps).max()
    return result


def inwards(vertices: np.ndarray, height: int, width: int, density: float) -> np.ndarray:
    """How far inside the outline each texel is, along the line to the centre: (height, width) float32 px.

    Positive inside, negative outside. The centre is in the middle of the texture, which has `density` texels per px.
    """
    x = ((np.arange(width) - (width - 1) / 2) / density).astype(np.float32)
    y = ((np.arange(height) - (height - 1) / 2) / density).astype(np.float32)[:, None]
    angles = np.arctan2(vertices[:, 1], vertices[:, 0]) % (2 * np.pi)
    order = np.argsort(angles)
    start = vertices[order]
    edge = np.roll(start, -1, axis=0) - start
    # The line through an edge: normal . p = 1.
    normals = np.stack((edge[:, 1], -edge[:, 0]), axis=1)
    normals = (normals / (normals * start).sum(1, keepdims=True)).astype(np.float32)
    directions = np.linspace(0, 2 * np.pi, 4097)
    sectors = (np.searchsorted(angles[order], directions, side="right") - 1) % len(vertices)
    turn = (np.arctan2(y, x) * np.float32(4096 / (2 * np.pi))).astype(np.int32) % 4096
    sector = sectors[turn]
    nearness = normals[sector, 0] * x + normals[sector, 1] * y  # 1 on the outline
    distance = np.hypot(x, y)
    result: np.ndarray = distance / np.maximum(nearness, np.float32(1e-6)) - distance
    return result
