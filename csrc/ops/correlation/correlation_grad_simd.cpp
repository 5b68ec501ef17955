// The gradients of local correlation on the CPU, compiled once per instruction set; formulas in correlation.h.
//
// Work: as forward, by tiles and vectors of the owner's pixels. What g is at a tile's pixels, of every displacement, is
// copied next to each other, with 0 where a displacement leaves the map; then row after row of the other map is copied and
// added to every row of the owner within reach. A value of the other map serves kGradRows rows, one of g kGradChannels channels.
// Every sum has the order of the displacements. Half precision is multiplied on tiles, where there is a unit for it.
#include "ops/correlation/correlation_grad_pairs_simd.h"

namespace vfi {
namespace VFI_LEVEL {
namespace {

// The points of displacement k whose costs have a gradient.
VFI_INLINE CorrelationSpan<> counting(const CorrelationArgs& a, const CorrelationAxis<>& axis, int64_t k) {
  return a.cost == Cost::kDot ? axis.meeting(k) : CorrelationSpan<>{0, axis.points};
}

// Columns of the first map are points. Those of the second are q = phase + stride column, which displacement d has in
// common with point (q - d + padding) / stride, where that is whole.
template <class F>
void find_columns(const CorrelationArgs& a, int64_t phase, Columns& columns) {
  const CorrelationAxis<>& h = a.h;
  const WindowShape<F> shape(h);
  columns.first = a.mirrored ? phase : h.pixel(0), columns.step = h.stride, columns.count = 0;
  columns.window = h.pixel(0) + h.start;
  for (int64_t n = 0; n < h.count; ++n) {
    const int64_t d = a.mirrored ? h.count - 1 - n : n, i = columns.count;
    const int64_t shifted = phase - h.displacement(d) + h.padding;
    if (a.mirrored && shifted % h.stride != 0) continue;
    columns.number[i] = d, columns.shift[i] = a.mirrored ? shifted / h.stride : 0;
    columns.offset[i] = a.mirrored ? columns.shift[i] - columns.shift[0] : shape.offset(d * h.step);
    columns.meeting[i] = counting(a, h, d);
    ++columns.count;
  }
  if (a.mirrored && columns.count > 0) columns.window = h.pixel(columns.shift[0]);
}

// row[x / jump], row[(x + 1) / jump], ... where that is whole and there is an output, else 0.
template <class F, class T>
VFI_INLINE F load_spread(const T* row, int64_t x, int64_t jump, int64_t outputs) {
  if (jump == 1) return load_inside<F>(row, x, outputs);
  T values[Lanes<F>::kCount] = {};
  for (int64_t i = 0; i < Lanes<F>::kCount; ++i, ++x) {
    if (x >= 0 && x % jump == 0 && x / jump < outputs) values[i] = row[x / jump];
  }
  return load<F>(values);
}

// Of one displacement, at points (y, x), (y, x + 1), ...: the sum of grad_out over the windows that hold the point.
template <class F, class T>
VFI_INLINE F add_windows(const CorrelationArgs& a, const T* plane, int64_t y, int64_t x) {
  F sum = zero<F>();
  for (int64_t r = y; r > y - a.v.window * a.v.spacing; r -= a.v.spacing) {
    if (r < 0 || r % a.v.jump != 0 || r / a.v.jump >= a.v.outputs) continue;
    for (int64_t c = 0; c < a.h.window; ++c) {
      sum = sum + load_spread<F>(plane + r / a.v.jump * a.h.outputs, x - c * a.h.spacing, a.h.jump, a.h.outputs);
    }
  }
  return sum;
}

// g of one row of displacements, whose planes begin at `planes`, at the points (y, x), (y, x + 1), ... and those as far from
// them as the displacements' columns; 0 where they do not count. A window of one pixel has the next row asked for meanwhile.
template <class F, class T>
VFI_INLINE void copy_row(const CorrelationArgs& a, const T* planes, int64_t y, int64_t x, const Columns columns,
                         typename Lanes<F>::Scalar* to) {
  const int64_t plane = a.v.outputs * a.h.outputs, width = a.h.outputs;
  const bool single = a.v.window * a.h.window == 1;
  for (int64_t i = 0; i < columns.count; ++i, to += Lanes<F>::kCount) {
    const int64_t at = x + columns.shift[i];
    const CorrelationSpan<> meeting = columns.meeting[i];
    const T* const from = planes + columns.number[i] * plane;
    if (single) {
      const T* const row = from + y * width;
      prefetch(row + width + at);
      store(to, keep_lanes(load_inside<F>(row, at, width), meeting.begin - at, meeting.end - at));
    } else {
      store(to, keep_lanes(add_windows<F>(a, from, y, at), meeting.begin - at, meeting.end - at));
    }
  }
}

// g of every displacement at the vector of pixels in row y, from column x on; nothing where no point counts.
template <class F, class T>
void copy_upstream(const CorrelationArgs& a, const T* grad_out, int64_t y, int64_t x,
                   const CorrelationGradMemory<F>& memory, typename Lanes<F>::Scalar* to) {
  const Columns columns = memory.columns;
  const int64_t planes = a.h.count * a.v.outputs * a.h.outputs;
  for (int64_t k = 0; k < a.v.count; ++k, grad_out += planes, to += columns.count * Lanes<F>::kCount) {
    const int64_t shifted = y - a.v.displacement(k) + a.v.padding;
    const bool whole = !a.mirrored || a.v.stride == 1 || shifted % a.v.stride == 0;
    const int64_t point = !a.mirrored ? y : a.v.stride == 1 ? shifted : shifted / a.v.stride;
    if (whole && memory.rows[k].holds(point)) copy_row<F>(a, grad_out, point, x, columns, to);
  }
}

// The rows of the owner that row `from` of the other map meets: of the first map, whose rows are points, or of the second.
VFI_INLINE RowRun owners_meeting(const CorrelationArgs& a, const CorrelationTile& t, int64_t from) {
  const CorrelationAxis<>& v = a.v;
  if (!a.mirrored) return points_meeting(v, t.y0, t.y1, 0, v.count, from);
  const int64_t base = v.pixel(from) + v.start;
  const int64_t k = max(int64_t{0}, ceil_quotient(t.y0 - base, v.step));
  return {base + k * v.step, min(v.count, ceil_quotient(t.y1 - base, v.step)) - k, v.step, k, -1};
}

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

// The vector of the owner's columns from x on, in the rows of a tile.
template <class F, class T>
void run_vector(const CorrelationArgs& a, const CorrelationTile& t, int64_t x, const CorrelationGradMemory<F>& memory) {
  constexpr int kCount = Lanes<F>::kCount;
  const int64_t plane = a.v.size * a.h.size, n = a.v.count * memory.columns.count;
  const T* const other = static_cast<const T*>(a.second) + t.b * a.C * plane;
  const T* const grad_out =
      static_cast<const T*>(a.grad_out) + t.b * a.v.count * a.h.count * a.v.outputs * a.h.outputs;
  const Columns& columns = memory.columns;
  const WindowShape<F> shape(a.h, a.mirrored);
  const auto row_of = [&](const T* map, int64_t y) { return a.v.is_inside(y) ? map + y * a.h.size : nullptr; };
  const int64_t column = columns.first + x * columns.step;
  for (int64_t y = t.y0; y < t.y1; ++y) {
    copy_upstream<F>(a, grad_out, y, x, memory, memory.g + (y - t.y0) * n * kCount);
    if (a.cost == Cost::kDot) continue;
    const T* const owner = static_cast<const T*>(a.first) + t.b * a.C * plane;
    copy_vectors<F>(row_of(owner, a.mirrored ? y : a.v.pixel(y)), plane, a.C, column, columns.step, a.h.size,
                    memory.owner + (y - t.y0) * a.C * kCount);
  }
  for (int64_t i = 0; i < (t.y1 - t.y0) * a.C; ++i) store(memory.sums + i * kCount, zero<F>());
  const GradBlock<F> block{memory, a.C, a.v.count, shape.channel(), t.y0};
  const CorrelationSpan<> others = others_of(a, t);
  for (int64_t from = others.begin; from < others.end; ++from) {
    const RowRun run = owners_meeting(a, t, from);
    if (run.count <= 0) continue;
    copy_windows<F>(row_of(other, a.mirrored ? a.v.pixel(from) : from), plane, a.C, columns.window + x * columns.step,
                    a.h.size, shape, memory.windows);
    block.add_all(run, way_of(a));
  }
}

template <class F, class T>
void run_tile(const CorrelationArgs& a, const CorrelationTile& t, const CorrelationGradMemory<F>& memory) {
  const int64_t plane = a.v.size * a.h.size;
  const int64_t width = a.mirrored ? ceil_quotient(a.h.size - memory.columns.first, a.h.stride) : a.h.points;
  T* const out = static_cast<T*>(a.out) + t.b * a.C * plane;
  const F divisor = broadcast<F>(static_cast<typename Lanes<F>::Scalar>(a.divisor));
  for (int64_t x = t.x0; x < min(t.x1, width); x += Lanes<F>::kCount) {
    run_vector<F, T>(a, t, x, memory);
    for (int64_t y = t.y0; y < t.y1; ++y) {
      const int64_t row = a.mirrored ? y : a.v.pixel(y);
      for (int64_t c = 0; a.v.is_inside(row) && c < a.C; ++c) {
        const F total = load<F>(memory.sums + ((y - t.y0) * a.C + c) * Lanes<F>::kCount);
        store_steps(out + (c * a.v.size + row) * a.h.size, memory.columns.first + x * memory.columns.step,
                    memory.columns.step, width - x, a.h.size, total / divisor);
      }
    }
  }
}

#if defined(__AVX512F__)
// The same on tiles. Most of a band is zero, which times infinity is no number: where the other map is not finite, it gives up.
template <class F, class T>
struct GradOnTiles {
  const CorrelationArgs& a;
  const CorrelationTile& t;
  const GradMemory<F>& memory;
  const BandShape shape{a};
  const Columns columns = memory.columns;
  const int64_t plane = a.v.size * a.h.size, outputs = a.v.outputs * a.h.outputs, blocks = blocks_of();
  const T* const other = static_cast<const T*>(a.second) + t.b * a.C * plane + columns.window + t.x0;
  const T* const grad_out = static_cast<const T*>(a.grad_out) + t.b * a.v.count * a.h.count * outputs;
  T* const out = static_cast<T*>(a.out) + t.b * a.C * plane;
  T* const reach = reinterpret_cast<T*>(memory.reach);
  T* const bands = reinterpret_cast<T*>(memory.bands);

