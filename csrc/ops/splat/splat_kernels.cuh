// The scatter-add of splat_landing.cuh by atomic vector reductions.
//
// Work: a warp owns 32 columns of a few rows, a thread one of them. Where its pixels land is found once; then it goes through
// its groups of four channels. Where the flow is smooth, a pixel lands just below the one above it: their common corners are
// added in registers, which leaves little more than two reductions a pixel. Neighbours in a row have common corners too, but
// to find and to exchange these takes far more instructions than the reductions that it spares. Where most pixels of a row
// land on one cell, the warp adds them up first. The order of the reductions is not fixed.
#pragma once

#include "ops/splat/splat_landing.cuh"

namespace vfi::cuda {

template <class A>
constexpr int kBandRows = sizeof(A) == 8 ? 2 : 4;
// Lanes of a warp with the cell of the lane before, from which on adding them up first is worth its shuffles.
constexpr int kCrowd = 24;

// Pixels of a column on their way to the sums, for all channels.
template <class A, int R>
struct LandedBand {
  Landing<A> landings[R];
  int64_t at[R];   // of corner 0, from the first element of a group of sums
  bool gives[R];   // the next pixel's cell is just below its own, and all corners of both are used
  bool crowd;      // the same for all lanes
};

// Of the first row only: what is true there mostly is so below it.
template <class A>
__device__ __forceinline__ bool is_crowd(const Landing<A>& p) {
  const int32_t before_x = __shfl_up_sync(kFullWarp, p.x, 1), before_y = __shfl_up_sync(kFullWarp, p.y, 1);
  const bool equal = threadIdx.x > 0 && p.used != 0 && before_x == p.x && before_y == p.y;
  return __popc(__ballot_sync(kFullWarp, equal)) >= kCrowd;
}

template <bool kPath, class A, int R>
__device__ __forceinline__ LandedBand<A, R> land_band(const ScatterArgsGpu& s, int64_t b, const Column<R>& from) {
  LandedBand<A, R> band;
  land_column<kPath>(s, b, from, band.landings);
#pragma unroll
  for (int r = 0; r < R; ++r) {
    const Landing<A>& p = band.landings[r];
    band.at[r] = 4 * (static_cast<int64_t>(p.y) * s.target_W + p.x);
    band.gives[r] = false;
    if (r == 0) continue;
    const bool whole = p.used == kAllCorners && band.landings[r - 1].used == kAllCorners;
    band.gives[r - 1] = whole && band.at[r] == band.at[r - 1] + 4 * static_cast<int64_t>(s.target_W);
  }
  band.crowd = is_crowd(band.landings[0]);
  return band;
}

// A pixel all of whose corners are used. `lower` are the sums of the lower corners of the pixel above, where they are still to
// be added, or 0; then those of this pixel.
template <class A>
__device__ __forceinline__ void add_whole(const A (&weight)[4], const A (&v)[4], bool gives, A* at, int64_t row,
                                          A (&lower)[2][4]) {
  A upper[2][4];
#pragma unroll
  for (int i = 0; i < 8; ++i) upper[i / 4][i % 4] = lower[i / 4][i % 4] + weight[i / 4] * v[i % 4];
  atomic_add4(at, upper[0]);
  atomic_add4(at + 4, upper[1]);
#pragma unroll
  for (int i = 0; i < 8; ++i) lower[i / 4][i % 4] = weight[2 + i / 4] * v[i % 4];
  if (gives) return;
  atomic_add4(at + row, lower[0]);
  atomic_add4(at + row + 4, lower[1]);
#pragma unroll
  for (int i = 0; i < 8; ++i) lower[i / 4][i % 4] = A(0);
}

// A group of channels v of all pixels of a band.
template <class A, int R>
__device__ __forceinline__ void add_band(const LandedBand<A, R>& band, const A (&v)[R][4], A* sums, int64_t row) {
  A lower[2][4] = {};
#pragma unroll
  for (int r = 0; r < R; ++r) {
    const Landing<A>& p = band.landings[r];
    if (p.used == kAllCorners) {
      add_whole(p.weight, v[r], band.gives[r], sums + band.at[r], row, lower);
      continue;
    }
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      if ((p.used >> k & 1) == 0) continue;
      A sum[4];
#pragma unroll
      for (int c = 0; c < 4; ++c) sum[c] = p.weight[k] * v[r][c];
      atomic_add4(sums + band.at[r] + (k >> 1) * row + 4 * (k & 1), sum);
    }
  }
}

