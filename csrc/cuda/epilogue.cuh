// Bias and activation of a sum in registers, as options.h defines them, before it is rounded and stored.
#pragma once

#include <type_traits>

#include "base/options.h"
#include "cuda/launch.cuh"

namespace vfi::cuda {

struct Epilogue {
  const void *bias, *slopes;  // of the element type, or null
  int64_t bias_step, slope_step;
  Activation activation;
  double slope;  // where there are no slopes
};

template <class A>
__device__ __forceinline__ A activated(Activation activation, A slope, A sum) {
  if (activation == Activation::kRelu) return sum < A(0) ? A(0) : sum;
  if (activation == Activation::kPrelu) return sum > A(0) ? sum : slope * sum;
  // erfc keeps its digits where 1 + erf has none left.
  if (activation == Activation::kGelu) return A(0.5) * sum * std::erfc(sum * A(-0.70710678118654752440));
  return sum;
}

template <class T, class A>
__device__ __forceinline__ A slope_of(const Epilogue& e, int64_t o) {
  return e.slopes != nullptr ? widen<A>(static_cast<const T*>(e.slopes)[o * e.slope_step]) : A(e.slope);
}

template <class T, class A>
__device__ __forceinline__ A finish(const Epilogue& e, int64_t o, A sum) {
  if (e.bias != nullptr) sum += widen<A>(static_cast<const T*>(e.bias)[o * e.bias_step]);
  return activated(e.activation, e.activation == Activation::kPrelu ? slope_of<T, A>(e, o) : A(0), sum);
}

// The sums of some pixels: `count` of their N outputs, from `o` on, exist.
template <class T, class A, int kPixels, int N>
__device__ __forceinline__ void finish_all(const Epilogue& e, int64_t o, int count, A (&sums)[kPixels][N]) {
  const auto each = [&](auto&& run) {
#pragma unroll
    for (int n = 0; n < N; ++n) {
#pragma unroll
      for (int i = 0; i < kPixels; ++i) run(n, sums[i][n]);
    }
  };
  if (e.bias != nullptr) {
    A bias[N];
#pragma unroll
    for (int n = 0; n < N; ++n) bias[n] = n < count ? widen<A>(static_cast<const T*>(e.bias)[(o + n) * e.bias_step]) : A(0);
    each([&](int n, A& sum) { sum += bias[n]; });
  }
  // One branch for all, not one each.
  if (e.activation == Activation::kRelu) {
    each([](int, A& sum) { sum = activated(Activation::kRelu, A(0), sum); });
  } else if (e.activation == Activation::kPrelu) {
    A slopes[N];
#pragma unroll
    for (int n = 0; n < N; ++n) slopes[n] = n < count ? slope_of<T, A>(e, o + n) : A(0);
    each([&](int n, A& sum) { sum = activated(Activation::kPrelu, slopes[n], sum); });
  } else if (e.activation == Activation::kGelu) {
    // All at once they would need more registers than there are; the sums go round and end where they were.
#pragma unroll 1
    for (int turn = 0; turn < kPixels; ++turn) {
      A row[N];
#pragma unroll
      for (int n = 0; n < N; ++n) row[n] = activated(Activation::kGelu, A(0), sums[0][n]);
#pragma unroll
      for (int i = 0; i < kPixels * N; ++i) {
        sums[i / N][i % N] = i / N + 1 < kPixels ? sums[(i / N + 1) % kPixels][i % N] : row[i % N];
      }
    }
  }
}

}  // namespace vfi::cuda
