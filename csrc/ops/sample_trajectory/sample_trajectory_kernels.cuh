// Flows along a trajectory on CUDA; the formulas are in sample_trajectory.h.
//
// Work: a thread has one output pixel of one tau; for the gradient of the keyframes one pixel of one keyframe, and it
// gathers what output pixels give that pixel, in a fixed order. The gradient of a tau that pixels share is summed by tiles of
// pixels, and these by one block, in orders that the size alone decides. So everything is deterministic.
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
  VFI_DYNAMIC_SHARED(Taps<A>, shared);
  const Place p = place<false>(grid);
  const int64_t b = whole_part(p.b, args.path.count), t = p.b - b * args.path.count;
  Taps<A> taps;
  if (!args.path.per_pixel) taps = shared_taps(args.path, b, t, shared);
  if (!p.inside) return;
  if (args.path.per_pixel) taps = load_taps<A>(args.path, b, t, p.y, p.x);
  A flow[2];
  load_flow(args.path, b, taps, path_place<A>(args.path, p.y, p.x), flow);
  store_channels(args.out, b, 2 * t, p.y, p.x, flow);
}

// sum over c of g d flow / d tau of one pixel.
template <class A>
__device__ __forceinline__ A tau_term(const SampleArgsGpu& args, int64_t b, int64_t t, const Taps<A>& taps,
                                      const PathPlace<A>& at, int32_t y, int32_t x) {
  A flow[2], g[2], term = A(0);
  load(args.grad_out, b, 2 * t, y, x, g);
  load_flow(args.path, b, taps, at, flow);
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
  const int64_t b = whole_part(p.b, args.path.count), t = p.b - b * args.path.count;
  const Taps<A> taps = load_taps<A>(args.path, b, t, p.y, p.x);
  store(args.out, b, t, p.y, p.x, tau_term(args, b, t, taps, path_place<A>(args.path, p.y, p.x), p.y, p.x));
}

// The sum over the threads of a block, for its first thread. Every thread has to call it.
template <class A>
__device__ __forceinline__ A sum_over_block(A sum) {
  VFI_DYNAMIC_SHARED(A, sums);
  __syncthreads();
  sums[threadIdx.x] = sum;
  for (int step = kThreads / 2; step > 0; step /= 2) {
    __syncthreads();
    if (static_cast<int>(threadIdx.x) < step) sums[threadIdx.x] = sum += sums[threadIdx.x + step];
  }
  return sum;
}

// A tau for each sample: the pixels are summed in tiles of this size, 16 pixels a thread.
constexpr int32_t kTauColumns = 128, kTauRows = 32;

struct TauTiles {
  int64_t taus;
  int32_t columns, count;  // tiles of a row of tiles, and of a tau
  Numbers sums;            // [taus, count]
};

template <class A>
__global__ __launch_bounds__(kThreads) void grad_taus_tiles_kernel(SampleArgsGpu args, TauTiles tiles) {
  const int32_t row = blockIdx.x / tiles.columns, column = blockIdx.x - row * tiles.columns;
  const int32_t left = column * kTauColumns + threadIdx.x % kTauColumns;
  const int32_t top = row * kTauRows, end = min(top + kTauRows, args.path.size.H);
  for (int64_t i = blockIdx.z; i < tiles.taus; i += gridDim.z) {
    const int64_t b = i / args.path.count, t = i - b * args.path.count;
    const Taps<A> taps = load_taps<A>(args.path, b, t, 0, 0);
    A sum = A(0);
    if (left < args.path.size.W) {
      PathPlace<A> at = path_place<A>(args.path, top, left);
      for (int32_t y = top + threadIdx.x / kTauColumns; y < end; y += kThreads / kTauColumns) {
        at.y = resize_axis<A>(y, args.path.size.h, args.path.size.H);
        sum += tau_term(args, b, t, taps, at, y, left);
      }
    }
    sum = sum_over_block(sum);
    if (threadIdx.x == 0) tiles.sums.as<A>()[i * tiles.count + blockIdx.x] = sum;
  }
}

