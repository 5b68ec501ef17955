// What the forward and the gradient kernel of correlation share. For *_simd.cpp only.
#pragma once

#include <numeric>

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

// How costs are computed. kNeighbours: kDot where the windows of one displacement after another begin at one value after
// another, which takes no registers for addresses.
enum class Way { kNeighbours, kDot, kL1 };

VFI_INLINE Way way_of(const CorrelationArgs& a) {
  if (a.cost == Cost::kL1) return Way::kL1;
  return a.h.step == 1 && a.h.stride == 1 ? Way::kNeighbours : Way::kDot;
}

// Rows y0 ... y1 - 1 and columns x0 ... x1 - 1 of sample b, and displacements k0 ... k1 - 1 along y.
struct CorrelationTile {
  int64_t b, y0, y1, x0, x1, k0, k1;

  VFI_INLINE CorrelationTile(const CorrelationArgs& a, const CorrelationTiles& tiles, int64_t i) {
    const int64_t group = i % a.groups, place = i / a.groups;
    b = place / (tiles.down * tiles.across);
    y0 = place / tiles.across % tiles.down * CorrelationTiles::kRows;
    x0 = place % tiles.across * CorrelationTiles::kColumns;
    y1 = min(y0 + CorrelationTiles::kRows, a.rows());
    x1 = min(x0 + CorrelationTiles::kColumns, a.columns());
    k0 = a.v.count * group / a.groups, k1 = a.v.count * (group + 1) / a.groups;
  }
};

// Rows begin, begin + step, ..., `count` of them, of which the first has displacement k, the next k - fall, and so on.
struct RowRun {
  int64_t begin, count, step, k, fall;
};

// The rows y of points, y0 <= y < y1, that displacements k0 ... k1 - 1 bring to row `to` of the second map.
VFI_INLINE RowRun points_meeting(const CorrelationAxis<>& v, int64_t y0, int64_t y1, int64_t k0, int64_t k1,
                                 int64_t to) {
  const int64_t sum = to - v.start + v.padding;  // y stride + k step
  if (v.stride == 1 && v.step == 1) {  // without divisions: they would be some hundredths of the time
    const int64_t begin = max(y0, sum - k1 + 1);
    return {begin, min(y1, sum - k0 + 1) - begin, 1, sum - begin, 1};
  }
  const int64_t shared = std::gcd(v.step, v.stride), step = v.step / shared;
  int64_t begin = max(y0, ceil_quotient(sum - (k1 - 1) * v.step, v.stride));
  const int64_t end = min(y1, ceil_quotient(sum - k0 * v.step + 1, v.stride));
  while (begin < end && (sum - begin * v.stride) % v.step != 0) ++begin;
  return {begin, ceil_quotient(end - begin, step), step, (sum - begin * v.stride) / v.step, v.stride / shared};
}

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

// row[x], row[x + step], ..., with 0 for columns outside [0, width). kNeighbours: step is known to be 1.
template <class F, bool kNeighbours = false, class T>
VFI_INLINE F load_steps(const T* row, int64_t x, int64_t step, int64_t width) {
  if (kNeighbours || step == 1) return load_inside<F>(row, x, width);
  T values[Lanes<F>::kCount] = {};
  for (int64_t i = 0; i < Lanes<F>::kCount; ++i, x += step) {
    if (x >= 0 && x < width) values[i] = row[x];
  }
  return load<F>(values);
}

// value in lanes begin ... end - 1, else 0.
template <class F>
VFI_INLINE F keep_lanes(F value, int64_t begin, int64_t end) {
  constexpr int64_t kCount = Lanes<F>::kCount;
  if (begin <= 0 && end >= kCount) return value;
  begin = max(int64_t{0}, min(begin, kCount)), end = max(int64_t{0}, min(end, kCount));
  const F lane = lane_numbers<F>();
  const auto inside = less_equal(broadcast<F>(begin), lane) & less(lane, broadcast<F>(end));
  return select(inside, value, zero<F>());
}

