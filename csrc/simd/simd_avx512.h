// simd.h with 16 lanes: AVX-512 F, BW, VL, DQ and F16C.
#pragma once

namespace vfi {
namespace VFI_LEVEL {

constexpr int kLanes = 16;
constexpr int kRegisters = 32;
constexpr bool kHasWindow = true;
typedef float F32 __attribute__((vector_size(64)));
typedef int32_t I32 __attribute__((vector_size(64)));
struct Mask {
  __mmask16 bits;
};

VFI_INLINE Mask operator&(Mask a, Mask b) { return {_kand_mask16(a.bits, b.bits)}; }
VFI_INLINE Mask operator|(Mask a, Mask b) { return {_kor_mask16(a.bits, b.bits)}; }
VFI_INLINE Mask operator!(Mask a) { return {_knot_mask16(a.bits)}; }
VFI_INLINE bool all(Mask m) { return m.bits == 0xffff; }
VFI_INLINE bool any(Mask m) { return m.bits != 0; }
VFI_INLINE Mask first_lanes(int64_t n) {
  return {static_cast<__mmask16>(n >= kLanes ? 0xffffu : n > 0 ? (1u << n) - 1u : 0u)};
}

VFI_INLINE F32 as_float(I32 x) { return (F32)x; }
VFI_INLINE I32 as_int(F32 x) { return (I32)x; }

// float32 -> bfloat16, to nearest even.
VFI_INLINE __m256i pack_bfloat16(F32 v) {
  const __m512i bits = (__m512i)v;
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
  const __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
  const __m512i kept = _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x400000));
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(kept, 16));
}
VFI_INLINE __m256i pack_half(F32 v) { return _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
VFI_INLINE F32 unpack_bfloat16(__m256i v) { return (F32)_mm512_slli_epi32(_mm512_cvtepu16_epi32(v), 16); }

template <>
struct Lanes<F32> {
  static constexpr int kCount = kLanes;
  using Scalar = float;
  using Int = I32;
  using Mask = VFI_LEVEL::Mask;

  static VFI_INLINE F32 broadcast(float x) { return _mm512_set1_ps(x); }
  static VFI_INLINE F32 lane_numbers() { return F32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}; }
  static VFI_INLINE F32 from_int(I32 x) { return _mm512_cvtepi32_ps((__m512i)x); }

  static VFI_INLINE F32 load(const float* p) { return _mm512_loadu_ps(p); }
  static VFI_INLINE F32 load(const Half* p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p)); }
  static VFI_INLINE F32 load(const BFloat16* p) { return unpack_bfloat16(_mm256_loadu_si256((const __m256i*)p)); }
  static VFI_INLINE F32 load(const float* p, int64_t n) { return _mm512_maskz_loadu_ps(first_lanes(n).bits, p); }
  static VFI_INLINE F32 load(const Half* p, int64_t n) {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first_lanes(n).bits, p));
  }
  static VFI_INLINE F32 load(const BFloat16* p, int64_t n) {
    return unpack_bfloat16(_mm256_maskz_loadu_epi16(first_lanes(n).bits, p));
  }

  static VFI_INLINE F32 gather(const float* p, I32 offsets) { return _mm512_i32gather_ps((__m512i)offsets, p, 4); }
  // Two neighbouring floats are one 64-bit element, loaded one by one: quicker than many CPUs' gather instruction.
  static VFI_INLINE __m512 eight_pairs(const float* p, const int32_t* offsets) {
    const auto two = [&](int i) {
      double bits[2];
      for (int n = 0; n < 2; ++n) std::memcpy(bits + n, p + offsets[i + n], sizeof bits[n]);
      return _mm_set_pd(bits[1], bits[0]);
    };
    const __m256d low = _mm256_set_m128d(two(2), two(0)), high = _mm256_set_m128d(two(6), two(4));
    return _mm512_castpd_ps(_mm512_insertf64x4(_mm512_castpd256_pd512(low), high, 1));
  }
  static VFI_INLINE void gather_pairs(const float* p, I32 offsets, F32& a, F32& b) {
    alignas(64) int32_t o[kLanes];
    _mm512_store_si512(o, (__m512i)offsets);
    const __m512 low = eight_pairs(p, o), high = eight_pairs(p, o + 8);
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    a = _mm512_permutex2var_ps(low, even, high);
    b = _mm512_permutex2var_ps(low, _mm512_add_epi32(even, _mm512_set1_epi32(1)), high);
  }
  // Two neighbouring halves are one 32-bit element.
  static VFI_INLINE void gather_pairs(const Half* p, I32 offsets, F32& a, F32& b) {
    const __m512i v = _mm512_i32gather_epi32((__m512i)offsets, p, 2);
    a = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(v));
    b = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(v, 16)));
  }
  static VFI_INLINE void gather_pairs(const BFloat16* p, I32 offsets, F32& a, F32& b) {
    const __m512i v = _mm512_i32gather_epi32((__m512i)offsets, p, 2);
    a = (F32)_mm512_slli_epi32(v, 16);
    b = (F32)_mm512_and_si512(v, _mm512_set1_epi32(static_cast<int>(0xffff0000u)));
  }
};

