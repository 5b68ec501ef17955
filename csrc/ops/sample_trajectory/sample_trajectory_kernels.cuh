// Flows along a trajectory on CUDA; the formulas are in sample_trajectory.h.
//
// Work: a thread has one output pixel of one tau; for the gradient of the keyframes one pixel of one keyframe, and it
// gathers what output pixels give that pixel, in a fixed order. A tau that pixels share is summed by one block per tau in
// a fixed order, so everything is deterministic.
#pragma once

#include "sampling/gather.cuh"
#include "trajectories/trajectory.cuh"

namespace vfi::cuda {

struct SampleArgsGpu {
  PathView path;
  MutableView out;     // [B, 2 T, H, W]
  ConstView grad_out;  // [B, 2 T, H, W]
  int64_t batch;
};

template <class A>
__global__ __launch_bounds__(kThreads) void sample_trajectory_kernel(SampleArgsGpu args, PixelGrid grid) {
  const Place p = place<false>(grid);
  if (!p.inside) return;
  const int64_t b = p.b / args.path.count, t = p.b % args.path.count;
  A flow[2];
  load_flow(args.path, b, t, p.y, p.x, flow);
  store(args.out, b, 2 * t, p.y, p.x, flow[0]);
  store(args.out, b, 2 * t + 1, p.y, p.x, flow[1]);
}

// sum over c of g d flow / d tau of one pixel.
template <class A>
__device__ __forceinline__ A tau_term(const SampleArgsGpu& args, int64_t b, int64_t t, int32_t y, int32_t x) {
  A flow[2], g[2], term = A(0);
  load_flow(args.path, b, t, y, x, flow);
  load(args.grad_out, b, 2 * t, y, x, g);
  for (int c = 0; c < 2; ++c) {
    if (finite(flow[c])) term += g[c] * flow[c];
  }
  return term;
}

// A tau for each pixel: out [B, T, H, W].
template <class A>
__global__ __launch_bounds__(kThreads) void grad_pixel_taus_kernel(SampleArgsGpu args, PixelGrid grid) {
  const Place p = place<false>(grid);
  if (!p.inside) return;
  const int64_t b = p.b / args.path.count, t = p.b % args.path.count;
  store(args.out, b, t, p.y, p.x, tau_term<A>(args, b, t, p.y, p.x));
}

// A tau for each sample: out [B, T, 1, 1]; one block for each.
template <class A>
__global__ __launch_bounds__(kThreads) void grad_taus_kernel(SampleArgsGpu args, int64_t taus) {
  VFI_DYNAMIC_SHARED(A, sums);
  const int64_t pixels = static_cast<int64_t>(args.path.size.H) * args.path.size.W;
  for (int64_t i = blockIdx.x; i < taus; i += gridDim.x) {
    const int64_t b = i / args.path.count, t = i % args.path.count;
    A sum = A(0);
    for (int64_t at = threadIdx.x; at < pixels; at += kThreads) {
      const int32_t y = static_cast<int32_t>(at / args.path.size.W), x = static_cast<int32_t>(at % args.path.size.W);
      sum += tau_term<A>(args, b, t, y, x);
    }
    sums[threadIdx.x] = sum;
    __syncthreads();
    for (int step = kThreads / 2; step > 0; step /= 2) {
      if (static_cast<int>(threadIdx.x) < step) sums[threadIdx.x] += sums[threadIdx.x + step];
      __syncthreads();
    }
    if (threadIdx.x == 0) store(args.out, b, t, 0, 0, sums[0]);
    __syncthreads();
  }
}

// Output pixels that may read pixel `at` of `size`: those between at - 1 and at + 1, and some more.
struct Readers {
  int32_t first, last;
};

__device__ __forceinline__ Readers readers_of(int32_t at, int32_t size, int32_t out_size) {
  if (size == out_size) return {at, at};
  const int64_t first = (static_cast<int64_t>(at) - 1) * out_size / size - 1;
  const int64_t last = (static_cast<int64_t>(at) + 2) * out_size / size + 1;
  return {static_cast<int32_t>(first < 0 ? 0 : first), static_cast<int32_t>(last < out_size ? last : out_size - 1)};
}

// The weight of pixel `at` in an output pixel's value.
template <class A>
__device__ __forceinline__ A share_of(const ResizeAxis<A>& axis, int32_t at) {
  return axis.at == at ? A(1) - axis.l : axis.at + 1 == at ? axis.l : A(0);
}

template <class A>
__device__ __forceinline__ A tap_of(const Taps<A>& taps, int32_t k) {
  A w = A(0);
#pragma unroll
  for (int m = 0; m < 4; ++m) w = taps.first + m == k ? taps.w[m] : w;
  return w;
}

// out: [B, 2 K, h, w]
template <class A>
__global__ __launch_bounds__(kThreads) void grad_keyframes_kernel(SampleArgsGpu args, PixelGrid grid) {
  const Place p = place<false>(grid);
  if (!p.inside) return;
  const Resize& r = args.path.size;
  const int64_t b = p.b / args.path.curve.count;
  const int32_t k = static_cast<int32_t>(p.b % args.path.curve.count);
  const Readers rows = readers_of(p.y, r.h, r.H), columns = readers_of(p.x, r.w, r.W);
  A sums[2] = {A(0), A(0)};
  for (int32_t y = rows.first; y <= rows.last; ++y) {
    const A share_y = share_of(resize_axis<A>(y, r.h, r.H), p.y);
    for (int32_t x = columns.first; x <= columns.last && share_y != A(0); ++x) {
      const A share = share_y * share_of(resize_axis<A>(x, r.w, r.W), p.x);
      for (int32_t t = 0; t < args.path.count && share != A(0); ++t) {
        const A weight = tap_of(load_taps<A>(args.path, b, t, y, x), k);
        if (!has_gradient(weight)) continue;
        A g[2];
        load(args.grad_out, b, int64_t{2} * t, y, x, g);
        for (int c = 0; c < 2; ++c) sums[c] += share * weight * g[c];
      }
    }
  }
  store(args.out, b, 2 * k, p.y, p.x, sums[0] * scale_x<A>(r));
  store(args.out, b, 2 * k + 1, p.y, p.x, sums[1] * scale_y<A>(r));
}

// Calls run(A(), part, blocks) for planes [batch, height, width].
template <class Run>
void for_planes(bool float64, int64_t batch, int32_t height, int32_t width, Run&& run) {
  if (batch * height * width == 0) return;
  for_each_launch(pixel_grid(dense_shape(batch, 1, height, width, false), false, 1),
                  [&](const PixelGrid& part, Grid blocks) {
                    if (float64) {
                      run(double(), part, blocks);
                    } else {
                      run(float(), part, blocks);
                    }
                  });
}

inline void launch_sample_trajectory(const SampleArgsGpu& args, bool float64, cudaStream_t stream) {
  const Resize& r = args.path.size;
  for_planes(float64, args.batch * args.path.count, r.H, r.W, [&](auto compute, const PixelGrid& part, Grid blocks) {
    VFI_LAUNCH((sample_trajectory_kernel<decltype(compute)>), blocks, part.block, 0, stream, args, part);
  });
}

inline void launch_grad_keyframes(const SampleArgsGpu& args, bool float64, cudaStream_t stream) {
  const Resize& r = args.path.size;
  for_planes(float64, args.batch * args.path.curve.count, r.h, r.w,
             [&](auto compute, const PixelGrid& part, Grid blocks) {
               VFI_LAUNCH((grad_keyframes_kernel<decltype(compute)>), blocks, part.block, 0, stream, args, part);
             });
}

inline void launch_grad_taus(const SampleArgsGpu& args, bool float64, cudaStream_t stream) {
  const Resize& r = args.path.size;
  const int64_t taus = args.batch * args.path.count;
  if (args.path.per_pixel) {
    for_planes(float64, taus, r.H, r.W, [&](auto compute, const PixelGrid& part, Grid blocks) {
      VFI_LAUNCH((grad_pixel_taus_kernel<decltype(compute)>), blocks, part.block, 0, stream, args, part);
    });
    return;
  }
  if (taus == 0) return;
  if (float64) {
    VFI_LAUNCH((grad_taus_kernel<double>), grid_size(taus), kThreads, kThreads * sizeof(double), stream, args, taus);
  } else {
    VFI_LAUNCH((grad_taus_kernel<float>), grid_size(taus), kThreads, kThreads * sizeof(float), stream, args, taus);
  }
}

}  // namespace vfi::cuda
