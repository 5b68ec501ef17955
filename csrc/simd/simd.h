// The few vector primitives that the CPU kernels are written against. Arithmetic is the operators of GCC's and clang's
// vector types; what has no operator is a function here, with the same name for every instruction set:
//
//   F32          kLanes floats: 16 (AVX-512), 8 (AVX2), 4 (NEON; any other CPU). kRegisters of them, 32 or 16
//   float, double    the same interface with one lane, for float64 and for whatever does not fit the vectors
//   Lanes<F>     ::kCount, ::Int (lane offsets and columns), ::Mask, ::Scalar
//
//   broadcast<F>(x)  lane_numbers<F>()  to_int(F), truncating  to_float<F>(Int)  lowest(Int)  highest(Int)
//   load<F>(p)  load<F>(p, n)  store(p, v)  store(p, v, n)  stream(p, v)   p: float, Half, BFloat16 (F = double: any)
//   fma(a, b, c) = a b + c, rounded once where the CPU has the instruction; nothing else is fused (-ffp-contract=off)
//   fma_where(mask, a, b, c) = mask ? fma(a, b, c) : c, and a, b are not looked at where !mask
//   min(a, b) = a < b ? a : b   max(a, b) = a > b ? a : b   (so a NaN in a gives b)   round_down  exp
//   less  less_equal  equal  not_equal  select(mask, a, b)  all  any  & | ! on masks
//   gather<F>(p, offsets)   gather_pairs<F>(p, offsets, a, b): a = p[o], b = p[o + 1]
//   Window<F>: 2 kLanes consecutive elements held in registers; lookup(window, columns) picks one per lane
//   transpose(F rows[kLanes])   interleave4(F rows[4]): four planes -> pixels of four channels   deinterleave4: back
//
// n may exceed the number of lanes; lanes from n on are loaded as 0 and not stored. stream() bypasses the cache and
// needs an address aligned to kLanes elements; stream_fence() ends a run of such stores.
#pragma once

#include <cmath>
#include <concepts>
#include <cstring>

#include "base/half.h"
#include "base/host_device.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace vfi {
namespace VFI_LEVEL {

template <class F>
struct Lanes;

template <class F>
VFI_INLINE F broadcast(typename Lanes<F>::Scalar x) {
  return Lanes<F>::broadcast(x);
}
template <class F>
VFI_INLINE F lane_numbers() {
  return Lanes<F>::lane_numbers();
}
template <class F>
VFI_INLINE F to_float(typename Lanes<F>::Int x) {
  return Lanes<F>::from_int(x);
}
template <class F, class T>
VFI_INLINE F load(const T* p) {
  return Lanes<F>::load(p);
}
template <class F, class T>
VFI_INLINE F load(const T* p, int64_t n) {
  return Lanes<F>::load(p, n);
}
template <class F, class T>
VFI_INLINE F gather(const T* p, typename Lanes<F>::Int offsets) {
  return Lanes<F>::gather(p, offsets);
}
template <class F, class T>
VFI_INLINE void gather_pairs(const T* p, typename Lanes<F>::Int offsets, F& a, F& b) {
  Lanes<F>::gather_pairs(p, offsets, a, b);
}

VFI_INLINE void prefetch(const void* p) { __builtin_prefetch(p, 0, 3); }
VFI_INLINE void prefetch_for_write(const void* p) { __builtin_prefetch(p, 1, 3); }

VFI_INLINE void stream_fence() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

}  // namespace VFI_LEVEL
}  // namespace vfi

#include "simd/simd_scalar.h"
// The level's own header: simd/simd_avx2.h where VFI_LEVEL is avx2.
#define VFI_TEXT(words) #words
#define VFI_HEADER_OF(level) VFI_TEXT(simd/simd_##level.h)
#define VFI_EXPANDED(macro, argument) macro(argument)
#include VFI_EXPANDED(VFI_HEADER_OF, VFI_LEVEL)
#include "simd/simd_math.h"
