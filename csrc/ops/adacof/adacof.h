// Adaptive collaboration of flows: F F samples of the image for every pixel, with n = k F + l, d the dilation,
//
//   out[b, c, y, x] = sum over k, l < F of w[b, n, y, x] I_c(y + d k + alpha[b, n, y, x], x + d l + beta[b, n, y, x])
//   I_c(Y + f, X + e) = sum over i, j in {0, 1} of fy_j fx_i image[b, c, clip(Y + [f] + j), clip(X + [e] + i)]
//
// where [f] cuts f towards 0 and fy = (1 - (f - [f]), f - [f]): a negative fraction extrapolates. Rows and columns are
// clipped each by itself; where both of a pair are one pixel, its weight is 1. A weight of exactly 0 reads nothing. A tap
// of which an offset is not finite adds nothing. Gradients, with g = grad_out[b, c, y, x] and v_ji the four pixels:
//
//   grad_image[v_ji]    += w fy_j fx_i g
//   grad_w[b, n, y, x]     = sum over c of g I_c
//   grad_alpha[b, n, y, x] = w sum over c of g sum_i fx_i (v_1i - v_0i)      0 where the rows are one; beta the same
//
// Source: Lee et al., AdaCoF, CVPR 2020, eq. 3 and 4; the interpolation is that of the code that was published with it.
// Derived in docs/derivations.md#adacof.
#pragma once

#include "cpu/cpu_dispatch.h"
#include "sampling/sampling.h"

namespace vfi {

namespace VFI_LEVEL {

// The axis of position x + f in `size` pixels, of which one or two are read. l is negative where f and its fraction are.
template <class A>
VFI_HOST_DEVICE Axis<A> truncated_axis(A f, int32_t x, int32_t size) {
  A clamped = f > A(-kFar) ? f : A(-kFar);
  clamped = clamped < A(kFar) ? clamped : A(kFar);
  const int32_t whole = static_cast<int32_t>(clamped);
  const A l = clamped - static_cast<A>(whole);
  const bool finite = f - f == A(0);
  Axis<A> a{x + whole, l, A(1) - l, finite, finite, A(finite)};
  if (a.at < 0 || a.at >= size - 1) {
    a.at = a.at < 0 ? 0 : size - 1;
    a.l = A(0), a.r = A(1);
    a.in1 = false, a.slope = A(0);
  }
  return a;
}

}  // namespace VFI_LEVEL

// Contiguous tensors, each of a type of its own.
struct AdacofArgs {
  const void* image;    // [B, C, in_H, in_W]
  const void* weights;  // [B, F F, H, W]; so are the offsets
  const void *vertical, *horizontal;
  const void* grad_out;                                  // [B, C, H, W], of the image's type; gradients only
  void* out;                                             // the output, or the gradient of the image
  void *grad_weights, *grad_vertical, *grad_horizontal;  // null where not needed
  Dtype image_type, weights_type, vertical_type, horizontal_type;
  int64_t B, C, threads;  // threads: that the bands are for
  int32_t in_H, in_W, H, W, side, dilation;

  VFI_INLINE int64_t taps() const { return int64_t{side} * side; }
  VFI_INLINE int64_t in_plane() const { return int64_t{in_H} * in_W; }
  VFI_INLINE int64_t plane() const { return int64_t{H} * W; }
  // Of tap n at pixel (y, x), in the planes of weights and offsets.
  VFI_INLINE int64_t tap_at(int64_t b, int64_t n, int64_t y, int64_t x) const {
    return ((b * taps() + n) * H + y) * W + x;
  }
};

// What the vector kernels can do: pairs of pixels exist along both axes, and 32 bits hold every offset in a plane.
inline bool fits_vectors(const AdacofArgs& a) {
  return a.in_H > 1 && a.in_W > 1 && a.in_plane() < int64_t{1} << 31;
}

// The image's gradient is summed band by band of its rows, each of four channels, on one thread, in the order of the pixels
// and taps: bands do not matter to a sum.
struct AdacofBands {
  int64_t rows, down, groups, count;

  VFI_INLINE explicit AdacofBands(const AdacofArgs& a) {
    constexpr int64_t kMost = 64, kLeast = 8, kPixels = int64_t{1} << 16;  // 1 MiB of sums
    groups = (a.C + 3) / 4;
    const int64_t each = (a.B * groups * a.in_H + a.threads - 1) / a.threads, fit = kPixels / a.in_W;
    const int64_t most = each < fit ? each : fit;
    rows = most > kMost ? kMost : most < kLeast ? kLeast : most;
    down = (a.in_H + rows - 1) / rows, count = a.B * groups * down;
  }
};

// The first and the last row of the image that a tap of an output row writes to; none if last < first.
struct AdacofReach {
  int32_t first, last;
};

// Output rows begin <= b H + y < end, with arithmetic in float32.
VFI_DECLARE_CPU_KERNEL(adacof_rows, const AdacofArgs& args, int64_t begin, int64_t end);
VFI_DECLARE_CPU_KERNEL(adacof_grad_taps_rows, const AdacofArgs& args, int64_t begin, int64_t end);
// reach[(b H + y) F F + n] of these rows.
VFI_DECLARE_CPU_KERNEL(adacof_reach_rows, const AdacofArgs& args, AdacofReach* reach, int64_t begin, int64_t end);
VFI_DECLARE_CPU_KERNEL(adacof_grad_image_bands, const AdacofArgs& args, const AdacofReach* reach, int64_t begin, int64_t end);

}  // namespace vfi
