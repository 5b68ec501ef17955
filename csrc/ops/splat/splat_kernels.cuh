// The scatter-add of splat_landing.cuh by atomic vector reductions.
//
// Work: a warp owns 32 columns of a few rows. Where these land is found once; then it goes through its groups of four
// channels. Where the flow is smooth, neighbouring pixels land on neighbouring cells and share corners; those are added in
// registers first: along the row by shuffles, down the column by carrying the lower left corner to the next row. That leaves
// about one reduction per pixel instead of four. Where many pixels of a row land on one cell they are added up there. The
// order of the reductions is not fixed.
#pragma once

#include "ops/splat/splat_landing.cuh"

namespace vfi::cuda {

template <class A, bool kPath>
constexpr int kBandRows = sizeof(A) == 8 || kPath ? 2 : 4;
// Lanes of a warp with the cell of the lane before, from which on adding them up first is worth its shuffles.
constexpr int kCrowd = 24;

// A source pixel on its way to the sums, for all channels. Bits 0 to 3 of `adds`: corners that go to memory.
template <class A>
struct Share {
  int64_t at;  // of corner 0, from the first element of a group of sums
  A weight[4];
  unsigned used, adds;
  unsigned firsts;  // lanes that take the sum of a run of equal cells; all of them where there is no crowd
  int previous;     // lane of the cell before
  bool joins;       // it takes over the right column of the cell before
  bool any_joins;   // so does a lane of the warp
  bool carried;     // it takes over the lower left corner of the row above
};

// The next lane in `lanes` after this one, or 32.
__device__ __forceinline__ int next_lane(unsigned lanes, int lane) {
  const unsigned later = lanes >> 1 >> lane;
  return later ? lane + __ffs(static_cast<int>(later)) : 32;
}

// The corners of a cell that are inside the target.
template <class A>
__device__ __forceinline__ unsigned corners_inside(const ScatterArgsGpu& s, const Landing<A>& p) {
  const auto inside = [](int32_t at, int32_t size) { return static_cast<uint32_t>(at) < static_cast<uint32_t>(size); };
  const unsigned columns = (inside(p.x, s.target_W) ? 5u : 0u) | (inside(p.x + 1, s.target_W) ? 10u : 0u);
  const unsigned rows = (inside(p.y, s.target_H) ? 3u : 0u) | (inside(p.y + 1, s.target_H) ? 12u : 0u);
  return columns & rows;
}

// How the cells of a row share corners; every lane of the warp has to call it.
template <class A>
__device__ __forceinline__ Share<A> relate_row(const ScatterArgsGpu& s, const Landing<A>& p, int lane) {
  Share<A> cell{4 * (static_cast<int64_t>(p.y) * s.target_W + p.x), {}, p.used, 0, kFullWarp, lane - 1, false, false, false};
#pragma unroll
  for (int k = 0; k < 4; ++k) cell.weight[k] = p.weight[k];
  const bool lands = p.x != kNowhere;
  int32_t before_x = __shfl_up_sync(kFullWarp, p.x, 1), before_y = __shfl_up_sync(kFullWarp, p.y, 1);
  const bool equal = lane > 0 && lands && before_x == p.x && before_y == p.y;
  const unsigned equals = __ballot_sync(kFullWarp, equal);
  const bool crowd = __popc(equals) >= kCrowd;
  if (crowd) {
    cell.firsts = ~equals;
    const unsigned before = cell.firsts & ((1u << lane) - 1);
    cell.previous = before ? 31 - __clz(static_cast<int>(before)) : -1;
    before_x = __shfl_sync(kFullWarp, p.x, cell.previous);
    before_y = __shfl_sync(kFullWarp, p.y, cell.previous);
  }
  const bool first = cell.firsts >> lane & 1;
  cell.joins = first && lands && cell.previous >= 0 && before_x == p.x - 1 && before_y == p.y;
  const unsigned joining = __ballot_sync(kFullWarp, cell.joins);
  cell.any_joins = joining != 0;
  const int next = crowd ? next_lane(cell.firsts, lane) : lane + 1;
  const bool gives = next < 32 && (joining >> (next & 31) & 1);
  // A corner that is not used adds 0, unless it is that of a neighbour too.
  const unsigned shared = crowd ? kAllCorners : p.used | (cell.joins ? 5u : 0u);
  if (first) cell.adds = corners_inside(s, p) & shared & (gives ? 5u : kAllCorners);
  return cell;
}

// Where the cell of `above`, a row higher, is just above this one.
template <class A>
__device__ __forceinline__ void relate_column(Share<A>& above, Share<A>& cell, const Landing<A>& from, const Landing<A>& to,
                                              int lane) {
  const bool firsts = (above.firsts & cell.firsts) >> lane & 1;
  cell.carried = firsts && to.x != kNowhere && from.x == to.x && from.y + 1 == to.y && (above.adds & 4u);
  if (!cell.carried) return;
  above.adds &= ~4u;
  cell.adds |= 1u;
}

template <class A>
__device__ __forceinline__ void spread(const Share<A>& cell, const A (&v)[4], A (&sum)[4][4]) {
  if (cell.used == kAllCorners) {
#pragma unroll
    for (int i = 0; i < 16; ++i) sum[i / 4][i % 4] = cell.weight[i / 4] * v[i % 4];
    return;
  }
#pragma unroll
  for (int i = 0; i < 16; ++i) sum[i / 4][i % 4] = cell.used >> (i / 4) & 1 ? cell.weight[i / 4] * v[i % 4] : A(0);
}

// The first lane of a run of equal cells takes the sum of all.
template <class A>
__device__ __forceinline__ void add_up_runs(const Share<A>& cell, int lane, A (&sum)[4][4]) {
  const int end = next_lane(cell.firsts, lane);
  for (int step = 1; __any_sync(kFullWarp, lane + step < end); step *= 2) {
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      const A other = __shfl_down_sync(kFullWarp, sum[i / 4][i % 4], step);
      if (lane + step < end) sum[i / 4][i % 4] += other;
    }
  }
}

