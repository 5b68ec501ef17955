// Local correlation on the CPU, compiled once per instruction set; formulas in correlation.h.
//
// Work: for a vector of neighbouring points, the tile's rows of `first`, and one row after another of `second`, are copied
// as float32 with the channels next to each other: in the map they lie a plane apart and would push each other out of the
// cache. A row of `second` then serves every row of points within reach; the sums of some rows and displacements
// stay in registers while the channels go by. Every sum has the order of the channels. Half precision is multiplied on
// tiles, where there is a unit for it: the copies are of the maps' type then. Costs go past the cache by whole lines of it.
#include "sampling/simd_tiles.h"
#include "ops/correlation/correlation_pairs_simd.h"
#include "ops/correlation/correlation_sums_simd.h"

namespace vfi {
namespace VFI_LEVEL {
namespace {

// How many bytes a tile keeps of lines of the cache that are begun: of each row and displacement one, where a vector of costs
// is less than a line; so many that the second level of the cache holds them, else none.
template <class F>
VFI_INLINE int64_t lines_begun(const CorrelationArgs& a) {
  constexpr int64_t kMost = int64_t{512} << 10;
  const bool half = !a.wide && (a.type == Dtype::kFloat16 || a.type == Dtype::kBFloat16);
  const int64_t vector = Lanes<F>::kCount * (half ? 2 : static_cast<int64_t>(sizeof(typename Lanes<F>::Scalar)));
  const int64_t lines = CorrelationTiles::kRows * ceil_quotient(a.v.count, a.groups) * a.h.count;
  const int64_t bytes = lines * static_cast<int64_t>(kCacheLine);
  return kLanes < 8 || vector == kCacheLine || bytes > kMost ? 0 : bytes;
}

// Of one thread: a tile of `first`, and one row of `second` with what lies within reach; of each displacement along x
// where its windows begin, and the points that meet a pixel.
template <class F>
struct CorrelationMemory {
  using Scalar = typename Lanes<F>::Scalar;
  Scalar *rows, *windows;  // of the maps' type, on tiles
  float* sums;             // of a row of products, on tiles
  int64_t* offsets;
  CorrelationSpan<>* meeting;
  char* lines;  // that are begun

  VFI_INLINE int64_t lay_out(const CorrelationArgs& a, void* memory) {
    Layout layout(memory);
    const bool tiles = takes_tiles<BFloat16, F>(a) || takes_tiles<Half, F>(a);
    const PairShape shape(a);  // of elements that are half as large
    rows = layout.take<Scalar>(max(CorrelationTiles::kRows * a.C * Lanes<F>::kCount, tiles ? shape.points_size() / 2 : 0));
    windows = layout.take<Scalar>(max(WindowShape<F>(a.h).size(a.C), tiles ? shape.reach_size() / 2 : 0));
    sums = layout.take<float>(tiles ? shape.sums_size() : 0);
    offsets = layout.take<int64_t>(a.h.count);
    meeting = layout.take<CorrelationSpan<>>(a.h.count);
    lines = layout.take<char>(lines_begun<F>(a));
    return layout.bytes();
  }
};

// The output of one vector of points: what the tile's rows of `first` and one row of `second` give.
template <class F, class O>
struct ForwardBlock {
  static constexpr int kCount = Lanes<F>::kCount;

  const CorrelationArgs& a;
  const CorrelationMemory<F>& memory;
  O* out;  // of the sample
  const CorrelationTile& t;
  int64_t x;       // the first point of the vector
  int64_t window;  // from one channel's windows to the next
  Way way;
  bool streams;  // past the cache
  F divisor, inverse;
  bool exact;  // the inverse, as that of a power of two

  VFI_INLINE O* target(int64_t y, int64_t k, int64_t column) const {
    return out + ((k * a.h.count + column) * a.v.points + y) * a.h.points + x;
  }

  // The sums of row y, displacement k along y and `column` along x.
  VFI_INLINE void write(int64_t y, int64_t k, int64_t column, F total) const {
    const CorrelationSpan<> meeting = memory.meeting[column];
    const F mean = keep_lanes(exact ? total * inverse : total / divisor, meeting.begin - x, meeting.end - x);
    O* const to = target(y, k, column);
    if (!streams) return store(to, mean, a.h.points - x);
    constexpr int64_t kLine = kCacheLine / sizeof(O);
    if constexpr (kLine == kCount) {
      stream(to, mean);
    } else {
      const int64_t line = ((y - t.y0) * (t.k1 - t.k0) + k - t.k0) * a.h.count + column, at = x % kLine;
      O* const begun = reinterpret_cast<O*>(memory.lines) + line * kLine;
      store(begun + at, mean);
      if (at + kCount == kLine) stream_line(begun, to - at);
    }
  }

