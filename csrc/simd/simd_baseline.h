// simd.h with 4 lanes, for every CPU: the compiler's vector types, and one lane at a time what they lack.
#pragma once

namespace vfi {
namespace VFI_LEVEL {

constexpr int kLanes = 4;
constexpr int kRegisters = 16;  // or more
constexpr bool kHasWindow = false;  // a table lookup in registers needs AVX2
typedef float F32 __attribute__((vector_size(16)));
typedef int32_t I32 __attribute__((vector_size(16)));
}  // namespace VFI_LEVEL
}  // namespace vfi

#include "simd/simd_mask.h"

namespace vfi {
namespace VFI_LEVEL {
VFI_INLINE bool all(Mask m) { return (m.bits[0] & m.bits[1] & m.bits[2] & m.bits[3]) != 0; }
VFI_INLINE bool any(Mask m) { return (m.bits[0] | m.bits[1] | m.bits[2] | m.bits[3]) != 0; }

VFI_INLINE F32 as_float(I32 x) { return (F32)x; }
VFI_INLINE I32 as_int(F32 x) { return (I32)x; }

// half.h for four numbers at a time; the bits of a number are in the lower half of a lane.
VFI_INLINE F32 from_bits(I32 bits, Half) {
  const I32 sign = (bits & 0x8000) << 16, rest = (bits & 0x7fff) << 13;
  const I32 scaled = as_int(as_float(rest) * 0x1p112f);
  return as_float(sign | (rest >= 0x0f800000 ? rest | 0x7f800000 : scaled));
}
VFI_INLINE F32 from_bits(I32 bits, BFloat16) { return as_float(bits << 16); }
// Sums of a NaN's bits, which are not used, may not fit into 31: they are taken without a sign.
VFI_INLINE I32 wrapped_sum(I32 a, I32 b) {
  using U32 = uint32_t __attribute__((vector_size(sizeof(I32))));
  return (I32)((U32)a + (U32)b);
}
VFI_INLINE I32 to_bits(F32 x, Half) {
  const I32 bits = as_int(x), sign = (bits >> 16) & 0x8000, magnitude = bits & 0x7fffffff;
  const I32 normal = wrapped_sum(magnitude, ((magnitude >> 13) & 1) - (0x38000000 - 0xfff)) >> 13;
  const I32 subnormal = as_int(as_float(magnitude) + 0.5f) - 0x3f000000;
  const I32 finite = magnitude < 0x38800000 ? subnormal : normal;
  const I32 ordered = magnitude >= 0x47800000 ? I32{} + 0x7c00 : finite;
  return sign | (x == x ? ordered : 0x7e00 | ((magnitude >> 13) & 0x3ff));
}
VFI_INLINE I32 to_bits(F32 x, BFloat16) {
  const I32 bits = as_int(x);
  return (x == x ? wrapped_sum(bits, ((bits >> 16) & 1) + 0x7fff) : bits | 0x400000) >> 16;
}

template <>
struct Lanes<F32> {
  static constexpr int kCount = kLanes;
  using Scalar = float;
  using Int = I32;
  using Mask = VFI_LEVEL::Mask;

  static VFI_INLINE F32 broadcast(float x) { return F32{x, x, x, x}; }
  static VFI_INLINE F32 lane_numbers() { return F32{0, 1, 2, 3}; }
  static VFI_INLINE F32 from_int(I32 x) { return __builtin_convertvector(x, F32); }

