// The gradients of routed_conv2d.h for weight and bias on CUDA, all sums in a fixed order. A block has some output and
// input channels, and all taps that read the same input pixels. It goes through every parts-th strip of the listed
// patches: some rows of a rectangle of output pixels. While one strip is multiplied the next one is on its way. Another
// kernel adds the parts in order. Rows of the list that name no patch are left out.
#pragma once

#include <limits>

#include "ops/routed_conv2d/routed_conv2d_tap_tiles.cuh"
#include "ops/routed_conv2d/routed_conv2d_tiles.cuh"

namespace vfi::cuda {

// Of a block: output channels, input channels, rows of taps, pixels of a strip.
template <class F>
struct RoutedWeightTile {
  static constexpr int kOut = 64, kIn = 32, kTapRows = std::is_same_v<F, double> ? 1 : 3;
  static constexpr int kPixels = 128 / static_cast<int>(sizeof(F)), kInputBytes = 13440;
  static constexpr int32_t kGradPitch = tap_pitch<F>(kOut), kInputPitch = tap_pitch<F>(kIn);
  using Tiles = TapTiles<F, kTapRows, kGradPitch, kInputPitch>;
};

struct RoutedParts {
  int32_t parts, strips;         // strips of all rows of the list, in one phase
  int32_t pieces, rows, groups;  // of input channels; of output channels; of rows of taps
  Divisor width, last, in_width;  // of a strip: output pixels of a row; of the last strip of a row; input pixels
  int32_t height, down, across;  // output rows of a strip; strips of a patch
};

// The taps of a block: those of a phase in rows first .. first + down - 1, as far as they are apart.
struct RoutedTaps {
  RoutedPhaseGpu y_axis, x_axis;
  int32_t first, down;
};

// A block's share: output channels from n, input channels from c, a part of the strips.
struct RoutedWeightBlock {
  int32_t n, c, part;
  RoutedTaps taps;
};

template <class F>
struct RoutedWeightShared {
  using Tile = RoutedWeightTile<F>;
  struct Strip {
    alignas(16) unsigned char grad[Tile::kPixels * Tile::kGradPitch];
    alignas(16) unsigned char input[Tile::kInputBytes];
  } strips[2];
  alignas(16) unsigned char zeros[kTapColumns * Tile::kInputPitch];
  RoutedWeightBlock block;  // here, for the sums leave few registers
  int32_t lines[2][Tile::kPixels];  // where the input of a pixel begins, in bytes; in the last strip of a row
};

// A strip of the list: a patch, and its first output pixel of the phase.
struct RoutedStrip {
  RoutedItem item;
  int32_t y, x, rows;
  bool last;  // of a row

