// The gradients of local correlation on the CPU, compiled once per instruction set; formulas in correlation.h.
//
// Work: as forward, by tiles and vectors of pixels. The n n planes of g at a tile's pixels are copied next to each other,
// shifted if mirrored, with 0 where a displacement leaves the map; then row after row of the other map is copied and added
// to every output row within the radius. A value of the other map serves kRows rows, one of g kChannels channels. Every
// sum has the order of the displacements.
#include "ops/correlation/correlation_simd.h"

namespace vfi {
namespace VFI_LEVEL {
namespace {

constexpr int kRows = 3, kChannels = kLanes == 16 ? 4 : 3;

// The gradient of one vector of pixels.
template <class F>
struct GradBlock {
  using Scalar = typename Lanes<F>::Scalar;
  static constexpr int kCount = Lanes<F>::kCount;

  int64_t C, n, radius, y0;
  const Scalar* g;      // [rows from y0 on][n n][kCount]
  const Scalar* other;  // [C][kCount + 2 radius], from column x - radius on
  Scalar* sums;         // [rows from y0 on][C][kCount]

  // Adds what row `from` of the other map gives to rows y ... y + R - 1 and channels c ... c + K - 1.
  template <int R, int K>
  void add(int64_t y, int64_t from, int64_t c) const {
    const int64_t width = kCount + 2 * radius;
    Scalar* const total = sums + ((y - y0) * C + c) * kCount;
    const Scalar* p = g + ((y - y0) * n + from - y + radius) * n * kCount;
    const Scalar* q = other + c * width;
    const int64_t next = (n - 1) * n * kCount;  // one row down, one displacement up
    F sum[R][K];
#pragma GCC unroll 4
    for (int i = 0; i < R; ++i) {
#pragma GCC unroll 4
      for (int k = 0; k < K; ++k) sum[i][k] = load<F>(total + (i * C + k) * kCount);
    }
    for (int64_t d = 0; d < n; ++d, p += kCount, ++q) {
      F v[K];
#pragma GCC unroll 4
      for (int k = 0; k < K; ++k) {
        v[k] = load<F>(q + k * width);
        keep_in_register(v[k]);
      }
#pragma GCC unroll 4
      for (int i = 0; i < R; ++i) {
        const F upstream = load<F>(p + i * next);
#pragma GCC unroll 4
        for (int k = 0; k < K; ++k) sum[i][k] = fma(upstream, v[k], sum[i][k]);
      }
    }
#pragma GCC unroll 4
    for (int i = 0; i < R; ++i) {
#pragma GCC unroll 4
      for (int k = 0; k < K; ++k) store(total + (i * C + k) * kCount, sum[i][k]);
    }
  }

  void add_all(int64_t begin, int64_t end, int64_t from) const {
    for (int64_t y = begin; y < end; y += kRows) {
      with_count<kRows>(end - y, [&]<int R>(Count<R>) VFI_INLINE_LAMBDA {
        for (int64_t c = 0; c < C; c += kChannels) {
          with_count<kChannels>(C - c, [&]<int K>(Count<K>) VFI_INLINE_LAMBDA { add<R, K>(y, from, c); });
        }
      });
    }
  }
};

// g of every displacement for the vector of pixels at (y, x); that of the row below is asked for meanwhile.
template <class F, class T>
void copy_upstream(const CorrelationArgs& a, const T* grad_out, int64_t y, int64_t x, typename Lanes<F>::Scalar* to) {
  const int64_t n = a.side(), planes = n * n;
  for (int64_t d = 0; d < planes; ++d, to += Lanes<F>::kCount) {
    const int64_t row = y + d / n - a.radius, column = x + d % n - a.radius;
    const T* from = grad_out + (a.mirrored ? (planes - 1 - d) * a.H + row : d * a.H + y) * a.W;
    prefetch(from + a.W + x);
    F g = zero<F>();
    if (row >= 0 && row < a.H) {
      g = a.mirrored ? load_inside<F>(from, column, a.W) : keep_inside(load<F>(from + x, a.W - x), column, a.W);
    }
    store(to, g);
  }
}

// Of one thread: the upstream gradient and the sums of a tile, and one row of the other map with what lies within the radius.
template <class F>
struct CorrelationGradMemory {
  using Scalar = typename Lanes<F>::Scalar;
  Scalar *g, *sums, *windows;

  VFI_INLINE int64_t lay_out(const CorrelationArgs& a, void* memory) {
    constexpr int64_t kPixels = CorrelationTiles::kRows * Lanes<F>::kCount;
    Layout layout(memory);
    g = layout.take<Scalar>(kPixels * a.side() * a.side());
    sums = layout.take<Scalar>(kPixels * a.C);
    windows = layout.take<Scalar>(windows_size<F>(a));
    return layout.bytes();
  }
};

template <class F, class T>
void run_tile(const CorrelationArgs& a, const CorrelationTile& t, const CorrelationGradMemory<F>& memory) {
  using Scalar = typename Lanes<F>::Scalar;
  constexpr int kCount = Lanes<F>::kCount;
  const int64_t plane = a.H * a.W, n = a.side();
  const T* other = static_cast<const T*>(a.second) + t.b * a.C * plane;
  const T* grad_out = static_cast<const T*>(a.grad_out) + t.b * n * n * plane;
  T* out = static_cast<T*>(a.out) + t.b * a.C * plane;
  Scalar *const g = memory.g, *const sums = memory.sums, *const windows = memory.windows;
  const GradBlock<F> block{a.C, n, a.radius, t.y0, g, windows, sums};
  for (int64_t x = t.x0; x < t.x1; x += kCount) {
    for (int64_t y = t.y0; y < t.y1; ++y) copy_upstream<F>(a, grad_out, y, x, g + (y - t.y0) * n * n * kCount);
    for (int64_t i = 0; i < (t.y1 - t.y0) * a.C; ++i) store(sums + i * kCount, zero<F>());
    for (int64_t from = max(t.y0 - a.radius, int64_t{0}); from < min(t.y1 + a.radius, a.H); ++from) {
      copy_windows<F>(other + from * a.W, plane, a.C, x - a.radius, a.W, kCount + 2 * a.radius, windows);
      block.add_all(max(t.y0, from - a.radius), min(t.y1, from + a.radius + 1), from);
    }
    const F count = broadcast<F>(static_cast<Scalar>(max(a.C, int64_t{1})));
    for (int64_t y = t.y0; y < t.y1; ++y) {
      for (int64_t c = 0; c < a.C; ++c) {
        const F total = load<F>(sums + ((y - t.y0) * a.C + c) * kCount);
        store(out + (c * a.H + y) * a.W + x, total / count, a.W - x);
      }
    }
  }
}

}  // namespace

void correlation_grad_tiles(const CorrelationArgs& a, int64_t begin, int64_t end) {
  const auto run = [&]<class T, class F>(T, const CorrelationTile& tile, const CorrelationGradMemory<F>& memory)
                       VFI_INLINE_LAMBDA { run_tile<F, T>(a, tile, memory); };
  for_each_tile<CorrelationGradMemory>(a, begin, end, run);
}

}  // namespace VFI_LEVEL
}  // namespace vfi
