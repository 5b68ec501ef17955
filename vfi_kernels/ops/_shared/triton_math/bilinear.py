"""Bilinear sampling positions for Triton kernels: csrc/sampling/bilinear.h in Triton; the names are the same.

    x0 = x + floor(fx), lx = fx - floor(fx)    (the flow is split, not the position: no digits are lost at large x)
    rx = floor(fx) + 1 - fx                    (1 - lx to its own last bit: of fx = -1e-6, lx has lost most of it)
    corner (i, j) = pixel (x0 + i, y0 + j), weight = (i ? lx : rx) (j ? ly : ry)

A corner outside the image, or whose weight is exactly 0, is not used: 0 * inf never happens. A tensor comes as
(pointer, strides of batch, channel, row, column), so no layout needs a copy. A tile is BLOCK_C channels of BLOCK
pixels; positions are computed once per pixel.
"""

import triton
import triton.language as tl

FAR = tl.constexpr(2**30)  # farther than any image is wide; NaN and 1e30 are clamped to it before they become integers


@triton.jit
def scan_pixels(first, width, BLOCK: tl.constexpr):
    """Pixels (y, x) from number `first` on in scan order, BLOCK of them; first is int64, y and x are int32."""
    along = (first % width).to(tl.int32) + tl.arange(0, BLOCK)
    return (first // width).to(tl.int32) + along // width, along % width


@triton.jit
def block_pixels(blocks, width, BLOCK: tl.constexpr):
    """Sample b and the pixels (y, x) of this program, BLOCK in scan order out of `blocks` per sample.

    Rows at or past the height are the caller's to mask. Only a scalar is divided in 64 bits, so a plane may have more
    than 2^31 pixels.
    """
    program = tl.program_id(0).to(tl.int64)
    y, x = scan_pixels(program % blocks * BLOCK, width, BLOCK)
    return program // blocks, y, x


@triton.jit
def plane_offset(strides, b, channel, y, x):
    """Offset of pixels (y, x) of one channel, [BLOCK]."""
    return b * strides[0] + channel * strides[1] + y.to(tl.int64) * strides[2] + x.to(tl.int64) * strides[3]


@triton.jit
def tile_offset(strides, b, c, y, x):
    """Offset of channels c of pixels (y, x), [BLOCK_C, BLOCK]."""
    return plane_offset(strides, b, 0, y, x)[None, :] + c.to(tl.int64)[:, None] * strides[1]


@triton.jit
def load_plane(image, b, channel, y, x, mask, ACC: tl.constexpr):
    """image[b, channel] at pixels (y, x), 0 where masked, [BLOCK] in ACC."""
    return tl.load(image[0] + plane_offset(image[1], b, channel, y, x), mask, other=0).to(ACC)


@triton.jit
def store_plane(out, b, channel, y, x, mask, value):
    """out[b, channel] at pixels (y, x) = value, rounded to out's dtype."""
    tl.store(out[0] + plane_offset(out[1], b, channel, y, x), value.to(out[0].dtype.element_ty), mask)


@triton.jit
def load_tile(image, b, c, channels, y, x, mask, ACC: tl.constexpr):
    """image[b, c] at pixels (y, x), 0 where masked, [BLOCK_C, BLOCK] in ACC."""
    mask = mask[None, :] & (c < channels)[:, None]
    return tl.load(image[0] + tile_offset(image[1], b, c, y, x), mask, other=0).to(ACC)


@triton.jit
def store_tile(out, b, c, channels, y, x, mask, value):
    """out[b, c] at pixels (y, x) = value, rounded to out's dtype."""
    mask = mask[None, :] & (c < channels)[:, None]
    tl.store(out[0] + tile_offset(out[1], b, c, y, x), value.to(out[0].dtype.element_ty), mask)


@triton.jit
def axis(start, flow, size, PADDING: tl.constexpr):
    """base, fraction, 1 - fraction, slope of a coordinate; slope: d position / d flow, 1, -1 where the image lies
    mirrored, 0 where the position is clipped or not finite.

    A non-finite flow ends FAR away with PADDING "zeros", where no corner is inside; "border" clips it, NaN and -inf
    to 0, +inf to size - 1; with "reflection" it is coordinate 0.
    """
    numeric_flow = tl.where(flow == flow, flow, -FAR)
    numeric_flow = tl.minimum(tl.maximum(numeric_flow, -FAR), FAR)
    whole = tl.floor(numeric_flow)
    fraction = numeric_flow - whole
    up = fraction == 1  # -1e-30 + 1 rounds to 1: the position is the next pixel
    rest = tl.where(up, 1.0, whole + 1 - numeric_flow)
    base = start + whole.to(tl.int32) + up.to(tl.int32)
    fraction = tl.where(up, 0.0, fraction)
    if PADDING == "border":
        low = base < 0
        high = (base >= size - 1) & ~low
        slope = tl.where(~low & ~high & ((base > 0) | (fraction > 0)), 1.0, 0.0)
        base = tl.where(low, 0, tl.where(high, size - 1, base))
        fraction = tl.where(low | high, 0.0, fraction)
        rest = tl.where(low | high, 1.0, rest)
    elif PADDING == "reflection":
        base, fraction, rest, slope = mirrored(base, fraction, rest, tl.abs(flow) < FAR, size - 1)
    else:
        slope = tl.where(tl.abs(flow) < float("inf"), 1.0, 0.0)
    return base, fraction, rest, slope


@triton.jit
def mirrored(base, fraction, rest, near, last):
    """The coordinate base + fraction, taken to 0 ... last by mirroring, and its slope; 0 where it is not `near`."""
    period = tl.maximum(2 * last, 1)
    at = base % period
    at = tl.where(at < 0, at + period, at)
    back = at >= last
    rest = tl.where(fraction == 0, 1.0, rest)  # where floats are further apart than 1, it was 0
    slope = tl.where(back, -1.0, 1.0)
    fold = (fraction == 0) & ((at == 0) | (at == last))  # on an outer pixel both directions are alike
    near &= last > 0
    base = tl.where(near, tl.where(back, period - 1 - at, at), 0)
    turned = tl.where(back, rest, fraction)
    rest = tl.where(near, tl.where(back, fraction, rest), 1.0)
    return base, tl.where(near, turned, 0.0), rest, tl.where(near & ~fold, slope, 0.0)


@triton.jit
def position(flow, channel, b, y, x, height, width, live, PADDING: tl.constexpr, ACC: tl.constexpr):
    """x0, y0, lx, ly, rx, ry, slope_x, slope_y of where flow channels (channel, channel + 1) send the pixels (y, x)."""
    flow_x = load_plane(flow, b, channel, y, x, live, ACC)
    flow_y = load_plane(flow, b, channel + 1, y, x, live, ACC)
    return position_of(flow_x, flow_y, y, x, height, width, PADDING)


@triton.jit
def position_of(flow_x, flow_y, y, x, height, width, PADDING: tl.constexpr):
    """x0, y0, lx, ly, rx, ry, slope_x, slope_y of the pixels (y, x) moved by a flow that is loaded."""
    x0, lx, rx, slope_x = axis(x, flow_x, width, PADDING)
    y0, ly, ry, slope_y = axis(y, flow_y, height, PADDING)
    return x0, y0, lx, ly, rx, ry, slope_x, slope_y


@triton.jit
def corner(spot, i: tl.constexpr, j: tl.constexpr, height, width):
    """cx, cy, weight of corner (i, j) of a position, and whether it lies inside."""
    cx = spot[0] + i
    cy = spot[1] + j
    weight = (spot[2] if i else spot[4]) * (spot[3] if j else spot[5])
    return cx, cy, weight, (cx >= 0) & (cx < width) & (cy >= 0) & (cy < height)


@triton.jit
def weighted(weight, value):
    """weight * value, and 0 where the weight is 0 whatever the value, [BLOCK_C, BLOCK]."""
    return tl.where((weight != 0)[None, :], weight[None, :] * value, 0.0)


@triton.jit
def sample(image, b, c, channels, spot, height, width, live, ACC: tl.constexpr):
    """sum over the corners of weight * image[b, c], [BLOCK_C, BLOCK]; only used corners are read."""
    total = tl.zeros([c.shape[0], live.shape[0]], ACC)
    for k in tl.static_range(4):
        cx, cy, weight, inside = corner(spot, k % 2, k // 2, height, width)
        along = spot[2] if k % 2 else spot[4]
        across = spot[3] if k // 2 else spot[5]
        used = live & inside & (along != 0) & (across != 0)  # though the product may be 0, of 1e-30 and 1e-30
        total += weight[None, :] * load_tile(image, b, c, channels, cy, cx, used, ACC)
    return total


@triton.jit
def sample_slopes(image, b, c, channels, spot, height, width, live, ACC: tl.constexpr):
    """What `sample` gives, and its derivatives along x and y by a position of slope 1.

    d/dx = ry (v10 - v00) + ly (v11 - v01),  d/dy = rx (v01 - v00) + lx (v11 - v10)
    """
    lx, ly, rx, ry = spot[2], spot[3], spot[4], spot[5]
    v00, w00 = corner_value(image, b, c, channels, spot, 0, 0, height, width, live, ACC)
    v10, w10 = corner_value(image, b, c, channels, spot, 1, 0, height, width, live, ACC)
    v01, w01 = corner_value(image, b, c, channels, spot, 0, 1, height, width, live, ACC)
    v11, w11 = corner_value(image, b, c, channels, spot, 1, 1, height, width, live, ACC)
    value = weighted(w00, v00) + weighted(w10, v10) + weighted(w01, v01) + weighted(w11, v11)
    dx = weighted(ry, v10 - v00) + weighted(ly, v11 - v01)
    dy = weighted(rx, v01 - v00) + weighted(lx, v11 - v10)
    return value, dx, dy


@triton.jit
def slopes_read(spot, height, width):
    """Whether the derivatives along x and y read any pixel: one of two columns (rows), of a row (column) of weight."""
    x0, y0, lx, ly = spot[0], spot[1], spot[2], spot[3]
    along_x, along_y = (x0 >= -1) & (x0 < width), (y0 >= -1) & (y0 < height)
    column = along_x & ((x0 >= 0) | (lx != 0))
    row = along_y & ((y0 >= 0) | (ly != 0))
    return along_x & row, along_y & column


@triton.jit
def corner_value(image, b, c, channels, spot, i: tl.constexpr, j: tl.constexpr, height, width, live, ACC: tl.constexpr):
    """image[b, c] at corner (i, j), 0 outside; and the corner's weight."""
    cx, cy, weight, inside = corner(spot, i, j, height, width)
    return load_tile(image, b, c, channels, cy, cx, live & inside, ACC), weight