  __device__ __forceinline__ Divisor width(const RoutedParts& w) const { return last ? w.last : w.width; }
};
__device__ __forceinline__ RoutedStrip routed_strip(const RoutedArgsGpu& a, const RoutedParts& w, int32_t n) {
  const uint32_t index = static_cast<uint32_t>(n), row = index / w.across, patch = row / w.down;
  const int32_t y = static_cast<int32_t>(row % w.down) * w.height, x = static_cast<int32_t>(index % w.across);
  return {routed_item(a, patch), y, x * w.width.divisor, min(w.height, a.phase_side() - y), x + 1 == w.across};
}

// Begins to load what a strip needs.
template <bool kPacked, class F, class T>
__device__ __forceinline__ void load_strip(typename RoutedWeightShared<F>::Strip& to, const RoutedArgsGpu& a,
                                           const RoutedPlaceGpu& grad, const RoutedParts& w, const RoutedTaps& taps,
                                           const RoutedStrip& strip, int32_t n, int32_t c) {
  using Tile = RoutedWeightTile<F>;
  const Patch& p = strip.item.patch;
  const Divisor width = strip.width(w);
  const int32_t pixels = strip.rows * width.divisor;
  const int64_t first = strip.item.k * grad.strides.batch + taps.y_axis.output(strip.y) * grad.strides.row +
                        taps.x_axis.output(strip.x) * grad.strides.column;
  load_lines<kPacked, Tile::kOut * static_cast<int>(sizeof(F)), Tile::kGradPitch, F>(
      to.grad, (pixels + 15) / 16 * 16, static_cast<const T*>(grad.data) + n * grad.strides.channel, grad.strides.channel,
      a.columns - n, [&](int32_t i) {
        const int32_t y = width.quotient(i), x = i - y * width.divisor;
        if (i >= pixels) return int64_t{-1};
        return first + y * taps.y_axis.out_step * grad.strides.row + x * taps.x_axis.out_step * grad.strides.column;
      });
  // Pixels of the image, or of the patch, that exist, counted from the first one that is loaded.
  const int64_t top = p.row * a.in_side, left = p.column * a.in_side;
  const int32_t y = taps.y_axis.input(strip.y) + taps.first, x = taps.x_axis.input(strip.x);
  const int64_t above = a.neighbours ? top : 0, before = a.neighbours ? left : 0;
  const int64_t below = a.neighbours ? a.grid.rows * a.in_side - top : a.in_side;
  const int64_t behind = a.neighbours ? a.grid.columns * a.in_side - left : a.in_side;
  const int64_t origin = p.b * a.from.strides.batch + (top + y) * a.from.strides.row + (left + x) * a.from.strides.column;
  const int32_t rows = (strip.rows - 1) * taps.y_axis.in_step + taps.down;
  load_lines<kPacked, Tile::kIn * static_cast<int>(sizeof(F)), Tile::kInputPitch, F>(
      to.input, rows * w.in_width.divisor, static_cast<const T*>(a.from.data) + c * a.from.strides.channel,
      a.from.strides.channel, a.depth - c, [&](int32_t i) {
        const int32_t row = w.in_width.quotient(i), column = i - row * w.in_width.divisor;
        const bool exists = y + row >= -above && y + row < below && x + column >= -before && x + column < behind;
        return exists ? origin + row * a.from.strides.row + column * a.from.strides.column : -1;
      });
}

// partial[part][u][v][c][n]
template <class F, class Tiles>
__device__ __forceinline__ void store_parts(const RoutedArgsGpu& a, const RoutedTaps& taps, const Tiles& tiles, int32_t n,
                                            int32_t c, Sum<F>* partial) {
#pragma unroll
  for (int t = 0; t < RoutedWeightTile<F>::kTapRows * kTapColumns; ++t) {
    const int32_t y = t / kTapColumns, x = t % kTapColumns;
    if (y >= taps.down || x >= taps.x_axis.taps) continue;
    const int32_t u = taps.y_axis.tap(taps.y_axis.behind(taps.first + y)), v = taps.x_axis.tap(taps.x_axis.behind(x));
    Sum<F>* const to = partial + int64_t{u * a.K + v} * a.depth * a.columns;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int32_t row = n + Tiles::row(i), column = c + Tiles::column(i);
      if (row < a.columns && column < a.depth) to[int64_t{column} * a.columns + row] = tiles.sums[t][i];
    }
  }
}

template <class F>
__device__ __forceinline__ RoutedWeightBlock routed_weight_block(const RoutedArgsGpu& a, const RoutedParts& w) {
  using Tile = RoutedWeightTile<F>;
  int32_t index = static_cast<int32_t>(blockIdx.x);
  const auto next = [&](int32_t size) {
    const int32_t at = index % size;
    index /= size;
    return at;
  };
  const int32_t n = next(w.rows) * Tile::kOut, c = next(w.pieces) * Tile::kIn, first = next(w.groups) * Tile::kTapRows;
  const RoutedPhaseGpu x_axis = routed_phase(a, next(a.phases())), y_axis = routed_phase(a, next(a.phases()));
  return {n, c, index, {y_axis, x_axis, first, min(y_axis.taps - first, Tile::kTapRows)}};
}

template <class F>
__device__ __forceinline__ void find_lines(RoutedWeightShared<F>& to, const RoutedParts& w, const RoutedTaps& taps) {
  using Tile = RoutedWeightTile<F>;
  const int32_t thread = static_cast<int32_t>(threadIdx.x);
  if (thread < 2 * Tile::kPixels) {
    const Divisor width = thread < Tile::kPixels ? w.width : w.last;
    const int32_t pixel = thread % Tile::kPixels, y = width.quotient(pixel), x = pixel - y * width.divisor;
    to.lines[thread / Tile::kPixels][pixel] =
        (y * taps.y_axis.in_step * w.in_width.divisor + x * taps.x_axis.in_step) * Tile::kInputPitch;
  }
  for (int32_t i = thread; i < static_cast<int32_t>(sizeof(to.zeros)); i += kThreads) to.zeros[i] = 0;
}

