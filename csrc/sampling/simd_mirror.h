// Whole coordinates in an image that goes on mirrored, the vector form of bilinear.h's reflection_axis. For *_simd.cpp only.
#pragma once

#include "sampling/bilinear.h"
#include "simd/simd.h"

namespace vfi {
namespace VFI_LEVEL {

// The whole number start + whole, taken modulo the period: in [0, period). |whole| <= 2^30, start and period below 2^24.
// A quotient of floats may be off by a few at first: the remainder is whole all the same, in integers, and then small.
template <class F>
VFI_INLINE F into_period(F whole, F start, F period) {
  const F zero = broadcast<F>(0);
  F at = to_float<F>(to_int(whole) - to_int(round_down(whole / period)) * to_int(period)) + start;
  at = at - round_down(at / period) * period;
  at = select(less(at, zero), at + period, at);
  return select(less_equal(period, at), at - period, at);
}

// Pixel `at` has weight r and the next one l, as at start + whole + l; `back`: the image lies mirrored there.
template <class F>
struct MirroredAxis {
  F at, r, l;
  typename Lanes<F>::Mask back, fold;  // fold: on an outer pixel itself
};

// `last` = size - 1 > 0.
template <class F>
VFI_INLINE MirroredAxis<F> mirrored_axis(F whole, F start, F r, F l, F last) {
  const F zero = broadcast<F>(0), one = broadcast<F>(1), period = last + last, at = into_period(whole, start, period);
  r = select(equal(l, zero), one, r);  // where floats are further apart than 1, r was 0
  const typename Lanes<F>::Mask back = less_equal(last, at), fold = equal(l, zero) & (equal(at, zero) | equal(at, last));
  return {select(back, period - one - at, at), select(back, l, r), select(back, r, l), back, fold};
}

}  // namespace VFI_LEVEL
}  // namespace vfi
