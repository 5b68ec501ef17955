// Four floats on every instruction set: a pixel of up to four channels in channels_last order. For *_simd.cpp only.
#pragma once

#include "simd/simd.h"

namespace vfi {
namespace VFI_LEVEL {

typedef float Quad __attribute__((vector_size(16)));

VFI_INLINE Quad load_quad(const float* p) {
  Quad v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
VFI_INLINE void store_quad(float* p, Quad v) { std::memcpy(p, &v, sizeof v); }

#if defined(__AVX2__)  // elsewhere a Quad is an F32
VFI_INLINE Quad fma(Quad a, Quad b, Quad c) { return _mm_fmadd_ps(a, b, c); }
#endif
VFI_INLINE Quad broadcast_quad(float x) { return Quad{x, x, x, x}; }

// p[k] += weight[0] v[k],  p[4 + k] += weight[1] v[k]
VFI_INLINE void add_quads(float* p, Quad v, const float* weight) {
#if defined(__AVX2__)
  const __m256 pair = _mm256_castpd_ps(_mm256_broadcast_sd(reinterpret_cast<const double*>(weight)));
  const __m256 both = _mm256_permutevar_ps(pair, _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1));
  _mm256_storeu_ps(p, _mm256_fmadd_ps(both, _mm256_set_m128(v, v), _mm256_loadu_ps(p)));
#else
  store_quad(p, fma(v, broadcast_quad(weight[0]), load_quad(p)));
  store_quad(p + 4, fma(v, broadcast_quad(weight[1]), load_quad(p + 4)));
#endif
}

#if defined(__F16C__) && defined(__AVX2__)
VFI_INLINE Quad load_quad(const Half* p) { return _mm_cvtph_ps(_mm_loadl_epi64((const __m128i*)p)); }
VFI_INLINE Quad load_quad(const BFloat16* p) {
  return (Quad)_mm_slli_epi32(_mm_cvtepu16_epi32(_mm_loadl_epi64((const __m128i*)p)), 16);
}
VFI_INLINE void store_quad(Half* p, Quad v) {
  _mm_storel_epi64((__m128i*)p, _mm_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
VFI_INLINE void store_quad(BFloat16* p, Quad v) {
  typedef int32_t Bits __attribute__((vector_size(16)));
  const Bits bits = (Bits)v;
  const Bits kept = v == v ? bits + 0x7fff + ((bits >> 16) & 1) : (bits | 0x400000);
  const __m128i high = _mm_srli_epi32((__m128i)kept, 16);
  _mm_storel_epi64((__m128i*)p, _mm_packus_epi32(high, high));
}
#else
template <class T>
VFI_INLINE Quad load_quad(const T* p) {
  return load<F32>(p);
}
template <class T>
VFI_INLINE void store_quad(T* p, Quad v) {
  store(p, v);
}
#endif

// The first n of four, where the others do not exist (are read as 0, are not written).
template <class T>
VFI_INLINE Quad load_quad(const T* p, int64_t n) {
  Quad v = {};
  for (int64_t i = 0; i < n; ++i) v[i] = to_float(p[i]);
  return v;
}
template <class T>
VFI_INLINE void store_quad(T* p, Quad v, int64_t n) {
  for (int64_t i = 0; i < n; ++i) p[i] = Element<T>::from(v[i]);
}

}  // namespace VFI_LEVEL
}  // namespace vfi
