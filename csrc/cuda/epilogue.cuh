// Bias and activation of a sum in registers, as options.h defines them, before it is rounded and stored.
#pragma once

#include "base/options.h"
#include "cuda/launch.cuh"

namespace vfi::cuda {

struct Epilogue {
  const void *bias, *slopes;  // of the element type, or null
  int64_t bias_step, slope_step;
  Activation activation;
  double slope;  // where there are no slopes
};

template <class T, class A>
__device__ __forceinline__ A finish(const Epilogue& e, int64_t o, A sum) {
  if (e.bias != nullptr) sum += widen<A>(static_cast<const T*>(e.bias)[o * e.bias_step]);
  if (e.activation == Activation::kRelu) return sum < A(0) ? A(0) : sum;
  if (e.activation == Activation::kPrelu && !(sum > A(0))) {
    return (e.slopes != nullptr ? widen<A>(static_cast<const T*>(e.slopes)[o * e.slope_step]) : A(e.slope)) * sum;
  }
  // erfc keeps its digits where 1 + erf has none left.
  if (e.activation == Activation::kGelu) return A(0.5) * sum * std::erfc(sum * A(-0.70710678118654752440));
  return sum;
}

}  // namespace vfi::cuda