VFI_INLINE void store(float* p, F32 v) { _mm512_storeu_ps(p, v); }
VFI_INLINE void store(Half* p, F32 v) { _mm256_storeu_si256((__m256i*)p, pack_half(v)); }
VFI_INLINE void store(BFloat16* p, F32 v) { _mm256_storeu_si256((__m256i*)p, pack_bfloat16(v)); }
// Masked stores are slow on some CPUs: only where they are needed.
VFI_INLINE void store(float* p, F32 v, int64_t n) {
  if (n >= kLanes) return store(p, v);
  _mm512_mask_storeu_ps(p, first_lanes(n).bits, v);
}
VFI_INLINE void store_halves(void* p, __m256i v, int64_t n) {
  if (n >= kLanes) return _mm256_storeu_si256(static_cast<__m256i*>(p), v);
  _mm256_mask_storeu_epi16(p, first_lanes(n).bits, v);
}
VFI_INLINE void store(Half* p, F32 v, int64_t n) { store_halves(p, pack_half(v), n); }
VFI_INLINE void store(BFloat16* p, F32 v, int64_t n) { store_halves(p, pack_bfloat16(v), n); }
VFI_INLINE void stream(float* p, F32 v) { _mm512_stream_ps(p, v); }
VFI_INLINE void stream(Half* p, F32 v) { _mm256_stream_si256((__m256i*)p, pack_half(v)); }
VFI_INLINE void stream(BFloat16* p, F32 v) { _mm256_stream_si256((__m256i*)p, pack_bfloat16(v)); }

VFI_INLINE F32 fma(F32 a, F32 b, F32 c) { return _mm512_fmadd_ps(a, b, c); }
VFI_INLINE F32 fma_where(Mask m, F32 a, F32 b, F32 c) { return _mm512_mask3_fmadd_ps(a, b, c, m.bits); }
VFI_INLINE F32 min(F32 a, F32 b) { return _mm512_min_ps(a, b); }
VFI_INLINE F32 max(F32 a, F32 b) { return _mm512_max_ps(a, b); }
VFI_INLINE I32 min(I32 a, I32 b) { return (I32)_mm512_min_epi32((__m512i)a, (__m512i)b); }
VFI_INLINE I32 max(I32 a, I32 b) { return (I32)_mm512_max_epi32((__m512i)a, (__m512i)b); }
VFI_INLINE F32 round_down(F32 x) { return _mm512_floor_ps(x); }
VFI_INLINE F32 round_nearest(F32 x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
VFI_INLINE I32 to_int(F32 x) { return (I32)_mm512_cvttps_epi32(x); }
VFI_INLINE int32_t lowest(I32 x) { return _mm512_reduce_min_epi32((__m512i)x); }
VFI_INLINE int32_t highest(I32 x) { return _mm512_reduce_max_epi32((__m512i)x); }

VFI_INLINE Mask less(F32 a, F32 b) { return {_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ)}; }
VFI_INLINE Mask less_equal(F32 a, F32 b) { return {_mm512_cmp_ps_mask(a, b, _CMP_LE_OQ)}; }
VFI_INLINE Mask equal(F32 a, F32 b) { return {_mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ)}; }
VFI_INLINE Mask not_equal(F32 a, F32 b) { return {_mm512_cmp_ps_mask(a, b, _CMP_NEQ_UQ)}; }
VFI_INLINE Mask less(I32 a, I32 b) { return {_mm512_cmplt_epi32_mask((__m512i)a, (__m512i)b)}; }
VFI_INLINE Mask less_equal(I32 a, I32 b) { return {_mm512_cmple_epi32_mask((__m512i)a, (__m512i)b)}; }
VFI_INLINE Mask equal(I32 a, I32 b) { return {_mm512_cmpeq_epi32_mask((__m512i)a, (__m512i)b)}; }
VFI_INLINE Mask not_equal(I32 a, I32 b) { return {_mm512_cmpneq_epi32_mask((__m512i)a, (__m512i)b)}; }
VFI_INLINE F32 select(Mask m, F32 a, F32 b) { return _mm512_mask_mov_ps(b, m.bits, a); }
VFI_INLINE I32 select(Mask m, I32 a, I32 b) { return (I32)_mm512_mask_mov_epi32((__m512i)b, m.bits, (__m512i)a); }

}  // namespace VFI_LEVEL
}  // namespace vfi

#include "simd/simd_window.h"

namespace vfi {
namespace VFI_LEVEL {

VFI_INLINE F32 lookup(const Window<F32>& w, I32 columns) {
  return _mm512_permutex2var_ps(w.low, (__m512i)columns, w.high);
}

}  // namespace VFI_LEVEL
}  // namespace vfi

#define VFI_PAIRS_HEADER "simd/simd_pairs_avx512.h"
