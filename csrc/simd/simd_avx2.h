// simd.h with 8 lanes: AVX2, FMA and F16C.
#pragma once

namespace vfi {
namespace VFI_LEVEL {

constexpr int kLanes = 8;
constexpr int kRegisters = 16;
constexpr bool kHasWindow = true;
typedef float F32 __attribute__((vector_size(32)));
typedef int32_t I32 __attribute__((vector_size(32)));
}  // namespace VFI_LEVEL
}  // namespace vfi

#include "simd/simd_mask.h"

namespace vfi {
namespace VFI_LEVEL {
VFI_INLINE bool all(Mask m) { return _mm256_movemask_ps((__m256)m.bits) == 0xff; }
VFI_INLINE bool any(Mask m) { return _mm256_movemask_ps((__m256)m.bits) != 0; }
VFI_INLINE Mask first_lanes(int64_t n) {
  const int32_t count = static_cast<int32_t>(n < kLanes ? n : kLanes);
  return {I32{0, 1, 2, 3, 4, 5, 6, 7} < count};
}

VFI_INLINE F32 as_float(I32 x) { return (F32)x; }
VFI_INLINE I32 as_int(F32 x) { return (I32)x; }

// float32 -> bfloat16, to nearest even.
VFI_INLINE __m128i pack_bfloat16(F32 v) {
  const I32 bits = (I32)v;
  const I32 rounded = bits + 0x7fff + ((bits >> 16) & 1);
  const I32 kept = v == v ? rounded : (bits | 0x400000);
  const __m256i words = _mm256_packus_epi32(_mm256_srli_epi32((__m256i)kept, 16), _mm256_setzero_si256());
  return _mm256_castsi256_si128(_mm256_permute4x64_epi64(words, 0x08));
}
VFI_INLINE F32 unpack_bfloat16(__m128i v) { return (F32)_mm256_slli_epi32(_mm256_cvtepu16_epi32(v), 16); }
VFI_INLINE __m128i pack_half(F32 v) { return _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

// Fewer than 8 halves go through the stack.
VFI_INLINE __m128i load_halves(const void* p, int64_t n) {
  if (n >= kLanes) return _mm_loadu_si128(static_cast<const __m128i*>(p));
  alignas(16) uint16_t buffer[kLanes] = {};
  const uint16_t* from = static_cast<const uint16_t*>(p);
  for (int64_t i = 0; i < n; ++i) buffer[i] = from[i];
  return _mm_load_si128(reinterpret_cast<const __m128i*>(buffer));
}
VFI_INLINE void store_halves(void* p, __m128i v, int64_t n) {
  if (n >= kLanes) return _mm_storeu_si128(static_cast<__m128i*>(p), v);
  alignas(16) uint16_t buffer[kLanes];
  _mm_store_si128(reinterpret_cast<__m128i*>(buffer), v);
  uint16_t* to = static_cast<uint16_t*>(p);
  for (int64_t i = 0; i < n; ++i) to[i] = buffer[i];
}

template <>
struct Lanes<F32> {
  static constexpr int kCount = kLanes;
  using Scalar = float;
  using Int = I32;
  using Mask = VFI_LEVEL::Mask;

  static VFI_INLINE F32 broadcast(float x) { return _mm256_set1_ps(x); }
  static VFI_INLINE F32 lane_numbers() { return F32{0, 1, 2, 3, 4, 5, 6, 7}; }
  static VFI_INLINE F32 from_int(I32 x) { return _mm256_cvtepi32_ps((__m256i)x); }

  static VFI_INLINE F32 load(const float* p) { return _mm256_loadu_ps(p); }
  static VFI_INLINE F32 load(const Half* p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p)); }
  static VFI_INLINE F32 load(const BFloat16* p) { return unpack_bfloat16(_mm_loadu_si128((const __m128i*)p)); }
  static VFI_INLINE F32 load(const float* p, int64_t n) {
    return n >= kLanes ? load(p) : (F32)_mm256_maskload_ps(p, (__m256i)first_lanes(n).bits);
  }
  static VFI_INLINE F32 load(const Half* p, int64_t n) { return _mm256_cvtph_ps(load_halves(p, n)); }
  static VFI_INLINE F32 load(const BFloat16* p, int64_t n) { return unpack_bfloat16(load_halves(p, n)); }

