// The input pixels of a block in shared memory, channels inside: where they are found, and how they are loaded.
#pragma once

#include "cuda/lines.cuh"
#include "ops/routed_conv2d/routed_conv2d_geometry.cuh"

namespace vfi::cuda {

// A block's share: a rectangle, its first output pixel (y, x) of the phase, of patches `first` .. first + cut.items - 1.
struct RoutedTileGpu {
  int64_t first;
  RoutedPhaseGpu y_axis, x_axis;
  int32_t y, x;
};

__device__ __forceinline__ RoutedTileGpu routed_tile(const RoutedArgsGpu& a, uint32_t index) {
  Digits<uint32_t> tile{index};
  const int32_t column = tile.next(a.cut.across), row = tile.next(a.cut.down);
  const int32_t right = tile.next(a.phases()), down = tile.next(a.phases());
  return {int64_t{tile.rest} * a.cut.items, routed_phase(a, down), routed_phase(a, right), row * a.cut.height,
          column * a.cut.width.divisor};
}

inline int64_t routed_tiles(const RoutedArgsGpu& a) {
  const int64_t groups = (a.items + a.cut.items - 1) / a.cut.items;
  return groups * a.phases() * a.phases() * a.cut.down * a.cut.across;
}

// Output pixel n of a block: its patch, counted from the first, and its place in the rectangle.
struct RoutedPixel {
  int32_t item, y, x;
};
__device__ __forceinline__ RoutedPixel routed_pixel(const RoutedCut& cut, int32_t n) {
  const int32_t item = cut.pixels.quotient(n), rest = n - item * cut.pixels.divisor, y = cut.width.quotient(rest);
  return {item, y, rest - y * cut.width.divisor};
}
// Whether it is one: of the patches of a block, and of the phase.
__device__ __forceinline__ bool routed_exists(const RoutedArgsGpu& a, const RoutedTileGpu& tile, const RoutedPixel& p) {
  return p.item < a.cut.items && tile.first + p.item < a.items && tile.y + p.y < a.phase_side() &&
         tile.x + p.x < a.phase_side();
}
// Where its first input pixel is in shared memory, as a number of pixels; a tap is routed_shift behind it.
__device__ __forceinline__ int32_t routed_line(const RoutedArgsGpu& a, const RoutedPixel& p) {
  return p.item * a.cut.in_pixels.divisor + p.y * a.in_step() * a.cut.in_width.divisor + p.x * a.in_step();
}
__device__ __forceinline__ int32_t routed_shift(const RoutedArgsGpu& a, const RoutedTileGpu& tile, int32_t y, int32_t x) {
  return tile.y_axis.behind(y) * a.cut.in_width.divisor + tile.x_axis.behind(x);
}

// -1, 0 or 1: a pixel before, in or behind a patch.
__device__ __forceinline__ int32_t routed_side(int32_t at, int32_t side) { return (at >= side) - (at < 0); }

// The origins of the patches of a block and of those around them; -1 for what counts as 0.
__device__ __forceinline__ void find_origins(const RoutedArgsGpu& a, const RoutedTileGpu& tile, int64_t* origins) {
  for (int e = threadIdx.x; e < a.cut.items * kAround; e += kThreads) {
    const int32_t around = e % kAround;
    origins[e] = routed_origin(a, routed_item(a, tile.first + e / kAround), around / 3 - 1, around % 3 - 1);
  }
}

// Whether tap (y, x) of any pixel of the block reads a pixel.
__device__ __forceinline__ bool routed_reads(const RoutedArgsGpu& a, const RoutedTileGpu& tile, const int64_t* origins,
                                             int32_t y, int32_t x) {
  const auto first = [&](const RoutedPhaseGpu& axis, int32_t at, int32_t tap) { return axis.input(at) + axis.behind(tap); };
  const int32_t height = min(a.cut.height, a.phase_side() - tile.y), width = min(a.cut.width.divisor, a.phase_side() - tile.x);
  const int32_t top = first(tile.y_axis, tile.y, y), bottom = first(tile.y_axis, tile.y + height - 1, y);
  const int32_t left = first(tile.x_axis, tile.x, x), right = first(tile.x_axis, tile.x + width - 1, x);
  for (int32_t item = 0; item < a.cut.items; ++item) {
    for (int32_t down = routed_side(top, a.in_side); down <= routed_side(bottom, a.in_side); ++down) {
      for (int32_t over = routed_side(left, a.in_side); over <= routed_side(right, a.in_side); ++over) {
        if (origins[item * kAround + 3 * down + over + kAround / 2] >= 0) return true;
      }
    }
  }
  return false;
}

// Element of channel 0 of input pixel n of a block, or -1.
__device__ __forceinline__ int64_t routed_source(const RoutedArgsGpu& a, const RoutedTileGpu& tile, const int64_t* origins,
                                                 int32_t n) {
  const int32_t item = a.cut.in_pixels.quotient(n), rest = n - item * a.cut.in_pixels.divisor;
  const int32_t row = a.cut.in_width.quotient(rest), column = rest - row * a.cut.in_width.divisor;
  // A rectangle at the end of a patch may be larger than what is left of it: then it has pixels that nothing reads.
  const int32_t y = min(tile.y_axis.input(tile.y) + row, 2 * a.in_side - 1);
  const int32_t x = min(tile.x_axis.input(tile.x) + column, 2 * a.in_side - 1);
  const int32_t down = routed_side(y, a.in_side), right = routed_side(x, a.in_side);
  const int64_t origin = origins[item * kAround + 3 * down + right + kAround / 2];
  if (origin < 0) return -1;
  return origin + (y - down * a.in_side) * a.from.strides.row + (x - right * a.in_side) * a.from.strides.column;
}

// Whether N neighbouring channels of a pixel can be moved at once.
inline bool routed_packs(const RoutedPlaceGpu& p, int64_t depth, int64_t n) {
  const Strides& s = p.strides;
  return s.channel == 1 && depth % n == 0 && s.column % n == 0 && s.row % n == 0 && s.batch % n == 0 &&
         reinterpret_cast<uintptr_t>(p.data) % 16 == 0;
}

}  // namespace vfi::cuda