// A group of channels v of the pixels of a row, cell by cell.
template <class A>
__device__ __forceinline__ void add_crowd(const Landing<A>& p, int64_t at, const A (&v)[4], A* sums, int64_t row) {
  for (unsigned left = __ballot_sync(kFullWarp, p.used != 0); left != 0;) {
    const int first = __ffs(static_cast<int>(left)) - 1;
    const unsigned adds = __shfl_sync(kFullWarp, at, first) == at ? p.used : 0;
    left &= ~__ballot_sync(kFullWarp, adds != 0);
    A sum[4][4];
#pragma unroll
    for (int i = 0; i < 16; ++i) sum[i / 4][i % 4] = adds >> (i / 4) & 1 ? p.weight[i / 4] * v[i % 4] : A(0);
#pragma unroll 1
    for (int step = 16; step > 0; step /= 2) {
#pragma unroll
      for (int i = 0; i < 16; ++i) sum[i / 4][i % 4] += __shfl_xor_sync(kFullWarp, sum[i / 4][i % 4], step);
    }
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      if (!__any_sync(kFullWarp, adds >> k & 1) || static_cast<int>(threadIdx.x) != first) continue;
      atomic_add4(sums + at + (k >> 1) * row + 4 * (k & 1), sum[k]);
    }
  }
}

// The rows from `top` on of one sample, and groups `first` ... `end` of its channels, by one warp.
template <bool kPath, class A, class T>
__device__ __forceinline__ void scatter_band(const T* values, const ScatterArgsGpu& s, const SumLayout& l, int64_t b,
                                             int32_t top, int32_t first, int32_t end) {
  constexpr int R = kBandRows<A>;
  const Column<R> from(top, blockIdx.x * 32 + threadIdx.x, s.H, s.W);
  const LandedBand<A, R> band = land_band<kPath, A>(s, b, from);
  const T* at[R];
  at[0] = values + l.values.offset(owner_of<kPath>(s, b), from.y[0], from.last_x) + 4 * first * l.values.channel_stride();
#pragma unroll
  for (int r = 1; r < R; ++r) at[r] = at[r - 1] + (from.y[r] > from.y[r - 1] ? l.values.row_stride() : 0);
  A* sums = sums_at<A>(s, l, b, first, 0, 0);
  const int64_t row = 4 * static_cast<int64_t>(s.target_W);
#pragma unroll 1
  for (int32_t g = first; g < end; ++g, sums += 4 * s.target_plane()) {
    A v[R][4];
    load_group(at, l, g, v);
    if (!band.crowd) {
      add_band(band, v, sums, row);
      continue;
    }
#pragma unroll
    for (int r = 0; r < R; ++r) add_crowd(band.landings[r], band.at[r], v[r], sums, row);
  }
}

// Blocks of a slice have `chunk` groups each. A warp stays together: what it loops over is the same for all its lanes.
template <class T, class A, bool kPath>
__global__ __launch_bounds__(kThreads, sizeof(A) == 8 ? 1 : 2) void scatter_kernel(const T* __restrict__ values,
                                                                                  ScatterArgsGpu s, SumLayout l,
                                                                                  int32_t chunk, int32_t chunks) {
  constexpr int R = kBandRows<A>;
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
  // A warp has all groups, as long as there are two warps for every scheduler: to find where pixels land again costs as much as
  // three groups.
  constexpr int64_t kEnoughWarps = 1024;
  dispatch(dtype, s.float64, [&](auto element, auto compute) {
    using T = decltype(element);
    using A = decltype(compute);
    const auto run = [&](auto is_path) {
      constexpr bool kPath = decltype(is_path)::value;
      const int64_t bands = ceil_div(s.H, kBandRows<A>), warps = ceil_div(s.W, 32) * bands * s.B;
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
