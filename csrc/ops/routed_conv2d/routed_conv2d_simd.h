// What forward and gradient kernels of routed_conv2d on the CPU share: tiles of input pixels and which of them are multiplied.
// For *_simd.cpp only.
//
// A tile holds the input of a strip of output rows, pixel after pixel, all channels together, with zeros where there is
// nothing to read. The taps of a row that an output pixel reads are then one run of numbers, and neighbouring output pixels
// have theirs a fixed step further: a row of taps is one product of matrices.
#pragma once

#include "cpu/scratch.h"
#include "simd/simd_pixels.h"
#include "simd/simd_pairs.h"
#include "ops/routed_conv2d/routed_conv2d_cpu.h"

namespace vfi {
namespace VFI_LEVEL {

// The rectangle of pixels that exist around a patch, counted from its first pixel, and that pixel's place.
template <class T>
struct RoutedPixels {
  T* origin;
  int64_t top, bottom, left, right;
  bool used;

  VFI_INLINE RoutedPixels(const RoutedArgs& a, const RoutedPlace& place, int64_t k, int64_t side, bool whole_image) {
    const Patch p = patch_at(a.indices, k, a.grid);
    used = p.used;
    top = left = 0, bottom = right = side;
    int64_t at = k * place.strides.batch;
    if (place.in_image) {
      const int64_t y = p.row * side, x = p.column * side;
      at = p.b * place.strides.batch + y * place.strides.row + x * place.strides.column;
      if (whole_image) top = -y, left = -x, bottom = place.H - y, right = place.W - x;
    }
    origin = static_cast<T*>(place.data) + (used || !place.in_image ? at : 0);
  }
  VFI_INLINE bool has_row(int64_t y) const { return top <= y && y < bottom; }
};

// Of one thread: a tile, whose elements may be of a smaller type, and the sums of one output row, or the gradient of one.
template <class Sum>
struct RoutedMemory {
  Sum *tile, *sums;

  VFI_INLINE int64_t lay_out(const RoutedArgs& a, void* memory) {
    const RoutedAxis& x = a.axis;
    Layout layout(memory);
    tile = layout.take<Sum>(routed_tile_size(x, a.depth, a.strip));
    sums = layout.take<Sum>((x.out_count() + kRoutedSlack * x.stride) * routed_padded(a.columns));
    return layout.bytes();
  }
};

// Input rows first_row .. and columns first_column .., [row][column][depth].
template <class E>
struct RoutedTile {
  E* data;
  int64_t first_row, rows, first_column, columns, depth;

  VFI_INLINE RoutedTile(const RoutedArgs& a, int64_t first, int64_t count, E* memory) : data(memory) {
    const RoutedAxis& x = a.axis;
    first_row = x.first_read(first), rows = x.last_read(first, count) - first_row + 1;
    first_column = x.first_read(x.out_first()), columns = routed_tile_columns(x), depth = a.depth;
  }
  VFI_INLINE E* at(int64_t y, int64_t x) const {
    return data + ((y - first_row) * columns + x - first_column) * depth;
  }
};

template <class E, class T>
void fill_tile(const RoutedTile<E>& tile, const RoutedPixels<const T>& from, const Strides& strides) {
  const PixelStrides pixels = {tile.depth, 1};
  const int64_t left = min(max(from.left, tile.first_column), tile.first_column + tile.columns);
  const int64_t right = max(left, min(from.right, tile.first_column + tile.columns));
  for (int64_t y = tile.first_row; y < tile.first_row + tile.rows; ++y) {
    if (!from.has_row(y)) continue;  // no product reads it
    clear_pixels(tile.at(y, tile.first_column), pixels, left - tile.first_column, tile.depth);
    clear_pixels(tile.at(y, right), pixels, tile.first_column + tile.columns - right, tile.depth);
    const T* const row = from.origin + y * strides.row + left * strides.column;
    copy_pixels<false>(row, {strides.column, strides.channel}, tile.at(y, left), pixels, right - left, tile.depth);
  }
}

// The taps of a row that one phase reads, as input pixels from left to right.
struct RoutedPhase {
  int64_t first_tap, tap_step, taps;
  int64_t first_input, input_step;  // of the phase's first output pixel; from one of its output pixels to the next
  int64_t count;                    // output pixels

  VFI_INLINE RoutedPhase(const RoutedAxis& x, int64_t phase) {
    const int64_t o = x.out_first() + phase;
    if (!x.transposed) {
      first_tap = 0, tap_step = 1, taps = x.K;
      first_input = o * x.stride - x.padding, input_step = x.stride, count = x.out_count();
      return;
    }
    const int64_t lowest = (o + x.padding + x.stride) % x.stride;
    taps = lowest < x.K ? (x.K - 1 - lowest) / x.stride + 1 : 0;
    first_tap = lowest + (taps - 1) * x.stride, tap_step = -x.stride;
    first_input = (o + x.padding - first_tap) / x.stride, input_step = 1;
    count = (x.out_count() - phase + x.stride - 1) / x.stride;
  }
};

// The rows of taps that an output row is made of: tap rows u, u + tap_step .. read the input rows y, y + row_step ...
struct RoutedRows {
  int64_t u, tap_step, y, row_step, count;

  template <class T>
  VFI_INLINE RoutedRows(const RoutedAxis& x, const RoutedPixels<T>& from, int64_t o) : count(0) {
    tap_step = x.transposed ? x.stride : 1, row_step = x.transposed ? -1 : 1;
    u = x.transposed ? (o + x.padding + x.K * x.stride) % x.stride : 0;
    y = x.transposed ? (o + x.padding - u) / x.stride : o * x.stride - x.padding;
    for (; u < x.K && !from.has_row(y); u += tap_step) y += row_step;
    for (int64_t n = u; n < x.K && from.has_row(y + count * row_step); n += tap_step) ++count;
  }
};

// Calls use(row of taps, phase, input row) for every product that the output row o is made of.
template <class T, class Use>
VFI_INLINE void for_each_product(const RoutedAxis& x, const RoutedPixels<T>& from, int64_t o, Use&& use) {
  const RoutedRows rows(x, from, o);
  for (int64_t n = 0; n < rows.count; ++n) {
    for (int64_t phase = 0; phase < x.phases(); ++phase) {
      use(rows.u + n * rows.tap_step, phase, rows.y + n * rows.row_step);
    }
  }
}

}  // namespace VFI_LEVEL
}  // namespace vfi
