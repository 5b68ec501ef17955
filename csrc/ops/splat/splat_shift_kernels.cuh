// What softmax splatting subtracts, on CUDA; the formulas are in splat.h. Besides the scatter-add (splat_kernels.cuh or,
// in a fixed order, splat_ordered_kernels.cuh) softmax needs the number that is subtracted from the metrics:
//
//   range[b] = (max of metric, max of -metric) over the pixels of sample b that are not skipped
//   target_max[b, t] = max of metric over the pixels that have t as a used corner, if the range is wider than kWideSpan
//
// A maximum does not depend on the order of the atomics, so both are deterministic. Whether a sample is wide is decided
// on the device, so a call can be captured in a CUDA graph.
#pragma once

#include "ops/splat/splat_landing.cuh"

namespace vfi::cuda {

// Blocks of all samples, of which each does several bands of rows: two atomics per block at the end, or little work where there
// is none to do.
constexpr int64_t kStridingBlocks = 1024;

inline int64_t blocks_of(int64_t needed, int64_t sharing) {
  const int64_t some = ceil_div(kStridingBlocks, sharing);
  return needed < some ? needed : some;
}

// Rows of a band, which a warp has 32 columns of.
constexpr int kRangeRows = 4;

// Calls body(column) for the bands of this thread, in blocks of 32 x 8 threads.
template <class Body>
__device__ __forceinline__ void stride_over_bands(int32_t height, int32_t width, Body&& body) {
  for (int32_t band = blockIdx.y * blockDim.y + threadIdx.y; band * kRangeRows < height; band += gridDim.y * blockDim.y) {
    body(Column<kRangeRows>(band * kRangeRows, blockIdx.x * 32 + threadIdx.x, height, width));
  }
}

template <class Bits>
__device__ __forceinline__ Bits warp_max(Bits bits) {
  for (int step = 16; step > 0; step /= 2) bits = max(bits, __shfl_xor_sync(kFullWarp, bits, step));
  return bits;
}

// The smallest and the largest metric of R pixels that are not skipped. Also clears target_max on the way.
template <bool kPath, int R, class A>
__device__ __forceinline__ void range_of_column(const ScatterArgsGpu& s, int64_t b, const Column<R>& from, A& low, A& high) {
  A flow[R][2], metric[R][1];
  load_flows<kPath>(s, b, from.y, from.last_x, flow);
  load_metrics<kPath>(s, b, from.y, from.last_x, metric);
  auto* at = s.target_max.as<A>() + (b * s.H + from.y[0]) * s.W + from.x;
#pragma unroll
  for (int r = 0; r < R; ++r, at += s.W) {
    if (r >= from.rows) return;
    *at = 0;
    const A zero = flow[r][0] * A(0) + flow[r][1] * A(0) + metric[r][0] * A(0);  // NaN where one of them is not finite
    if (zero != A(0)) continue;
    low = min(low, metric[r][0]);
    high = max(high, metric[r][0]);
  }
}

template <class A, bool kPath>
__global__ __launch_bounds__(kThreads, (kLandingResident<A, kPath>)) void metric_range_kernel(ScatterArgsGpu s) {
  using Bits = typename Ordered<A>::Bits;
  constexpr int kWarps = kThreads / 32;
  VFI_DYNAMIC_SHARED(Bits, shared);  // [2, kWarps]
  for (int64_t b = blockIdx.z; b < s.B; b += gridDim.z) {
    A low = std::numeric_limits<A>::infinity(), high = -low;
    stride_over_bands(s.H, s.W, [&](const auto& from) { range_of_column<kPath>(s, b, from, low, high); });
    const bool any = low <= high;
    const Bits highest = warp_max(any ? Ordered<A>::from(high) : Bits(0));
    const Bits negated = warp_max(any ? Ordered<A>::from(-low) : Bits(0));
    if (threadIdx.x == 0) {
      shared[threadIdx.y] = highest;
      shared[kWarps + threadIdx.y] = negated;
    }
    __syncthreads();
    if (threadIdx.y == 0 && threadIdx.x < 2) {
      Bits all = 0;
      for (int w = 0; w < kWarps; ++w) all = max(all, shared[threadIdx.x * kWarps + w]);
      if (all != 0) atomicMax(s.range.as<A>() + 2 * b + threadIdx.x, all);
    }
    __syncthreads();
  }
}

template <class A, bool kPath>
__global__ __launch_bounds__(kThreads, (kLandingResident<A, kPath>)) void target_max_kernel(ScatterArgsGpu s) {
  for (int64_t b = blockIdx.z; b < s.B; b += gridDim.z) {
    if (!sample_shift<A>(s, b).per_target) continue;
    auto* const target_max = s.target_max.as<A>() + b * s.target_plane();
    stride_over_bands(s.H, s.W, [&](const auto& from) {
      for (int32_t r = 0; r < min(kRangeRows, from.rows); ++r) {
        const int32_t y = from.y[0] + r;
        A flow[2], metric[1];
        load_flow_of<kPath>(s, b, y, from.x, flow);
        load(s.metric, owner_of<kPath>(s, b), y, from.x, metric);
        if (!finite(metric[0])) continue;
        const auto at = position(flow[0], flow[1], Padding::kZeros, s.target_H, s.target_W, y, from.x);
        for_each_corner(at.x, at.y, [&](int j, int i, A) {
          atomicMax(target_max + static_cast<int64_t>(at.y.at + j) * s.target_W + at.x.at + i,
                    Ordered<A>::from(metric[0]));
        });
      }
    });
  }
}

template <class A, bool kPath>
void launch_softmax_shift_as(const ScatterArgsGpu& s, cudaStream_t stream) {
  constexpr int kWarps = kThreads / 32;
  const dim3 block(32, kWarps);
  const int64_t columns = ceil_div(s.W, 32), samples = grid_size(s.B);
  const Grid grid(columns, blocks_of(ceil_div(s.H, 2 * kRangeRows * kWarps), columns * samples), samples);
  VFI_LAUNCH((metric_range_kernel<A, kPath>), grid, block, 2 * kWarps * sizeof(A), stream, s);
  VFI_LAUNCH((target_max_kernel<A, kPath>), grid, block, 0, stream, s);
}

// Fills range and target_max of `s`.
inline void launch_softmax_shift(const ScatterArgsGpu& s, cudaStream_t stream) {
  clear(s.range.data, 2 * s.B * (s.float64 ? sizeof(double) : sizeof(float)), stream);
  if (s.pixels() == 0) return;
  with_path(s, [&](auto compute, auto is_path) {
    launch_softmax_shift_as<decltype(compute), decltype(is_path)::value>(s, stream);
  });
}

}  // namespace vfi::cuda
