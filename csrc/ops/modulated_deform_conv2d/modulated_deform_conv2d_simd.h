// What the forward and the gradient kernels of modulated_deform_conv2d share: where a tile of output pixels reads. For
// *_simd.cpp only.
#pragma once

#include "base/elements.h"
#include "simd/simd_elements.h"
#include "simd/simd_pixels.h"
#include "simd/simd_pairs.h"
#include "ops/modulated_deform_conv2d/modulated_deform_conv2d_cpu.h"

namespace vfi {
namespace VFI_LEVEL {

VFI_INLINE float sum_of_lanes(F32 v) { return lane_sum(v); }
VFI_INLINE double sum_of_lanes(double v) { return v; }

// Half of the lanes hold sums of a, half of b, in runs of kStep.
template <int kStep>
VFI_INLINE F32 fold(F32 a, F32 b) {
  const auto pick = [](int k, int half) { return (k & kStep ? kLanes : 0) + (k & ~kStep) + (half ? kStep : 0); };
  return shuffle(a, b, [&](int k) { return pick(k, 0); }) + shuffle(a, b, [&](int k) { return pick(k, 1); });
}

// The sums of the lanes of four vectors.
VFI_INLINE void four_sums(const F32* v, float* sums) {
  if constexpr (kLanes >= 8) {
    constexpr int kHalf = kLanes / 2, kQuarter = kLanes / 4;
    F32 all = fold<kQuarter>(fold<kHalf>(v[0], v[2]), fold<kHalf>(v[1], v[3]));
    if constexpr (kQuarter > 2) all = all + shuffle(all, all, [](int k) { return k ^ 2; });
    all = all + shuffle(all, all, [](int k) { return k ^ 1; });
    for (int k = 0; k < 4; ++k) sums[k] = all[k * kQuarter];
  } else {
    for (int k = 0; k < 4; ++k) sums[k] = lane_sum(v[k]);
  }
}
VFI_INLINE void four_sums(const double* v, double* sums) {
  for (int k = 0; k < 4; ++k) sums[k] = v[k];
}

// The output pixels first .. first + count - 1 of sample b, and where they would read without offset at tap (0, 0).
struct DeformTile {
  int64_t b, first, count;
  alignas(64) int32_t start_y[kDeformRows];
  alignas(64) int32_t start_x[kDeformRows];

