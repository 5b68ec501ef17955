// Convolution of listed patches on CUDA, and the gradient of its input, which is the other form of the same sum.
// Formulas: routed_conv2d.h.
//
// A block has kTile output pixels of one patch and M output channels. Patches are the rows of the list, or, for the
// gradient, the cells of the grid: then a pixel of a patch next to it is found through a table cell -> row of the list,
// nothing is written twice and sums have one order. The output pixels of a transposed convolution with stride s come in
// s x s phases; those of one read the same taps. For every tap of its phase a block works out once where its pixels
// read. Then it goes through the taps and, kDepth at a time, the input channels: it loads that piece of the pixels and
// of the weights into shared memory and multiplies. Nothing but weights in another order is written in between. Rows of
// the list that name no patch cost a block that returns at once.
#pragma once

#include <algorithm>
#include <type_traits>

#include "cuda/epilogue.cuh"
#include "patch_lists/patch_cells.cuh"
#include "cuda/products.cuh"
#include "ops/routed_conv2d/routed_conv2d.h"

namespace vfi::cuda {

constexpr int kMostTaps = 16;  // of a phase: 4x4, the gradient of the transposed convolution

// Patches where a list says in an image, or one after another.
struct RoutedPlaceGpu {
  void* data;
  Strides strides;
  bool in_image;
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

  VFI_HOST_DEVICE int32_t phases() const { return transposed ? stride : 1; }
  VFI_HOST_DEVICE int32_t phase_side() const { return out_side / phases(); }
};

// The patch that a block works on; k is its row of the list, -1 for a cell that is not listed.
struct RoutedItem {
  Patch patch;
  int64_t k;
};

__device__ __forceinline__ RoutedItem routed_item(const RoutedArgsGpu& a, int64_t n) {
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
  VFI_HOST_DEVICE int32_t input(int32_t m, int32_t n) const { return m * in_step + in_first + n * tap_move; }
  VFI_HOST_DEVICE int32_t output(int32_t m) const { return m * out_step + out_first; }
};

VFI_HOST_DEVICE RoutedPhaseGpu routed_phase(const RoutedArgsGpu& a, int32_t phase) {
  if (!a.transposed) return {a.K, 0, 1, -a.padding, a.stride, 1, 0, 1};
  const int32_t tap = (phase + a.padding) % a.stride, taps = tap < a.K ? (a.K - 1 - tap) / a.stride + 1 : 0;
  return {taps, tap, a.stride, (phase + a.padding - tap) / a.stride, 1, -1, phase, a.stride};
}

// Element of channel 0 of input pixel (y, x), counted from the patch's first; -1 where it counts as 0.
__device__ __forceinline__ int64_t routed_source(const RoutedArgsGpu& a, const RoutedItem& item, int32_t y, int32_t x) {
  const bool inside = y >= 0 && y < a.in_side && x >= 0 && x < a.in_side;
  if (!inside && !a.neighbours) return -1;
  const Patch& p = item.patch;
  if (a.from.in_image) {
    const int64_t row = p.row * a.in_side + y, column = p.column * a.in_side + x;
    const bool exists = row >= 0 && row < a.grid.rows * a.in_side && column >= 0 && column < a.grid.columns * a.in_side;
    return exists ? a.from.strides.offset(p.b, 0, static_cast<int32_t>(row), static_cast<int32_t>(column)) : -1;
  }
  int64_t k = item.k;
  if (!inside) {  // at most one pixel away
    const int32_t down = (y >= a.in_side) - (y < 0), right = (x >= a.in_side) - (x < 0);
    const int64_t row = p.row + down, column = p.column + right;
    const bool exists = row >= 0 && row < a.grid.rows && column >= 0 && column < a.grid.columns;
    k = exists ? a.listed[(p.b * a.grid.rows + row) * a.grid.columns + column] : -1;
    y -= down * a.in_side, x -= right * a.in_side;
  }
  return k < 0 ? -1 : a.from.strides.offset(k, 0, y, x);
}

// Element of channel 0 of output pixel (y, x).
__device__ __forceinline__ int64_t routed_target(const RoutedArgsGpu& a, const RoutedItem& item, int32_t y, int32_t x) {
  if (!a.to.in_image) return a.to.strides.offset(item.k, 0, y, x);
  const Patch& p = item.patch;
  return a.to.strides.offset(p.b, 0, static_cast<int32_t>(p.row * a.out_side + y),
                             static_cast<int32_t>(p.column * a.out_side + x));
}

// Weights in the order in which blocks read them, [u][v][c][row_length], zeros at the end of a row: M elements from any
// multiple of M are inside.
struct RoutedWeights {
  int64_t depth_step, column_step, row_step, tap_step;  // of the tensor: input and output channel, u, v
  int64_t row_length;
};

inline int64_t routed_row_length(int64_t columns) {
  constexpr int64_t kMostRows = 128;
  return ceil_div(columns, kMostRows) * kMostRows;
}

template <class T, class F>
__global__ __launch_bounds__(kThreads) void routed_pack_kernel(const T* __restrict__ weight, F* __restrict__ packed,
                                                               RoutedWeights w, int64_t K, int64_t depth,
                                                               int64_t columns) {
  const int64_t count = K * K * depth * w.row_length;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < count; i += int64_t{gridDim.x} * kThreads) {
    const int64_t n = i % w.row_length, row = i / w.row_length, c = row % depth, tap = row / depth;
    const int64_t at = c * w.depth_step + n * w.column_step + tap / K * w.row_step + tap % K * w.tap_step;
    packed[i] = n < columns ? factor_of<F>(weight[at]) : F{};
  }
}