  int64_t blocks_of() const { return ceil_quotient(min(t.x1, a.columns()) - t.x0, kTileSide); }

  void place_columns() const {
    for (int64_t i = 0; i < blocks; ++i) {
      const int64_t x = t.x0 + i * kTileSide, first = columns.window + x;
      memory.inside[i] = bits_between(-first, a.h.size - first);
      for (int64_t d = 0; d < columns.count; ++d) {
        const int64_t at = x + columns.shift[d];
        const CorrelationSpan<> meeting = columns.meeting[d];
        memory.counts[i * columns.count + d] = static_cast<uint16_t>(bits_between(meeting.begin - at, meeting.end - at));
      }
    }
  }

  // What g is in block i of row y of the owner, of the displacements between it and row `from` of the other map.
  void fill_band(int64_t y, int64_t from, int64_t i, T* to) const {
    const int64_t k = (a.mirrored ? y + a.v.padding - from : from - a.v.pixel(y)) - a.v.start, point = a.mirrored ? from : y;
    if (k < 0 || k >= a.v.count || !memory.rows[k].holds(point)) return clear_band(to);
    const T* const row = grad_out + k * a.h.count * outputs + point * a.h.outputs + t.x0 + i * kTileSide;
    const uint16_t* const counts = memory.counts + i * columns.count;
    const auto g = [&](int64_t d) VFI_INLINE_LAMBDA {
      const T* const values = row + columns.number[d] * outputs + columns.shift[d];
      prefetch(values + BandShape::kRows * a.h.outputs);
      return load_twice(values, counts[d]);
    };
    write_band(columns.count, g, to);
  }

