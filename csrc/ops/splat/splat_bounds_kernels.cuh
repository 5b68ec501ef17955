// Where the pixels of a flow land, in bounds: of 32 pixels of a row, of 32 such rows (a block), and of 8 x 4 blocks. A tile of
// targets goes down this tree to the rows that may land on it. Where a flow takes the pixels of most rows all over the target,
// bounds tell nothing: such a flow is counted here, and left to splat_lists_kernels.cuh. That is decided on the device, so a
// call can be captured in a CUDA graph.
#pragma once

#include "ops/splat/splat_landing.cuh"

namespace vfi::cuda {

// Smallest x, y, -x and -y of the cells of some pixels; the largest integer where none lands.
using Bounds = Pack<int32_t, 4>;
constexpr int32_t kNoBound = std::numeric_limits<int32_t>::max();

// A tile of targets: wide, for a row of 32 pixels lands across two tiles of 32 columns. Rows, for all groups of channels that it
// has at a time.
constexpr int kTileColumns = 64;
template <class A>
constexpr int kTileRows = sizeof(A) == 8 ? 4 : 8;

constexpr int64_t kMostVisits = 16;  // of a row, on average
constexpr int32_t kBlockRows = 32, kGroupColumns = 8, kGroupRows = 4;  // of rows of pixels; of blocks

struct BoundsTree {
  int32_t columns, rows;              // of blocks
  int32_t group_columns, group_rows;  // of groups of blocks
  Bounds* of_rows;                    // [B, rows, columns, kBlockRows]
  Bounds* of_blocks;                  // [B, rows, columns]
  Bounds* of_groups;                  // [B, group_rows, group_columns]
  unsigned long long* visits;         // of rows of pixels to tiles of float; null: nobody counts

  VFI_HOST_DEVICE int64_t blocks() const { return static_cast<int64_t>(rows) * columns; }
  VFI_HOST_DEVICE int64_t groups() const { return static_cast<int64_t>(group_rows) * group_columns; }
  // Whether tiles would look at too many rows; a smooth flow has two to four visits a row.
  __device__ __forceinline__ bool is_wild(int64_t batch) const {
    return visits != nullptr && *visits > static_cast<unsigned long long>(kMostVisits * kBlockRows * batch * blocks());
  }
};

inline BoundsTree bounds_tree(const ScatterArgsGpu& s) {
  BoundsTree t{};
  t.columns = static_cast<int32_t>(ceil_div(s.W, 32));
  t.rows = static_cast<int32_t>(ceil_div(s.H, kBlockRows));
  t.group_columns = static_cast<int32_t>(ceil_div(t.columns, kGroupColumns));
  t.group_rows = static_cast<int32_t>(ceil_div(t.rows, kGroupRows));
  return t;
}

// Those of one pixel, which may be further out than where it lands: its cell has a corner in the target.
template <class A>
__device__ __forceinline__ Bounds bounds_of(const ScatterArgsGpu& s, int32_t y, int32_t x, const A (&flow)[2]) {
  const InnerPosition<A> at(s, flow, y, x);
  int32_t at_x = at.x.at, at_y = at.y.at;
  if (s.padding != Padding::kZeros) {
    const Landing<A> landing = land_at(s, at, y, x, flow);
    at_x = landing.x, at_y = landing.y;
  }
  const bool near = (static_cast<uint32_t>(at_x) + 1 <= static_cast<uint32_t>(s.target_W)) &
                    (static_cast<uint32_t>(at_y) + 1 <= static_cast<uint32_t>(s.target_H));
  if (!near) return {{kNoBound, kNoBound, kNoBound, kNoBound}};
  return {{at_x, at_y, -at_x, -at_y}};
}

// Lanes that differ by kLanes exchange half of their numbers, and keep the smaller ones of the others.
template <int kLanes>
__device__ __forceinline__ void halve_numbers(int32_t (&v)[16], int lane) {
  constexpr int kHalf = kLanes / 2;
  const bool upper = lane & kLanes;
#pragma unroll
  for (int i = 0; i < kHalf; ++i) {
    const int32_t keep = upper ? v[i + kHalf] : v[i], give = upper ? v[i] : v[i + kHalf];
    v[i] = min(keep, __shfl_xor_sync(kFullWarp, give, kLanes));
  }
}

// The smallest of each of 16 numbers over the lanes of a warp: lanes 2 i and 2 i + 1 get that of number i.
__device__ __forceinline__ int32_t smallest_of_sixteen(int32_t (&v)[16], int lane) {
  halve_numbers<16>(v, lane);
  halve_numbers<8>(v, lane);
  halve_numbers<4>(v, lane);
  halve_numbers<2>(v, lane);
  return min(v[0], __shfl_xor_sync(kFullWarp, v[0], 1));
}

// The bounds of the lanes' bounds, for every lane.
__device__ __forceinline__ Bounds bounds_of_warp(Bounds bounds) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    for (int step = 16; step > 0; step /= 2) {
      bounds.at[i] = min(bounds.at[i], __shfl_xor_sync(kFullWarp, bounds.at[i], step));
    }
  }
  return bounds;
}

