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
  static constexpr int kPixels = 128 / static_cast<int>(sizeof(F)), kInputBytes = 13360;
  static constexpr int32_t kGradPitch = tap_pitch<F>(kOut), kInputPitch = tap_pitch<F>(kIn);
  static constexpr int kInputs = kInputBytes / kInputPitch;  // pixels
  using Tiles = TapTiles<F, kTapRows, kGradPitch, kInputPitch>;
};

struct RoutedParts {
  int32_t parts, strips;         // strips of all rows of the list, in one phase
  int32_t pieces, rows, groups;  // of input channels; of output channels; of rows of taps
  Divisor width, last, in_width;  // of a strip: output pixels of a row; of the last strip of a row; input pixels
  int32_t height, down, across;  // output rows of a strip; strips of a patch
};

// A strip of the list, as a thread finds it for all: the elements where its gradient and its input begin, channels of the
// block; its output pixels; the first input pixel that exists, from the first one that is loaded, and how many.
struct RoutedStrip {
  int64_t grad, input;
  int32_t pixels, rows;  // of output; rows of input
  int32_t top, left;
  bool last;  // of a row
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
  // Here, for the sums leave few registers: the block's share, and the next strip of either memory; without pixels there
  // is none.
  RoutedWeightBlock block;
  RoutedStrip next[2];
  // Of the pixels of a strip, and of the last one of a row: where the first tap's input is in a strip's memory, in bytes;
  // where the gradient is, in elements from the strip's first.
  int32_t lines[2][Tile::kPixels];
  int64_t grads[2][Tile::kPixels];
  // Of the input pixels of a strip: row << 16 | column; where they are, in elements from the first.
  int32_t places[Tile::kInputs];
  int64_t inputs[Tile::kInputs];
};

// The next strip of the part whose patch is used: strip n of all, or one behind it.
__device__ __forceinline__ RoutedStrip find_strip(const RoutedWeightBlock& block, const RoutedArgsGpu& a,
                                                  const RoutedPlaceGpu& grad, const RoutedParts& w, int32_t& n) {
  const RoutedTaps& taps = block.taps;
  for (; n < w.strips; n += w.parts) {
    const uint32_t index = static_cast<uint32_t>(n), line = index / w.across;
    const RoutedItem item = routed_item(a, line / w.down);
    if (!item.patch.used) continue;
    const int32_t y = static_cast<int32_t>(line % w.down) * w.height, x = static_cast<int32_t>(index % w.across);
    const bool last = x + 1 == w.across;
    const int32_t rows = min(w.height, a.phase_side() - y), left = x * w.width.divisor, side = a.in_side;
    const int32_t row = static_cast<int32_t>(item.patch.row) * side, column = static_cast<int32_t>(item.patch.column) * side;
    const int32_t in_y = taps.y_axis.input(y) + taps.first, in_x = taps.x_axis.input(left);
    n += w.parts;
    return {grad.strides.offset(item.k, block.n, taps.y_axis.output(y), taps.x_axis.output(left)),
            a.from.strides.offset(item.patch.b, block.c, row + in_y, column + in_x),
            rows * (last ? w.last : w.width).divisor,
            (rows - 1) * a.in_step() + taps.down,
            a.neighbours ? -row - in_y : -in_y,
            a.neighbours ? -column - in_x : -in_x,
            last};
  }
  return {};
}

// Begins to load what a strip needs.
template <bool kPacked, class F, class T>
__device__ __forceinline__ void load_strip(RoutedWeightShared<F>& shared, int which, const RoutedArgsGpu& a,
                                           const RoutedPlaceGpu& grad, const RoutedParts& w) {
  using Tile = RoutedWeightTile<F>;
  const RoutedStrip strip = shared.next[which];
  if (strip.pixels == 0) return;
  const int64_t* const grads = shared.grads[strip.last];
  load_lines<kPacked, Tile::kOut * static_cast<int>(sizeof(F)), Tile::kGradPitch, F>(
      shared.strips[which].grad, (strip.pixels + 15) / 16 * 16, static_cast<const T*>(grad.data) + strip.grad,
      grad.strides.channel, a.columns - shared.block.n, [&](int32_t i) { return i < strip.pixels ? grads[i] : int64_t{-1}; });
  const uint32_t height = a.neighbours ? static_cast<uint32_t>(a.grid.rows) * a.in_side : a.in_side;
  const uint32_t width = a.neighbours ? static_cast<uint32_t>(a.grid.columns) * a.in_side : a.in_side;
  load_lines<kPacked, Tile::kIn * static_cast<int>(sizeof(F)), Tile::kInputPitch, F>(
      shared.strips[which].input, strip.rows * w.in_width.divisor, static_cast<const T*>(a.from.data) + strip.input,
      a.from.strides.channel, a.depth - shared.block.c, [&](int32_t i) {
        const int32_t place = shared.places[i];
        const bool exists = static_cast<uint32_t>((place >> 16) - strip.top) < height &&
                            static_cast<uint32_t>((place & 0xffff) - strip.left) < width;
        return exists ? shared.inputs[i] : int64_t{-1};
      });
}

