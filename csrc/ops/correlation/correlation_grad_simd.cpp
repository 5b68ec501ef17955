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

// Calls run(memory) for the columns of each phase, all of them together or every stride-th.
template <class Memory, class F, class Run>
VFI_INLINE void for_each_phase(const CorrelationArgs& a, const Memory& memory, const Run& run) {
  Memory m = memory;
  for (int64_t k = 0; k < a.v.count; ++k) m.rows[k] = counting(a, a.v, k);
  for (int64_t phase = 0; phase < (a.mirrored ? a.h.stride : 1); ++phase) {
    find_columns<F>(a, phase, m.columns);
    run(m);
  }
}

#if defined(__AVX512F__)
// A function of its own: beside it the compiler makes less of the loops of float32.
template <class T>
__attribute__((noinline)) void run_on_tiles(const CorrelationArgs& a, int64_t begin, int64_t end) {
  const TileScope tiles_of_this_thread(true);
  const CorrelationTiles tiles(a);
  const WithScratch<GradMemory> memory(a);
  for (int64_t i = begin; i < end; ++i) {
    const CorrelationTile tile(a, tiles, i);
    for_each_phase<GradMemory, F32>(a, memory, [&](const GradMemory& m) {
      if (!GradOnTiles<T>{a, tile, m}.run()) run_tile<F32, T>(a, tile, m);
    });
  }
}
#endif

}  // namespace

void correlation_grad_tiles(const CorrelationArgs& a, int64_t begin, int64_t end) {
#if defined(__AVX512F__)
  if (a.type == Dtype::kFloat16 && grad_takes_tiles<Half>(a)) return run_on_tiles<Half>(a, begin, end);
  if (a.type == Dtype::kBFloat16 && grad_takes_tiles<BFloat16>(a)) return run_on_tiles<BFloat16>(a, begin, end);
#endif
  const auto run = [&]<class T, class F>(T, const CorrelationTile& tile, const CorrelationGradMemory<F>& memory)
                       VFI_INLINE_LAMBDA {
    for_each_phase<CorrelationGradMemory<F>, F>(
        a, memory, [&](const CorrelationGradMemory<F>& m) VFI_INLINE_LAMBDA { run_tile<F, T>(a, tile, m); });
  };
  for_each_tile<CorrelationGradMemory>(a, begin, end, run);
}

}  // namespace VFI_LEVEL
}  // namespace vfi