// N neighbouring channels of every pixel: right[(c + n)][pixel] = from[at[pixel] + (c + n) channel], 0 where at is -1.
template <int N, class T, class F>
__device__ __forceinline__ void load_pixels(const T* __restrict__ from, int64_t channel, const int64_t* at, int count,
                                            F* right) {
  constexpr int kLanes = kThreads / kTile;
  // Neighbouring threads have neighbouring addresses.
  const int thread = threadIdx.x;
  const int lane = N > 1 ? thread % kLanes : thread / kTile, pixel = N > 1 ? thread / kLanes : thread % kTile;
  const int64_t first = at[pixel];
#pragma unroll
  for (int i = 0; i < kDepth; i += kLanes * N) {
    const int c = i + lane * N;
    if (c >= count) break;
    Pack<T, N> values{};
    if (first >= 0) values = load_pack<T, N>(from + first + c * channel);
#pragma unroll
    for (int n = 0; n < N; ++n) right[RightPanel<F>::at(pixel, c + n)] = factor_of<F>(values.at[n]);
  }
}

template <class F, int M>
struct RoutedShared {
  union {
    Factors<F, M> factors;
    Sum<F> sums[M * kSumStep];
  };
  int64_t from[kMostTaps][kTile];  // where a tap of a pixel reads
  unsigned reads[kMostTaps][kTile / 32];  // which pixels do
  int64_t to[kTile];
};

// A block's share: pixels `first` .. first + count - 1 of a phase of a patch, in row-major order.
struct RoutedTileGpu {
  RoutedItem item;
  RoutedPhaseGpu y, x;
  int32_t first, count, side;
};

__device__ __forceinline__ RoutedTileGpu routed_tile(const RoutedArgsGpu& a, unsigned index, int pixels) {
  const unsigned side = a.phase_side(), all = side * side, tiles = (all + pixels - 1) / pixels;
  const unsigned phases = a.phases(), first = index % tiles * pixels, phase = index / tiles % (phases * phases);
  return {routed_item(a, index / tiles / (phases * phases)), routed_phase(a, phase / phases),
          routed_phase(a, phase % phases), static_cast<int32_t>(first),
          static_cast<int32_t>(min(all - first, static_cast<unsigned>(pixels))), static_cast<int32_t>(side)};
}

// Where the pixels of the tile read, for every tap, and where they are written.
template <class F, int M>
__device__ __forceinline__ void find_pixels(RoutedShared<F, M>& to, const RoutedArgsGpu& a, const RoutedTileGpu& tile) {
  const int32_t taps = tile.y.taps * tile.x.taps;
  for (int e = threadIdx.x; e < taps * kTile; e += kThreads) {
    const int t = e / kTile, pixel = e % kTile;
    const int32_t y = (tile.first + pixel) / tile.side, x = (tile.first + pixel) % tile.side;
    int64_t at = -1;
    if (pixel < tile.count) {
      at = routed_source(a, tile.item, tile.y.input(y, t / tile.x.taps), tile.x.input(x, t % tile.x.taps));
    }
    to.from[t][pixel] = at;
    const unsigned reads = __ballot_sync(kFullWarp, at >= 0);
    if (e % 32 == 0) to.reads[t][pixel / 32] = reads;
  }
  const int pixel = threadIdx.x;
  if (pixel >= tile.count) return;
  const int32_t y = (tile.first + pixel) / tile.side, x = (tile.first + pixel) % tile.side;
  to.to[pixel] = routed_target(a, tile.item, tile.y.output(y), tile.x.output(x));
}