  // Channels c ... c + count - 1 of block i, in the rows of `part`.
  void add_block(const CorrelationTile& part, CorrelationSpan<> others, int64_t i, int64_t c, int64_t count) const {
    const int64_t rows = part.y1 - part.y0, x = t.x0 + i * kTileSide;
    for (int64_t from = others.begin; from < others.end; ++from) {
      T* const band = bands + (from - others.begin) * BandShape::kBand;
      for (int64_t r = 0; r < rows; ++r) fill_band(part.y0 + r, from, i, band + 2 * r * kTileSide);
    }
    const T* const block = reach + i * shape.channels * kTileDepth;
    multiply_bands(block, bands, others, ceil_quotient(count, kTileSide) * kTileSide, rows, shape, memory.totals);
    const F inverse = broadcast<F>(static_cast<float>(1 / a.divisor));
    for (int64_t n = 0; n < count; ++n) {
      for (int64_t r = 0; r < rows; ++r) {
        const int64_t row = a.mirrored ? part.y0 + r : a.v.pixel(part.y0 + r);
        if (!a.v.is_inside(row)) continue;
        const F total = load<F>(memory.totals + n * BandShape::kWidth + r * kTileSide);
        store_steps(out + ((c + n) * a.v.size + row) * a.h.size, columns.first + x, 1, a.columns() - x, a.h.size,
                    total * inverse);
      }
    }
  }

