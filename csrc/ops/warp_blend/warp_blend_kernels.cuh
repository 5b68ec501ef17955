// Two backward warps blended by a mask, in one pass; the formula is in warp_blend.h.
//
//   out = w0 m + w1 (1 - m),   w_i = backward_warp(frame_i, flow[:, 2i : 2i + 2]),   m = sigmoid(mask_logits)
//   grad_mask_logits = sum_c grad_out (w0 - w1) m (1 - m)
//   grad_flow        = m or (1 - m) times the flow gradient of each warp
//
// Work and order of sums as in backward_warp_kernels.cuh. The gradients of the frames are scatters (in ops/splat)
// whose factor is m or 1 - m.
#pragma once

#include "sampling/gather.cuh"

namespace vfi::cuda {

struct BlendArgsGpu {
  DenseShape frame;  // [B, C, Hi, Wi], both frames
  DenseShape out;    // [B, C, H, W], laid out as frame0
  ConstView flow;    // [B, 4, H, W]: to frame0, to frame1
  ConstView mask;    // [B, 1, H, W], logits
  bool float64;      // the compute type
};

// Both positions of a pixel, and the mask.
template <class A>
struct BlendAt {
  Position<A> at[2];
  A mask, inverse;  // m and 1 - m, each from its own exponential: 1 - m would lose the digits of a small one
};

template <class A>
__device__ __forceinline__ BlendAt<A> blend_at(const BlendArgsGpu& args, const Place& p) {
  A flow[4], logit[1];
  load(args.flow, p.b, p.y, p.x, flow);
  load(args.mask, p.b, p.y, p.x, logit);
  BlendAt<A> blend;
  for (int i = 0; i < 2; ++i) {
    blend.at[i] =
        position(flow[2 * i], flow[2 * i + 1], Padding::kBorder, args.frame.height, args.frame.width, p.y, p.x);
  }
  blend.mask = A(1) / (A(1) + std::exp(-logit[0]));
  blend.inverse = A(1) / (A(1) + std::exp(logit[0]));
  return blend;
}

// As many blocks on one multiprocessor as keep every register out of memory, on sm_100 too.
template <class A, class Access>
constexpr int kBlendResident = sizeof(A) == 8 || Access::N == 8    ? 2
                               : Access::kLast && Access::N == 1 ? 2
                               : Access::kLast                   ? 3
                                                                 : 4;

template <class T, class A, class Access>
__global__ __launch_bounds__(kThreads, kBlendResident<A, Access>) void warp_blend_kernel(const T* __restrict__ frame0,
                                                                                         const T* __restrict__ frame1,
                                                                                         T* __restrict__ out,
                                                                                         BlendArgsGpu args,
                                                                                         PixelGrid grid) {
  constexpr int N = Access::N, kUnroll = Access::kUnroll > 1 ? 2 : 1;
  const DenseShape from = args.frame.laid_out(Access::kLast), to = args.out.laid_out(Access::kLast);
  const Place p = place<Access::kLast>(grid);
  if (!p.inside) return;
  const BlendAt<A> blend = blend_at<A>(args, p);
  const Corners<A> c0 = corners(blend.at[0].x, blend.at[0].y), c1 = corners(blend.at[1].x, blend.at[1].y);
  const int64_t step = p.lanes * N * from.channel_stride(), to_step = p.lanes * N * to.channel_stride();
  frame0 += from.offset(p.b, blend.at[0].y.at, blend.at[0].x.at) + p.lane * N * from.channel_stride();
  frame1 += from.offset(p.b, blend.at[1].y.at, blend.at[1].x.at) + p.lane * N * from.channel_stride();
  out += to.offset(p.b, p.y, p.x) + p.lane * N * to.channel_stride();
  for (int32_t start = p.lane * N; start < from.channels; start += p.lanes * N * kUnroll) {
    Pack<T, N> v0[kUnroll][4], v1[kUnroll][4];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      if (start + u * p.lanes * N >= from.channels) break;
      load_corners(frame0 + u * step, from, c0.used, v0[u]);
      load_corners(frame1 + u * step, from, c1.used, v1[u]);
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      if (start + u * p.lanes * N >= from.channels) break;
      Pack<T, N> result;
#pragma unroll
      for (int n = 0; n < N; ++n) {
        const A value = interpolate(c0, v0[u], n) * blend.mask + interpolate(c1, v1[u], n) * blend.inverse;
        result.at[n] = narrow_to<T>(value);
      }
      store_pack(out + u * to_step, result);
    }
    frame0 += kUnroll * step;
    frame1 += kUnroll * step;
    out += kUnroll * to_step;
  }
}

