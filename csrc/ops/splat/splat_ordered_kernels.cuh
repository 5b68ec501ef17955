// The scatter-add of splat_landing.cuh in a fixed order, for torch.use_deterministic_algorithms(True):
//
//   sums[b, t, c] = sum over the source pixels that land on t of weight * values
//
// Work: a warp owns a tile of targets, whose sums are in shared memory. It goes through the rows of pixels that may land
// there, which the bounds of splat_bounds_kernels.cuh tell, in the order of that tree, and adds 32 pixels at a time, corner by
// corner: no two of them have the same corner on one target, unless they have the same cell, and those take turns in the
// order of their lanes. So every sum has one order, and is bitwise equal from run to run; nothing is sorted. Where a tile
// has all channels at once, it writes the result instead of the sums.
#pragma once

#include "ops/splat/splat_bounds_kernels.cuh"
#include "ops/splat/splat_finish_kernels.cuh"

namespace vfi::cuda {

constexpr int kTileWarps = 4, kTileColumns = 32;
// Rows of a tile, for all groups of channels that it has at a time.
template <class A>
constexpr int kTileRows = sizeof(A) == 8 ? 8 : 16;

constexpr size_t turns_bytes(int rows) { return (kTileColumns + 1) * (rows + 1) * sizeof(unsigned); }

// A tile of G groups of channels: Pack<A, 4> [G, rows, kTileColumns], and for each cell the lane whose turn it is.
template <class A, int G>
struct TargetTile {
  static constexpr int kRows = kTileRows<A> / G;
  Pack<A, 4>* sums;
  unsigned* turns;  // [kRows + 1, kTileColumns + 1]
  int32_t x, y;     // of its first target

  static constexpr size_t bytes() {
    return kTileWarps * (G * kRows * kTileColumns * sizeof(Pack<A, 4>) + turns_bytes(kRows));
  }
  __device__ __forceinline__ bool meets(Bounds bounds) const {
    return (bounds.at[0] < x + kTileColumns) & (bounds.at[1] < y + kRows) & (bounds.at[2] <= 1 - x) & (bounds.at[3] <= 1 - y);
  }
  // Whether a cell, (column, row) from the first target, has a corner in the tile: it may be one to the left, or one above.
  __device__ __forceinline__ bool touches(uint32_t column, uint32_t row) const {
    return (column + 1 <= static_cast<uint32_t>(kTileColumns)) & (row + 1 <= static_cast<uint32_t>(kRows));
  }
};

// The corners that are targets of the tile, of a cell that has any.
template <class A, int G>
__device__ __forceinline__ unsigned corners_in_tile(int32_t x, int32_t y) {
  const unsigned columns = (x >= 0 ? 5u : 0u) | (x < kTileColumns - 1 ? 10u : 0u);
  return columns & ((y >= 0 ? 3u : 0u) | (y < TargetTile<A, G>::kRows - 1 ? 12u : 0u));
}

// Adds the pixels of the lanes to the tile, each to those of its four corners that `corners` has; (x, y) is its cell.
template <class A, int G>
__device__ __forceinline__ void add_to_tile(const TargetTile<A, G>& tile, unsigned corners, int32_t x, int32_t y,
                                            const A (&weight)[4], const A (&v)[G][4]) {
  const unsigned mark = 32 - threadIdx.x;  // 32 ... 1
  unsigned* const turn = tile.turns + (y + 1) * (kTileColumns + 1) + x + 1;
  bool waits = corners != 0;
  while (__any_sync(kFullWarp, waits)) {
    if (waits) atomicMax(turn, mark);
    __syncwarp();
    const bool goes = waits && *turn == mark;
    __syncwarp();
    if (goes) *turn = 0;
    waits = waits && !goes;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      if (goes && (corners >> k & 1)) {
#pragma unroll
        for (int g = 0; g < G; ++g) {
          Pack<A, 4>* const at = tile.sums + (g * TargetTile<A, G>::kRows + y + (k >> 1)) * kTileColumns + x + (k & 1);
          Pack<A, 4> sum = *at;
#pragma unroll
          for (int c = 0; c < 4; ++c) sum.at[c] = std::fma(weight[k], v[g][c], sum.at[c]);
          *at = sum;
        }
      }
      __syncwarp();
    }
  }
}

// Groups first ... first + G - 1 of a pixel; those that do not exist are 0.
template <int G, class T, class A>
__device__ __forceinline__ void load_groups(const T* (&at)[1], const SumLayout& l, int32_t first, A (&v)[G][4]) {
#pragma unroll
  for (int g = 0; g < G; ++g) {
    if (first + g >= l.groups) break;
    A group[1][4];
    load_group(at, l, first + g, group);
#pragma unroll
    for (int c = 0; c < 4; ++c) v[g][c] = group[0][c];
  }
}

