// Where a tap of adacof reads, for kLanes neighbouring pixels: the vector form of truncated_axis. For *_simd.cpp only.
#pragma once

#include "simd/simd_elements.h"
#include "ops/adacof/adacof.h"
#include "sampling/simd_gradient.h"
#include "sampling/simd_sampling.h"

namespace vfi {
namespace VFI_LEVEL {

// Positions x + f in `size` >= 2 pixels.
VFI_INLINE PairAxis truncated_pair_axis(F32 f, I32 x, int32_t size) {
  const F32 zero = {}, one = broadcast<F32>(1.0f);
  const F32 clamped = min(max(f, broadcast<F32>(-kFar)), broadcast<F32>(kFar));
  const I32 whole = to_int(clamped), first = {}, last = first + (size - 1), i = x + whole;
  const F32 l = clamped - to_float<F32>(whole);
  const Mask low = less(i, first), high = !less(i, last);
  PairAxis a;
  a.at = min(max(i, first), last - 1);
  a.w1 = select(low, zero, select(high, one, l));
  a.w0 = select(low, one, select(high, zero, one - l));
  a.d1 = select(low | high, zero, one);
  a.d0 = zero - a.d1;
  return a;
}

// One tap of kLanes pixels.
struct TapPosition {
  PairAxis x, y;
  F32 weight;
  Mask live;  // both offsets are finite; elsewhere the weights along the axes are 0
};

VFI_INLINE void clear_unless(Mask live, PairAxis& a) {
  const F32 zero = {};
  a.w0 = select(live, a.w0, zero), a.w1 = select(live, a.w1, zero);
  a.d0 = select(live, a.d0, zero), a.d1 = select(live, a.d1, zero);
}

// Tap n at pixels (y, x), (y, x + 1) ... of sample b; lanes beyond the row have the weight 0 and offsets 0.
VFI_INLINE TapPosition tap_position(const AdacofArgs& a, int64_t b, int32_t n, int32_t y, int32_t x) {
  constexpr int64_t kAhead = 64;  // each row of a plane is a new page for the hardware's prefetcher
  const int64_t at = a.tap_at(b, n, y, x), count = a.W - x;
  const auto fetched = [&](const void* p, Dtype type) VFI_INLINE_LAMBDA {
    prefetch(static_cast<const char*>(p) + (at + kAhead) * size_of(type));
    return load_as(p, type, at, count);
  };
  const F32 vertical = fetched(a.vertical, a.vertical_type), horizontal = fetched(a.horizontal, a.horizontal_type);
  TapPosition t;
  t.weight = fetched(a.weights, a.weights_type);
  const I32 columns = to_int(lane_numbers<F32>()) + (x + n % a.side * a.dilation);
  t.y = truncated_pair_axis(vertical, I32{} + (y + n / a.side * a.dilation), a.in_H);
  t.x = truncated_pair_axis(horizontal, columns, a.in_W);
  const F32 zero = {};
  t.live = equal(vertical - vertical, zero) & equal(horizontal - horizontal, zero);
  if (!all(t.live)) clear_unless(t.live, t.x), clear_unless(t.live, t.y);
  return t;
}

}  // namespace VFI_LEVEL
}  // namespace vfi
