"""Which lane and register hold which element of a matrix: written from the tables of the PTX ISA (mma.sync,
ldmatrix), for arrays of fragments [register, lane, part of the register]. An independent model: the simulator has
its own."""

import numpy as np

GROUP, MEMBER = np.arange(32) // 4, np.arange(32) % 4


def a_places(depth, bits):
    """(rows, columns), each [element, lane], of A, 16 x depth."""
    if bits == 32:  # tf32
        rows = [GROUP, GROUP + 8] * (depth // 4)
        columns = [MEMBER, MEMBER] + [MEMBER + 4, MEMBER + 4] * (depth == 8)
    else:
        count = depth // 2
        rows = [GROUP if i < 2 or 4 <= i < 6 else GROUP + 8 for i in range(count)]
        columns = [MEMBER * 2 + (i & 1) + (8 if i >= 4 else 0) for i in range(count)]
    return np.array(rows), np.array(columns)


def b_places(depth, bits):
    """Of B, depth x 8."""
    if bits == 32:
        rows = [MEMBER, MEMBER + 4][: depth // 4]
    else:
        rows = [MEMBER * 2 + (i & 1) + (8 if i >= 2 else 0) for i in range(depth // 4)]
    return np.array(rows), np.array([GROUP] * len(rows))


def c_places():
    """Of C and D, 16 x 8."""
    rows = [GROUP if i < 2 else GROUP + 8 for i in range(4)]
    return np.array(rows), np.array([MEMBER * 2 + (i & 1) for i in range(4)])


def taken(matrix, places):
    """Fragments as words [register, lane]."""
    elements = matrix[places]  # [element, lane]
    if elements.dtype.itemsize == 4:
        return np.ascontiguousarray(elements).view(np.uint32)
    pairs = elements.reshape(-1, 2, 32).transpose(0, 2, 1)
    return np.ascontiguousarray(pairs).view(np.uint32)[..., 0]


def given(words, places, shape, dtype):
    """The matrix of fragments."""
    matrix = np.zeros(shape, dtype)
    if np.dtype(dtype).itemsize == 4:
        matrix[places] = words.view(dtype)
    else:
        matrix[places] = words.view(dtype).reshape(-1, 32, 2).transpose(0, 2, 1).reshape(-1, 32)
    return matrix


def matrix_words(tiles, transposed):
    """What ldmatrix gives of 8 x 8 tiles of 16 bits: [matrix, lane]."""
    words = []
    for tile in tiles:
        seen = tile.T if transposed else tile
        words.append(
            [
                int(seen[lane // 4, 2 * (lane % 4)]) | int(seen[lane // 4, 2 * (lane % 4) + 1]) << 16
                for lane in range(32)
            ]
        )
    return np.array(words, np.uint32)
