// What a convolution of patches reads and writes, on CUDA: plain data and index arithmetic. Formulas: routed_conv2d.h.
//
// Patches are the rows of the list, or, for the gradient of the input, the cells of the grid: then a patch next to one is
// found through a table cell -> row of the list, nothing is written twice and sums have one order. The output pixels of a
// transposed convolution with stride s come in s x s phases; those of one read the same taps.
//
// The output pixels of a phase are cut into rectangles; a block works on one of them, or on those of several patches
// where these are small. It has the input pixels that a rectangle reads in shared memory, for some channels.
#pragma once

#include <algorithm>
#include <type_traits>

#include "cuda/launch.cuh"
#include "ops/routed_conv2d/routed_conv2d.h"
#include "patch_lists/patch_cells.cuh"

namespace vfi::cuda {

constexpr int kMostTaps = 16;      // of a phase: 4x4, the gradient of the transposed convolution
constexpr int kMostItems = 16;     // patches of a block
constexpr int kAround = 9;         // a patch and those next to it, row after row; it is kAround / 2
constexpr int kInputBytes = 27776;  // of shared memory for input pixels: two stride 2 patches of 16 x 16, 16 channels

// n / divisor for n < 2^12, n divisor < 2^20.
struct Divisor {
  int32_t divisor;
  uint32_t factor;
  VFI_HOST_DEVICE int32_t quotient(int32_t n) const { return static_cast<int32_t>((static_cast<uint32_t>(n) * factor) >> 20); }
};
inline Divisor divisor(int64_t n) { return {static_cast<int32_t>(n), static_cast<uint32_t>((1 << 20) / n + 1)}; }

// Patches where a list says in an image, or one after another.
struct RoutedPlaceGpu {
  void* data;
  Strides strides;
  bool in_image;
};

struct RoutedCut {
  Divisor width, pixels;          // output pixels of a rectangle: of a row of it, in all
  int32_t height, down, across;   // its rows; rectangles of a patch
  int32_t items;                  // patches of a block
  Divisor in_width, in_pixels;    // input pixels that a rectangle reads: of a row, in all
};

// Strides of a weight: of input and output channel, u, v.
struct RoutedWeights {
  int64_t depth_step, column_step, row_step, tap_step;
};

// A convolution of patches in one of its forms and directions: `depth` channels in, `columns` channels out.
struct RoutedArgsGpu {
  int32_t K, stride, padding;
  bool transposed;
  int32_t in_side, out_side;  // of a patch
  bool neighbours;            // a pixel outside the patch is that of the image, else 0
  int32_t depth, columns;
  PatchGrid grid;
  const int32_t* indices;  // [P, 3]
  const int32_t* listed;   // [B, rows, columns], the row that names a cell or -1: blocks go through cells. Null: through rows
  int64_t items;           // cells, or rows
  RoutedPlaceGpu from, to;
  RoutedCut cut;

  VFI_HOST_DEVICE int32_t phases() const { return transposed ? stride : 1; }
  VFI_HOST_DEVICE int32_t phase_side() const { return out_side / phases(); }
  // Taps of a phase along an axis, at most, and how far those of neighbouring output pixels are apart.
  VFI_HOST_DEVICE int32_t most_taps() const { return (K + phases() - 1) / phases(); }
  VFI_HOST_DEVICE int32_t in_step() const { return transposed ? 1 : stride; }
};

// The patch that a block works on; k is its row of the list, -1 for a cell that is not listed.
struct RoutedItem {
  Patch patch;
  int64_t k;
};

__device__ __forceinline__ RoutedItem routed_item(const RoutedArgsGpu& a, int64_t n) {
  if (n >= a.items) return {{0, 0, 0, false}, -1};
  if (a.listed == nullptr) return {patch_at(a.indices, n, a.grid), n};
  const int64_t row = n / a.grid.columns;
  return {{row / a.grid.rows, row % a.grid.rows, n % a.grid.columns, a.listed[n] >= 0}, a.listed[n]};
}

// Output pixels of one phase along an axis, and their taps. Pixel m reads input pixel m in_step + in_first + n tap_move
// with its n-th tap, and is output pixel m out_step + out_first.
struct RoutedPhaseGpu {
  int32_t taps, first_tap, tap_step;
  int32_t in_first, in_step, tap_move, out_first, out_step;

