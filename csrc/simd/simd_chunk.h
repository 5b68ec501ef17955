// Runs of pixels that the kernels keep in the first-level cache, and the vectors of a compute type. For *_simd.cpp only.
#pragma once

#include "base/chunk.h"
#include "simd/simd.h"

namespace vfi {
namespace VFI_LEVEL {

static_assert(kChunk % kLanes == 0 && kChunk * sizeof(float) % 64 == 0);  // whole vectors, and rows that stay aligned

template <class A>
struct VectorFor;
template <>
struct VectorFor<float> {
  using type = F32;
};
template <>
struct VectorFor<double> {
  using type = double;
};

template <class F>
using Number = typename Lanes<F>::Scalar;

}  // namespace VFI_LEVEL
}  // namespace vfi