// How many tiles a row may land on.
__device__ __forceinline__ int32_t visits_of(const ScatterArgsGpu& s, const Bounds& row) {
  if (row.at[0] == kNoBound) return 0;
  constexpr int kRows = kTileRows<float>;
  const int32_t left = max(row.at[0], 0) / kTileColumns, right = min(1 - row.at[2], s.target_W - 1) / kTileColumns;
  const int32_t top = max(row.at[1], 0) / kRows, bottom = min(1 - row.at[3], s.target_H - 1) / kRows;
  return (right - left + 1) * (bottom - top + 1);
}

// A block of threads for a block of pixels; a warp has four rows.
template <class A, bool kPath>
__global__ __launch_bounds__(kThreads, (kLandingResident<A, kPath>)) void row_bounds_kernel(ScatterArgsGpu s, BoundsTree t) {
  constexpr int R = kBlockRows / (kThreads / 32);
  VFI_DYNAMIC_SHARED(Bounds, shared);  // [kBlockRows]
  const int lane = threadIdx.x;
  for (int64_t z = blockIdx.z; z < s.B * t.rows; z += gridDim.z) {
    const int64_t b = z / t.rows, block = z * t.columns + blockIdx.x;
    const int32_t top = static_cast<int32_t>(z - b * t.rows) * kBlockRows + threadIdx.y * R;
    const Column<R> from(top, blockIdx.x * 32 + lane, s.H, s.W);
    A flow[R][2];
    load_flows<kPath>(s, b, from.y, from.last_x, flow);
    int32_t v[4 * R];
#pragma unroll
    for (int r = 0; r < R; ++r) {
      Bounds bounds{{kNoBound, kNoBound, kNoBound, kNoBound}};
      if (r < from.rows) bounds = bounds_of(s, from.y[r], from.x, flow[r]);
#pragma unroll
      for (int i = 0; i < 4; ++i) v[4 * r + i] = bounds.at[i];
    }
    const int32_t smallest = smallest_of_sixteen(v, lane);
    const int at = threadIdx.y * R + lane / 8, i = lane / 2 % 4;
    if (lane % 2 == 0) {
      shared[at].at[i] = smallest;
      t.of_rows[block * kBlockRows + at].at[i] = smallest;
    }
    __syncthreads();
    if (threadIdx.y == 0) {
      const Bounds all = bounds_of_warp(shared[lane]);
      if (lane == 0) t.of_blocks[block] = all;
      int32_t visits = visits_of(s, shared[lane]);
      for (int step = 16; step > 0; step /= 2) visits += __shfl_xor_sync(kFullWarp, visits, step);
      if (lane == 0 && t.visits != nullptr) atomicAdd(t.visits, static_cast<unsigned long long>(visits));
    }
    __syncthreads();
  }
}

// Block `lane` of a group of blocks; negative where there is none.
__device__ __forceinline__ int64_t block_of_group(const BoundsTree& t, int64_t group, int lane) {
  const int32_t group_row = static_cast<int32_t>(group / t.group_columns);
  const int32_t row = group_row * kGroupRows + lane / kGroupColumns;
  const int32_t column = static_cast<int32_t>(group - group_row * t.group_columns) * kGroupColumns + lane % kGroupColumns;
  return row < t.rows && column < t.columns ? static_cast<int64_t>(row) * t.columns + column : -1;
}

// A warp for each group.
__global__ __launch_bounds__(kThreads) void group_bounds_kernel(BoundsTree t, int64_t batch) {
  const int lane = threadIdx.x;
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.y;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y; i < batch * t.groups(); i += step) {
    const int64_t b = i / t.groups(), block = block_of_group(t, i - b * t.groups(), lane);
    Bounds bounds{{kNoBound, kNoBound, kNoBound, kNoBound}};
    if (block >= 0) bounds = t.of_blocks[b * t.blocks() + block];
    bounds = bounds_of_warp(bounds);
    if (lane == 0) t.of_groups[i] = bounds;
  }
}

inline void launch_bounds_tree(const ScatterArgsGpu& s, const BoundsTree& t, cudaStream_t stream) {
  if (s.pixels() == 0) return;
  const dim3 block(32, kThreads / 32);
  with_path(s, [&](auto compute, auto is_path) {
    VFI_LAUNCH((row_bounds_kernel<decltype(compute), decltype(is_path)::value>), Grid(t.columns, 1, grid_size(s.B * t.rows)),
               block, kBlockRows * sizeof(Bounds), stream, s, t);
  });
  VFI_LAUNCH((group_bounds_kernel), grid_size(ceil_div(s.B * t.groups(), block.y)), block, 0, stream, t, s.B);
}

}  // namespace vfi::cuda