// out [B, T, 1, 1]; a block sums the tiles of a tau.
template <class A>
__global__ __launch_bounds__(kThreads) void grad_taus_kernel(SampleArgsGpu args, TauTiles tiles) {
  for (int64_t i = blockIdx.x; i < tiles.taus; i += gridDim.x) {
    A sum = A(0);
    for (int32_t tile = threadIdx.x; tile < tiles.count; tile += kThreads) {
      sum += tiles.sums.as<A>()[i * tiles.count + tile];
    }
    sum = sum_over_block(sum);
    if (threadIdx.x == 0) store(args.out, i / args.path.count, i % args.path.count, 0, 0, sum);
  }
}

// The output pixels that read pixel `at` of `size`: those between at - 1 and at + 1, and beyond the ends. Of output pixel x,
// ((2x + 1) size / out_size - 1) / 2 lies there, which is an inequality of integers.
struct Readers {
  int32_t first, last;
};

__device__ __forceinline__ Readers readers_of(int32_t at, int32_t size, int32_t out_size) {
  if (size == out_size) return {at, at};
  const int64_t below = (int64_t{2} * at - 1) * out_size - size, above = (int64_t{2} * at + 3) * out_size - size;
  const int64_t first = at == 0 || below < 0 ? 0 : whole_part(below, int64_t{2} * size) + 1;
  const int64_t last = at == size - 1 ? out_size - 1 : whole_part(above - 1, int64_t{2} * size);
  return {static_cast<int32_t>(first), static_cast<int32_t>(last < out_size ? last : out_size - 1)};
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

// Adds what output pixel (y, x) of the taus `first` ... `end` gives; weight(t, y, x) is that of the keyframe for a tau.
template <class A, class Weight>
__device__ __forceinline__ void add_taus(const SampleArgsGpu& args, int64_t b, int32_t first, int32_t end, int32_t y,
                                         int32_t x, A share, Weight&& weight, A (&sums)[2]) {
#pragma unroll 1
  for (int32_t t = first; t < end; ++t) {
    const A w = weight(t, y, x);
    if (!has_gradient(w)) continue;
    A g[2];
    load(args.grad_out, b, int64_t{2} * t, y, x, g);
    for (int c = 0; c < 2; ++c) sums[c] += share * w * g[c];
  }
}

template <class A, class Weight>
__device__ __forceinline__ void gather_taus(const SampleArgsGpu& args, int64_t b, int32_t first, int32_t end,
                                            const Place& p, Weight&& weight, A (&sums)[2]) {
  const Resize& r = args.path.size;
  const Readers rows = readers_of(p.y, r.h, r.H), columns = readers_of(p.x, r.w, r.W);
  for (int32_t y = rows.first; y <= rows.last; ++y) {
    const A share_y = share_of(resize_axis<A>(y, r.h, r.H), p.y);
    for (int32_t x = columns.first; x <= columns.last; ++x) {
      const A share = share_y * share_of(resize_axis<A>(x, r.w, r.W), p.x);
      if (share != A(0)) add_taus(args, b, first, end, y, x, share, weight, sums);
    }
  }
}

template <class A>
__device__ __forceinline__ void store_keyframe(const SampleArgsGpu& args, const Place& p, A (&sums)[2]) {
  const int64_t b = whole_part(p.b, args.path.curve.count);
  sums[0] *= scale_x<A>(args.path.size);
  sums[1] *= scale_y<A>(args.path.size);
  store_channels(args.out, b, 2 * (p.b - b * args.path.curve.count), p.y, p.x, sums);
}

// out: [B, 2 K, h, w]. The block computes the weights of the taus once, kThreads at a time.
template <class A>
__global__ __launch_bounds__(kThreads, 2) void grad_keyframes_kernel(SampleArgsGpu args, PixelGrid grid) {
  VFI_DYNAMIC_SHARED(A, weights);
  const Place p = place<false>(grid);
  const int64_t b = whole_part(p.b, args.path.curve.count);
  const int32_t k = static_cast<int32_t>(p.b - b * args.path.curve.count);
  const int32_t thread = threadIdx.y * blockDim.x + threadIdx.x;
  A sums[2] = {A(0), A(0)};
  for (int32_t first = 0; first < args.path.count; first += kThreads) {
    const int32_t end = min(first + kThreads, args.path.count);
    __syncthreads();
    if (first + thread < end) weights[thread] = tap_of(load_taps<A>(args.path, b, first + thread, 0, 0), k);
    __syncthreads();
    const auto weight = [&](int32_t t, int32_t, int32_t) { return weights[t - first]; };
    if (p.inside) gather_taus(args, b, first, end, p, weight, sums);
  }
  if (p.inside) store_keyframe(args, p, sums);
}

// The same of taus that differ from pixel to pixel; as many blocks on one multiprocessor as keep registers out of memory.
template <class A>
__global__ __launch_bounds__(kThreads, sizeof(A) == 4 ? 4 : 2) void grad_pixel_keyframes_kernel(SampleArgsGpu args,
                                                                                              PixelGrid grid) {
  const Place p = place<false>(grid);
  if (!p.inside) return;
  const int64_t b = whole_part(p.b, args.path.curve.count);
  const int32_t k = static_cast<int32_t>(p.b - b * args.path.curve.count);
  A sums[2] = {A(0), A(0)};
  const auto weight = [&](int32_t t, int32_t y, int32_t x) { return tap_of(load_taps<A>(args.path, b, t, y, x), k); };
  gather_taus(args, b, 0, args.path.count, p, weight, sums);
  store_keyframe(args, p, sums);
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
    using A = decltype(compute);
    VFI_LAUNCH((sample_trajectory_kernel<A>), blocks, part.block, sizeof(Taps<A>), stream, args, part);
  });
}

