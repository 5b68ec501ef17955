// The gradients of a cost volume's windows on the CPU, compiled once per instruction set; formulas in correlation_lookup.h.
//
// Work: first and positions by tiles of pixels, each pixel by itself. The levels by blocks of channels: whoever has a block
// goes through all pixels in their order, so that no sum depends on the threads; G is made once for each block. Lanes are
// channels everywhere.
#include "simd/simd_elements.h"
#include "ops/correlation_lookup/correlation_lookup_simd.h"

namespace vfi {
namespace VFI_LEVEL {
namespace {

// Of one thread: what belongs to one pixel and level. [x][y] everywhere, n + 1 each way but for `upstream`.
template <class F>
struct LookupGradMemory {
  using A = Number<F>;
  A* upstream;  // grad_out / sqrt(C), with a 0 before and after each column: [n][n + 2]
  A *factors, *along_x, *along_y, *products;
  A* sums;  // [C]
  LookupList list;

  VFI_INLINE int64_t lay_out(const LookupArgs& a, void* memory) {
    const int64_t side = a.side() + 1, box = side * side;
    Layout layout(memory);
    upstream = layout.take<A>(a.side() * (side + 1));
    for (A** part : {&factors, &along_x, &along_y, &products}) *part = layout.take<A>(box);
    sums = layout.take<A>(a.C);
    list.offsets = layout.take<int64_t>(box), list.places = layout.take<int32_t>(box);
    return layout.bytes();
  }
};

template <class A>
struct AxisWeights {
  A near, far;
};

// to[i][j] = sum over u, v of x_u y_v upstream[i - u, j - v].
template <class A>
VFI_INLINE void spread(const A* upstream, int64_t n, AxisWeights<A> x, AxisWeights<A> y, A* to) {
  for (int64_t k = 0; k < (n + 1) * (n + 1); ++k) to[k] = 0;
  for (int64_t i = 0; i < n; ++i, upstream += n + 2, to += n + 1) {
    for (int64_t j = 0; j <= n; ++j) {
      const A v = y.near * upstream[j + 1] + (y.far == 0 ? A(0) : y.far * upstream[j]);
      to[j] += x.near * v;
      if (x.far != 0) to[n + 1 + j] += x.far * v;
    }
  }
}

// Pixel `pixel` of sample b in one level.
template <class F, class T>
struct LookupPixel {
  using A = Number<F>;
  const LookupArgs& a;
  const LookupGradMemory<F>& memory;
  int64_t b, pixel, level;
  LookupWindow<A> window;
  LookupList list;

  VFI_INLINE LookupPixel(const LookupArgs& a, const LookupGradMemory<F>& memory, int64_t b, int64_t pixel, int64_t level)
      : a(a), memory(memory), b(b), pixel(pixel), level(level), window(a, b, pixel, level), list(memory.list) {
    const int64_t n = a.side();
    const T* g = static_cast<const T*>(a.grad_out) + (b * a.H * a.W + pixel) * a.planes() + level * n * n;
    const A scale = A(1) / std::sqrt(static_cast<A>(max(a.C, int64_t{1})));
    for (int64_t i = 0; i < n; ++i, g += n) {
      A* const column = memory.upstream + i * (n + 2);
      column[0] = column[n + 1] = 0;
      for (int64_t j = 0; j < n; ++j) column[j + 1] = static_cast<A>(to_float(g[j])) * scale;
    }
    list.fill(LookupBox(window, n), a.levels[level], a.C, n + 1, 1);
    spread(memory.upstream, n, across(), down(), memory.factors);
  }

  VFI_INLINE AxisWeights<A> across() const { return {window.x.near, window.x.far}; }
  VFI_INLINE AxisWeights<A> down() const { return {window.y.near, window.y.far}; }
  VFI_INLINE const T* first() const { return static_cast<const T*>(a.first) + (b * a.H * a.W + pixel) * a.C; }
  VFI_INLINE int64_t level_offset() const { return b * a.levels[level].height * a.levels[level].width * a.C; }

  // sums += G S.
  void add_first() const {
    constexpr int64_t kCount = Lanes<F>::kCount;
    with_level<T, F>(level, a.levels[level].data, [&](const auto* data) VFI_INLINE_LAMBDA {
      for (int64_t c = 0; c < a.C; c += kCount) {
        F sum = load<F>(memory.sums + c, a.C - c);
        for (int64_t k = 0; k < list.count; ++k) {
          const A factor = memory.factors[list.places[k]];
          if (factor == 0) continue;
          sum = fma(broadcast<F>(factor), load<F>(data + level_offset() + list.offsets[k] + c, a.C - c), sum);
        }
        store(memory.sums + c, sum, a.C - c);
      }
    });
  }

  // The products times the derivatives of the weights, added to (x, y).
  void add_position(A& x, A& y) const {
    const T* const own = first();
    with_level<T, F>(level, a.levels[level].data, [&](const auto* data) VFI_INLINE_LAMBDA {
      multiply_list<F, 1, kAlone<F>>(&own, data + level_offset(), list, a.C, memory.products, 0);
    });
    const AxisWeights<A> slope{-1, 1};
    spread(memory.upstream, a.side(), slope, down(), memory.along_x);
    spread(memory.upstream, a.side(), across(), slope, memory.along_y);
    const A size = static_cast<A>(int64_t{1} << level);
    A sum_x = 0, sum_y = 0;
    for (int64_t k = 0; k < list.count; ++k) {
      const int32_t at = list.places[k];
      if (memory.along_x[at] != 0) sum_x += memory.along_x[at] * memory.products[at];
      if (memory.along_y[at] != 0) sum_y += memory.along_y[at] * memory.products[at];
    }
    x += sum_x / size, y += sum_y / size;
  }