template <class T, class F, bool kPacked>
__global__ __launch_bounds__(kThreads, 2) void routed_grad_weight_kernel(RoutedArgsGpu a, RoutedPlaceGpu grad,
                                                                         Sum<F>* __restrict__ partial, RoutedParts w) {
  using Shared = RoutedWeightShared<F>;
  using Tile = RoutedWeightTile<F>;
  VFI_DYNAMIC_SHARED(Shared, shared);
  if (threadIdx.x == 0) shared->block = routed_weight_block<F>(a, w);
  __syncthreads();
  const auto& [n, c, part, taps] = shared->block;
  const int32_t warp = static_cast<int32_t>(threadIdx.x) / 32, row = warp / 2 * 16, column = warp % 2 * 16;
  find_lines(*shared, w, taps);
  typename Tile::Tiles tiles;
  tiles.clear();
  // The next strip of the part whose patch is used.
  const auto find = [&](int32_t& at) {
    RoutedStrip strip{};
    for (; at < w.strips; at += w.parts) {
      strip = routed_strip(a, w, at);
      if (strip.item.patch.used) break;
    }
    return strip;
  };
  int32_t at = taps.down > 0 && taps.x_axis.taps > 0 ? part : w.strips;
  RoutedStrip strip = find(at);
  if (at < w.strips) load_strip<kPacked, F, T>(shared->strips[0], a, grad, w, taps, strip, n, c);
  close_copies();
  for (int which = 0; at < w.strips; which ^= 1) {
    const int32_t pixels = strip.rows * strip.width(w).divisor, *const lines = shared->lines[strip.last];
    at += w.parts;
    strip = find(at);
    if (at < w.strips) load_strip<kPacked, F, T>(shared->strips[which ^ 1], a, grad, w, taps, strip, n, c);
    close_copies();
    wait_for_copies<1>();
    __syncthreads();
    const auto& from = shared->strips[which];
    if (n + row < a.columns && c + column < a.depth) {
      tiles.multiply_add({from.grad, from.input, lines, static_cast<int32_t>(shared->zeros - from.input), pixels,
                          w.in_width.divisor * Tile::kInputPitch, taps.down, taps.x_axis.taps},
                         row, column);
    }
    __syncthreads();
  }
  wait_for_copies<0>();
  store_parts<F>(a, taps, tiles, n + row, c + column, partial + int64_t{part} * a.K * a.K * a.depth * a.columns);
}

// How the gradient of the weight is cut: by sizes alone, so that sums have one order on every device.
template <class F>
RoutedParts routed_parts(const RoutedArgsGpu& a) {
  using Tile = RoutedWeightTile<F>;
  constexpr int64_t kEnoughBlocks = 256, kMostParts = 128;
  const int64_t side = a.phase_side(), taps = std::max(a.most_taps(), 1), tap_rows = std::min<int64_t>(taps, Tile::kTapRows);
  const auto reads = [&](int64_t n, int64_t behind) { return (n - 1) * a.in_step() + behind; };
  const auto fits = [&](int64_t h, int64_t w) {
    return h * w <= Tile::kPixels && reads(h, tap_rows) * reads(w, taps) * Tile::kInputPitch <= Tile::kInputBytes;
  };
  const auto part = [&](int64_t n) { return ceil_div(side, n); };
  int64_t across = part(16), down = 1;
  while (!fits(1, part(across))) ++across;
  while (!fits(part(down), part(across))) ++down;
  RoutedParts w{};
  w.height = static_cast<int32_t>(part(down)), w.width = divisor(part(across)), w.in_width = divisor(reads(part(across), taps));
  w.down = static_cast<int32_t>(part(w.height)), w.across = static_cast<int32_t>(part(w.width.divisor));
  w.last = divisor(side - int64_t{w.across - 1} * w.width.divisor);
  // Blocks count beyond the last strip by as much as there are parts.
  const int64_t strips = a.items * w.down * w.across;
  if (strips > std::numeric_limits<int32_t>::max() - kMostParts) {
    throw std::runtime_error("routed_conv2d: expected fewer than 2147483520 strips of patches");
  }
  w.strips = static_cast<int32_t>(strips);
  w.pieces = static_cast<int32_t>(ceil_div(a.depth, Tile::kIn)), w.rows = static_cast<int32_t>(ceil_div(a.columns, Tile::kOut));
  w.groups = static_cast<int32_t>(ceil_div(taps, Tile::kTapRows));
  const int64_t blocks = std::max<int64_t>(int64_t{w.rows} * w.pieces * w.groups * a.phases() * a.phases(), 1);
  w.parts = static_cast<int32_t>(std::clamp<int64_t>(kEnoughBlocks / blocks, 1, std::clamp<int64_t>(strips, 1, kMostParts)));
  return w;
}

}  // namespace vfi::cuda