// sum_c grad_out warped, and the two slopes, of one frame.
template <class Access, class T, class A>
__device__ __forceinline__ void frame_sums(const T* grad_out, const T* frame, const BlendArgsGpu& args, const Place& p,
                                           const Position<A>& at, A (&sums)[3]) {
  constexpr int N = Access::N;
  const DenseShape from = args.frame.laid_out(Access::kLast), to = args.out.laid_out(Access::kLast);
  const Corners<A> corner = corners(at.x, at.y);
  const CornerSlopes<A> slope = corner_slopes(at.x, at.y);
  bool reads[4];
  for (int k = 0; k < 4; ++k) reads[k] = corner.used[k] || slope.reads[k];
  frame += from.offset(p.b, at.y.at, at.x.at);
  grad_out += to.offset(p.b, p.y, p.x);
  for (int32_t channel = p.lane * N; channel < from.channels; channel += p.lanes * N) {
    Pack<T, N> v[4];
    const Pack<T, N> g = load_pack<T, N>(grad_out + channel * to.channel_stride());
    load_corners(frame + channel * from.channel_stride(), from, reads, v);
#pragma unroll
    for (int n = 0; n < N; ++n) {
      const A upstream = widen<A>(g.at[n]);
      sums[0] += upstream * interpolate(corner, v, n);
      add_slopes(slope, v, n, upstream, sums[1], sums[2]);
    }
  }
}

template <class T, class A, class Access>
__global__ __launch_bounds__(kThreads, 2) void warp_blend_grad_kernel(const T* __restrict__ grad_out,
                                                                      const T* __restrict__ frame0,
                                                                      const T* __restrict__ frame1, MutableView grad_flow,
                                                                      MutableView grad_mask, BlendArgsGpu args,
                                                                      PixelGrid grid) {
  const Place p = place<Access::kLast>(grid);
  A sums[2][3] = {};
  BlendAt<A> blend{};
  if (p.inside) {
    blend = blend_at<A>(args, p);
    frame_sums<Access>(grad_out, frame0, args, p, blend.at[0], sums[0]);
    frame_sums<Access>(grad_out, frame1, args, p, blend.at[1], sums[1]);
  }
  A all[5] = {sums[0][0] - sums[1][0], sums[0][1], sums[0][2], sums[1][1], sums[1][2]};
  sum_over_lanes<Access::kLast>(p, all);
  if (!p.inside || p.lane != 0) return;
  if (grad_mask.data != nullptr) store(grad_mask, p.b, 0, p.y, p.x, all[0] * blend.mask * blend.inverse);
  if (grad_flow.data == nullptr) return;
  for (int i = 0; i < 4; ++i) store(grad_flow, p.b, i, p.y, p.x, all[1 + i] * (i < 2 ? blend.mask : blend.inverse));
}

inline void launch_warp_blend(const void* frame0, const void* frame1, void* out, Dtype dtype, const BlendArgsGpu& args,
                              cudaStream_t stream) {
  if (args.out.elements() == 0) return;
  dispatch(dtype, args.float64, [&](auto element, auto compute) {
    using T = decltype(element);
    using A = decltype(compute);
    with_access<T, A>(args.frame, args.out, {frame0, frame1, out}, [&](auto access, const PixelGrid& grid) {
      for_each_launch(grid, [&](const PixelGrid& part, Grid blocks) {
        VFI_LAUNCH((warp_blend_kernel<T, A, decltype(access)>), blocks, part.block, 0, stream,
                   static_cast<const T*>(frame0), static_cast<const T*>(frame1), static_cast<T*>(out), args, part);
      });
    });
  });
}

// Either gradient may have data null: not needed.
inline void launch_warp_blend_grad(const void* grad_out, const void* frame0, const void* frame1,
                                   const MutableView& grad_flow, const MutableView& grad_mask, Dtype dtype,
                                   const BlendArgsGpu& args, cudaStream_t stream) {
  if (args.out.pixels() == 0) return;
  dispatch(dtype, args.float64, [&](auto element, auto compute) {
    using T = decltype(element);
    using A = decltype(compute);
    with_access<T, A>(args.frame, args.out, {grad_out, frame0, frame1}, [&](auto access, const PixelGrid& grid) {
      for_each_launch(grid, [&](const PixelGrid& part, Grid blocks) {
        VFI_LAUNCH((warp_blend_grad_kernel<T, A, decltype(access)>), blocks, part.block, part.sum_bytes(5, sizeof(A)),
                   stream, static_cast<const T*>(grad_out), static_cast<const T*>(frame0),
                   static_cast<const T*>(frame1), grad_flow, grad_mask, args, part);
      });
    });
  });
}

}  // namespace vfi::cuda
