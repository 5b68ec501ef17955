// The gradient of bilinear sampling with respect to the position, for kLanes pixels at once. For *_simd.cpp only.
//
//   d value / dx = sum_j wy_j (v_j1 - v_j0),   d value / dy = sum_i wx_i (v_1i - v_0i)
//
// The differences are summed over the channels first, times the gradient g of the value, and weighted once at the end.
#pragma once

#include "sampling/simd_tiles.h"

namespace vfi {
namespace VFI_LEVEL {

// Sums over the channels of g times the difference of two corners.
struct Differences {
  F32 upper, lower;  // along x, in the upper and lower row
  F32 left, right;   // along y, in the left and right column
};

// Derivatives of the pair's weights, -1, 0 or 1.
struct Slopes {
  F32 x0, x1, y0, y1;
};

template <bool kCareful>
VFI_INLINE void add_corners(Differences& d, const Slopes& e, const CornerValues& v, F32 g) {
  const auto difference = [](F32 e0, F32 v0, F32 e1, F32 v1) {
    return kCareful ? pair_sum<true>(e0, v0, e1, v1) : v1 - v0;
  };
  d.upper = fma(g, difference(e.x0, v.v00, e.x1, v.v01), d.upper);
  d.lower = fma(g, difference(e.x0, v.v10, e.x1, v.v11), d.lower);
  d.left = fma(g, difference(e.y0, v.v00, e.y1, v.v10), d.left);
  d.right = fma(g, difference(e.y0, v.v01, e.y1, v.v11), d.right);
}

// 0 where a coordinate does not move, whatever was summed.
VFI_INLINE F32 where_moving(F32 e0, F32 e1, F32 value) {
  const F32 zero = {};
  return select(not_equal(e0, zero) | not_equal(e1, zero), value, zero);
}

// The gradient along x and y: each row's (column's) difference with the weight of that row (column).
VFI_INLINE F32 gradient_x(const Block& b, const Slopes& e, const Differences& d) {
  return where_moving(e.x0, e.x1, pair_sum<true>(b.y0, d.upper, b.y1, d.lower));
}
VFI_INLINE F32 gradient_y(const Block& b, const Slopes& e, const Differences& d) {
  return where_moving(e.y0, e.y1, pair_sum<true>(b.x0, d.left, b.x1, d.right));
}

// sum over the channels c of g[c] value[c] for channels_last: wide(c, n) gives kLanes channels from c on, of which n
// exist; narrow() all of at most four.
template <class T, class Wide, class Narrow>
VFI_INLINE float dot_channels(const T* g, int64_t C, Wide&& wide, Narrow&& narrow) {
  if (C > 4) {
    F32 total = {};
    for_each_group(
        C, [&](int64_t c, int64_t n) VFI_INLINE_LAMBDA { total = fma(load<F32>(g + c, n), wide(c, n), total); });
    return lane_sum(total);
  }
  const Quad values = narrow();
  float total = 0.0f;
  for (int64_t c = 0; c < C; ++c) total += to_float(g[c]) * values[c];
  return total;
}

// sum over c of g[c] sum_k w_k p_k[c]; 0 where no corner is used, whatever g is
template <class T>
VFI_INLINE float weighted_dot(const PixelCorners<T>& k, const T* g, int64_t C, const T* end) {
  if (k.count == 0) return 0.0f;
  return dot_channels(
      g, C, [&](int64_t c, int64_t n) VFI_INLINE_LAMBDA { return k.sum(c, n); }, [&] { return k.quad_sum(C, end); });
}

}  // namespace VFI_LEVEL
}  // namespace vfi