template <class T, class F, int N, int M>
__global__ __launch_bounds__(kThreads, M == 32 && sizeof(F) < 8 ? 3 : 2) void routed_conv_kernel(
    const F* __restrict__ weight, int64_t row_length, RoutedArgsGpu a, Epilogue epilogue) {
  using A = Sum<F>;
  using Shared = RoutedShared<F, M>;
  VFI_DYNAMIC_SHARED(Shared, shared);
  const unsigned parts = (a.columns + M - 1) / M;
  const int32_t first_out = static_cast<int32_t>(blockIdx.x % parts) * M, rows = min(a.columns - first_out, M);
  const RoutedTileGpu tile = routed_tile(a, blockIdx.x / parts, kTile);
  const bool used = tile.item.patch.used, in_list = a.listed == nullptr, sums_up = used || (!in_list && a.neighbours);
  if (!used && in_list && a.to.in_image) return;
  find_pixels(*shared, a, tile);
  __syncthreads();
  Sums<F, M> sums;
  sums.clear();
  const int32_t taps = sums_up ? tile.y.taps * tile.x.taps : 0;
  const T* const from = static_cast<const T*>(a.from.data);
  for (int32_t t = 0; t < taps; ++t) {
    if ((shared->reads[t][0] | shared->reads[t][1]) == 0) continue;
    const int32_t tap = tile.y.tap(t / tile.x.taps) * a.K + tile.x.tap(t % tile.x.taps);
    const F* const panel = weight + int64_t{tap} * a.depth * row_length + first_out;
    for (int32_t c = 0; c < a.depth; c += kDepth) {
      const int count = min(a.depth - c, kDepth);
      F *left = shared->factors.left, *right = shared->factors.right;
      load_left<M>(left, panel + c * row_length, row_length, count);
      load_pixels<N>(from + c * a.from.strides.channel, a.from.strides.channel, shared->from[t], count, right);
      clear_tail<Sums<F, M>::kStep, LeftPanel<F, M>>(left, count);
      const int depth = clear_tail<Sums<F, M>::kStep, RightPanel<F>>(right, count);
      __syncthreads();
      sums.multiply_add(left, right, depth, rows);
      __syncthreads();
    }
  }
  sums.store(shared->sums);
  __syncthreads();
  T* const to = static_cast<T*>(a.to.data) + first_out * a.to.strides.channel;
  const bool channels_fastest = a.to.strides.channel == 1;
  for (int e = threadIdx.x; e < M * kTile; e += kThreads) {
    const int m = channels_fastest ? e % M : e / kTile, n = channels_fastest ? e / M : e % kTile;
    if (m >= rows || n >= tile.count) continue;
    const A value = sums_up ? finish<T>(epilogue, first_out + m, shared->sums[m * kSumStep + n]) : A(0);
    narrow(value, to[shared->to[n] + m * a.to.strides.channel]);
  }
}

inline int64_t routed_tiles(const RoutedArgsGpu& a, int64_t pixels) {
  const int64_t side = a.phase_side();
  return ceil_div(side * side, pixels);
}

// Calls run(std::integral_constant<int, M>()): as few rows as hold all, at most 128. float64 has 32.
template <class F, class Run>
void with_routed_rows(int64_t rows, Run&& run) {
  if constexpr (!std::is_same_v<F, double>) {
    if (rows > 64) return run(std::integral_constant<int, 128>());
    if (rows > 32) return run(std::integral_constant<int, 64>());
  }
  run(std::integral_constant<int, 32>());
}

// Whether N neighbouring channels of a pixel can be loaded at once.
inline bool routed_packs(const RoutedPlaceGpu& p, int64_t depth, int64_t n) {
  const Strides& s = p.strides;
  return s.channel == 1 && depth % n == 0 && s.column % n == 0 && s.row % n == 0 && s.batch % n == 0 &&
         reinterpret_cast<uintptr_t>(p.data) % 16 == 0;
}

// `packed` has K K depth routed_row_length(columns) elements.
template <class T, class F>
void launch_routed_conv(const T* weight, RoutedWeights w, F* packed, const RoutedArgsGpu& a, const Epilogue& epilogue,
                        cudaStream_t stream) {
  w.row_length = routed_row_length(a.columns);
  const int64_t blocks = a.items * a.phases() * a.phases() * routed_tiles(a, kTile), count = a.K * a.K * a.depth;
  if (blocks * a.columns == 0) return;
  if (count > 0) {
    VFI_LAUNCH((routed_pack_kernel<T, F>), grid_size(ceil_div(count * w.row_length, kThreads)), kThreads, 0, stream,
               weight, packed, w, int64_t{a.K}, int64_t{a.depth}, int64_t{a.columns});
  }
  with_routed_rows<F>(a.columns, [&](auto m) {
    constexpr int M = decltype(m)::value;
    constexpr size_t kBytes = shared_bytes<RoutedShared<F, M>>();
    const Grid grid(blocks * ceil_div(a.columns, M));
    const F* const panels = packed;
    if constexpr (!std::is_same_v<F, double>) {
      constexpr int kMost = 16 / static_cast<int>(sizeof(T));
      if (routed_packs(a.from, a.depth, kMost)) {
        VFI_LAUNCH((routed_conv_kernel<T, F, kMost, M>), grid, kThreads, kBytes, stream, panels, w.row_length, a,
                   epilogue);
        return;
      }
    }
    VFI_LAUNCH((routed_conv_kernel<T, F, 1, M>), grid, kThreads, kBytes, stream, panels, w.row_length, a, epilogue);
  });
}

}  // namespace vfi::cuda
