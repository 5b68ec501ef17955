// The gradient of routed_conv2d's weights in half precision, multiplied as pairs (simd/simd_pairs.h). For *_simd.cpp only.
//
//   grad_weight[u][v][n, c] += sum over o of g[n, o] x[c, o stride + (u, v) - padding]     for the output pixels o of a strip
//
// For each tap column v the tile is copied so that what the strip's pixels read lies one after another, pixels in pairs, row
// after row; a tap row u then is the row where the second factor begins.
#pragma once

#include "ops/routed_conv2d/routed_conv2d_simd.h"

namespace vfi {
namespace VFI_LEVEL {

// Whether it is: pixels of a strip fill whole steps of the product, and sums as many vectors as there is memory for.
template <class T>
bool weights_take_pairs([[maybe_unused]] const RoutedWeightArgs& a) {
  if constexpr (kHasPairs && HalfPrecision<T>) {
    const RoutedAxis& x = a.axis;
    const bool whole = a.strip * x.out_side % kTileDepth == 0 && x.out_side % a.strip == 0 && a.depth % kTileSide == 0;
    return whole && !x.transposed && turns_pairs<T>(kTileDepth);
  }
  return false;
}

// Of the sums of a part, the number of those of input channel c and output channel n at tap (u, v).
VFI_INLINE int64_t pair_sum_at(const RoutedArgs& a, int64_t u, int64_t v, int64_t c, int64_t n) {
  return ((u * a.axis.K + v) * routed_padded(a.columns) + n) * a.depth + c;
}

// Tile rows of one remainder by the stride lie one after another.
VFI_INLINE int64_t pair_row(const RoutedArgs& a, int64_t row) {
  const int64_t stride = a.axis.stride, rows = routed_tile_rows(a.axis, a.strip);
  return row % stride * ((rows + stride - 1) / stride) + row / stride;
}

// Of one thread.
template <class T>
struct RoutedPairMemory {
  T* tile;
  T* upstream;  // [columns, padded; pixels of a strip]
  T* shifted;   // [pair_row, out_side / 2, depth, 2]

  VFI_INLINE int64_t lay_out(const RoutedArgs& a, void* memory) {
    const RoutedAxis& x = a.axis;
    Layout layout(memory);
    tile = layout.take<T>(routed_tile_size(x, a.depth, a.strip));
    upstream = layout.take<T>(routed_padded(a.columns) * a.strip * x.out_side);
    shifted = layout.take<T>((routed_tile_rows(x, a.strip) + x.stride) * x.out_side * a.depth);
    return layout.bytes();
  }
};

#if defined(VFI_PAIRS_HEADER)
// What tap column v reads of the tile.
template <class T>
void shift_tile(const RoutedWeightArgs& a, const RoutedTile<T>& tile, const RoutedPixels<const T>& from, int64_t v, T* shifted) {
  const RoutedAxis& x = a.axis;
  for (int64_t row = 0; row < tile.rows; ++row) {
    T* to = shifted + pair_row(a, row) * x.out_side * a.depth;
    if (!from.has_row(tile.first_row + row)) {
      std::memset(to, 0, x.out_side * a.depth * sizeof(T));
      continue;
    }
    for (int64_t o = 0; o < x.out_side; o += 2, to += 2 * a.depth) {
      const T* const first = tile.at(tile.first_row + row, o * x.stride + v - x.padding);
      pair_rows(first, first + x.stride * a.depth, a.depth, to);
    }
  }
}

// Strip `first` .. of patch k to the sums of one part.
template <class T>
void add_strip_of_pairs(const RoutedWeightArgs& a, int64_t k, int64_t first, const RoutedPairMemory<T>& memory, float* part) {
  const RoutedAxis& x = a.axis;
  const RoutedPixels<const T> from(a, a.from, k, x.in_side, a.reads_neighbours), grad(a, a.grad, k, x.out_side, false);
  const RoutedTile<T> tile(a, first, a.strip, memory.tile);
  const int64_t pixels = a.strip * x.out_side;
  const Strides& s = a.grad.strides;
  fill_tile(tile, from, a.from.strides);
  for (int64_t o = 0; o < a.strip; ++o) {
    T* const to = memory.upstream + o * x.out_side;
    copy_pixels<false>(grad.origin + (first + o) * s.row, {s.column, s.channel}, to, {1, pixels}, x.out_side, a.columns);
  }
  float* const bias = part + x.K * routed_block_size(a);
  for (int64_t n = 0; n < a.columns; ++n) {
    F32 sum = {};
    for (int64_t i = 0; i < pixels; i += kLanes) sum = sum + load<F32>(memory.upstream + n * pixels + i);
    bias[n] += lane_sum(sum);
  }
  for (int64_t v = 0; v < x.K; ++v) {
    shift_tile(a, tile, from, v, memory.shifted);
    for (int64_t u = 0; u < x.K; ++u) {
      const T* const read = memory.shifted + pair_row(a, u) * x.out_side * a.depth;
      const PairFactors<T> factors = {memory.upstream, pixels, 0, read, 2 * a.depth, 0, 1, pixels};
      multiply_add_pairs(factors, a.columns, a.depth, part + pair_sum_at(a, u, v, 0, 0), a.depth);
    }
  }
}
#endif

}  // namespace VFI_LEVEL
}  // namespace vfi