inline void launch_grad_keyframes(const SampleArgsGpu& args, bool float64, cudaStream_t stream) {
  const Resize& r = args.path.size;
  for_planes(float64, args.batch * args.path.curve.count, r.h, r.w,
             [&](auto compute, const PixelGrid& part, Grid blocks) {
               using A = decltype(compute);
               if (args.path.per_pixel) {
                 VFI_LAUNCH((grad_pixel_keyframes_kernel<A>), blocks, part.block, 0, stream, args, part);
               } else {
                 VFI_LAUNCH((grad_keyframes_kernel<A>), blocks, part.block, kThreads * sizeof(A), stream, args, part);
               }
             });
}

// Taus that differ from pixel to pixel.
inline void launch_grad_pixel_taus(const SampleArgsGpu& args, bool float64, cudaStream_t stream) {
  const Resize& r = args.path.size;
  for_planes(float64, args.batch * args.path.count, r.H, r.W, [&](auto compute, const PixelGrid& part, Grid blocks) {
    VFI_LAUNCH((grad_pixel_taus_kernel<decltype(compute)>), blocks, part.block, 0, stream, args, part);
  });
}

// Of taus that pixels share, without the memory for the sums.
inline TauTiles tau_tiles(const SampleArgsGpu& args) {
  const Resize& r = args.path.size;
  const int64_t columns = ceil_div(r.W, kTauColumns), count = columns * ceil_div(r.H, kTauRows);
  return {args.batch * args.path.count, static_cast<int32_t>(columns), static_cast<int32_t>(count), {}};
}

template <class A>
void launch_grad_taus_as(const SampleArgsGpu& args, const TauTiles& tiles, cudaStream_t stream) {
  constexpr size_t kBytes = kThreads * sizeof(A);
  if (tiles.taus == 0) return;
  if (tiles.count > 0) {
    VFI_LAUNCH((grad_taus_tiles_kernel<A>), Grid(tiles.count, 1, grid_size(tiles.taus)), kThreads, kBytes, stream, args,
               tiles);
  }
  VFI_LAUNCH((grad_taus_kernel<A>), grid_size(tiles.taus), kThreads, kBytes, stream, args, tiles);
}

inline void launch_grad_taus(const SampleArgsGpu& args, const TauTiles& tiles, bool float64, cudaStream_t stream) {
  if (float64) {
    launch_grad_taus_as<double>(args, tiles, stream);
  } else {
    launch_grad_taus_as<float>(args, tiles, stream);
  }
}

}  // namespace vfi::cuda
