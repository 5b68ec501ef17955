// The sums of the local cost volume over the channels, in registers. For *_simd.cpp only.
#pragma once

#include "ops/correlation/correlation_simd.h"

namespace vfi {
namespace VFI_LEVEL {

constexpr int kRowsAtOnce = 3, kColumnsAtOnce = kRegisters == 32 ? 9 : 4;  // as many sums as 32, or 16, registers hold

// sums[i][d] of R rows and D displacements, over the channels: of one row of `first` after another, `row` apart, and of the
// windows of `second`, `window` apart, that begin at the displacements' offsets. [R][D][kCount] goes to `totals`.
template <class F, Way kWay, int R, int D>
void sum_channels(const typename Lanes<F>::Scalar* p, int64_t row, const typename Lanes<F>::Scalar* q, int64_t window,
                  const int64_t* offsets, int64_t C, typename Lanes<F>::Scalar* totals) {
  constexpr int kCount = Lanes<F>::kCount;
  F sum[R][D];  // in registers: every loop over it is unrolled
#pragma GCC unroll 4
  for (int i = 0; i < R; ++i) {
#pragma GCC unroll 16
    for (int d = 0; d < D; ++d) sum[i][d] = zero<F>();
  }
  for (int64_t c = 0; c < C; ++c, p += kCount, q += window) {
    F v[R];
#pragma GCC unroll 4
    for (int i = 0; i < R; ++i) v[i] = load<F>(p + i * row);
#pragma GCC unroll 16
    for (int d = 0; d < D; ++d) {
      F w = load<F>(q + (kWay == Way::kNeighbours ? d : offsets[d]));
      keep_in_register(w);
#pragma GCC unroll 4
      for (int i = 0; i < R; ++i) sum[i][d] = kWay == Way::kL1 ? sum[i][d] + magnitude(v[i] - w) : fma(v[i], w, sum[i][d]);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < R; ++i) {
#pragma GCC unroll 16
    for (int d = 0; d < D; ++d) store(totals + (i * D + d) * kCount, sum[i][d]);
  }
}

template <class F>
using Sums = decltype(&sum_channels<F, Way::kDot, 1, 1>);

// sum_channels for numbers of rows and displacements that are known at run time.
template <class F>
Sums<F> sums_of(Way way, int64_t rows, int64_t columns) {
  Sums<F> chosen = nullptr;
  with_count<kRowsAtOnce>(rows, [&]<int R>(Count<R>) VFI_INLINE_LAMBDA {
    with_count<kColumnsAtOnce>(columns, [&]<int D>(Count<D>) VFI_INLINE_LAMBDA {
      chosen = way == Way::kL1 ? &sum_channels<F, Way::kL1, R, D>
               : way == Way::kDot ? &sum_channels<F, Way::kDot, R, D>
                                  : &sum_channels<F, Way::kNeighbours, R, D>;
    });
  });
  return chosen;
}

}  // namespace VFI_LEVEL
}  // namespace vfi
