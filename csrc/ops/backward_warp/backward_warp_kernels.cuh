// Backward warping on CUDA; the formula is in backward_warp.h.
//
//   out[b, c, y, x]    = sum_k weight_k image[b, c, corner_k]
//   grad_flow[b, 0, y, x] = sum_c grad_out[b, c, y, x] sum_k (d weight_k / d fx) image[b, c, corner_k];   fy: channel 1
//
// Work: a thread has one position and computes its corners once for its channels; where an image is small and has many
// channels, several threads share a position. Both are gathers; the sum over the channels has a fixed order, so both
// are deterministic. The gradient of the image is a scatter, in ops/splat.
#pragma once

#include "sampling/sample.cuh"

namespace vfi::cuda {

struct WarpArgsGpu {
  DenseShape image;  // [B, C, Hi, Wi]
  DenseShape out;    // [B, C, H, W], laid out as the image
  ConstView flow;    // [B, 2, H, W]
  Padding padding;
};

template <class T, class A, class Access>
__global__ __launch_bounds__(kThreads, kResident<T, A>) void backward_warp_kernel(const T* __restrict__ image,
                                                                                  T* __restrict__ out, WarpArgsGpu args,
                                                                                  PixelGrid grid) {
  const DenseShape to = args.out.laid_out(Access::kLast);
  const Place p = place<Access::kLast>(grid);
  if (!p.inside) return;
  A flow[2];
  load(args.flow, p.b, p.y, p.x, flow);
  sample_pixel<Access>(image, out + to.offset(p.b, p.y, p.x), args.image, to, args.padding, p, flow);
}

// The slopes of the channels of this lane, where all four corners are used: of products summed corner by corner.
template <class Access, class T, class A>
__device__ __forceinline__ void whole_slopes(const T* grad_out, const T* image, const DenseShape& from, const DenseShape& to,
                                             const Place& p, const Axis<A>& x, const Axis<A>& y, A (&sums)[2]) {
  A dot[4] = {A(0), A(0), A(0), A(0)};
  for_each_packs<Access>(p, from, to, image + from.offset(p.b, y.at, x.at), grad_out, [&](auto count, auto at, auto g_at) {
    constexpr int kCount = decltype(count)::value, N = Access::N;
    Pack<T, N> v[kCount][4], g[kCount];
#pragma unroll
    for (int u = 0; u < kCount; ++u) {
      g[u] = load_pack<T, N>(g_at(u));
      load_whole(at(u), from, v[u]);
    }
#pragma unroll
    for (int i = 0; i < kCount * N; ++i) {
#pragma unroll
      for (int k = 0; k < 4; ++k) dot[k] += widen<A>(g[i / N].at[i % N]) * widen<A>(v[i / N][k].at[i % N]);
    }
  });
  sums[0] = y.r * (dot[1] - dot[0]) + y.l * (dot[3] - dot[2]);
  sums[1] = x.r * (dot[2] - dot[0]) + x.l * (dot[3] - dot[1]);
}

template <class Access, class T, class A>
__device__ __forceinline__ void padded_slopes(const T* grad_out, const T* image, const DenseShape& from, const DenseShape& to,
                                              const Place& p, const Position<A>& at, A (&sums)[2]) {
  constexpr int N = Access::N;
  const CornerSlopes<A> slopes = corner_slopes(at.x, at.y);
  image += from.offset(p.b, at.y.at, at.x.at);
  for (int32_t channel = p.lane * N; channel < from.channels; channel += p.lanes * N) {
    Pack<T, N> v[4];
    const Pack<T, N> g = load_pack<T, N>(grad_out + channel * to.channel_stride());
    load_corners(image + channel * from.channel_stride(), from, slopes.reads, v);
#pragma unroll
    for (int n = 0; n < N; ++n) add_slopes(slopes, v, n, widen<A>(g.at[n]), sums[0], sums[1]);
  }
}

template <class T, class A, class Access>
__global__ __launch_bounds__(kThreads) void backward_warp_grad_flow_kernel(const T* __restrict__ grad_out,
                                                                           const T* __restrict__ image,
                                                                           MutableView grad_flow, WarpArgsGpu args,
                                                                           PixelGrid grid) {
  const DenseShape from = args.image.laid_out(Access::kLast), to = args.out.laid_out(Access::kLast);
  const Place p = place<Access::kLast>(grid);
  A sums[2] = {A(0), A(0)};
  if (p.inside) {
    A flow[2];
    load(args.flow, p.b, p.y, p.x, flow);
    const Axis<A> x = split_axis(flow[0], p.x), y = split_axis(flow[1], p.y);
    grad_out += to.offset(p.b, p.y, p.x);
    if (is_whole(x, y, from.height, from.width)) {
      whole_slopes<Access>(grad_out, image, from, to, p, x, y, sums);
    } else {
      const auto at = position(flow[0], flow[1], args.padding, from.height, from.width, p.y, p.x);
      padded_slopes<Access>(grad_out, image, from, to, p, at, sums);
    }
  }
  sum_over_lanes<Access::kLast>(p, sums);
  if (p.inside && p.lane == 0) store_channels(grad_flow, p.b, 0, p.y, p.x, sums);
}

inline void launch_backward_warp(const void* image, void* out, Dtype dtype, const WarpArgsGpu& args,
                                 cudaStream_t stream) {
  if (args.out.elements() == 0) return;
  dispatch(dtype, args.flow.dtype == Dtype::kFloat64, [&](auto element, auto compute) {
    using T = decltype(element);
    using A = decltype(compute);
    with_access<T, A>(args.image, args.out, {image, out}, [&](auto access, const PixelGrid& grid) {
      for_each_launch(grid, [&](const PixelGrid& part, Grid blocks) {
        VFI_LAUNCH((backward_warp_kernel<T, A, decltype(access)>), blocks, part.block, 0, stream,
                   static_cast<const T*>(image), static_cast<T*>(out), args, part);
      });
    });
  });
}

inline void launch_backward_warp_grad_flow(const void* grad_out, const void* image, const MutableView& grad_flow,
                                           Dtype dtype, const WarpArgsGpu& args, cudaStream_t stream) {
  if (args.out.pixels() == 0) return;
  dispatch(dtype, args.flow.dtype == Dtype::kFloat64, [&](auto element, auto compute) {
    using T = decltype(element);
    using A = decltype(compute);
    with_access<T, A>(args.image, args.out, {grad_out, image}, [&](auto access, const PixelGrid& grid) {
      for_each_launch(grid, [&](const PixelGrid& part, Grid blocks) {
        VFI_LAUNCH((backward_warp_grad_flow_kernel<T, A, decltype(access)>), blocks, part.block,
                   part.sum_bytes(2, sizeof(A)), stream, static_cast<const T*>(grad_out), static_cast<const T*>(image),
                   grad_flow, args, part);
      });
    });
  });
}

}  // namespace vfi::cuda
