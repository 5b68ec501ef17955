// Backward warping along a trajectory on CUDA; the formula is in trajectory_warp.h.
//
// Work: a thread has one pixel (and, where an image is small and has many channels, some of its channels). It reads the
// keyframes there once, resized, into its column of shared memory, then computes for each tau the flow and the corners and
// walks over its channels; the block computes the taps of each tau once. Where the keyframes are too many for that, or
// there is one tau, or taus differ from pixel to pixel, a thread reads the four that each tau needs. Everything is a gather, so
// it is deterministic.
#pragma once

#include "sampling/sample.cuh"
#include "trajectories/trajectory.cuh"

namespace vfi::cuda {

struct TrajectoryWarpArgsGpu {
  PathView path;
  DenseShape image;  // [B, C, H, W]
  DenseShape out;    // [B T, C, H, W], laid out as the image
  Padding padding;
};

constexpr size_t kColumnBytes = 40 << 10;  // of shared memory for keyframes
constexpr int kTableTaus = 32;             // whose taps are in shared memory at a time

// A thread's column of shared memory: value 2 k + c at [(2 k + c) * kThreads].
template <class E, class A>
__device__ __forceinline__ void fill_column(const PathView& p, int64_t b, int32_t y, int32_t x, A* column) {
  const PathPlace<A> at = path_place<A>(p, y, x);
  const A along_x = scale_x<A>(p.size), along_y = scale_y<A>(p.size);
  for (int32_t k = 0; k < p.curve.count; ++k) {
    A value[2];
    const auto read = [&](int32_t row, int32_t from, A(&pixel)[2]) { read_keyframe<E>(p, b, k, row, from, pixel); };
    resized<A>(at.y, at.x, read, value);
    column[2 * k * kThreads] = value[0] * along_x;
    column[(2 * k + 1) * kThreads] = value[1] * along_y;
  }
}

template <class A>
__device__ __forceinline__ void flow_of_column(const Taps<A>& taps, const A* column, A (&flow)[2]) {
  flow[0] = flow[1] = A(0);
  column += 2 * taps.first * kThreads;
#pragma unroll
  for (int m = 0; m < 4; ++m) {
    if (taps.w[m] == A(0)) continue;
    flow[0] += taps.w[m] * column[2 * m * kThreads];
    flow[1] += taps.w[m] * column[(2 * m + 1) * kThreads];
  }
}

// Taps of `count` taus from t on, for the whole block.
template <class A>
__device__ __forceinline__ void fill_table(const PathView& p, int64_t b, int32_t t, int32_t count, Taps<A>* table) {
  const int thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  __syncthreads();
  if (thread < count) table[thread] = load_taps<A>(p, b, t + thread, 0, 0);
  __syncthreads();
}

template <class T, class A, class Access>
__device__ __forceinline__ void warp_to(const T* image, T* out, const TrajectoryWarpArgsGpu& args, const Place& p,
                                        int32_t t, const A (&flow)[2]) {
  const DenseShape to = args.out.laid_out(Access::kLast);
  sample_pixel<Access>(image, out + to.offset(p.b * args.path.count + t, p.y, p.x), args.image, to, args.padding, p, flow);
}

// Keyframes in shared memory: a table of taps, then the columns of the threads.
template <class T, class A, class Access>
__global__ __launch_bounds__(kThreads, sizeof(A) == 4 ? 4 : 1) void trajectory_warp_held_kernel(
    const T* __restrict__ image, T* __restrict__ out, TrajectoryWarpArgsGpu args, PixelGrid grid) {
  VFI_DYNAMIC_SHARED(Taps<A>, table);
  const Place p = place<Access::kLast>(grid);
  A* const column = reinterpret_cast<A*>(table + kTableTaus) +
                    (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  if (p.inside) {
    with_keyframes<A>(args.path, [&](auto e) { fill_column<decltype(e)>(args.path, p.b, p.y, p.x, column); });
  }
#pragma unroll 1
  for (int32_t first = 0; first < args.path.count; first += kTableTaus) {
    const int32_t count = min(kTableTaus, args.path.count - first);
    fill_table(args.path, p.b, first, count, table);
#pragma unroll 1
    for (int32_t t = 0; t < count && p.inside; ++t) {
      A flow[2];
      flow_of_column(table[t], column, flow);
      warp_to<T, A, Access>(image, out, args, p, first + t, flow);
    }
  }
}

template <class T, class A, class Access>
__global__ __launch_bounds__(kThreads, sizeof(A) == 4 ? 3 : 1) void trajectory_warp_kernel(const T* __restrict__ image,
                                                                                           T* __restrict__ out,
                                                                                           TrajectoryWarpArgsGpu args,
                                                                                           PixelGrid grid) {
  const Place p = place<Access::kLast>(grid);
  if (!p.inside) return;
  const PathPlace<A> at = path_place<A>(args.path, p.y, p.x);
#pragma unroll 1
  for (int32_t t = 0; t < args.path.count; ++t) {
    A flow[2];
    load_flow(args.path, p.b, load_taps<A>(args.path, p.b, t, p.y, p.x), at, flow);
    warp_to<T, A, Access>(image, out, args, p, t, flow);
  }
}

inline void launch_trajectory_warp(const void* image, void* out, Dtype dtype, bool float64,
                                   const TrajectoryWarpArgsGpu& args, cudaStream_t stream) {
  if (args.out.elements() == 0) return;
  dispatch(dtype, float64, [&](auto element, auto compute) {
    using T = decltype(element);
    using A = decltype(compute);
    const size_t bytes = 2 * args.path.curve.count * kThreads * sizeof(A);
    const bool held = !args.path.per_pixel && args.path.count > 1 && bytes <= kColumnBytes;
    with_access<T, A>(args.image, args.image, {image, out}, [&](auto access, const PixelGrid& grid) {
      using Reads = decltype(access);
      for_each_launch(grid, [&](const PixelGrid& part, Grid blocks) {
        if (held) {
          VFI_LAUNCH((trajectory_warp_held_kernel<T, A, Reads>), blocks, part.block, kTableTaus * sizeof(Taps<A>) + bytes,
                     stream, static_cast<const T*>(image), static_cast<T*>(out), args, part);
        } else {
          VFI_LAUNCH((trajectory_warp_kernel<T, A, Reads>), blocks, part.block, 0, stream,
                     static_cast<const T*>(image), static_cast<T*>(out), args, part);
        }
      });
    });
  });
}

}  // namespace vfi::cuda