  static VFI_INLINE F32 load(const float* p) {
    F32 v;
    std::memcpy(&v, p, sizeof v);
    return v;
  }
  static VFI_INLINE F32 load(const float* p, int64_t n) {
    if (n >= kLanes) return load(p);
    F32 v = {};
    for (int64_t i = 0; i < n; ++i) v[i] = p[i];
    return v;
  }
  static VFI_INLINE F32 gather(const float* p, I32 o) { return F32{p[o[0]], p[o[1]], p[o[2]], p[o[3]]}; }
  template <class T>
  static VFI_INLINE F32 load(const T* p) {
    return from_bits(I32{p[0].bits, p[1].bits, p[2].bits, p[3].bits}, T{});
  }
  template <class T>
  static VFI_INLINE F32 load(const T* p, int64_t n) {
    if (n >= kLanes) return load(p);
    I32 bits = {};
    for (int64_t i = 0; i < n; ++i) bits[i] = p[i].bits;
    return from_bits(bits, T{});
  }
  template <class T>
  static VFI_INLINE F32 gather(const T* p, I32 o) {
    return from_bits(I32{p[o[0]].bits, p[o[1]].bits, p[o[2]].bits, p[o[3]].bits}, T{});
  }
  template <class T>
  static VFI_INLINE void gather_pairs(const T* p, I32 offsets, F32& a, F32& b) {
    a = gather(p, offsets);
    b = gather(p + 1, offsets);
  }
};

VFI_INLINE void store(float* p, F32 v) { std::memcpy(p, &v, sizeof v); }
VFI_INLINE void store(float* p, F32 v, int64_t n) {
  if (n >= kLanes) return store(p, v);
  for (int64_t i = 0; i < n; ++i) p[i] = v[i];
}
template <class T>
VFI_INLINE void store(T* p, F32 v) {
  const I32 bits = to_bits(v, T{});
  for (int i = 0; i < kLanes; ++i) p[i].bits = static_cast<uint16_t>(bits[i]);
}
template <class T>
VFI_INLINE void store(T* p, F32 v, int64_t n) {
  if (n >= kLanes) return store(p, v);
  const I32 bits = to_bits(v, T{});
  for (int64_t i = 0; i < n; ++i) p[i].bits = static_cast<uint16_t>(bits[i]);
}
template <class T>
VFI_INLINE void stream(T* p, F32 v) {
  store(p, v);
}

VFI_INLINE F32 select(Mask m, F32 a, F32 b) { return m.bits ? a : b; }
VFI_INLINE I32 select(Mask m, I32 a, I32 b) { return m.bits ? a : b; }
VFI_INLINE F32 fma(F32 a, F32 b, F32 c) {
#if defined(__aarch64__)
  return (F32)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
  return a * b + c;
#endif
}
VFI_INLINE F32 fma_where(Mask m, F32 a, F32 b, F32 c) { return select(m, fma(a, b, c), c); }
VFI_INLINE F32 min(F32 a, F32 b) { return a < b ? a : b; }
VFI_INLINE F32 max(F32 a, F32 b) { return a > b ? a : b; }
VFI_INLINE I32 min(I32 a, I32 b) { return a < b ? a : b; }
VFI_INLINE I32 max(I32 a, I32 b) { return a > b ? a : b; }
// Numbers from 2^23 on, infinity and NaN are their own integer part; their conversion to int is not looked at.
VFI_INLINE I32 to_int(F32 x) { return __builtin_convertvector(x, I32); }
VFI_INLINE Mask is_small(F32 x) { return {(x < 8388608.0f) & (x > -8388608.0f)}; }
VFI_INLINE F32 round_down(F32 x) {
  const Mask small = is_small(x);
  const F32 whole = Lanes<F32>::from_int(to_int(small.bits ? x : F32{}));
  return select(small, whole > x ? whole - 1.0f : whole, x);
}
VFI_INLINE F32 round_nearest(F32 x) {  // halfway cases go up; only exp uses it, which does not mind
  return round_down(x + 0.5f);
}
VFI_INLINE int32_t lowest(I32 x) {
  const int32_t a = x[0] < x[1] ? x[0] : x[1], b = x[2] < x[3] ? x[2] : x[3];
  return a < b ? a : b;
}
VFI_INLINE int32_t highest(I32 x) { return ~lowest(~x); }

}  // namespace VFI_LEVEL
}  // namespace vfi

#include "simd/simd_no_window.h"