  // grad_S += G first, of channels `start` on.
  void add_level(int64_t start) const {
    constexpr int64_t kCount = Lanes<F>::kCount;
    const int64_t n = min(LookupParts::kChannels, a.C - start);
    const T* const own = first() + start;
    A* const grad = static_cast<A*>(a.grad_levels[level]) + level_offset() + start;
    for (int64_t k = 0; k < list.count; ++k) {
      const A factor = memory.factors[list.places[k]];
      if (factor == 0) continue;
      A* const to = grad + list.offsets[k];
      for (int64_t c = 0; c < n; c += kCount) {
        store(to + c, fma(broadcast<F>(factor), load<F>(own + c, n - c), load<F>(to + c, n - c)), n - c);
      }
    }
  }
};

template <class F, class T>
void grad_of_pixel(const LookupArgs& a, const LookupGradMemory<F>& memory, int64_t b, int64_t pixel) {
  using A = Number<F>;
  constexpr int64_t kCount = Lanes<F>::kCount;
  A x = 0, y = 0;
  for (int64_t c = 0; c < a.C; c += kCount) store(memory.sums + c, zero<F>(), a.C - c);
  for (int64_t level = 0; level < a.count; ++level) {
    const LookupPixel<F, T> at(a, memory, b, pixel, level);
    if (a.need_first) at.add_first();
    if (a.need_positions) at.add_position(x, y);
  }
  if (a.need_first) {
    T* const to = static_cast<T*>(a.out) + (b * a.H * a.W + pixel) * a.C;
    for (int64_t c = 0; c < a.C; c += kCount) store(to + c, load<F>(memory.sums + c, a.C - c), a.C - c);
  }
  if (a.need_positions) {
    const int64_t plane = a.H * a.W, at = 2 * b * plane + pixel;
    write_as(a.grad_positions, a.positions_type, at, x);
    write_as(a.grad_positions, a.positions_type, at + plane, y);
  }
}

}  // namespace

void lookup_grad_tiles(const LookupArgs& a, int64_t begin, int64_t end) {
  const LookupTiles tiles(a);
  with_lookup_types(a, [&]<class T, class F>(T, F) VFI_INLINE_LAMBDA {
    const WithScratch<LookupGradMemory<F>> memory(a);
    for (int64_t i = begin; i < end; ++i) {
      const LookupTile tile(a, tiles, i);
      for (int64_t y = tile.y0; y < tile.y1; ++y) {
        for (int64_t x = tile.x0; x < tile.x1; ++x) grad_of_pixel<F, T>(a, memory, tile.b, y * a.W + x);
      }
    }
  });
}

void lookup_grad_parts(const LookupArgs& a, int64_t begin, int64_t end) {
  const LookupParts parts(a);
  with_lookup_types(a, [&]<class T, class F>(T, F) VFI_INLINE_LAMBDA {
    const WithScratch<LookupGradMemory<F>> memory(a);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t b = i / parts.blocks / a.count, level = i / parts.blocks % a.count;
      const int64_t start = i % parts.blocks * LookupParts::kChannels, n = min(LookupParts::kChannels, a.C - start);
      const int64_t pixels = a.levels[level].height * a.levels[level].width;
      auto* const grad = static_cast<Number<F>*>(a.grad_levels[level]) + b * pixels * a.C + start;
      for (int64_t p = 0; p < pixels; ++p) std::memset(grad + p * a.C, 0, n * sizeof(Number<F>));
      for (int64_t p = 0; p < a.H * a.W; ++p) LookupPixel<F, T>(a, memory, b, p, level).add_level(start);
    }
  });
}

void lookup_unpool_rows(const LookupArgs& a, int64_t level, void* to, Dtype type, int64_t begin, int64_t end) {
  const LookupLevel& own = a.levels[level];
  const bool last = level + 1 == a.count;
  const LookupLevel& next = a.levels[last ? level : level + 1];
  with_lookup_types(a, [&]<class T, class F>(T, F) VFI_INLINE_LAMBDA {
    const auto* const grad = static_cast<const Number<F>*>(a.grad_levels[level]);
    const auto* const coarse = static_cast<const Number<F>*>(a.grad_levels[last ? level : level + 1]);
    for (int64_t i = begin * own.width; i < end * own.width; ++i) {
      const int64_t x = i % own.width / 2, row = i / own.width, y = row % own.height / 2;
      const bool pooled = !last && x < next.width && y < next.height;
      const int64_t from = ((row / own.height * next.height + y) * next.width + x) * a.C;
      for (int64_t c = 0; c < a.C; c += Lanes<F>::kCount) {
        F v = load<F>(grad + i * a.C + c, a.C - c);
        if (pooled) v = fma(broadcast<F>(Number<F>(0.25)), load<F>(coarse + from + c, a.C - c), v);
        store_as<F>(to, type, i * a.C + c, v, a.C - c);
      }
    }
  });
}

}  // namespace VFI_LEVEL
}  // namespace vfi
