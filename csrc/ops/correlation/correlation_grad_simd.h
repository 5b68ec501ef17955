// The innermost loops of correlation's gradients. For *_simd.cpp only.
#pragma once

#include "ops/correlation/correlation_simd.h"

namespace vfi {
namespace VFI_LEVEL {

constexpr int kGradRows = 3, kGradChannels = kRegisters == 32 ? 4 : 3;

// The displacements along x that columns `phase`, phase + stride, ... of the owner have: all, but of the second map only
// every so many. Of each its number, where its windows begin, how far its points are from the owner's columns, and which
// points count.
struct Columns {
  int64_t *number, *offset, *shift;
  CorrelationSpan<>* meeting;
  int64_t count, first, step;  // of the owner: its pixel at column 0, and from one column to the next
  int64_t window;              // the first pixel of the windows of column 0
};

// Of one thread: the upstream gradient, the owner and the sums of a tile, and one row of the other map within reach.
template <class F>
struct CorrelationGradMemory {
  using Scalar = typename Lanes<F>::Scalar;
  Scalar *g, *owner, *sums, *windows;
  CorrelationSpan<>* rows;  // of each displacement along y, the points that count
  Columns columns;

  VFI_INLINE int64_t lay_out(const CorrelationArgs& a, void* memory) {
    constexpr int64_t kPixels = CorrelationTiles::kRows * Lanes<F>::kCount;
    Layout layout(memory);
    g = layout.take<Scalar>(kPixels * a.v.count * a.h.count);
    owner = layout.take<Scalar>(a.cost == Cost::kL1 ? kPixels * a.C : 0);
    sums = layout.take<Scalar>(kPixels * a.C);
    windows = layout.take<Scalar>(WindowShape<F>(a.h).size(a.C));
    columns.number = layout.take<int64_t>(a.h.count);
    columns.offset = layout.take<int64_t>(a.h.count);
    columns.shift = layout.take<int64_t>(a.h.count);
    columns.meeting = layout.take<CorrelationSpan<>>(a.h.count);
    rows = layout.take<CorrelationSpan<>>(a.v.count);
    return layout.bytes();
  }
};

// The gradient of one vector of pixels.
template <class F>
struct GradBlock {
  using Scalar = typename Lanes<F>::Scalar;
  static constexpr int kCount = Lanes<F>::kCount;

  const CorrelationGradMemory<F>& memory;
  int64_t C, count, window, y0;  // count: displacements along y; window: from one channel to the next

  // Where one row of the other map is added to: a run's rows, one `row` apart in the sums and in the owner, one `next` apart
  // in g.
  struct GradPlace {
    Scalar* total;
    const Scalar *own, *upstream;
    int64_t row, next;
  };

  // Channels c ... c + K - 1 of R rows.
  template <Way kWay, int R, int K>
  VFI_INLINE void add(const GradPlace& to, const Scalar* windows, const int64_t* offsets, int64_t n, int64_t c) const {
    const Scalar *const q = windows + c * window, *p = to.upstream;
    Scalar* const total = to.total + c * kCount;
    F sum[R][K];
#pragma GCC unroll 4
    for (int i = 0; i < R; ++i) {
#pragma GCC unroll 4
      for (int k = 0; k < K; ++k) sum[i][k] = load<F>(total + i * to.row + k * kCount);
    }
    for (int64_t d = 0; d < n; ++d, p += kCount) {
      const Scalar* const from = q + (kWay == Way::kNeighbours ? d : offsets[d]);
      F v[K];
#pragma GCC unroll 4
      for (int k = 0; k < K; ++k) {
        v[k] = load<F>(from + k * window);
        keep_in_register(v[k]);
      }
#pragma GCC unroll 4
      for (int i = 0; i < R; ++i) {
        const F upstream = load<F>(p + i * to.next);
#pragma GCC unroll 4
        for (int k = 0; k < K; ++k) {
          const F factor = kWay == Way::kL1 ? sign(load<F>(to.own + i * to.row + (c + k) * kCount) - v[k]) : v[k];
          sum[i][k] = fma(upstream, factor, sum[i][k]);
        }
      }
    }
#pragma GCC unroll 4
    for (int i = 0; i < R; ++i) {
#pragma GCC unroll 4
      for (int k = 0; k < K; ++k) store(total + i * to.row + k * kCount, sum[i][k]);
    }
  }

  // All channels of R rows of a run, from its row i on. What the loop needs is read once: a few hundred operations are done
  // at a time.
  template <Way kWay, int R>
  void add_rows(const RowRun& run, int64_t i) const {
    const int64_t y = run.begin + i * run.step - y0, k = run.k - i * run.fall, n = memory.columns.count;
    const GradPlace to = {memory.sums + y * C * kCount, memory.owner + y * C * kCount,
                      memory.g + (y * count + k) * n * kCount, run.step * C * kCount,
                      (run.step * count - run.fall) * n * kCount};
    const Scalar* const windows = memory.windows;
    const int64_t* const offsets = memory.columns.offset;
    int64_t c = 0;
    for (; c + kGradChannels <= C; c += kGradChannels) add<kWay, R, kGradChannels>(to, windows, offsets, n, c);
    if (c == C) return;
    with_count<kGradChannels - 1>(C - c, [&]<int K>(Count<K>) VFI_INLINE_LAMBDA { add<kWay, R, K>(to, windows, offsets, n, c); });
  }

  void add_all(const RowRun& run, Way way) const {
    for (int64_t i = 0; i < run.count; i += kGradRows) {
      with_count<kGradRows>(run.count - i, [&]<int R>(Count<R>) VFI_INLINE_LAMBDA {
        way == Way::kL1    ? add_rows<Way::kL1, R>(run, i)
        : way == Way::kDot ? add_rows<Way::kDot, R>(run, i)
                           : add_rows<Way::kNeighbours, R>(run, i);
      });
    }
  }
};

// The rows of the other map that a tile's owners meet; those of the first map are points.
VFI_INLINE CorrelationSpan<> others_of(const CorrelationArgs& a, const CorrelationTile& t) {
  const CorrelationAxis<>& v = a.v;
  const int64_t last = v.displacement(v.count - 1);
  if (!a.mirrored) {
    const CorrelationSpan<> reach = {v.pixel(t.y0) + v.start, v.pixel(t.y1 - 1) + last + 1};
    return a.cost == Cost::kL1 ? reach : CorrelationSpan<>{max(reach.begin, int64_t{0}), min(reach.end, v.size)};
  }
  const CorrelationSpan<> reach = {ceil_quotient(t.y0 - last + v.padding, v.stride),
                                   ceil_quotient(t.y1 - v.start + v.padding, v.stride)};
  const CorrelationSpan<> points = a.cost == Cost::kL1 ? CorrelationSpan<>{0, v.points} : v.inside();
  return {max(reach.begin, points.begin), min(reach.end, points.end)};
}

// value / divisor at columns x, x + step, ... of a row, of which `columns` are the owner's and those inside are written.
template <class F, class T>
VFI_INLINE void store_steps(T* row, int64_t x, int64_t step, int64_t columns, int64_t width, F value) {
  if (step == 1 && x >= 0) return store(row + x, value, min(columns, width - x));
  T values[Lanes<F>::kCount];
  store(values, value);
  for (int64_t i = 0; i < min(columns, int64_t{Lanes<F>::kCount}); ++i, x += step) {
    if (x >= 0 && x < width) row[x] = values[i];
  }
}

}  // namespace VFI_LEVEL
}  // namespace vfi
