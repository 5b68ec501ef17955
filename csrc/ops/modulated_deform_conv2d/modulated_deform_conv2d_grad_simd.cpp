// The gradients of modulated_deform_conv2d on the CPU, compiled once per instruction set; formulas in
// modulated_deform_conv2d.h.
//
// A unit of work, a sample and a block of at most 32 channels, goes through all tiles of output pixels. It turns the tile of
// grad_out into rows, and for every tap: G = grad_out times the weights; then pixel by pixel reads the four corners once for
// all that needs them: four sums of G times corner (for offset and mask), the column (for the weights) and the scatter of
// m w_k G into an image of its own. No two units write to the same memory, so there are no atomics and one order of sums.
#include "cpu/scratch.h"
#include "ops/modulated_deform_conv2d/modulated_deform_conv2d_grad_unit.h"

namespace vfi {
namespace VFI_LEVEL {
namespace {

template <class F>
struct GradReads {
  using Scalar = typename Lanes<F>::Scalar;
  alignas(64) int32_t at[4][kDeformRows];
  alignas(64) Scalar weight[4][kDeformRows];  // without the mask; 0 where not used
  alignas(64) Scalar slope_y[4][kDeformRows];
  alignas(64) Scalar slope_x[4][kDeformRows];
  alignas(64) Scalar mask[kDeformRows];  // 0 where nothing is in reach
  alignas(64) Scalar dot[4][kDeformRows];  // sum over the channels of G times corner
};

template <class F>
void find_reads(const DeformGradArgs& a, const DeformTile& tile, int64_t q, int32_t u, int32_t v, GradReads<F>& r) {
  for_each_place<F, true>(a, tile, q, u, v, [&](int64_t i, const DeformPlace<F>& place, F factor) VFI_INLINE_LAMBDA {
    store(r.mask + i, select(place.in_reach, factor, broadcast<F>(0)));
    for (int k = 0; k < 4; ++k) {
      store_int(r.at[k] + i, place.at[k]);
      store(r.weight[k] + i, place.weight[k]);
      store(r.slope_y[k] + i, place.slope_y[k]);
      store(r.slope_x[k] + i, place.slope_x[k]);
    }
  });
}

// One tap of all pixels of a tile, for the channels of a segment.
template <class F, class T, class E>
void visit_pixels(Unit<F, T, E>& unit, const DeformTile& tile, const DeformSegment& segment, GradReads<F>& r) {
  constexpr int64_t kCount = Lanes<F>::kCount;
  using Scalar = typename Lanes<F>::Scalar;
  const DeformGradArgs& a = unit.a;
  const bool dots = a.grad_offset != nullptr || a.grad_mask != nullptr;
  const int64_t channels = unit.block.count, begin = segment.first - unit.block.first, end = begin + segment.count;
  const F zero = broadcast<F>(0);
  for (int64_t i = 0; i < tile.count; ++i) {
    const F mask = broadcast<F>(r.mask[i]);
    F dot[4] = {zero, zero, zero, zero};
    for (int64_t c = begin; c < end; c += kCount) {
      const int64_t n = end - c;
      const F g = load<F>(unit.g + i * unit.row + c, n);
      F column = zero;
      for (int k = 0; k < 4; ++k) {
        const int64_t at = r.at[k][i];
        if (at < 0) continue;
        const F value = load<F>(unit.window + at * unit.window_step + c, n);
        if (dots) dot[k] = fma(g, value, dot[k]);
        const Scalar w = r.weight[k][i];
        if (w == 0) continue;
        column = fma(broadcast<F>(w), value, column);
        if (a.grad_input == nullptr) continue;
        Scalar* const to = unit.image + at * channels + c;
        store(to, fma(broadcast<F>(w) * mask, g, load<F>(to, n)), n);
      }
      if (a.grad_weight != nullptr) store(unit.columns + i * unit.row + c, mask * column, n);
    }
    if (!dots) continue;
    Scalar sums[4];
    four_sums(dot, sums);
    for (int k = 0; k < 4; ++k) r.dot[k][i] = sums[k];
  }
}

// The gradients of offset and mask out of the four sums; to their places, or to this block's part.
template <class F>
void write_offsets(const DeformGradArgs& a, int64_t part, int64_t q, const DeformTile& tile,
                   int64_t t, const GradReads<F>& r) {
  constexpr int64_t kCount = Lanes<F>::kCount;
  using Scalar = typename Lanes<F>::Scalar;
  const DeformGeometry& g = a.g;
  const int64_t plane = g.pixels(), tap = (tile.b * g.offset_groups + q) * g.taps() + t;
  const int64_t taps = g.B * g.offset_groups * g.taps();
  for (int64_t i = 0; i < tile.count; i += kCount) {
    const int64_t n = tile.count - i, p = tile.first + i;
    const F zero = broadcast<F>(0), mask = load<F>(r.mask + i);
    F along_y = zero, along_x = zero, along_mask = zero;
    for (int k = 0; k < 4; ++k) {
      const F dot = load<F>(r.dot[k] + i), w = load<F>(r.weight[k] + i);
      const F dy = load<F>(r.slope_y[k] + i), dx = load<F>(r.slope_x[k] + i);
      along_y = fma_where(not_equal(dy, zero), dy, dot, along_y);
      along_x = fma_where(not_equal(dx, zero), dx, dot, along_x);
      along_mask = fma_where(not_equal(w, zero), w, dot, along_mask);
    }
    // Where nothing is in reach the sums are 0 and the mask may be anything.
    along_y = along_y * mask, along_x = along_x * mask;
    if (a.offset_parts != nullptr) {
      Scalar* const to = static_cast<Scalar*>(a.offset_parts) + (part * taps + tap) * 3 * plane + p;
      store(to, along_y, n), store(to + plane, along_x, n), store(to + 2 * plane, along_mask, n);
      continue;
    }
    if (a.grad_offset != nullptr) {
      store_as(a.grad_offset, a.offset_type, 2 * tap * plane + p, along_y, n);
      store_as(a.grad_offset, a.offset_type, (2 * tap + 1) * plane + p, along_x, n);
    }
    if (a.grad_mask != nullptr) store_as(a.grad_mask, a.mask_type, tap * plane + p, along_mask, n);
  }
}

// The image of sums to the gradient of the block's channels.
template <class F, class T, class E>
void write_image(const Unit<F, T, E>& unit) {
  constexpr int64_t kCount = Lanes<F>::kCount;
  const DeformGradArgs& a = unit.a;
  const DeformGeometry& g = a.g;
  const int64_t pixels = int64_t{g.H} * g.W, channels = unit.block.count;
  T* const grad = static_cast<T*>(a.grad_input) + unit.sample * g.C * pixels;
  for (int64_t c = 0; c < channels; c += kCount) {
    const int64_t n = min(kCount, channels - c), channel = unit.block.first + c;
    for (int64_t p = 0; p < pixels; p += kCount) {
      const int64_t here = min(kCount, pixels - p);
      F rows[kCount];
      for (int64_t k = 0; k < kCount; ++k) {
        rows[k] = k < here ? load<F>(unit.image + (p + k) * channels + c, n) : broadcast<F>(0);
      }
      if (a.direct) {
        for (int64_t k = 0; k < here; ++k) store(grad + (p + k) * g.C + channel, rows[k], n);
        continue;
      }
      transpose(rows);
      for (int64_t k = 0; k < n; ++k) store(grad + (channel + k) * pixels + p, rows[k], here);
    }
  }
}

// Tap t of a tile.
template <class F, class T, class E>
void run_tap(Unit<F, T, E>& unit, const DeformTile& tile, int32_t t, GradReads<F>& reads) {
  const DeformGradArgs& a = unit.a;
  const DeformGeometry& g = a.g;
  const DeformBlock& block = unit.block;
  const bool dots = a.grad_offset != nullptr || a.grad_mask != nullptr;
  if (dots || a.grad_input != nullptr) unit.multiply_weights(t, tile.count);
  for_each_segment(g, block.first, block.first + block.count, [&](const DeformSegment& segment) {
    const int64_t q = segment.first / g.offset_group_channels();
    find_reads(a, tile, q, t / g.KW, t % g.KW, reads);
    visit_pixels(unit, tile, segment, reads);
    if (dots) write_offsets(a, unit.index - a.spans[q].first, q, tile, t, reads);
  });
  if (a.grad_weight != nullptr) unit.multiply_columns(t, tile.count);
}

template <class F, class T, class E>
void run_units(const DeformGradArgs& a, int64_t begin, int64_t end) {
  const TileScope tiles_of_this_thread(HalfPrecision<E>);
  Scratch scratch;
  GradReads<F> reads;
  for (int64_t i = begin; i < end; ++i) {
    Unit<F, T, E> unit(a, i);
    unit.lay_out(scratch.at_least(unit.lay_out(nullptr)));
    unit.start();
    for (int64_t n = 0; n < deform_tiles(a.g); ++n) {
      const DeformTile tile(a.g, unit.sample, n);
      load_upstream(unit, tile);
      for (int32_t t = 0; t < a.g.taps(); ++t) run_tap(unit, tile, t, reads);
    }
    if (a.grad_input != nullptr) write_image(unit);
  }
}

}  // namespace

void deform_grad_units(const DeformGradArgs& a, int64_t begin, int64_t end) {
  with_deform_types(a, [&]<class T, class F>(T, F) {
    if constexpr (kHasPairs && HalfPrecision<T>) {
      if (!a.float64 && turns_pairs<T>(a.g.group_out())) return run_units<F, T, T>(a, begin, end);
    }
    run_units<F, T, typename Lanes<F>::Scalar>(a, begin, end);
  });
}

}  // namespace VFI_LEVEL
}  // namespace vfi
