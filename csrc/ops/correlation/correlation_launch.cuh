// Which kernels a local correlation and its gradients take.
#pragma once

#include "ops/correlation/correlation_banded_kernels.cuh"
#include "ops/correlation/correlation_grad_banded_kernels.cuh"
#include "ops/correlation/correlation_grad_staged_kernels.cuh"
#include "ops/correlation/correlation_staged_kernels.cuh"

namespace vfi::cuda {

template <class T>
constexpr bool kHalfPrecision = sizeof(T) == 2;

// Displacements along x of a thread, of the 3, 5, 7 or 9 that kernels are made for: with few sums in vain, at most 4 columns
// of 15, up to radius 9. Calls run with the number as a constant.
template <class Run>
void with_displacements(int32_t count, Run&& run) {
  switch (count <= 19 ? count / 2 : 4) {
    case 0: case 1: return run(std::integral_constant<int, 3>());
    case 2: case 5: case 7: return run(std::integral_constant<int, 5>());
    case 3: case 6: case 9: return run(std::integral_constant<int, 7>());
    default: return run(std::integral_constant<int, 9>());
  }
}

inline void launch_correlation(const void* first, const void* second, void* out, Dtype dtype,
                               const CorrelationArgsGpu& a, cudaStream_t stream) {
  if (a.batch * a.points() == 0) return;
  with_correlation_types(dtype, [&](auto element, auto compute) {
    using T = decltype(element);
    using A = decltype(compute);
    const T *p = static_cast<const T*>(first), *q = static_cast<const T*>(second);
    T* to = static_cast<T*>(out);
    constexpr Cost kDot = Cost::kDot, kL1 = Cost::kL1;
    const int32_t step = staged_step(a);
    if (a.wide && kHalfPrecision<T>) {
      A* sums = static_cast<A*>(out);
      if (a.cost == kL1) return launch_correlation_direct<kL1>(p, q, sums, a, stream, compute);
      return launch_correlation_direct<kDot>(p, q, sums, a, stream, compute);
    }
    if (a.cost == kL1) {
      constexpr int kColumns = kHalfPrecision<T> ? 5 : 9;  // to widen takes registers
      if (step == 1) return launch_correlation_staged<kL1, kColumns, 1>(p, q, to, a, stream, compute);
      return launch_correlation_direct<kL1>(p, q, to, a, stream, compute);
    }
    if (step == 2) return launch_correlation_staged<kDot, 5, 2>(p, q, to, a, stream, compute);
    if (step != 1) return launch_correlation_direct<kDot>(p, q, to, a, stream, compute);
    if constexpr (kHalfPrecision<T>) {
      launch_correlation_banded(p, q, to, a, stream);
    } else {
      with_displacements(a.h.count, [&](auto d) { launch_correlation_staged<kDot, d(), 1>(p, q, to, a, stream, compute); });
    }
  });
}

// `owner` is the map that it is the gradient of, `other` the one that it is not.
inline void launch_correlation_grad(const void* grad_out, const void* owner, const void* other, void* grad, Dtype dtype,
                                    const CorrelationArgsGpu& a, cudaStream_t stream) {
  if (a.batch * a.channels * a.plane() == 0) return;
  with_correlation_types(dtype, [&](auto element, auto compute) {
    using T = decltype(element);
    const T *g = static_cast<const T*>(grad_out), *p = static_cast<const T*>(owner), *q = static_cast<const T*>(other);
    T* to = static_cast<T*>(grad);
    constexpr Cost kDot = Cost::kDot, kL1 = Cost::kL1;
    if (a.cost == kL1) return launch_grad_direct<kL1>(g, p, q, to, a, stream, compute);
    if (staged_step(a) != 1 || a.v.window > 1 || a.h.window > 1) return launch_grad_direct<kDot>(g, p, q, to, a, stream, compute);
    if constexpr (kHalfPrecision<T>) {
      launch_grad_banded(g, q, to, a, stream);
    } else {
      with_displacements(a.h.count, [&](auto d) { launch_grad_staged<d()>(g, q, to, a, stream); });
    }
  });
}

}  // namespace vfi::cuda