  VFI_HOST_DEVICE int32_t tap(int32_t n) const { return first_tap + n * tap_step; }
  VFI_HOST_DEVICE int32_t output(int32_t m) const { return m * out_step + out_first; }
  // The first input pixel that output pixel m reads, with any tap; how far behind it tap n reads.
  VFI_HOST_DEVICE int32_t input(int32_t m) const { return m * in_step + in_first + (tap_move < 0 ? 1 - taps : 0); }
  VFI_HOST_DEVICE int32_t behind(int32_t n) const { return tap_move < 0 ? taps - 1 - n : n; }
};

VFI_HOST_DEVICE RoutedPhaseGpu routed_phase(const RoutedArgsGpu& a, int32_t phase) {
  if (!a.transposed) return {a.K, 0, 1, -a.padding, a.stride, 1, 0, 1};
  const int32_t tap = (phase + a.padding) % a.stride, taps = tap < a.K ? (a.K - 1 - tap) / a.stride + 1 : 0;
  return {taps, tap, a.stride, (phase + a.padding - tap) / a.stride, 1, -1, phase, a.stride};
}

// Element of channel 0 of the first input pixel of a patch, or of the one next to it `down` and `right`; -1 where its
// pixels count as 0.
__device__ __forceinline__ int64_t routed_origin(const RoutedArgsGpu& a, const RoutedItem& item, int32_t down,
                                                 int32_t right) {
  const bool own = down == 0 && right == 0;
  if ((own || a.listed == nullptr) && !item.patch.used) return -1;
  if (!own && !a.neighbours) return -1;
  const int64_t b = item.patch.b, row = item.patch.row + down, column = item.patch.column + right;
  if (row < 0 || row >= a.grid.rows || column < 0 || column >= a.grid.columns) return -1;
  const Strides& s = a.from.strides;
  if (a.from.in_image) return b * s.batch + row * a.in_side * s.row + column * a.in_side * s.column;
  const int64_t k = a.listed[(b * a.grid.rows + row) * a.grid.columns + column];
  return k < 0 ? -1 : k * s.batch;
}

// Element of channel 0 of output pixel (y, x) in `to`.
__device__ __forceinline__ int64_t routed_target(const RoutedPlaceGpu& to, int32_t side, const RoutedItem& item,
                                                 int32_t y, int32_t x) {
  if (!to.in_image) return to.strides.offset(item.k, 0, y, x);
  const Patch& p = item.patch;
  return to.strides.offset(p.b, 0, static_cast<int32_t>(p.row * side + y), static_cast<int32_t>(p.column * side + x));
}

// Rectangles of at most `most` output pixels whose input fits, `pitch` bytes a pixel: whole patches, several where there
// is room, else equal parts about 16 wide.
inline RoutedCut routed_cut(const RoutedArgsGpu& a, int64_t most, int32_t pitch) {
  const int64_t side = a.phase_side();
  const auto reads = [&](int64_t n) { return (n - 1) * a.in_step() + std::max(a.most_taps(), 1); };
  const auto fits = [&](int64_t h, int64_t w, int64_t items) {
    return h * w * items <= most && reads(h) * reads(w) * items * pitch <= kInputBytes;
  };
  int64_t across = (side + 15) / 16, down = 1;
  const auto part = [&](int64_t n) { return (side + n - 1) / n; };
  while (!fits(1, part(across), 1)) ++across;
  while (!fits(part(down), part(across), 1)) ++down;
  const int64_t h = part(down), w = part(across);
  RoutedCut cut{divisor(w), divisor(h * w), static_cast<int32_t>(h), static_cast<int32_t>(part(h)),
                static_cast<int32_t>(part(w)), 1, divisor(reads(w)), divisor(reads(h) * reads(w))};
  while (cut.down * cut.across == 1 && cut.items < kMostItems && fits(h, w, cut.items + 1)) ++cut.items;
  return cut;
}

}  // namespace vfi::cuda
