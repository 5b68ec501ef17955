// What the forward and the gradient kernel of correlation share. For *_simd.cpp only.
#pragma once

#include "cpu/scratch.h"
#include "simd/simd.h"
#include "ops/correlation/correlation.h"

namespace vfi {
namespace VFI_LEVEL {

template <int N>
struct Count {
  static constexpr int value = N;
};

// use(Count<n>()) for an n from 1 to N.
template <int N, class Use>
VFI_INLINE void with_count(int64_t n, const Use& use) {
  if constexpr (N > 1) {
    if (n < N) return with_count<N - 1>(n, use);
  }
  use(Count<N>());
}

// Output rows y0 ... y1 - 1 and columns x0 ... x1 - 1 of sample b.
struct CorrelationTile {
  int64_t b, y0, y1, x0, x1;

  VFI_INLINE CorrelationTile(const CorrelationArgs& a, const CorrelationTiles& tiles, int64_t i) {
    b = i / (tiles.down * tiles.across);
    y0 = i / tiles.across % tiles.down * CorrelationTiles::kRows;
    x0 = i % tiles.across * CorrelationTiles::kColumns;
    y1 = min(y0 + CorrelationTiles::kRows, a.H);
    x1 = min(x0 + CorrelationTiles::kColumns, a.W);
  }
};

template <class F>
VFI_INLINE F zero() {
  return broadcast<F>(0);
}

// Makes the compiler keep a loaded value that several sums use: it would load it again for each, across two cache lines.
template <class F>
VFI_INLINE void keep_in_register([[maybe_unused]] F& value) {
#if defined(__AVX512F__)
  __asm__("" : "+v"(value));
#elif defined(__x86_64__)
  __asm__("" : "+x"(value));
#endif
}

// row[x], row[x + 1], ..., with 0 for columns outside [0, width).
template <class F, class T>
VFI_INLINE F load_inside(const T* row, int64_t x, int64_t width) {
  constexpr int kCount = Lanes<F>::kCount;
  if (x >= width || x <= -kCount) return zero<F>();
  if (x >= 0) return load<F>(row + x, width - x);
  typename Lanes<F>::Scalar shifted[2 * kCount] = {};
  store(shifted + kCount, load<F>(row, width));
  return load<F>(shifted + kCount + x);
}

// value where column x + lane is in [0, width), else 0.
template <class F>
VFI_INLINE F keep_inside(F value, int64_t x, int64_t width) {
  constexpr int64_t kCount = Lanes<F>::kCount;
  if (x >= 0 && x + kCount <= width) return value;
  const int64_t begin = max(int64_t{0}, min(-x, kCount)), end = max(int64_t{0}, min(width - x, kCount));
  const F lane = lane_numbers<F>();
  const auto inside = less_equal(broadcast<F>(begin), lane) & less(lane, broadcast<F>(end));
  return select(inside, value, zero<F>());
}

// Elements that copy_windows writes.
template <class F>
VFI_INLINE int64_t windows_size(const CorrelationArgs& a) {
  constexpr int64_t kCount = Lanes<F>::kCount;
  return a.C * (kCount + 2 * a.radius) + kCount;
}

// C rows, those of the channels, of `width` values from column x on: one after another, with 0 outside the map. Writes
// up to kCount - 1 values more. The row below is asked for meanwhile: no other prefetch sees it coming.
template <class F, class T>
VFI_INLINE void copy_windows(const T* row, int64_t plane, int64_t C, int64_t x, int64_t W, int64_t width,
                             typename Lanes<F>::Scalar* to) {
  for (int64_t c = 0; c < C; ++c, row += plane, to += width) {
    prefetch(row + W + x);
    prefetch(row + W + x + width - 1);
    for (int64_t i = 0; i < width; i += Lanes<F>::kCount) store(to + i, load_inside<F>(row, x + i, W));
  }
}

// Calls run(T(), F()) with the element type and what the arithmetic is done in.
template <class Run>
VFI_INLINE void with_types(Dtype type, const Run& run) {
  if (type == Dtype::kFloat64) return run(double(), double());
  if (type == Dtype::kFloat32) return run(float(), F32());
  if (type == Dtype::kFloat16) return run(Half(), F32());
  run(BFloat16(), F32());
}

// Calls run(T(), tile, memory) for tiles begin ... end - 1, with memory for this thread.
template <template <class> class Memory, class Run>
VFI_INLINE void for_each_tile(const CorrelationArgs& a, int64_t begin, int64_t end, const Run& run) {
  const CorrelationTiles tiles(a);
  with_types(a.type, [&]<class T, class F>(T, F) VFI_INLINE_LAMBDA {
    const WithScratch<Memory<F>> memory(a);
    for (int64_t i = begin; i < end; ++i) run(T(), CorrelationTile(a, tiles, i), static_cast<const Memory<F>&>(memory));
  });
}

}  // namespace VFI_LEVEL
}  // namespace vfi