// 32 pixels of row y, from column x on. What is more than where they land is found for those that touch the tile.
template <bool kPath, int G, class T, class A>
__device__ __forceinline__ void add_row_to_tile(const T* values, const ScatterArgsGpu& s, const SumLayout& l,
                                                const SampleShift<A>& shift, const TargetTile<A, G>& tile, int64_t b,
                                                int32_t first, int32_t y, int32_t x) {
  x += threadIdx.x;
  const int32_t rows[1] = {y}, last_x = min(x, s.W - 1);
  A flow[1][2], metric[1][1], v[G][4] = {};
  load_flows<kPath>(s, b, rows, last_x, flow);
  Landing<A> landing = land_unweighted(s, y, x, flow[0]);
  const uint32_t column = static_cast<uint32_t>(landing.x) - tile.x, row = static_cast<uint32_t>(landing.y) - tile.y;
  const bool touches = x <= last_x && tile.touches(column, row);
  if (!__any_sync(kFullWarp, touches)) return;
  unsigned corners = 0;
  int32_t at_x = 0, at_y = 0;  // addresses are made of them, and another pixel may be anywhere
  if (touches) {
    at_x = static_cast<int32_t>(column), at_y = static_cast<int32_t>(row);
    load_metrics<kPath>(s, b, rows, last_x, metric);
    multiply_factor(s, shift, b, metric[0][0], landing);
    corners = landing.used & corners_in_tile<A, G>(at_x, at_y);
    const int64_t channel = 4 * first * l.values.channel_stride();
    const T* at[1] = {values + l.values.offset(owner_of<kPath>(s, b), y, last_x) + channel};
    load_groups<G>(at, l, first, v);
  }
  add_to_tile<A, G>(tile, corners, at_x, at_y, landing.weight, v);
}

// Calls run(y, x) for every 32 pixels of a row from (y, x) on whose bounds meet the tile. All lanes are together.
template <class A, int G, class Run>
__device__ __forceinline__ void for_each_row(const BoundsTree& t, const TargetTile<A, G>& tile, int64_t b, Run&& run) {
  const int lane = threadIdx.x;
  const auto next = [](unsigned& lanes) {
    const int first = __ffs(static_cast<int>(lanes)) - 1;
    lanes &= lanes - 1;
    return first;
  };
  for (int64_t group = 0; group < t.groups(); group += 32) {
    const bool any = group + lane < t.groups() && tile.meets(t.of_groups[b * t.groups() + group + lane]);
    for (unsigned groups = __ballot_sync(kFullWarp, any); groups != 0;) {
      const int64_t of = group + next(groups), block = block_of_group(t, of, lane);
      const bool some = block >= 0 && tile.meets(t.of_blocks[b * t.blocks() + block]);
      for (unsigned blocks = __ballot_sync(kFullWarp, some); blocks != 0;) {
        const int64_t at = block_of_group(t, of, next(blocks));
        const bool meets = tile.meets(t.of_rows[(b * t.blocks() + at) * kBlockRows + lane]);
        const int32_t block_row = static_cast<int32_t>(at / t.columns);
        const int32_t x = static_cast<int32_t>(at - block_row * static_cast<int64_t>(t.columns)) * 32;
        for (unsigned rows = __ballot_sync(kFullWarp, meets); rows != 0;) run(block_row * kBlockRows + next(rows), x);
      }
    }
  }
}

// The result of a scatter that a tile finishes itself, where it is `wanted`: else it leaves the sums.
struct Direct {
  bool wanted;
  void* out;
  DenseShape shape;
  Finish finish;
};

// The result at pixel `target` of sample b, of which `out` is channel 0 and `sums` are those of all channels.
template <int G, class T, class A>
__device__ __forceinline__ void finish_target(T* out, const ScatterArgsGpu& s, const Direct& d, int64_t b, int64_t target,
                                              const Pack<A, 4> (&sums)[G]) {
  Quotient<A> by;
  if (d.finish.division != Division::kNone) {
    const A weight = sums[G - 1].at[3];
    by = quotient(d.finish.division, weight);
    if (d.finish.weight_out.data != nullptr) write_weight(s, d.finish, b, target, weight);
  }
#pragma unroll
  for (int c = 0; c < 4 * G; ++c, out += d.shape.channel_stride()) {
    if (c >= d.shape.channels) break;
    *out = narrow_to<T>(by.of(sums[c / 4].at[c % 4]));
  }
}

