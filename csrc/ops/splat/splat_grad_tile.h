// A tile of source pixels in the splat's gradients: where they land, and the factors of their corners. For
// splat_grad_simd.cpp only.
#pragma once

#include "simd/simd_elements.h"
#include "sampling/simd_gradient.h"
#include "ops/splat/splat.h"
#include "ops/splat/splat_landing.h"
#include "ops/splat/splat_rules_simd.h"

namespace vfi {
namespace VFI_LEVEL {

constexpr int kGradBlocks = 16;  // the tile below stays in the first-level cache
constexpr int kGradPixels = kGradBlocks * kLanes;
constexpr int64_t kAhead = 512;  // pixels; the hardware does not follow so many streams

struct SplatGradTile {
  Block blocks[kGradBlocks];
  Slopes slopes[kGradBlocks];
  F32 share[kGradBlocks][4];  // p_k
  F32 ratio[kGradBlocks][4];  // a_k / q_k; 0 where the pixel is alone, the largest float where D is dim
  F32 extra[kGradBlocks][4];  // a_k h[t_k]
  F32 dot[kGradBlocks][4];    // t_k
  F32 outer[kGradBlocks];     // o
  alignas(64) int32_t at[kGradPixels];  // the upper left corner's pixel, for channels_last inputs
};

// The window's last row; the others were read with the tiles above.
template <class T>
VFI_INLINE void prefetch_window(const T* p, const Block& b, int64_t width) {
  if (b.rows == 0) return;
  const T* const last = p + b.base + int64_t{b.rows - 1} * width;
  prefetch(last);
  prefetch(last + kLanes);
}

// A plane [B, 1, H, W] at the corners of a block, in the order 2 j + i.
VFI_INLINE void read_plane(const void* planes, const Sampling& s, int64_t b, const Block& block, F32* value) {
  const CornerValues v = read_corners(static_cast<const float*>(planes) + b * s.H * s.W, block, s.W);
  value[0] = v.v00, value[1] = v.v01, value[2] = v.v10, value[3] = v.v11;
}

VFI_INLINE void corner_weights(const Block& b, F32* w) {
  w[0] = b.x0 * b.y0, w[1] = b.x1 * b.y0, w[2] = b.x0 * b.y1, w[3] = b.x1 * b.y1;
}

VFI_INLINE void prefetch_as(const void* p, Dtype type, int64_t at) {
  prefetch(static_cast<const char*>(p) + at * (type == Dtype::kFloat32 ? 4 : 2));
}

// A pixel whose metric is not finite is skipped: none of its corners has a weight, or a derivative of one.
VFI_INLINE void skip(Mask keep, PairAxis& y) {
  const F32 zero = {};
  y.w0 = select(keep, y.w0, zero), y.w1 = select(keep, y.w1, zero);
  y.d0 = select(keep, y.d0, zero), y.d1 = select(keep, y.d1, zero);
}

// Block i of the tile, whose first pixel is number `pixel` of the batch: where it lands, and w_k and m instead of the
// factors. What the next step reads there is fetched.
VFI_INLINE void place(const SplatGradArgs& a, const Tile& tile, SplatGradTile& t, int i, const PairAxis& x, PairAxis y,
           int64_t pixel, int64_t n) {
  const Sampling& s = a.sampling;
  const F32 zero = {}, one = broadcast<F32>(1.0f);
  F32 m = zero;
  if (a.metric != nullptr) {
    prefetch_as(a.metric, a.metric_type, pixel + kAhead);
    m = load_as(a.metric, a.metric_type, pixel, n);
    const Mask keep = is_finite(m);
    m = select(keep, m, zero);
    skip(keep, y);
  }
  Block& b = t.blocks[i];
  b = make_block(x, y, s.W);
  t.slopes[i] = {x.d0, x.d1, y.d0, y.d1};
  t.outer[i] = a.factor == Factor::kLinear ? m : one;
  store_int(t.at + i * kLanes, y.at * s.W + x.at);
  corner_weights(b, t.share[i]);
  t.ratio[i][0] = m;
  for (const void* plane : {a.shift, a.weight, static_cast<const void*>(a.dots), static_cast<const void*>(a.noise),
                            a.grad_weight}) {
    if (plane != nullptr) prefetch_window(static_cast<const float*>(plane) + tile.b * s.H * s.W, b, s.W);
  }
}

// The factors of block i.
VFI_INLINE void weigh(const SplatGradArgs& a, const Tile& tile, SplatGradTile& t, int i) {
  const Sampling& s = a.sampling;
  const F32 zero = {}, one = broadcast<F32>(1.0f), most = broadcast<F32>(std::numeric_limits<float>::max());
  const Block& b = t.blocks[i];
  const F32 m = t.ratio[i][0];
  F32 factor[4] = {one, one, one, one}, w[4];
  for (int k = 0; k < 4; ++k) w[k] = t.share[i][k];
  if (a.factor == Factor::kSoftmax) {
    read_plane(a.shift, s, tile.b, b, factor);
    const bool same = all(equal(factor[0], factor[1]) & equal(factor[0], factor[2]) & equal(factor[0], factor[3]));
    factor[0] = exp(min(m - factor[0], zero));
    for (int k = 1; k < 4; ++k) factor[k] = same ? factor[0] : exp(min(m - factor[k], zero));
  }
  for (int k = 0; k < 4; ++k) {
    t.share[i][k] = w[k] * factor[k], t.ratio[i][k] = factor[k];
    t.extra[i][k] = t.dot[i][k] = zero;
  }
  if (a.division == Division::kNone) return;
  F32 d[4], dots[4], h[4] = {};
  read_plane(a.weight, s, tile.b, b, d);
  read_plane(a.dots, s, tile.b, b, dots);
  if (a.grad_weight != nullptr) read_plane(a.grad_weight, s, tile.b, b, h);
  for (int k = 0; k < 4; ++k) {
    const F32 inverse = reciprocal(d[k], a.division);
    const Mask alone = alone_mask(a.division, d[k], t.share[i][k] * t.outer[i]);
    const F32 ratio = select(dim_mask(a.division, d[k]), most, max(min(factor[k] * inverse, most), -most));
    // At most 1, though 1 / q may overflow; in mode linear without m, which may be as small as q.
    t.share[i][k] = max(-most, min(most, t.share[i][k] * inverse));
    t.ratio[i][k] = select(alone, zero, ratio);
    t.extra[i][k] = factor[k] * h[k];
    t.dot[i][k] = -dots[k];
    // An unused corner must not contribute: its share may be 0 * infinity.
    t.share[i][k] = select(equal(w[k], zero), zero, t.share[i][k]);
  }
}

}  // namespace VFI_LEVEL
}  // namespace vfi