  VFI_INLINE DeformTile(const DeformGeometry& g, int64_t sample, int64_t tile) : b(sample), first(tile * kDeformTile) {
    count = min(kDeformTile, g.pixels() - first);
    int32_t y = static_cast<int32_t>(first / g.out_W), x = static_cast<int32_t>(first % g.out_W);
    for (int64_t p = 0; p < count; ++p) {
      start_y[p] = g.start_y(y, 0), start_x[p] = g.start_x(x, 0);
      if (++x == g.out_W) x = 0, ++y;
    }
  }
};

// One vector of positions: the four pixels in the order 2 j + i, as numbers in the window, -1 where not used.
template <class F>
struct DeformPlace {
  using Int = typename Lanes<F>::Int;
  using Mask = typename Lanes<F>::Mask;
  Int at[4];
  F weight[4];     // before the mask; 0 where not used
  F slope_y[4];    // d weight / dy, 0 outside; for gradients
  F slope_x[4];
  Mask far;        // a corner that is used lies outside the window; none has a number then
  Mask in_reach;   // any corner is inside the image
  bool whole;      // every lane uses all four: at[k] = at[0] + k / 2 W + k % 2
};

// All four pixels of every lane are there, the first of them number `first` of rows of W.
template <class F, bool kSlopes>
VFI_INLINE void place_inside(DeformPlace<F>& p, typename Lanes<F>::Int first, int32_t W, const F* wy, const F* wx) {
  const F zero = broadcast<F>(0);
  for (int k = 0; k < 4; ++k) {
    const int j = k >> 1, i = k & 1;
    const typename Lanes<F>::Int at = first + (j * W + i), none = typename Lanes<F>::Int{} - 1;
    p.weight[k] = wy[j] * wx[i];
    p.at[k] = kSlopes ? at : select(not_equal(p.weight[k], zero), at, none);
    if constexpr (kSlopes) p.slope_y[k] = j ? wx[i] : -wx[i], p.slope_x[k] = i ? wy[j] : -wy[j];
  }
  const auto used = [&](int k) { return not_equal(p.weight[k], zero); };
  p.whole = all(used(0) & used(1) & used(2) & used(3));
}

template <class F, bool kSlopes>
VFI_INLINE DeformPlace<F> deform_place(const DeformArgs& a, F move_y, F move_x, typename Lanes<F>::Int start_y,
                                       typename Lanes<F>::Int start_x) {
  using Int = typename Lanes<F>::Int;
  const DeformGeometry& g = a.g;
  const F zero = broadcast<F>(0), one = broadcast<F>(1), far = broadcast<F>(kFar);
  const auto split = [&](F move, Int start, F& part) {
    F whole = round_down(move);
    part = move - whole;
    const auto up = less_equal(one, part);  // -1e-30 + 1 rounds to 1: the position is the next pixel
    whole = select(up, whole + one, whole), part = select(up, zero, part);
    return start + to_int(min(max(whole, -far), far));  // NaN and infinity are far away
  };
  DeformPlace<F> p;
  F ly, lx;
  const Int y = split(move_y, start_y, ly), x = split(move_x, start_x, lx), none = Int{} - 1;
  const auto inside = [&](Int n, int32_t size) { return less(none, n) & less(n, Int{} + size); };
  const F wy[2] = {one - ly, ly}, wx[2] = {one - lx, lx};
  const Int row = y - a.window_first;
  const auto near0 = inside(row, a.window_rows), near1 = inside(row + 1, a.window_rows);
  if (all(near0 & near1 & inside(y, g.H - 1) & inside(x, g.W - 1))) {  // most often so, and less work
    p.in_reach = near0, p.far = !near0;
    place_inside<F, kSlopes>(p, row * g.W + x, g.W, wy, wx);
    return p;
  }
  const auto in_y0 = inside(y, g.H), in_y1 = inside(y + 1, g.H), in_x0 = inside(x, g.W), in_x1 = inside(x + 1, g.W);
  const auto finite = equal(ly, ly) & equal(lx, lx);  // of infinity, infinity - infinity
  // Of a position that is read; a far one's product would overflow.
  const Int first = select(near0 | near1, row, Int{}) * g.W + select(in_x0 | in_x1, x, Int{});
  p.far = p.in_reach = less(one, zero), p.whole = false;
  for (int k = 0; k < 4; ++k) {
    const int j = k >> 1, i = k & 1;
    const auto in = (j ? in_y1 : in_y0) & (i ? in_x1 : in_x0) & finite;
    const F w = wy[j] * wx[i];
    const auto used = in & not_equal(w, zero);
    p.in_reach = p.in_reach | in;
    p.weight[k] = select(used, w, zero);
    const auto read = kSlopes ? in : used;
    p.far = p.far | (read & !(j ? near1 : near0));
    p.at[k] = select(read, first + (j * g.W + i), none);
    if constexpr (kSlopes) {
      p.slope_y[k] = select(in, j ? wx[i] : -wx[i], zero), p.slope_x[k] = select(in, i ? wy[j] : -wy[j], zero);
    }
  }
  for (int k = 0; k < 4; ++k) p.at[k] = select(p.far, none, p.at[k]);
  if constexpr (kSlopes) {
    if (!g.mmcv_edge) return p;
    const auto on_edge = (equal(y, none) & equal(ly, zero)) | (equal(x, none) & equal(lx, zero));
    for (int k = 0; k < 4; ++k) {
      p.slope_y[k] = select(on_edge, zero, p.slope_y[k]), p.slope_x[k] = select(on_edge, zero, p.slope_x[k]);
    }
  }
  return p;
}

// What the next call of for_each_place() reads lies in other pages of memory than what this one does: asked for in time.
VFI_INLINE void prefetch_offsets(const DeformArgs& a, const DeformTile& tile, int64_t tap) {
  const int64_t plane = a.g.pixels(), first = tap * plane + tile.first;
  // Inlined: GCC takes a function that only prefetches for one without effect.
  const auto fetch = [&](const void* p, Dtype type, int64_t at) VFI_INLINE_LAMBDA {
    const char* const from = static_cast<const char*>(p) + at * size_of(type);
    for (int64_t n = 0; n < tile.count * size_of(type); n += 64) prefetch(from + n);
  };
  fetch(a.offset, a.offset_type, first + tap * plane);
  fetch(a.offset, a.offset_type, first + tap * plane + plane);
  if (a.mask != nullptr) fetch(a.mask, a.mask_type, first);
}

// Calls use(i, place, mask) for every vector of pixels i .. of a tile: where tap (u, v) of offset group q reads.
template <class F, bool kSlopes, class Use>
VFI_INLINE void for_each_place(const DeformArgs& a, const DeformTile& tile, int64_t q, int32_t u, int32_t v,
                               const Use& use) {
  using Int = typename Lanes<F>::Int;
  const DeformGeometry& g = a.g;
  const int64_t plane = g.pixels(), tap = (tile.b * g.offset_groups + q) * g.taps() + u * g.KW + v;
  const int64_t vertical = 2 * tap * plane + tile.first, last = g.B * g.offset_groups * g.taps() - 1;
  const bool next_group = q + 1 < g.offset_groups;
  prefetch_offsets(a, tile, min(last, next_group ? tap + g.taps() : tap + 1 - q * g.taps()));
  for (int64_t i = 0; i < tile.count; i += Lanes<F>::kCount) {
    const int64_t n = tile.count - i;
    const F move_y = load_as<F>(a.offset, a.offset_type, vertical + i, n);
    const F move_x = load_as<F>(a.offset, a.offset_type, vertical + plane + i, n);
    const Int y = load_int(tile.start_y + i, Int()) + u * g.dilation_y;
    const Int x = load_int(tile.start_x + i, Int()) + v * g.dilation_x;
    F factor = broadcast<F>(1);
    if (a.mask != nullptr) factor = load_as<F>(a.mask, a.mask_type, tap * plane + tile.first + i, n);
    use(i, deform_place<F, kSlopes>(a, move_y, move_x, y, x), factor);
  }
}

// Calls run(T(), F()) with the input's element type and what the arithmetic is done in.
template <class Run>
VFI_INLINE void with_deform_types(const DeformArgs& a, const Run& run) {
  if (a.float64) return run(double(), double());
  if (a.type == Dtype::kFloat32) return run(float(), F32());
  if (a.type == Dtype::kFloat16) return run(Half(), F32());
  run(BFloat16(), F32());
}

}  // namespace VFI_LEVEL
}  // namespace vfi