// Writes the sums, or the result, of groups first ... first + G - 1 at pixel `target` of sample b.
template <int G, class T, class A>
__device__ __forceinline__ void write_target(const ScatterArgsGpu& s, const SumLayout& l, const Direct& d, int64_t b,
                                             int64_t target, int32_t first, const Pack<A, 4> (&sums)[G]) {
  if (d.wanted) {
    T* const out = static_cast<T*>(d.out) + b * d.shape.sample + target * d.shape.pixel_stride();
    return finish_target<G>(out, s, d, b, target, sums);
  }
  A* const at = sums_at<A>(s, l, b, first, 0, 0) + 4 * target;
#pragma unroll
  for (int g = 0; g < G; ++g) {
    if (first + g < l.groups) store_pack(at + 4 * g * s.target_plane(), sums[g]);
  }
}

template <int G, class T, class A>
__device__ __forceinline__ void write_tile(const ScatterArgsGpu& s, const SumLayout& l, const Direct& d,
                                           const TargetTile<A, G>& tile, int64_t b, int32_t first) {
  constexpr int kRows = TargetTile<A, G>::kRows;
  const int32_t x = tile.x + threadIdx.x, rows = min(kRows, s.target_H - tile.y);
  if (x >= s.target_W) return;
  int64_t target = static_cast<int64_t>(tile.y) * s.target_W + x;
  for (int32_t row = 0; row < rows; ++row, target += s.target_W) {
    Pack<A, 4> sums[G];
#pragma unroll
    for (int g = 0; g < G; ++g) sums[g] = tile.sums[(g * kRows + row) * kTileColumns + threadIdx.x];
    write_target<G, T>(s, l, d, b, target, first, sums);
  }
}

// Groups first ... first + G - 1 of a tile.
template <bool kPath, int G, class T, class A>
__device__ __forceinline__ void sum_tile(const T* values, const ScatterArgsGpu& s, const SumLayout& l, const BoundsTree& t,
                                         const Direct& d, const TargetTile<A, G>& tile, int64_t b, int32_t first) {
  constexpr int kTargets = G * TargetTile<A, G>::kRows * kTileColumns;
  constexpr int kTurns = turns_bytes(TargetTile<A, G>::kRows) / sizeof(unsigned);
#pragma unroll
  for (int i = 0; i < kTargets; i += 32) tile.sums[i + threadIdx.x] = Pack<A, 4>{};
#pragma unroll
  for (int i = 0; i < kTurns; i += 32) {
    if (i + 32 <= kTurns || i + static_cast<int>(threadIdx.x) < kTurns) tile.turns[i + threadIdx.x] = 0;
  }
  __syncwarp();
  const SampleShift<A> shift = shift_of<A>(s, b);
  for_each_row(t, tile, b, [&](int32_t y, int32_t x) {
    add_row_to_tile<kPath, G>(values, s, l, shift, tile, b, first, y, x);
  });
  write_tile<G, T>(s, l, d, tile, b, first);
  __syncwarp();
}

// Blocks on one multiprocessor: as many as keep every register out of memory.
template <class A, bool kPath, int G>
constexpr int kTileResident = sizeof(A) == 8 ? 2 : kPath ? 3 : G == 2 ? 4 : 5;

template <class T, class A, bool kPath, int G>
__global__ __launch_bounds__(32 * kTileWarps, (kTileResident<A, kPath, G>)) void ordered_kernel(const T* __restrict__ values,
                                                                                         ScatterArgsGpu s, SumLayout l,
                                                                                         BoundsTree t, Direct d) {
  constexpr int kTargets = G * TargetTile<A, G>::kRows * kTileColumns;
  constexpr size_t kTurns = turns_bytes(TargetTile<A, G>::kRows) / sizeof(unsigned);
  using Sums = Pack<A, 4>;
  VFI_DYNAMIC_SHARED(Sums, shared);
  TargetTile<A, G> tile;
  tile.sums = shared + threadIdx.y * kTargets;
  tile.turns = reinterpret_cast<unsigned*>(shared + kTileWarps * kTargets) + threadIdx.y * kTurns;
  tile.x = (blockIdx.x * kTileWarps + threadIdx.y) * kTileColumns;
  if (tile.x >= s.target_W || t.is_wild(s.B)) return;
  const int32_t passes = (l.groups + G - 1) / G;
  for (int64_t z = blockIdx.z; z < s.B * passes; z += gridDim.z) {
    const int64_t b = z / passes;
    for (int64_t row = blockIdx.y; row * TargetTile<A, G>::kRows < s.target_H; row += gridDim.y) {
      tile.y = static_cast<int32_t>(row) * TargetTile<A, G>::kRows;
      sum_tile<kPath>(values, s, l, t, d, tile, b, static_cast<int32_t>(z - b * passes) * G);
    }
  }
}

}  // namespace vfi::cuda
