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

}  // namespace VFI_LEVEL
}  // namespace vfi