// cost l1's absolute difference, and its derivative; NaN stays NaN.
template <class F>
VFI_INLINE F magnitude(F x) {
  return max(x, -x);
}
template <class F>
VFI_INLINE F sign(F x) {
  return select(less(zero<F>(), x), broadcast<F>(1), select(less(x, zero<F>()), broadcast<F>(-1), x));
}

// How one row of a map is kept beside its neighbours in reach: for each channel `runs` runs of `width` values, value i of
// run r being that of column i step + r from the first on.
template <class F>
struct WindowShape {
  int64_t runs, step, width;

  VFI_INLINE explicit WindowShape(const CorrelationAxis<>& h, bool one_run = false)
      : runs(one_run ? 1 : h.stride), step(h.stride), width(Lanes<F>::kCount + (h.count - 1) * h.step / h.stride) {}
  VFI_INLINE int64_t channel() const { return runs * width; }
  VFI_INLINE int64_t size(int64_t C) const { return C * channel() + Lanes<F>::kCount; }
  // Where the vector begins whose first column is `column` from the first, and whose lanes are `step` apart.
  VFI_INLINE int64_t offset(int64_t column) const { return column % step * width + column / step; }
};

// Calls copy(Neighbours<true>()) where the step is 1, for which there is a loop of its own, else copy(Neighbours<false>()).
template <bool kNeighbours>
struct Neighbours {};
template <class Copy>
VFI_INLINE void with_neighbours(int64_t step, const Copy& copy) {
  step == 1 ? copy(Neighbours<true>()) : copy(Neighbours<false>());
}

// The windows of all channels of `row`, from column x on, with 0 outside the map; zeros where there is no row. Writes up to
// kCount - 1 values more. The row below is asked for meanwhile: no other prefetch sees it coming.
template <class F, class T>
VFI_INLINE void copy_windows(const T* row, int64_t plane, int64_t C, int64_t x, int64_t W, const WindowShape<F>& shape,
                             typename Lanes<F>::Scalar* to) {
  constexpr int64_t kCount = Lanes<F>::kCount;
  if (row == nullptr) {
    for (int64_t i = 0; i < C * shape.channel(); i += kCount) store(to + i, zero<F>());
    return;
  }
  with_neighbours(shape.step, [&]<bool kNeighbours>(Neighbours<kNeighbours>) VFI_INLINE_LAMBDA {
    const int64_t runs = kNeighbours ? 1 : shape.runs, step = kNeighbours ? 1 : shape.step, width = shape.width;
    const T* from = row;
    typename Lanes<F>::Scalar* at = to;
    for (int64_t c = 0; c < C; ++c, from += plane) {
      prefetch(from + W + x);
      prefetch(from + W + x + width * step - 1);
      for (int64_t r = 0; r < runs; ++r, at += width) {
        for (int64_t i = 0; i < width; i += kCount) store(at + i, load_steps<F, kNeighbours>(from, x + i * step + r, step, W));
      }
    }
  });
}

// Vectors of columns from x on, `step` apart, of all channels.
template <class F, class T>
VFI_INLINE void copy_vectors(const T* row, int64_t plane, int64_t C, int64_t x, int64_t step, int64_t W,
                             typename Lanes<F>::Scalar* to) {
  if (row == nullptr) {
    for (int64_t c = 0; c < C; ++c) store(to + c * Lanes<F>::kCount, zero<F>());
    return;
  }
  with_neighbours(step, [&]<bool kNeighbours>(Neighbours<kNeighbours>) VFI_INLINE_LAMBDA {
    const T* from = row;
    for (int64_t c = 0; c < C; ++c, from += plane) {
      prefetch(from + W + x);
      store(to + c * Lanes<F>::kCount, load_steps<F, kNeighbours>(from, x, step, W));
    }
  });
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
