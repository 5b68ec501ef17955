// Local correlation on the CPU, compiled once per instruction set; formulas in correlation.h.
//
// Work: for a vector of neighbouring pixels, the tile's rows of `first`, and one row after another of `second`, are copied
// as float32 with the channels next to each other: in the map they lie a plane apart and would push each other out of the
// cache. A row of `second` then serves every output row within the radius; the sums of kRows output rows and kColumns
// displacements stay in registers while the channels go by. Every sum has the order of the channels.
#include "sampling/simd_tiles.h"
#include "ops/correlation/correlation_simd.h"

namespace vfi {
namespace VFI_LEVEL {
namespace {

constexpr int kRows = 3, kColumns = kLanes == 16 ? 9 : 4;  // as many sums as 32, or 16, registers hold

// sums[i][d] of R output rows and D displacements, over the channels: of one row of `first` after another, `row` apart,
// and of the windows of `second`, `window` apart. [R][D][kCount] goes to `totals`.
template <class F, int R, int D>
void sum_channels(const typename Lanes<F>::Scalar* p, int64_t row, const typename Lanes<F>::Scalar* q, int64_t window,
                  int64_t C, typename Lanes<F>::Scalar* totals) {
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
      F w = load<F>(q + d);
      keep_in_register(w);
#pragma GCC unroll 4
      for (int i = 0; i < R; ++i) sum[i][d] = fma(v[i], w, sum[i][d]);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < R; ++i) {
#pragma GCC unroll 16
    for (int d = 0; d < D; ++d) store(totals + (i * D + d) * kCount, sum[i][d]);
  }
}

template <class F>
using Sums = decltype(&sum_channels<F, 1, 1>);

// sum_channels for numbers of rows and displacements that are known at run time.
template <class F>
Sums<F> sums_of(int64_t rows, int64_t columns) {
  Sums<F> chosen = nullptr;
  with_count<kRows>(rows, [&]<int R>(Count<R>) VFI_INLINE_LAMBDA {
    with_count<kColumns>(columns, [&]<int D>(Count<D>) VFI_INLINE_LAMBDA { chosen = &sum_channels<F, R, D>; });
  });
  return chosen;
}

// The output of one vector of pixels: what the tile's rows of `first` and one row of `second` give.
template <class F, class T>
struct ForwardBlock {
  using Scalar = typename Lanes<F>::Scalar;
  static constexpr int kCount = Lanes<F>::kCount;

  const CorrelationArgs& a;
  T* out;                // of the sample
  int64_t x;             // the first pixel
  const Scalar* first;   // [rows from y0 on][C][kCount]
  const Scalar* second;  // [C][kCount + 2 radius], from column x - radius on
  int64_t y0;
  bool streams;  // past the cache

  // Where displacement (from - y, column - radius) of pixel (y, x) goes.
  VFI_INLINE T* target(int64_t y, int64_t from, int64_t column) const {
    return out + (((from - y + a.radius) * a.side() + column) * a.H + y) * a.W + x;
  }

  // Output rows y ... y + rows - 1, row `from` of second, `columns` displacements from `column` - radius on.
  VFI_INLINE void means(int64_t y, int64_t rows, int64_t from, int64_t column, int64_t columns) const {
    alignas(64) Scalar totals[kRows * kColumns * kCount];
    const Scalar* const p = first + (y - y0) * a.C * kCount;
    sums_of<F>(rows, columns)(p, a.C * kCount, second + column, kCount + 2 * a.radius, a.C, totals);
    const F count = broadcast<F>(static_cast<Scalar>(max(a.C, int64_t{1})));
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t d = 0; d < columns; ++d) {
        const F total = load<F>(totals + (i * columns + d) * kCount);
        const F mean = keep_inside(total / count, x + column + d - a.radius, a.W);
        T* const to = target(y + i, from, column + d);
        streams ? stream(to, mean) : store(to, mean, a.W - x);
      }
    }
  }

  void zeros(int64_t y, int64_t from) const {
    for (int64_t column = 0; column < a.side(); ++column) store(target(y, from, column), zero<F>(), a.W - x);
  }

  // Output rows begin ... end - 1, all displacements along x in equal parts.
  void all_sums(int64_t begin, int64_t end, int64_t from) const {
    const int64_t parts = (a.side() + kColumns - 1) / kColumns, most = (a.side() + parts - 1) / parts;
    for (int64_t y = begin; y < end; y += kRows) {
      for (int64_t column = 0; column < a.side(); column += most) {
        means(y, min(int64_t{kRows}, end - y), from, column, min(most, a.side() - column));
      }
    }
  }
};

// Of one thread: a tile of `first`, and one row of `second` with what lies within the radius.
template <class F>
struct CorrelationMemory {
  using Scalar = typename Lanes<F>::Scalar;
  Scalar *rows, *windows;

  VFI_INLINE int64_t lay_out(const CorrelationArgs& a, void* memory) {
    Layout layout(memory);
    rows = layout.take<Scalar>(CorrelationTiles::kRows * a.C * Lanes<F>::kCount);
    windows = layout.take<Scalar>(windows_size<F>(a));
    return layout.bytes();
  }
};

template <class F, class T>
void run_tile(const CorrelationArgs& a, const CorrelationTile& t, const CorrelationMemory<F>& memory) {
  constexpr int kCount = Lanes<F>::kCount;
  const int64_t plane = a.H * a.W, n = a.side();
  const T* first = static_cast<const T*>(a.first) + t.b * a.C * plane;
  const T* second = static_cast<const T*>(a.second) + t.b * a.C * plane;
  T* const out = static_cast<T*>(a.out) + t.b * n * n * plane;
  const bool streams = can_stream(static_cast<T*>(a.out), a.B * n * n * plane, a.W);
  auto *const rows = memory.rows, *const windows = memory.windows;
  for (int64_t x = t.x0; x < t.x1; x += kCount) {
    const ForwardBlock<F, T> block{a, out, x, rows, windows, t.y0, streams};
    for (int64_t y = t.y0; y < t.y1; ++y) {
      copy_windows<F>(first + y * a.W, plane, a.C, x, a.W, kCount, rows + (y - t.y0) * a.C * kCount);
    }
    for (int64_t from = t.y0 - a.radius; from < t.y1 + a.radius; ++from) {
      const int64_t begin = max(t.y0, from - a.radius), end = min(t.y1, from + a.radius + 1);
      if (from < 0 || from >= a.H) {
        for (int64_t y = begin; y < end; ++y) block.zeros(y, from);
        continue;
      }
      copy_windows<F>(second + from * a.W, plane, a.C, x - a.radius, a.W, kCount + 2 * a.radius, windows);
      block.all_sums(begin, end, from);
    }
  }
  if (streams) stream_fence();
}

}  // namespace

void correlation_tiles(const CorrelationArgs& a, int64_t begin, int64_t end) {
  const auto run = [&]<class T, class F>(T, const CorrelationTile& tile, const CorrelationMemory<F>& memory)
                       VFI_INLINE_LAMBDA { run_tile<F, T>(a, tile, memory); };
  for_each_tile<CorrelationMemory>(a, begin, end, run);
}

}  // namespace VFI_LEVEL
}  // namespace vfi
