// Windows of a cost volume of all pairs, without the volume: with S_0 = second, S_{l+1} the means of 2 x 2 pixels of S_l
// (an odd last row or column is left out), n = 2 r + 1 and the position (px, py) of pixel (y, x):
//
//   out[b, l n n + i n + j, y, x] = 1/sqrt(C) sum over c of first[b, c, y, x] S_l[b, c](px / 2^l + i - r, py / 2^l + j - r)
//
// bilinear, corners outside a level count 0. The fraction is the same for the whole window, and the product is linear in S:
// with (x0, y0) = floor(p / 2^l) - r, D[i, j] = first . S_l(x0 + i, y0 + j) for i, j <= n, and weights (r, l) along each axis,
//
//   out[i, j]     = 1/sqrt(C) sum over u, v in {0, 1} of wx_u wy_v D[i + u, j + v]
//   G[i, j]       = 1/sqrt(C) sum over u, v of wx_u wy_v grad_out[i - u, j - v]
//   grad_first    = sum over l, i, j of G[i, j] S_l(x0 + i, y0 + j),    grad_S_l(x0 + i, y0 + j) += G[i, j] first
//   grad_position = sum over l of 2^-l sum over i, j of G'[i, j] D[i, j],  G' with (-1, 1) for the weights along that axis
//
// A corner whose weight is exactly 0 is not read; a neighbour whose G is exactly 0 gives and receives nothing.
//
// Source: Teed and Deng, RAFT, ECCV 2020, section 3.2. Derived in docs/derivations.md#correlation_lookup.
#pragma once

#include <cmath>

#include "base/elements.h"
#include "cpu/cpu_dispatch.h"
#include "sampling/bilinear.h"

namespace vfi {

constexpr int64_t kMostLevels = 16;  // also in reference.py, as kLargestRadius
constexpr int64_t kLargestRadius = 12;

namespace VFI_LEVEL {

// Along one axis: the first neighbour of a window, and the weights of the nearer and the farther corner.
template <class A>
struct WindowAxis {
  int32_t at;
  A near, far;
};

// The window of a position, in pixels of a level. Float64, in which the fraction of any float32 is exact.
template <class A>
VFI_HOST_DEVICE WindowAxis<A> window_axis(double p, int32_t radius) {
  const bool finite = p - p == 0;
  double whole = std::floor(p), fraction = finite ? p - whole : 0;
  if (fraction >= 1) whole += 1, fraction = 0;  // -1e-30 + 1 rounds to 1
  whole = whole > double(-kFar) ? whole : double(-kFar);
  whole = whole < double(kFar) ? whole : double(kFar);
  return {static_cast<int32_t>(whole) - radius, static_cast<A>(1 - fraction), static_cast<A>(fraction)};
}

}  // namespace VFI_LEVEL

// [B, height, width, C]: `second` itself, or pooled, of the compute type.
struct LookupLevel {
  const void* data;
  Dtype type;
  int64_t height, width;
  double unit;  // of a pixel of level 0, in its pixels: 2^-l, by which float64 is multiplied exactly
};

// Maps with the channels last.
struct LookupArgs {
  const void* first;  // [B, H, W, C]
  LookupLevel levels[kMostLevels];
  const void* positions;  // [B, 2, H, W]
  const void* grad_out;   // [B, H, W, planes]; gradients only
  void* out;              // [B, planes, H, W], or [B, H, W, planes] if out_channels_last; grad_first as first
  void* grad_positions;   // [B, 2, H, W]
  void* grad_levels[kMostLevels];  // as levels, of the compute type
  int64_t B, C, H, W, count, radius;  // count: of levels
  Dtype type, positions_type;         // type: of first and second
  bool wide;                          // the compute type is float64
  bool out_channels_last, need_first, need_positions;

  VFI_INLINE int64_t side() const { return 2 * radius + 1; }  // n
  VFI_INLINE int64_t planes() const { return count * side() * side(); }
};

// Tiles of output pixels, the same for any number of threads.
struct LookupTiles {
  static constexpr int64_t kRows = 8, kColumns = 16;
  int64_t down, across, count;

  VFI_INLINE explicit LookupTiles(const LookupArgs& a)
      : down((a.H + kRows - 1) / kRows), across((a.W + kColumns - 1) / kColumns), count(a.B * down * across) {}
};

// The gradient of the levels is cut into blocks of channels: each sums over the pixels in their order.
struct LookupParts {
  static constexpr int64_t kChannels = 64;
  int64_t blocks, count;

  VFI_INLINE explicit LookupParts(const LookupArgs& a)
      : blocks((a.C + kChannels - 1) / kChannels), count(a.B * a.count * blocks) {}
};

// Level `level` out of the one before: rows begin ... end - 1 of all samples.
VFI_DECLARE_CPU_KERNEL(lookup_pool_rows, const LookupArgs& args, int64_t level, void* to, int64_t begin, int64_t end);
// Tiles begin ... end - 1.
VFI_DECLARE_CPU_KERNEL(lookup_tiles, const LookupArgs& args, int64_t begin, int64_t end);
// The gradients of first and of positions.
VFI_DECLARE_CPU_KERNEL(lookup_grad_tiles, const LookupArgs& args, int64_t begin, int64_t end);
// The gradients of the levels.
VFI_DECLARE_CPU_KERNEL(lookup_grad_parts, const LookupArgs& args, int64_t begin, int64_t end);
// grad_levels[level], with a quarter of the next level's added where there is one: into `to`, of dtype `type`.
VFI_DECLARE_CPU_KERNEL(lookup_unpool_rows, const LookupArgs& args, int64_t level, void* to, Dtype type, int64_t begin,
                       int64_t end);

}  // namespace vfi
