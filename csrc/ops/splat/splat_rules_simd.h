// The rules of splatting/splat_rules.h for vectors. F is F32, or double with one lane. For *_simd.cpp only.
#pragma once

#include "simd/simd_chunk.h"
#include "splatting/splat_rules.h"

namespace vfi {
namespace VFI_LEVEL {

template <class F>
VFI_INLINE F magnitude(F x) {
  return max(x, -x);
}

// 1 / q, and 0 in holes.
template <class F>
VFI_INLINE F reciprocal(F d, Division rule) {
  using A = Number<F>;
  const F one = broadcast<F>(1), zero = broadcast<F>(0), eps = broadcast<F>(A(kDivisionEps));
  if (rule == Division::kAdd) return one / (d + eps);
  if (rule == Division::kClip) return one / select(less(d, eps), eps, d);
  const F tiny = broadcast<F>(kHole<A>);
  return select(less(d, tiny) & less(zero - tiny, d), zero, one / d);
}

// Whether max(D, 1e-7) moves with D: where it does not, out is no quotient.
template <class F>
VFI_INLINE typename Lanes<F>::Mask clip_moves(F d) {
  return less(broadcast<F>(Number<F>(kDivisionEps)), d);
}

template <class F>
VFI_INLINE typename Lanes<F>::Mask alone_mask(Division rule, F d, F part) {
  if (rule == Division::kAdd) return less(d, d);
  const auto alone = equal(part, d);
  return rule == Division::kClip ? alone & clip_moves(d) : alone;
}

template <class F>
VFI_INLINE typename Lanes<F>::Mask dim_mask(Division rule, F d) {
  if (rule != Division::kZero) return less(d, d);
  const F size = magnitude(d);
  return less_equal(broadcast<F>(kHole<Number<F>>), size) & less(size, broadcast<F>(kDim<Number<F>>));
}

// |dot| < noise min(5 + 1 / p, most), without the division. p is not negative.
template <class F>
VFI_INLINE typename Lanes<F>::Mask rounding_mask(F dot, F noise, F p, int most) {
  const F size = magnitude(dot);
  return less(size * p, noise * (p * 5.0f + broadcast<F>(1))) & less(size, noise * static_cast<Number<F>>(most));
}

template <class F>
VFI_INLINE typename Lanes<F>::Mask doubtful_mask(F p, F w) {
  using A = Number<F>;
  return less(magnitude(broadcast<F>(1) - p), broadcast<F>(A(kNearlyAlone))) & less(w, broadcast<F>(A(kThin)));
}

}  // namespace VFI_LEVEL
}  // namespace vfi
