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

// A few blocks stride over the rows of a sample: one atomic per block at the end, or little work where there is none to
// do.
constexpr int64_t kStridingBlocks = 1024;

inline Grid striding_grid(const ScatterArgsGpu& s) {
  const int64_t per_sample = ceil_div(kStridingBlocks, s.B < kStridingBlocks ? s.B : kStridingBlocks);
  const int64_t needed = ceil_div(s.H, kThreads / 32);
  return {needed < per_sample ? needed : per_sample, 1, grid_size(s.B)};
}

// Calls body(y, x) for the pixels of this thread, in blocks of 32 x 8 threads.
template <class Body>
__device__ __forceinline__ void stride_over_pixels(int32_t height, int32_t width, Body&& body) {
  for (int32_t y = blockIdx.x * blockDim.y + threadIdx.y; y < height; y += gridDim.x * blockDim.y) {
    for (int32_t x = threadIdx.x; x < width; x += 32) body(y, x);
  }
}

template <class Bits>
__device__ __forceinline__ Bits warp_max(Bits bits) {
  for (int step = 16; step > 0; step /= 2) bits = max(bits, __shfl_xor_sync(kFullWarp, bits, step));
  return bits;
}

// Also clears target_max on the way.
template <class A, bool kPath>
__global__ __launch_bounds__(kThreads, (kLandingResident<A, kPath>)) void metric_range_kernel(ScatterArgsGpu s) {
  using Bits = typename Ordered<A>::Bits;
  constexpr int kWarps = kThreads / 32;
  VFI_DYNAMIC_SHARED(Bits, shared);  // [2, kWarps]
  for (int64_t b = blockIdx.z; b < s.B; b += gridDim.z) {
    Bits high = 0, negated = 0;
    stride_over_pixels(s.H, s.W, [&](int32_t y, int32_t x) {
      A flow[2], metric[1];
      load_flow_of<kPath>(s, b, y, x, flow);
      load(s.metric, owner_of<kPath>(s, b), y, x, metric);
      s.target_max.as<A>()[(b * s.H + y) * s.W + x] = 0;
      if (!finite(flow[0]) || !finite(flow[1]) || !finite(metric[0])) return;
      high = max(high, Ordered<A>::from(metric[0]));
      negated = max(negated, Ordered<A>::from(-metric[0]));
    });
    high = warp_max(high);
    negated = warp_max(negated);
    if (threadIdx.x == 0) {
      shared[threadIdx.y] = high;
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
    stride_over_pixels(s.H, s.W, [&](int32_t y, int32_t x) {
      A flow[2], metric[1];
      load_flow_of<kPath>(s, b, y, x, flow);
      load(s.metric, owner_of<kPath>(s, b), y, x, metric);
      if (!finite(metric[0])) return;
      const auto at = position(flow[0], flow[1], Padding::kZeros, s.target_H, s.target_W, y, x);
      for_each_corner(at.x, at.y, [&](int j, int i, A) {
        atomicMax(target_max + static_cast<int64_t>(at.y.at + j) * s.target_W + at.x.at + i,
                  Ordered<A>::from(metric[0]));
      });
    });
  }
}

template <class A, bool kPath>
void launch_softmax_shift_as(const ScatterArgsGpu& s, cudaStream_t stream) {
  const Grid grid = striding_grid(s);
  const dim3 block(32, kThreads / 32);
  VFI_LAUNCH((metric_range_kernel<A, kPath>), grid, block, 2 * (kThreads / 32) * sizeof(A), stream, s);
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