template <class A>
__device__ __forceinline__ void add_columns(const Share<A>& cell, A (&sum)[4][4]) {
  A taken[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) taken[i] = __shfl_sync(kFullWarp, sum[1 + i / 4 * 2][i % 4], cell.previous);
#pragma unroll
  for (int i = 0; i < 8; ++i) sum[i / 4 * 2][i % 4] += cell.joins ? taken[i] : A(0);
}

// One row of a group of channels. `carried` is the lower left corner of the row above, then of this one.
template <class A>
__device__ __forceinline__ void add_row(const Share<A>& cell, int32_t width, int lane, const A (&v)[4], A* sums,
                                        A (&carried)[4]) {
  A sum[4][4];
  spread(cell, v, sum);
  if (cell.firsts != kFullWarp) add_up_runs(cell, lane, sum);
  if (cell.any_joins) add_columns(cell, sum);
  if (cell.carried) {
#pragma unroll
    for (int c = 0; c < 4; ++c) sum[0][c] += carried[c];
  }
  A* const at = sums + cell.at;
  A* const below = at + 4 * static_cast<int64_t>(width);
  if (cell.adds & 1u) atomic_add4(at, sum[0]);
  if (cell.adds & 2u) atomic_add4(at + 4, sum[1]);
  if (cell.adds & 4u) atomic_add4(below, sum[2]);
  if (cell.adds & 8u) atomic_add4(below + 4, sum[3]);
#pragma unroll
  for (int c = 0; c < 4; ++c) carried[c] = sum[2][c];
}

// The rows from `top` on of one sample, and groups `first` ... `end` of its channels, by one warp.
template <bool kPath, class A, class T>
__device__ __forceinline__ void scatter_band(const T* values, const ScatterArgsGpu& s, const SumLayout& l, int64_t b,
                                             int32_t top, int32_t first, int32_t end) {
  constexpr int R = kBandRows<A, kPath>;
  const int lane = threadIdx.x;
  const Column<R> from(top, blockIdx.x * 32 + lane, s.H, s.W);
  Landing<A> landings[R];
  land_column<kPath>(s, b, from, landings);
  Share<A> cells[R];
  const T* at[R];
#pragma unroll
  for (int r = 0; r < R; ++r) {
    cells[r] = relate_row(s, landings[r], lane);
    if (r > 0) relate_column(cells[r - 1], cells[r], landings[r - 1], landings[r], lane);
    at[r] = values + l.values.offset(owner_of<kPath>(s, b), from.y[r], from.last_x) + 4 * first * l.values.channel_stride();
  }
#pragma unroll 1
  for (int32_t g = first; g < end; ++g) {
    A v[R][4], carried[4];
    load_group(at, l, g, v);
    A* const sums = sums_at<A>(s, l, b, g, 0, 0);
#pragma unroll
    for (int r = 0; r < R; ++r) add_row(cells[r], s.target_W, lane, v[r], sums, carried);
  }
}

// Blocks of a slice have `chunk` groups each. A warp stays together: what it loops over is the same for all its lanes.
template <class T, class A, bool kPath>
__global__ __launch_bounds__(kThreads, sizeof(A) == 8 ? 1 : 2) void scatter_kernel(const T* __restrict__ values,
                                                                                  ScatterArgsGpu s, SumLayout l,
                                                                                  int32_t chunk, int32_t chunks) {
  constexpr int R = kBandRows<A, kPath>;
  for (int64_t z = blockIdx.z; z < s.B * chunks; z += gridDim.z) {
    const int64_t b = chunks == 1 ? z : z / chunks;
    const int32_t first = static_cast<int32_t>(z - b * chunks) * chunk, end = min(first + chunk, l.groups);
    for (int64_t band = blockIdx.y * blockDim.y + threadIdx.y; band * R < s.H; band += gridDim.y * blockDim.y) {
      scatter_band<kPath, A>(values, s, l, b, static_cast<int32_t>(band * R), first, end);
    }
  }
}

inline void launch_scatter(const void* values, Dtype dtype, const ScatterArgsGpu& s, const SumLayout& l,
                           cudaStream_t stream) {
  if (s.B * l.groups == 0 || s.pixels() == 0 || s.target_plane() == 0) return;
  // A warp has all groups, as long as there are warps for every multiprocessor.
  constexpr int64_t kEnoughWarps = 2048;
  dispatch(dtype, s.float64, [&](auto element, auto compute) {
    using T = decltype(element);
    using A = decltype(compute);
    const auto run = [&](auto is_path) {
      constexpr bool kPath = decltype(is_path)::value;
      const int64_t bands = ceil_div(s.H, kBandRows<A, kPath>), warps = ceil_div(s.W, 32) * bands * s.B;
      int64_t chunks = 1;
      while (chunks < l.groups && warps * chunks < kEnoughWarps) ++chunks;
      const int32_t chunk = static_cast<int32_t>(ceil_div(l.groups, chunks));
      chunks = ceil_div(l.groups, chunk);
      const dim3 block(32, kThreads / 32);
      const Grid grid(ceil_div(s.W, 32), grid_size(ceil_div(bands, block.y)), grid_size(s.B * chunks));
      VFI_LAUNCH((scatter_kernel<T, A, kPath>), grid, block, 0, stream, static_cast<const T*>(values), s, l, chunk,
                 static_cast<int32_t>(chunks));
    };
    s.path.count > 0 ? run(std::true_type()) : run(std::false_type());
  });
}

}  // namespace vfi::cuda
