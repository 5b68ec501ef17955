// Vectors shorter than F32, for runs of 4 or 8 channels: whole short loads and stores cost less than masked long ones. For
// *_simd.cpp only.
//
//   Quad         four floats (simd_quad.h)        Oct    eight floats, where F32 has more
//   load_short<V>(p)  store_short(p, v)  broadcast_short<V>(x)  fma     V: Quad, Oct, or what simd.h has
#pragma once

#include <type_traits>

#include "simd/simd_quad.h"

namespace vfi {
namespace VFI_LEVEL {

#if defined(__AVX512F__)
typedef float Oct __attribute__((vector_size(32)));

VFI_INLINE Oct load_oct(const float* p) { return _mm256_loadu_ps(p); }
VFI_INLINE Oct load_oct(const Half* p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p)); }
VFI_INLINE Oct load_oct(const BFloat16* p) {
  return (Oct)_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p)), 16);
}
VFI_INLINE Oct fma(Oct a, Oct b, Oct c) { return _mm256_fmadd_ps(a, b, c); }
VFI_INLINE void store_short(float* p, Oct v) { _mm256_storeu_ps(p, v); }
VFI_INLINE void store_short(Half* p, Oct v) {
  _mm_storeu_si128((__m128i*)p, _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
VFI_INLINE void store_short(BFloat16* p, Oct v) {
  _mm_storeu_si128((__m128i*)p, _mm256_castsi256_si128(pack_bfloat16(_mm512_castps256_ps512(v))));
}
#else
struct Oct;
#endif

template <class V>
constexpr int64_t kShortLanes = sizeof(V) / sizeof(float);
template <>
inline constexpr int64_t kShortLanes<double> = 1;

template <class V, class T>
VFI_INLINE V load_short(const T* p) {
  if constexpr (std::same_as<V, Quad>) {
    return load_quad(p);
#if defined(__AVX512F__)
  } else if constexpr (std::same_as<V, Oct>) {
    return load_oct(p);
#endif
  } else {
    return load<V>(p);
  }
}
template <class V>
VFI_INLINE V broadcast_short(std::conditional_t<std::same_as<V, double>, double, float> x) {
  if constexpr (std::same_as<V, Quad> || std::same_as<V, Oct>) {
    return x - V{};
  } else {
    return broadcast<V>(x);
  }
}
template <class T, class V>
VFI_INLINE void store_short(T* p, V v) {
  if constexpr (std::same_as<V, Quad>) {
    store_quad(p, v);
  } else {
    store(p, v);
  }
}

}  // namespace VFI_LEVEL
}  // namespace vfi
