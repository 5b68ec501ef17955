// Backward warping on CUDA; the formula is in backward_warp.h.
//
//   out[b, c, y, x]    = sum_k weight_k image[b, c, corner_k]
//   grad_flow[b, 0, y, x] = sum_c grad_out[b, c, y, x] sum_k (d weight_k / d fx) image[b, c, corner_k];   fy: channel 1
//
// Work: a thread has one position and computes its corners once for its channels; where an image is small and has many
// channels, several threads share a position, and where they do not, a thread of the gradient has a few. Both are gathers;
// the sum over the channels has a fixed order, so both are deterministic. The gradient of the image is a scatter, in
// ops/splat.
#pragma once

#include "sampling/rows.cuh"
#include "sampling/sample.cuh"

namespace vfi::cuda {

struct WarpArgsGpu {
  DenseShape image;  // [B, C, Hi, Wi]
  DenseShape out;    // [B, C, H, W], laid out as the image
  ConstView flow;    // [B, 2, H, W]
  Padding padding;
};

// Pixels of a thread of the flow's gradient that has all of their channels, one by one: what does not depend on the pixel is
// done once.
template <class A, class Access>
constexpr int kSlopesEach = sizeof(A) == 4 && Access::N == 1 ? 4 : 1;
// As many blocks on one multiprocessor as keep every register out of memory.
template <class A, int R>
constexpr int kSlopesResident = R > 1 || sizeof(A) == 8 ? 2 : 4;

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

// The slopes of R pixels, one below the other, whose four corners are all inside: of products summed corner by corner. Those of
// the channels of this lane. A weight of 0 meets what it may.
template <class Access, int R, class T, class A>
__device__ __forceinline__ void inner_slopes(const T* grad_out, const T* image, const DenseShape& from, const DenseShape& to,
                                             const Place& p, const InnerAxis<A> (&x)[R], const InnerAxis<A> (&y)[R],
                                             A (&sums)[R][2]) {
  constexpr int N = Access::N;
  [[maybe_unused]] constexpr int kUnroll = R > 1 ? 1 : Access::kUnroll;
  const int64_t first = p.lane * N * from.channel_stride(), step = p.lanes * N * from.channel_stride();
  const int64_t to_first = p.lane * N * to.channel_stride(), to_step = p.lanes * N * to.channel_stride();
  const T *at[R], *g_at[R];
  A dot[R][4] = {};
#pragma unroll
  for (int r = 0; r < R; ++r) {
    at[r] = image + from.offset(p.b, y[r].at, x[r].at) + first;
    g_at[r] = grad_out + r * to.row_stride() + to_first;
  }
#pragma unroll kUnroll
  for (int32_t channel = p.lane * N; channel < from.channels; channel += p.lanes * N) {
    Pack<T, N> v[R][4], g[R];
#pragma unroll
    for (int r = 0; r < R; ++r) {
      g[r] = load_pack<T, N>(g_at[r]);
      load_whole(at[r], from, v[r]);
      at[r] += step, g_at[r] += to_step;
    }
#pragma unroll
    for (int i = 0; i < R * N; ++i) {
      const A upstream = widen<A>(g[i / N].at[i % N]);
#pragma unroll
      for (int k = 0; k < 4; ++k) dot[i / N][k] += upstream * widen<A>(v[i / N][k].at[i % N]);
    }
  }
#pragma unroll
  for (int r = 0; r < R; ++r) {
    sums[r][0] = y[r].r * (dot[r][1] - dot[r][0]) + y[r].l * (dot[r][3] - dot[r][2]);
    sums[r][1] = x[r].r * (dot[r][2] - dot[r][0]) + x[r].l * (dot[r][3] - dot[r][1]);
  }
}

// The slopes of any pixel, wherever it points to.
template <class Access, class T, class A>
__device__ __forceinline__ void padded_slopes(const T* grad_out, const T* image, const WarpArgsGpu& args, const Place& p,
                                              A (&sums)[2]) {
  constexpr int N = Access::N;
  const DenseShape from = args.image.laid_out(Access::kLast), to = args.out.laid_out(Access::kLast);
  A flow[2];
  load(args.flow, p.b, p.y, p.x, flow);
  const auto at = position(flow[0], flow[1], args.padding, from.height, from.width, p.y, p.x);
  const CornerSlopes<A> slopes = corner_slopes(at.x, at.y);
  image += from.offset(p.b, at.y.at, at.x.at);
  grad_out += to.offset(p.b, p.y, p.x);
  sums[0] = sums[1] = A(0);
  for (int32_t channel = p.lane * N; channel < from.channels; channel += p.lanes * N) {
    Pack<T, N> v[4];
    const Pack<T, N> g = load_pack<T, N>(grad_out + channel * to.channel_stride());
    load_corners(image + channel * from.channel_stride(), from, slopes.reads, v);
#pragma unroll
    for (int n = 0; n < N; ++n) add_slopes(slopes, v, n, widen<A>(g.at[n]), sums[0], sums[1]);
  }
}

// The slopes of R pixels: false, and none, where one of them points to the border, or has a slope that is not finite.
template <class Access, int R, class T, class A>
__device__ __forceinline__ bool column_slopes(const T* grad_out, const T* image, const WarpArgsGpu& args, const Place& p,
                                              A (&sums)[R][2]) {
  const DenseShape from = args.image.laid_out(Access::kLast), to = args.out.laid_out(Access::kLast);
  if (p.y + R > to.height) return false;
  A flow[R][2];
  InnerAxis<A> x[R], y[R];
  load_rows(args.flow, p.b, p.y, p.x, flow);
  bool inner = true;
#pragma unroll
  for (int r = 0; r < R; ++r) {
    x[r] = inner_axis(flow[r][0], p.x, from.width);
    y[r] = inner_axis(flow[r][1], p.y + r, from.height);
    inner = inner && x[r].moves() && y[r].moves();
  }
  if (!inner) return false;
  inner_slopes<Access>(grad_out + to.offset(p.b, p.y, p.x), image, from, to, p, x, y, sums);
  A doubt = A(0);
#pragma unroll
  for (int i = 0; i < 2 * R; ++i) doubt += A(0) * sums[i / 2][i % 2];
  return doubt == A(0);
}

// A thread has R pixels, one below the other; with R > 1 it has all of their channels.
template <class T, class A, class Access, int R>
__global__ __launch_bounds__(kThreads, kSlopesResident<A, R>) void backward_warp_grad_flow_kernel(
    const T* __restrict__ grad_out, const T* __restrict__ image, MutableView grad_flow, WarpArgsGpu args, PixelGrid grid) {
  Place p = place<Access::kLast, R>(grid);
  if (R > 1) p.lane = 0, p.lanes = 1;  // constants
  A sums[R][2] = {};
  const bool inner = p.inside && column_slopes<Access>(grad_out, image, args, p, sums);
  if constexpr (R > 1) {
    if (!p.inside) return;
    if (inner) return store_rows(grad_flow, p.b, p.y, p.x, sums);
    for (const int32_t end = min(p.y + R, grid.height); p.y < end; ++p.y) {
      padded_slopes<Access>(grad_out, image, args, p, sums[0]);
      store_channels(grad_flow, p.b, 0, p.y, p.x, sums[0]);
    }
  } else {
    if (p.inside && !inner) padded_slopes<Access>(grad_out, image, args, p, sums[0]);
    sum_over_lanes<Access::kLast>(p, sums[0]);
    if (p.inside && p.lane == 0) store_channels(grad_flow, p.b, 0, p.y, p.x, sums[0]);
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
      const auto run = [&](auto each) {
        PixelGrid columns = grid;
        columns.each = each();
        for_each_launch(columns, [&](const PixelGrid& part, Grid blocks) {
          VFI_LAUNCH((backward_warp_grad_flow_kernel<T, A, decltype(access), each()>), blocks, part.block,
                     part.sum_bytes(2, sizeof(A)), stream, static_cast<const T*>(grad_out), static_cast<const T*>(image),
                     grad_flow, args, part);
        });
      };
      if (grid.lanes() == 1) return run(std::integral_constant<int, kSlopesEach<A, decltype(access)>>());
      run(std::integral_constant<int, 1>());
    });
  });
}

}  // namespace vfi::cuda
