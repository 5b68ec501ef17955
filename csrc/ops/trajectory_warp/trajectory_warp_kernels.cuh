// Backward warping along a trajectory on CUDA; the formula is in trajectory_warp.h.
//
// Work: a thread has one pixel (and, where an image is small and has many channels, some of its channels). It reads the
// keyframes there once, resized, into its column of shared memory, then computes for each tau the flow and the corners and
// walks over its channels. Where the keyframes are too many for that, or taus differ from pixel to pixel, it reads the four
// that each tau needs. Everything is a gather, so it is deterministic.
#pragma once

#include "sampling/gather.cuh"
#include "trajectories/trajectory.cuh"

namespace vfi::cuda {

struct TrajectoryWarpArgsGpu {
  PathView path;
  DenseShape image;  // [B, C, H, W]
  DenseShape out;    // [B T, C, H, W], laid out as the image
  Padding padding;
};

constexpr size_t kColumnBytes = 40 << 10;  // of shared memory for keyframes

// A thread's column of shared memory: value 2 k + c at [(2 k + c) * kThreads].
template <class A>
__device__ __forceinline__ void fill_column(const PathView& p, int64_t b, int32_t y, int32_t x, A* column) {
  for (int32_t k = 0; k < p.curve.count; ++k) {
    const ResizeAxis<A> ay = resize_axis<A>(y, p.size.h, p.size.H), ax = resize_axis<A>(x, p.size.w, p.size.W);
    A value[2];
    const auto read = [&](int32_t row, int32_t at, A(&pixel)[2]) { load(p.keyframes, b, int64_t{2} * k, row, at, pixel); };
    resized<A>(ay, ax, read, value);
    column[2 * k * kThreads] = value[0] * scale_x<A>(p.size);
    column[(2 * k + 1) * kThreads] = value[1] * scale_y<A>(p.size);
  }
}

template <class A>
__device__ __forceinline__ void flow_of_column(const Taps<A>& taps, const A* column, A (&flow)[2]) {
  flow[0] = flow[1] = A(0);
#pragma unroll
  for (int m = 0; m < 4; ++m) {
    if (taps.w[m] == A(0)) continue;
    flow[0] += taps.w[m] * column[2 * (taps.first + m) * kThreads];
    flow[1] += taps.w[m] * column[(2 * (taps.first + m) + 1) * kThreads];
  }
}

// The channels of one output pixel.
template <class T, class A, class Access>
__device__ __forceinline__ void warp_pixel(const T* image, T* out, const DenseShape& from, const Corners<A>& c,
                                           const Place& p) {
  constexpr int N = Access::N, kUnroll = Access::kUnroll;
  const int64_t step = p.lanes * N * from.channel_stride();
  for (int32_t start = p.lane * N; start < from.channels; start += p.lanes * N * kUnroll) {
    Pack<T, N> v[kUnroll][4] = {};
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      if (start + u * p.lanes * N < from.channels) load_corners(image + u * step, from, c.used, v[u]);
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      if (start + u * p.lanes * N >= from.channels) break;
      Pack<T, N> result;
#pragma unroll
      for (int n = 0; n < N; ++n) result.at[n] = narrow_to<T>(interpolate(c, v[u], n));
      store_pack(out + u * step, result);
    }
    image += kUnroll * step;
    out += kUnroll * step;
  }
}

template <class T, class A, class Access, bool kHeld>
__global__ __launch_bounds__(kThreads, sizeof(A) == 4 ? 3 : 1) void trajectory_warp_kernel(const T* __restrict__ image,
                                                                                           T* __restrict__ out,
                                                                                           TrajectoryWarpArgsGpu args,
                                                                                           PixelGrid grid) {
  VFI_DYNAMIC_SHARED(A, shared);
  const DenseShape from = args.image.laid_out(Access::kLast), to = args.out.laid_out(Access::kLast);
  const Place p = place<Access::kLast>(grid);
  if (!p.inside) return;
  A* const column = shared + (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  if (kHeld) fill_column(args.path, p.b, p.y, p.x, column);
  const int64_t first = p.lane * Access::N * from.channel_stride();
#pragma unroll 1
  for (int32_t t = 0; t < args.path.count; ++t) {
    A flow[2];
    if (kHeld) {
      flow_of_column(load_taps<A>(args.path, p.b, t, p.y, p.x), column, flow);
    } else {
      load_flow(args.path, p.b, t, p.y, p.x, flow);
    }
    const auto at = position(flow[0], flow[1], args.padding, from.height, from.width, p.y, p.x);
    warp_pixel<T, A, Access>(image + from.offset(p.b, at.y.at, at.x.at) + first,
                             out + to.offset(p.b * args.path.count + t, p.y, p.x) + first, from, corners(at.x, at.y), p);
  }
}

inline void launch_trajectory_warp(const void* image, void* out, Dtype dtype, bool float64,
                                   const TrajectoryWarpArgsGpu& args, cudaStream_t stream) {
  if (args.out.elements() == 0) return;
  dispatch(dtype, float64, [&](auto element, auto compute) {
    using T = decltype(element);
    using A = decltype(compute);
    const size_t bytes = 2 * args.path.curve.count * kThreads * sizeof(A);
    const bool held = !args.path.per_pixel && bytes <= kColumnBytes;
    with_access<T, A>(args.image, args.image, {image, out}, [&](auto access, const PixelGrid& grid) {
      using Reads = decltype(access);
      for_each_launch(grid, [&](const PixelGrid& part, Grid blocks) {
        if (held) {
          VFI_LAUNCH((trajectory_warp_kernel<T, A, Reads, true>), blocks, part.block, bytes, stream,
                     static_cast<const T*>(image), static_cast<T*>(out), args, part);
        } else {
          VFI_LAUNCH((trajectory_warp_kernel<T, A, Reads, false>), blocks, part.block, 0, stream,
                     static_cast<const T*>(image), static_cast<T*>(out), args, part);
        }
      });
    });
  });
}

}  // namespace vfi::cuda