// partial[part][u][v][c][n]
template <class F, class Tiles>
__device__ __forceinline__ void store_parts(const RoutedArgsGpu& a, const RoutedTaps& taps, const Tiles& tiles, int32_t n,
                                            int32_t c, Sum<F>* partial) {
  int32_t places[8];  // -1: there is no such sum
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const int32_t row = n + Tiles::row(i), column = c + Tiles::column(i);
    places[i] = row < a.columns && column < a.depth ? column * a.columns + row : -1;
  }
#pragma unroll
  for (int t = 0; t < RoutedWeightTile<F>::kTapRows * kTapColumns; ++t) {
    const int32_t y = t / kTapColumns, x = t % kTapColumns;
    if (y >= taps.down || x >= taps.x_axis.taps) continue;
    const int32_t u = taps.y_axis.tap(taps.y_axis.behind(taps.first + y)), v = taps.x_axis.tap(taps.x_axis.behind(x));
    Sum<F>* const to = partial + int64_t{u * a.K + v} * a.depth * a.columns;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      if (places[i] >= 0) to[places[i]] = tiles.sums[t][i];
    }
  }
}

template <class F>
__device__ __forceinline__ RoutedWeightBlock routed_weight_block(const RoutedArgsGpu& a, const RoutedParts& w) {
  using Tile = RoutedWeightTile<F>;
  Digits<int32_t> block{static_cast<int32_t>(blockIdx.x)};
  const int32_t n = block.next(w.rows) * Tile::kOut, c = block.next(w.pieces) * Tile::kIn;
  const int32_t first = block.next(w.groups) * Tile::kTapRows;
  const RoutedPhaseGpu x_axis = routed_phase(a, block.next(a.phases())), y_axis = routed_phase(a, block.next(a.phases()));
  return {n, c, block.rest, {y_axis, x_axis, first, min(y_axis.taps - first, Tile::kTapRows)}};
}

// The tables of a block.
template <class F>
__device__ __forceinline__ void find_lines(RoutedWeightShared<F>& to, const RoutedArgsGpu& a, const RoutedPlaceGpu& grad,
                                           const RoutedParts& w) {
  using Tile = RoutedWeightTile<F>;
  const int32_t thread = static_cast<int32_t>(threadIdx.x), step = a.in_step(), out_step = a.phases();
  for (int32_t i = thread; i < 2 * Tile::kPixels; i += kThreads) {
    const Divisor width = i < Tile::kPixels ? w.width : w.last;
    const int32_t last = i / Tile::kPixels, pixel = i % Tile::kPixels, y = width.quotient(pixel), x = pixel - y * width.divisor;
    to.lines[last][pixel] = (y * w.in_width.divisor + x) * step * Tile::kInputPitch;
    to.grads[last][pixel] = (y * grad.strides.row + x * grad.strides.column) * out_step;
  }
  for (int32_t i = thread; i < Tile::kInputs; i += kThreads) {
    const int32_t y = w.in_width.quotient(i), x = i - y * w.in_width.divisor;
    to.places[i] = y << 16 | x;
    to.inputs[i] = y * a.from.strides.row + x * a.from.strides.column;
  }
  for (int32_t i = thread; i < static_cast<int32_t>(sizeof(to.zeros)); i += kThreads) to.zeros[i] = 0;
}

template <class T, class F, bool kPacked>
__global__ __launch_bounds__(kThreads, 2) void routed_grad_weight_kernel(RoutedArgsGpu a, RoutedPlaceGpu grad,
                                                                         Sum<F>* __restrict__ partial, RoutedParts w) {
  using Shared = RoutedWeightShared<F>;
  using Tile = RoutedWeightTile<F>;
  VFI_DYNAMIC_SHARED(Shared, shared);
  int32_t at = 0;  // of thread 0, which finds the strips
  if (threadIdx.x == 0) {
    shared->block = routed_weight_block<F>(a, w);
    at = shared->block.taps.down > 0 && shared->block.taps.x_axis.taps > 0 ? shared->block.part : w.strips;
    for (auto& strip : shared->next) strip = find_strip(shared->block, a, grad, w, at);
  }
  find_lines(*shared, a, grad, w);
  __syncthreads();
  const auto& [n, c, part, taps] = shared->block;
  const int32_t warp = static_cast<int32_t>(threadIdx.x) / 32, row = warp / 2 * 16, column = warp % 2 * 16;
  typename Tile::Tiles tiles;
  tiles.clear();
  load_strip<kPacked, F, T>(*shared, 0, a, grad, w);
  end_copies();
  for (int which = 0;; which ^= 1) {
    const int32_t pixels = shared->next[which].pixels, *const lines = shared->lines[shared->next[which].last];
    if (pixels == 0) break;
    load_strip<kPacked, F, T>(*shared, which ^ 1, a, grad, w);
    end_copies();
    wait_for_copies<1>();
    __syncthreads();
    if (threadIdx.x == 0) shared->next[which] = find_strip(shared->block, a, grad, w, at);
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
  constexpr int64_t kEnoughBlocks = 256, kMostParts = 128, kStripsOfPart = 8;  // or sums are stored more than made
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
  const int64_t most = std::clamp<int64_t>(strips / kStripsOfPart, 1, kMostParts);
  w.parts = static_cast<int32_t>(std::clamp<int64_t>(kEnoughBlocks / blocks, 1, most));
  return w;
}

}  // namespace vfi::cuda
