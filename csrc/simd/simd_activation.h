// Activations of vectors, as options.h defines them. For *_simd.cpp only.
#pragma once

#include <initializer_list>

#include "base/options.h"
#include "simd/simd.h"

namespace vfi {
namespace VFI_LEVEL {

// x times the normal distribution's share below x. erfc by Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26.
VFI_INLINE F32 gelu(F32 x) {
  const F32 zero = {}, one = broadcast<F32>(1.0f), z = max(x, -x) * 0.70710678f;
  const F32 t = one / fma(broadcast<F32>(0.3275911f), z, one);
  F32 sum = broadcast<F32>(1.061405429f);
  for (const float c : {-1.453152027f, 1.421413741f, -0.284496736f, 0.254829592f}) sum = fma(sum, t, broadcast<F32>(c));
  const F32 above = sum * t * exp(-z * z);  // erfc(z)
  return 0.5f * x * select(less(x, zero), above, broadcast<F32>(2.0f) - above);
}
VFI_INLINE double gelu(double x) { return 0.5 * x * std::erfc(-x * 0.70710678118654752440); }

template <class F>
VFI_INLINE F activate(Activation activation, F x, F slope) {
  const F zero = broadcast<F>(0);
  if (activation == Activation::kNone) return x;
  if (activation == Activation::kRelu) return select(less(x, zero), zero, x);
  if (activation == Activation::kGelu) return gelu(x);
  return select(less(zero, x), x, slope * x);
}

}  // namespace VFI_LEVEL
}  // namespace vfi
