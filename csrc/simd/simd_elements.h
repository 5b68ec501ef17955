// Loads and stores of vectors whose element type is only known at run time, and of int32 numbers. For *_simd.cpp only.
#pragma once

#include "simd/simd.h"

namespace vfi {
namespace VFI_LEVEL {

VFI_INLINE int64_t size_of(Dtype type) { return type == Dtype::kFloat64 ? 8 : type == Dtype::kFloat32 ? 4 : 2; }

// n elements from number `at` on; float64 only where F is double.
template <class F = F32>
VFI_INLINE F load_as(const void* p, Dtype type, int64_t at, int64_t n) {
  if constexpr (std::same_as<F, double>) {
    if (type == Dtype::kFloat64) return load<F>(static_cast<const double*>(p) + at, n);
  }
  if (type == Dtype::kFloat32) return load<F>(static_cast<const float*>(p) + at, n);
  if (type == Dtype::kFloat16) return load<F>(static_cast<const Half*>(p) + at, n);
  return load<F>(static_cast<const BFloat16*>(p) + at, n);
}

template <class F>
VFI_INLINE void store_as(void* p, Dtype type, int64_t at, F value, int64_t n) {
  if constexpr (std::same_as<F, double>) {
    if (type == Dtype::kFloat64) return store(static_cast<double*>(p) + at, value, n);
  }
  if (type == Dtype::kFloat32) return store(static_cast<float*>(p) + at, value, n);
  if (type == Dtype::kFloat16) return store(static_cast<Half*>(p) + at, value, n);
  store(static_cast<BFloat16*>(p) + at, value, n);
}

VFI_INLINE I32 load_int(const int32_t* p, I32) {
  I32 v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
VFI_INLINE int64_t load_int(const int32_t* p, int64_t) { return *p; }
VFI_INLINE void store_int(int32_t* p, I32 v) { std::memcpy(p, &v, sizeof v); }
VFI_INLINE void store_int(int32_t* p, int64_t v) { *p = static_cast<int32_t>(v); }

// to[lane] = base + at[lane] step: addresses of elements.
template <class F, class T>
VFI_INLINE void store_addresses(const T** to, const T* base, int64_t step, typename Lanes<F>::Int at) {
  if constexpr (Lanes<F>::kCount == 1) {
    *to = base + at * step;
  } else {
    typedef int64_t Long __attribute__((vector_size(sizeof(F32))));
    const int64_t bytes = step * int64_t{sizeof(T)}, origin = reinterpret_cast<int64_t>(base);
#if defined(__AVX512F__)
    const Long half[2] = {(Long)_mm512_cvtepi32_epi64(_mm512_castsi512_si256((__m512i)at)),
                          (Long)_mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64((__m512i)at, 1))};
#elif defined(__AVX2__)
    const Long half[2] = {(Long)_mm256_cvtepi32_epi64(_mm256_castsi256_si128((__m256i)at)),
                          (Long)_mm256_cvtepi32_epi64(_mm256_extracti128_si256((__m256i)at, 1))};
#else
    const Long half[2] = {{at[0], at[1]}, {at[2], at[3]}};
#endif
    for (int n = 0; n < 2; ++n) {
      const Long address = half[n] * bytes + origin;
      std::memcpy(to + n * (kLanes / 2), &address, sizeof address);
    }
  }
}

}  // namespace VFI_LEVEL
}  // namespace vfi
