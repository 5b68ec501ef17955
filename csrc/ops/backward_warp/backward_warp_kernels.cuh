// Backward warping on CUDA; the formula is in backward_warp.h.
//
//   out[b, c, y, x]    = sum_k weight_k image[b, c, corner_k]
//   grad_flow[b, 0, y, x] = sum_c grad_out[b, c, y, x] sum_k (d weight_k / d fx) image[b, c, corner_k];   fy: channel 1
//
// Work: a thread has one position and computes its corners once for its channels; where an image is small and has many
// channels, several threads share a position. Both are gathers; the sum over the channels has a fixed order, so both
// are deterministic. The gradient of the image is a scatter, in ops/splat.
#pragma once

#include "sampling/gather.cuh"

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
  constexpr int N = Access::N, kUnroll = Access::kUnroll;
  const DenseShape from = args.image.laid_out(Access::kLast), to = args.out.laid_out(Access::kLast);
  const Place p = place<Access::kLast>(grid);
  if (!p.inside) return;
  A flow[2];
  load(args.flow, p.b, p.y, p.x, flow);
  const auto at = position(flow[0], flow[1], args.padding, from.height, from.width, p.y, p.x);
  const Corners<A> c = corners(at.x, at.y);
  const int64_t step = p.lanes * N * from.channel_stride(), to_step = p.lanes * N * to.channel_stride();
  image += from.offset(p.b, at.y.at, at.x.at) + p.lane * N * from.channel_stride();
  out += to.offset(p.b, p.y, p.x) + p.lane * N * to.channel_stride();
  for (int32_t start = p.lane * N; start < from.channels; start += p.lanes * N * kUnroll) {
    Pack<T, N> v[kUnroll][4] = {};
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const int32_t channel = start + u * p.lanes * N;
      if (channel < from.channels) load_corners(image + u * step, from, c.used, v[u]);
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const int32_t channel = start + u * p.lanes * N;
      if (channel >= from.channels) break;
      Pack<T, N> result;
#pragma unroll
      for (int n = 0; n < N; ++n) result.at[n] = narrow_to<T>(interpolate(c, v[u], n));
      store_pack(out + u * to_step, result);
    }
    image += kUnroll * step;
    out += kUnroll * to_step;
  }
}

template <class T, class A, class Access>
__global__ __launch_bounds__(kThreads) void backward_warp_grad_flow_kernel(const T* __restrict__ grad_out,
                                                                           const T* __restrict__ image,
                                                                           MutableView grad_flow, WarpArgsGpu args,
                                                                           PixelGrid grid) {
  constexpr int N = Access::N, kUnroll = Access::kUnroll;
  const DenseShape from = args.image.laid_out(Access::kLast), to = args.out.laid_out(Access::kLast);
  const Place p = place<Access::kLast>(grid);
  A sums[2] = {A(0), A(0)};
  if (p.inside) {
    A flow[2];
    load(args.flow, p.b, p.y, p.x, flow);
    const auto at = position(flow[0], flow[1], args.padding, from.height, from.width, p.y, p.x);
    const CornerSlopes<A> slopes = corner_slopes(at.x, at.y);
    const int64_t step = p.lanes * N * from.channel_stride(), to_step = p.lanes * N * to.channel_stride();
    image += from.offset(p.b, at.y.at, at.x.at) + p.lane * N * from.channel_stride();
    grad_out += to.offset(p.b, p.y, p.x) + p.lane * N * to.channel_stride();
    for (int32_t start = p.lane * N; start < from.channels; start += p.lanes * N * kUnroll) {
      Pack<T, N> v[kUnroll][4] = {}, g[kUnroll] = {};
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        if (start + u * p.lanes * N >= from.channels) break;
        g[u] = load_pack<T, N>(grad_out + u * to_step);
        load_corners(image + u * step, from, slopes.reads, v[u]);
      }
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        if (start + u * p.lanes * N >= from.channels) break;
#pragma unroll
        for (int n = 0; n < N; ++n) add_slopes(slopes, v[u], n, widen<A>(g[u].at[n]), sums[0], sums[1]);
      }
      image += kUnroll * step;
      grad_out += kUnroll * to_step;
    }
  }
  sum_over_lanes<Access::kLast>(p, sums);
  if (p.inside && p.lane == 0) {
    store(grad_flow, p.b, 0, p.y, p.x, sums[0]);
    store(grad_flow, p.b, 1, p.y, p.x, sums[1]);
  }
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