  static VFI_INLINE F32 gather(const float* p, I32 offsets) { return _mm256_i32gather_ps(p, (__m256i)offsets, 4); }
  // Two neighbouring floats are one 64-bit element, loaded one by one: quicker than AVX2's gather on most CPUs.
  static VFI_INLINE void gather_pairs(const float* p, I32 o, F32& a, F32& b) {
    const auto pair = [&](int lane) {
      double bits;
      std::memcpy(&bits, p + o[lane], sizeof bits);
      return _mm_castpd_ps(_mm_set_sd(bits));
    };
    const auto two = [&](int i, int j) { return _mm_unpacklo_ps(pair(i), pair(j)); };  // a_i a_j b_i b_j
    const __m128 u = two(0, 1), v = two(2, 3), w = two(4, 5), x = two(6, 7);
    a = _mm256_set_m128(_mm_movelh_ps(w, x), _mm_movelh_ps(u, v));
    b = _mm256_set_m128(_mm_movehl_ps(x, w), _mm_movehl_ps(v, u));
  }
  // Two neighbouring halves are one 32-bit element.
  static VFI_INLINE __m256i half_pairs(const void* p, I32 o) {
    const auto pair = [&](int lane) {
      int32_t bits;
      std::memcpy(&bits, static_cast<const uint16_t*>(p) + o[lane], sizeof bits);
      return bits;
    };
    return _mm256_setr_epi32(pair(0), pair(1), pair(2), pair(3), pair(4), pair(5), pair(6), pair(7));
  }
  static VFI_INLINE void gather_pairs(const Half* p, I32 o, F32& a, F32& b) {
    const __m256i v = half_pairs(p, o);
    const __m256i low = _mm256_and_si256(v, _mm256_set1_epi32(0xffff)), high = _mm256_srli_epi32(v, 16);
    const __m256i words = _mm256_permute4x64_epi64(_mm256_packus_epi32(low, high), 0xd8);
    a = _mm256_cvtph_ps(_mm256_castsi256_si128(words));
    b = _mm256_cvtph_ps(_mm256_extracti128_si256(words, 1));
  }
  static VFI_INLINE void gather_pairs(const BFloat16* p, I32 o, F32& a, F32& b) {
    const __m256i v = half_pairs(p, o);
    a = (F32)_mm256_slli_epi32(v, 16);
    b = (F32)_mm256_and_si256(v, _mm256_set1_epi32(static_cast<int>(0xffff0000u)));
  }
};

VFI_INLINE void store(float* p, F32 v) { _mm256_storeu_ps(p, v); }
VFI_INLINE void store(Half* p, F32 v) { _mm_storeu_si128((__m128i*)p, pack_half(v)); }
VFI_INLINE void store(BFloat16* p, F32 v) { _mm_storeu_si128((__m128i*)p, pack_bfloat16(v)); }
VFI_INLINE void store(float* p, F32 v, int64_t n) {
  if (n >= kLanes) return store(p, v);
  _mm256_maskstore_ps(p, (__m256i)first_lanes(n).bits, v);
}
VFI_INLINE void store(Half* p, F32 v, int64_t n) { store_halves(p, pack_half(v), n); }
VFI_INLINE void store(BFloat16* p, F32 v, int64_t n) { store_halves(p, pack_bfloat16(v), n); }
VFI_INLINE void stream(float* p, F32 v) { _mm256_stream_ps(p, v); }
VFI_INLINE void stream(Half* p, F32 v) { _mm_stream_si128((__m128i*)p, pack_half(v)); }
VFI_INLINE void stream(BFloat16* p, F32 v) { _mm_stream_si128((__m128i*)p, pack_bfloat16(v)); }

VFI_INLINE F32 select(Mask m, F32 a, F32 b) { return _mm256_blendv_ps(b, a, (__m256)m.bits); }
VFI_INLINE I32 select(Mask m, I32 a, I32 b) { return (I32)_mm256_blendv_epi8((__m256i)b, (__m256i)a, (__m256i)m.bits); }
VFI_INLINE F32 fma(F32 a, F32 b, F32 c) { return _mm256_fmadd_ps(a, b, c); }
VFI_INLINE F32 fma_where(Mask m, F32 a, F32 b, F32 c) { return select(m, fma(a, b, c), c); }
VFI_INLINE F32 min(F32 a, F32 b) { return _mm256_min_ps(a, b); }
VFI_INLINE F32 max(F32 a, F32 b) { return _mm256_max_ps(a, b); }
VFI_INLINE I32 min(I32 a, I32 b) { return (I32)_mm256_min_epi32((__m256i)a, (__m256i)b); }
VFI_INLINE I32 max(I32 a, I32 b) { return (I32)_mm256_max_epi32((__m256i)a, (__m256i)b); }
VFI_INLINE F32 round_down(F32 x) { return _mm256_floor_ps(x); }
VFI_INLINE F32 round_nearest(F32 x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
VFI_INLINE I32 to_int(F32 x) { return (I32)_mm256_cvttps_epi32(x); }
VFI_INLINE int32_t lowest(I32 x) {
  __m128i v = _mm_min_epi32(_mm256_castsi256_si128((__m256i)x), _mm256_extracti128_si256((__m256i)x, 1));
  v = _mm_min_epi32(v, _mm_shuffle_epi32(v, 0x4e));
  return _mm_cvtsi128_si32(_mm_min_epi32(v, _mm_shuffle_epi32(v, 0xb1)));
}
VFI_INLINE int32_t highest(I32 x) { return ~lowest(~x); }

}  // namespace VFI_LEVEL
}  // namespace vfi

#include "simd/simd_window.h"

namespace vfi {
namespace VFI_LEVEL {

VFI_INLINE F32 lookup(const Window<F32>& w, I32 columns) {  // permutevar8x32 uses the column modulo 8
  const __m256 low = _mm256_permutevar8x32_ps(w.low, (__m256i)columns);
  const __m256 high = _mm256_permutevar8x32_ps(w.high, (__m256i)columns);
  return _mm256_blendv_ps(low, high, (__m256)(columns > 7));
}

}  // namespace VFI_LEVEL
}  // namespace vfi
