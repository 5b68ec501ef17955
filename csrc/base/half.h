// Half-precision numbers on the host, one at a time; simd_*.h has the same for vectors. Rounding is to nearest even,
// and NaN stays NaN.
#pragma once

#include <cstring>

#include "base/host_device.h"

namespace vfi {
namespace VFI_LEVEL {

VFI_INLINE uint32_t float_bits(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

VFI_INLINE float bits_float(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

VFI_INLINE float to_float(BFloat16 x) { return bits_float(static_cast<uint32_t>(x.bits) << 16); }

VFI_INLINE float to_float(Half x) {
  const uint32_t sign = (x.bits & 0x8000u) << 16, rest = (x.bits & 0x7fffu) << 13;
  if (rest >= 0x0f800000u) return bits_float(sign | rest | 0x7f800000u);  // infinity, NaN
  // The exponent's bias grows by 112; multiplying by 2^112 does that for subnormal numbers too.
  return bits_float(sign | float_bits(bits_float(rest) * 0x1p112f));
}

VFI_INLINE BFloat16 to_bfloat16(float x) {
  const uint32_t bits = float_bits(x);
  if (x != x) return {static_cast<uint16_t>(bits >> 16 | 0x40u)};
  return {static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16)};
}

VFI_INLINE Half to_half(float x) {
  const uint32_t bits = float_bits(x), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
  if (x != x) return {static_cast<uint16_t>(sign | 0x7e00u | (magnitude >> 13 & 0x3ffu))};
  if (magnitude >= 0x47800000u) return {static_cast<uint16_t>(sign | 0x7c00u)};  // from 65536 on: infinity
  if (magnitude < 0x38800000u) {  // subnormal: adding 0.5 leaves the rounded mantissa in the last bits
    const uint32_t rounded = float_bits(bits_float(magnitude) + 0.5f) - float_bits(0.5f);
    return {static_cast<uint16_t>(sign | rounded)};
  }
  const uint32_t rounded = magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u);
  return {static_cast<uint16_t>(sign | rounded >> 13)};
}

// Any element type from and to a compute type (float or double). A float64 result is rounded once.
VFI_INLINE float to_float(float x) { return x; }
VFI_INLINE double to_float(double x) { return x; }

template <class T>
struct Element {  // float and double
  template <class A>
  static VFI_INLINE T from(A x) {
    return static_cast<T>(x);
  }
};
template <>
struct Element<Half> {
  static VFI_INLINE Half from(float x) { return to_half(x); }
};
template <>
struct Element<BFloat16> {
  static VFI_INLINE BFloat16 from(float x) { return to_bfloat16(x); }
};

}  // namespace VFI_LEVEL
}  // namespace vfi