  // Whether everything is done.
  bool run() const {
    place_columns();
    for (int64_t c = 0; c < a.C; c += BandShape::kMostChannels) {
      const int64_t count = min(BandShape::kMostChannels, a.C - c);
      int64_t copied = 0;
      for (int64_t y = t.y0; y < t.y1; y += BandShape::kRows) {
        CorrelationTile part = t;
        part.y0 = y, part.y1 = min(y + BandShape::kRows, t.y1);
        const CorrelationSpan<> others = others_of(a, part);
        for (copied = max(copied, others.begin); copied < others.end; ++copied) {
          const T* const row = other + c * plane + (a.mirrored ? a.v.pixel(copied) : copied) * a.h.size;
          T* const to = reach + copied % shape.slots * shape.row_size();
          if (!copy_reach(row, plane, a.h.size, count, blocks, memory.inside, shape, to)) return false;
        }
        for (int64_t i = 0; i < blocks; ++i) add_block(part, others, i, c, count);
      }
    }
    return true;
  }
};
#endif

}  // namespace

void correlation_grad_tiles(const CorrelationArgs& a, int64_t begin, int64_t end) {
  const TileScope tiles_of_this_thread(a.type == Dtype::kFloat16 || a.type == Dtype::kBFloat16);
  const auto run = [&]<class T, class F>(T, const CorrelationTile& tile, const GradMemory<F>& memory) VFI_INLINE_LAMBDA {
    GradMemory<F> m = memory;
    for (int64_t k = 0; k < a.v.count; ++k) m.rows[k] = counting(a, a.v, k);
    for (int64_t phase = 0; phase < (a.mirrored ? a.h.stride : 1); ++phase) {
      find_columns<F>(a, phase, m.columns);
#if defined(__AVX512F__)
      if constexpr (HalfPrecision<T>) {
        if (grad_takes_tiles<T, F>(a) && GradOnTiles<F, T>{a, tile, m}.run()) continue;
      }
#endif
      run_tile<F, T>(a, tile, m);
    }
  };
  for_each_tile<GradMemory>(a, begin, end, run);
}

}  // namespace VFI_LEVEL
}  // namespace vfi