  static VFI_INLINE void stream_line(const O* from, O* to) {
    const float *const bits = reinterpret_cast<const float*>(from);
    for (int64_t i = 0; i < static_cast<int64_t>(kCacheLine / sizeof(float)); i += kLanes) {
      stream(reinterpret_cast<float*>(to) + i, load<F32>(bits + i));
    }
  }

  // `rows` rows of a run from y on, the first with displacement k, and `columns` displacements from `column` on.
  VFI_INLINE void means(const RowRun& run, int64_t y, int64_t k, int64_t rows, int64_t column, int64_t columns) const {
    alignas(64) typename Lanes<F>::Scalar totals[kRowsAtOnce * kColumnsAtOnce * kCount];
    const int64_t row = a.C * kCount;
    const auto* const windows = memory.windows + (way == Way::kNeighbours ? column : 0);
    sums_of<F>(way, rows, columns)(memory.rows + (y - t.y0) * row, run.step * row, windows, window,
                                   memory.offsets + column, a.C, totals);
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t d = 0; d < columns; ++d) {
        write(y + i * run.step, k - i * run.fall, column + d, load<F>(totals + (i * columns + d) * kCount));
      }
    }
  }

  void zeros(int64_t y, int64_t k) const {
    for (int64_t column = 0; column < a.h.count; ++column) store(target(y, k, column), zero<F>(), a.h.points - x);
  }

  // All rows of a run, all displacements along x in equal parts.
  void all_sums(const RowRun& run) const {
    const int64_t n = a.h.count, parts = (n + kColumnsAtOnce - 1) / kColumnsAtOnce, most = (n + parts - 1) / parts;
    for (int64_t i = 0; i < run.count; i += kRowsAtOnce) {
      const int64_t y = run.begin + i * run.step, rows = min(int64_t{kRowsAtOnce}, run.count - i);
      for (int64_t column = 0; column < n; column += most) {
        means(run, y, run.k - i * run.fall, rows, column, min(most, n - column));
      }
    }
  }

#if defined(__AVX512F__)
  // The same on tiles, for block i of the points.
  template <class T>
  void all_products(const RowRun& run, int64_t block, const PairShape& shape) const {
    const T* const points = reinterpret_cast<const T*>(memory.rows) + block * PairShape::kBlock * shape.depth;
    const T* const reach = reinterpret_cast<const T*>(memory.windows) + 2 * block * kTileSide;
    const I32 band = to_int(lane_numbers<F32>()) * static_cast<int32_t>(shape.band + 1);
    const int64_t together = run.step == 1 ? run.count : 1, size = kTileSide * shape.band;
    for (int64_t i = 0; i < run.count; ++i) {
      const int64_t y = run.begin + i * run.step;
      if (i % together == 0) multiply_reach(points + (y - t.y0) * kTileSide * shape.depth, reach, together, shape, memory.sums);
      for (int64_t d = 0; d < a.h.count; ++d) {
        write(y, run.k - i * run.fall, d, gather<F32>(memory.sums + i % together * size + d, band));
      }
    }
  }
#endif
};

template <class F>
void place_columns(const CorrelationArgs& a, const CorrelationMemory<F>& memory) {
  const WindowShape<F> shape(a.h);
  for (int64_t d = 0; d < a.h.count; ++d) {
    memory.offsets[d] = shape.offset(d * a.h.step);
    memory.meeting[d] = a.cost == Cost::kDot ? a.h.meeting(d) : CorrelationSpan<>{0, a.h.points + Lanes<F>::kCount};
  }
}

// What the two ways to compute a tile share.
template <class F, class T, class O>
struct ForwardTile {
  static constexpr int kCount = Lanes<F>::kCount;

  const CorrelationArgs& a;
  const CorrelationTile& t;
  const CorrelationMemory<F>& memory;
  const WindowShape<F> shape{a.h};
  const int64_t plane = a.v.size * a.h.size, size = a.v.count * a.h.count * a.v.points * a.h.points;
  const T* const first = static_cast<const T*>(a.first) + t.b * a.C * plane;
  const T* const second = static_cast<const T*>(a.second) + t.b * a.C * plane;
  O* const out = static_cast<O*>(a.out);
  const bool streams = writes_lines(), dot = a.cost == Cost::kDot;

  // Past the cache: never less than a line of it.
  bool writes_lines() const {
    const bool whole = reinterpret_cast<uintptr_t>(out) % kCacheLine == 0 && a.h.points * sizeof(O) % kCacheLine == 0;
    const bool held = kCount * sizeof(O) == kCacheLine || lines_begun<F>(a) > 0;
    return whole && held && can_stream(out, a.B * size, a.h.points);
  }

  const T* row_of(const T* map, int64_t y) const { return a.v.is_inside(y) ? map + y * a.h.size : nullptr; }

  ForwardBlock<F, O> block(int64_t x) const {
    int exponent = 0;
    const bool exact = std::frexp(a.divisor, &exponent) == 0.5;
    const F divisor = broadcast<F>(static_cast<typename Lanes<F>::Scalar>(a.divisor));
    return {a, memory, out + t.b * size, t, x, shape.channel(), way_of(a), streams, divisor, broadcast<F>(1) / divisor, exact};
  }

  void clear_outside(const ForwardBlock<F, O>& block) const {
    for (int64_t k = t.k0; dot && k < t.k1; ++k) {
      const CorrelationSpan<> meeting = a.v.meeting(k);
      for (int64_t y = t.y0; y < t.y1; ++y) {
        if (!meeting.holds(y)) block.zeros(y, k);
      }
    }
  }

  // Calls use(y, run) for each row y of the second map, and the rows of points that meet it.
  template <class Use>
  VFI_INLINE void for_each_run(const Use& use) const {
    const CorrelationSpan<> inside = dot ? a.v.inside() : CorrelationSpan<>{0, a.v.points};
    const int64_t lowest = a.v.pixel(t.y0) + a.v.displacement(t.k0);
    const int64_t highest = a.v.pixel(t.y1 - 1) + a.v.displacement(t.k1 - 1);
    for (int64_t to = dot ? max(lowest, int64_t{0}) : lowest; to <= (dot ? min(highest, a.v.size - 1) : highest); ++to) {
      const RowRun run = points_meeting(a.v, max(t.y0, inside.begin), min(t.y1, inside.end), t.k0, t.k1, to);
      if (run.count > 0) use(to, run);
    }
  }

  void run() const {
    for (int64_t x = t.x0; x < t.x1; x += kCount) {
      const ForwardBlock<F, O> here = block(x);
      for (int64_t y = t.y0; y < t.y1; ++y) {
        copy_vectors<F>(row_of(first, a.v.pixel(y)), plane, a.C, a.h.pixel(x), a.h.stride, a.h.size,
                        memory.rows + (y - t.y0) * a.C * kCount);
      }
      clear_outside(here);
      for_each_run([&](int64_t to, const RowRun& run) VFI_INLINE_LAMBDA {
        copy_windows<F>(row_of(second, to), plane, a.C, a.h.pixel(x) + a.h.start, a.h.size, shape, memory.windows);
        here.all_sums(run);
      });
    }
  }

#if defined(__AVX512F__)
  void run_on_tiles() const {
    const PairShape pairs(a);
    T* const points = reinterpret_cast<T*>(memory.rows);
    const int64_t blocks = (t.x1 - t.x0 + kTileSide - 1) / kTileSide;
    for (int64_t y = t.y0; y < t.y1; ++y) {
      for (int64_t i = 0; i < blocks; ++i) {
        copy_points(row_of(first, a.v.pixel(y)), plane, a.C, a.h.pixel(t.x0 + i * kTileSide), a.h.size, pairs,
                    points + (i * PairShape::kBlock + (y - t.y0) * kTileSide) * pairs.depth);
      }
    }
    for (int64_t i = 0; i < blocks; ++i) clear_outside(block(t.x0 + i * kTileSide));
    for_each_run([&](int64_t to, const RowRun& run) VFI_INLINE_LAMBDA {
      copy_reach(row_of(second, to), plane, a.C, a.h.pixel(t.x0) + a.h.start, a.h.size, pairs,
                 reinterpret_cast<T*>(memory.windows));
      for (int64_t i = 0; i < blocks; ++i) block(t.x0 + i * kTileSide).template all_products<T>(run, i, pairs);
    });
  }
#endif
};

template <class F, class T, class O>
void run_tile(const CorrelationArgs& a, const CorrelationTile& t, const CorrelationMemory<F>& memory) {
  place_columns<F>(a, memory);
  const ForwardTile<F, T, O> tile{a, t, memory};
#if defined(__AVX512F__)
  if constexpr (HalfPrecision<T>) {
    if (takes_tiles<T, F>(a)) {
      tile.run_on_tiles();
      if (tile.streams) stream_fence();
      return;
    }
  }
#endif
  tile.run();
  if (tile.streams) stream_fence();
}

}  // namespace

void correlation_tiles(const CorrelationArgs& a, int64_t begin, int64_t end) {
  const TileScope tiles_of_this_thread(a.type == Dtype::kFloat16 || a.type == Dtype::kBFloat16);
  const auto run = [&]<class T, class F>(T, const CorrelationTile& tile, const CorrelationMemory<F>& memory)
                       VFI_INLINE_LAMBDA {
    a.wide ? run_tile<F, T, typename Lanes<F>::Scalar>(a, tile, memory) : run_tile<F, T, T>(a, tile, memory);
  };
  for_each_tile<CorrelationMemory>(a, begin, end, run);
}

}  // namespace VFI_LEVEL
}  // namespace vfi
