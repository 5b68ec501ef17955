// The gradients of a cost volume's windows on CUDA; the formulas are in correlation_lookup.h.
//
// Work: for first and positions a warp has one pixel. For a level, a block has kTargets pixels of one of its rows and up to
// kThreads channels, one for each thread: it goes through all pixels in their order, lists those whose windows reach its
// own, and adds them up in registers. No atomics, so results are the same from run to run.
#pragma once

#include "ops/correlation_lookup/correlation_lookup_kernels.cuh"

namespace vfi::cuda {

constexpr int kTargets = 16, kListed = kThreads / kTargets;  // kListed: pixels whose factors are made at a time

// sum over u, v of x_u y_v grad_out[i - u, j - v], where grad_out is [n][n].
template <class A, class T>
__device__ __forceinline__ A spread(const T* grad_out, int32_t n, int32_t i, int32_t j, A near_x, A far_x, A near_y,
                                    A far_y) {
  A sum = A(0);
  for (int u = 0; u < 2; ++u) {
    for (int v = 0; v < 2; ++v) {
      const A wx = u ? far_x : near_x, wy = v ? far_y : near_y;
      const int32_t from_x = i - u, from_y = j - v;
      if (from_x < 0 || from_x >= n || from_y < 0 || from_y >= n || wx == A(0) || wy == A(0)) continue;
      sum += wx * wy * widen<A>(grad_out[from_x * n + from_y]);
    }
  }
  return sum;
}

template <class A, class T>
__device__ __forceinline__ A factor_at(const T* grad_out, int32_t n, int32_t i, int32_t j, const WindowGpu<A>& w) {
  return spread(grad_out, n, i, j, w.x.near, w.x.far, w.y.near, w.y.far);
}

// What one level gives kHeldChannels channels of first, `sums`, and the position, from those channels.
template <class S, class T, class A>
__device__ void add_level(const LookupArgsGpu& a, int32_t number, int64_t b, int64_t pixel, int64_t start, A* factors,
                          const A (&v)[kLaneChannels], A (&sums)[kLaneChannels], A (&position)[2]) {
  const int32_t n = a.side(), lane = threadIdx.x % 32;
  const WindowGpu<A> w = window_of<A>(a, b, pixel, number);
  const T* const g = static_cast<const T*>(a.grad_out) + (b * a.plane() + pixel) * a.planes() + int64_t{number} * n * n;
  __syncwarp();
  for (int32_t k = lane; k < (n + 1) * (n + 1); k += 32) factors[k] = factor_at(g, n, k % (n + 1), k / (n + 1), w);
  __syncwarp();
  A along[2] = {A(0), A(0)};
  for (int32_t k = 0; k < (n + 1) * (n + 1); ++k) {
    const int32_t i = k % (n + 1), j = k / (n + 1);
    const S* const at = neighbour<S>(a, a.levels[number], b, int64_t{w.x.at} + i, int64_t{w.y.at} + j);
    if (at == nullptr) continue;
    A s[kLaneChannels];
    load_channels(at, start, a.channels, s);
    const A factor = factors[k];
    if (factor != A(0)) {
#pragma unroll
      for (int m = 0; m < kLaneChannels; ++m) sums[m] += factor * s[m];
    }
    if (!a.need_positions) continue;
    const A product = dot_channels(v, s);
    const A across = spread(g, n, i, j, A(-1), A(1), w.y.near, w.y.far);
    const A down = spread(g, n, i, j, w.x.near, w.x.far, A(-1), A(1));
    if (across != A(0)) along[0] += across * product;
    if (down != A(0)) along[1] += down * product;
  }
  for (int d = 0; d < 2; ++d) position[d] += along[d] / static_cast<A>(int64_t{1} << number);
}

template <class T, class A>
__global__ __launch_bounds__(kThreads) void lookup_grad_kernel(LookupArgsGpu a, T* __restrict__ grad_first) {
  VFI_DYNAMIC_SHARED(A, shared);
  const int32_t n = a.side(), warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int64_t blocks = (a.plane() + kLookupPixels - 1) / kLookupPixels;
  const int64_t b = blockIdx.x / blocks, pixel = blockIdx.x % blocks * kLookupPixels + warp;
  if (pixel >= a.plane()) return;
  A* const factors = shared + warp * (n + 1) * (n + 1);
  const int64_t own = (b * a.plane() + pixel) * a.channels;
  const A scale = lookup_scale<A>(a);
  A position[2] = {A(0), A(0)};
  for (int64_t start = 0; start < a.channels; start += kHeldChannels) {
    A v[kLaneChannels], sums[kLaneChannels] = {};
    load_channels(static_cast<const T*>(a.first) + own, start, a.channels, v);
    add_level<T, T>(a, 0, b, pixel, start, factors, v, sums, position);
    for (int32_t level = 1; level < a.count; ++level) {
      add_level<A, T>(a, level, b, pixel, start, factors, v, sums, position);
    }
    for (int m = 0; a.need_first && m < kLaneChannels; ++m) {
      const int64_t c = start + lane + 32 * m;
      if (c < a.channels) grad_first[own + c] = narrow_to<T>(sums[m] * scale);
    }
  }
  if (!a.need_positions || lane != 0) return;
  const int32_t y = static_cast<int32_t>(pixel / a.width), x = static_cast<int32_t>(pixel % a.width);
  for (int d = 0; d < 2; ++d) store(a.grad_positions, b, d, y, x, position[d] * scale);
}

// The pixels start ... start + kThreads - 1 whose windows reach columns x0 ... x0 + kTargets - 1 of row y, in their order.
template <class A>
__device__ int32_t list_pixels(const LookupArgsGpu& a, int32_t number, int64_t b, int64_t start, int64_t x0, int64_t y,
                               int64_t* list) {
  __shared__ int32_t counts[kThreads / 32];
  const int32_t n = a.side(), warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int64_t pixel = start + threadIdx.x;
  bool reaches = false;
  if (pixel < a.plane()) {
    const WindowGpu<A> w = window_of<A>(a, b, pixel, number);
    reaches = w.y.at <= y && y <= int64_t{w.y.at} + n && w.x.at < x0 + kTargets && x0 <= int64_t{w.x.at} + n;
  }
  const unsigned votes = __ballot_sync(kFullWarp, reaches);
  __syncthreads();  // the list before this one has been read
  if (lane == 0) counts[warp] = __popc(votes);
  __syncthreads();
  int32_t before = 0, total = 0;
  for (int i = 0; i < kThreads / 32; ++i) {
    if (i < warp) before += counts[i];
    total += counts[i];
  }
  if (reaches) list[before + __popc(votes & ((1u << lane) - 1u))] = pixel;
  __syncthreads();
  return total;
}

template <class T, class A>
__global__ __launch_bounds__(kThreads) void lookup_grad_level_kernel(LookupArgsGpu a, A* __restrict__ grad,
                                                                     int32_t number) {
  __shared__ int64_t list[kThreads];
  __shared__ A factors[kListed][kTargets];
  const LookupLevel& level = a.levels[number];
  const int64_t parts = (a.channels + kThreads - 1) / kThreads, across = (level.width + kTargets - 1) / kTargets;
  const int64_t tile = blockIdx.x / parts, c = blockIdx.x % parts * kThreads + threadIdx.x;
  const int64_t x0 = tile % across * kTargets, y = tile / across % level.height, b = tile / across / level.height;
  const int32_t n = a.side(), item = threadIdx.x / kTargets, column = threadIdx.x % kTargets;
  A sums[kTargets] = {};
  for (int64_t start = 0; start < a.plane(); start += kThreads) {
    const int32_t total = list_pixels<A>(a, number, b, start, x0, y, list);
    for (int32_t i = 0; i < total; i += kListed) {
      A factor = A(0);
      if (i + item < total) {
        const int64_t pixel = list[i + item];
        const WindowGpu<A> w = window_of<A>(a, b, pixel, number);
        const int64_t offset = (b * a.plane() + pixel) * a.planes() + int64_t{number} * n * n;
        factor = factor_at(static_cast<const T*>(a.grad_out) + offset, n, static_cast<int32_t>(x0 + column - w.x.at),
                           static_cast<int32_t>(y - w.y.at), w);
      }
      factors[item][column] = factor;
      __syncthreads();
      for (int32_t k = 0; c < a.channels && k < kListed && i + k < total; ++k) {
        const A v = widen<A>(static_cast<const T*>(a.first)[(b * a.plane() + list[i + k]) * a.channels + c]);
#pragma unroll
        for (int t = 0; t < kTargets; ++t) {
          if (factors[k][t] != A(0)) sums[t] += factors[k][t] * v;
        }
      }
      __syncthreads();
    }
  }
  if (c >= a.channels) return;
  const A scale = lookup_scale<A>(a);
#pragma unroll
  for (int t = 0; t < kTargets; ++t) {
    if (x0 + t < level.width) grad[((b * level.height + y) * level.width + x0 + t) * a.channels + c] = sums[t] * scale;
  }
}

// grad, with a quarter of the next level's gradient added where `coarse` is not null: into `to`, which may be grad itself.
template <class O, class A>
__global__ __launch_bounds__(kThreads) void lookup_unpool_kernel(LookupLevel level, LookupLevel next, const A* grad,
                                                                 const A* coarse, O* to, int64_t elements,
                                                                 int64_t channels) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= elements) return;
  const int64_t c = i % channels, x = i / channels % level.width / 2, row = i / channels / level.width;
  const int64_t y = row % level.height / 2;
  A sum = grad[i];
  if (coarse != nullptr && x < next.width && y < next.height) {
    sum += coarse[((row / level.height * next.height + y) * next.width + x) * channels + c] * A(0.25);
  }
  to[i] = narrow_to<O>(sum);
}

inline void launch_lookup_grad(const LookupArgsGpu& a, void* grad_first, Dtype dtype, bool wide, cudaStream_t stream) {
  if (a.batch * a.plane() == 0) return;
  dispatch(dtype, wide, [&](auto element, auto compute) {
    using T = decltype(element);
    using A = decltype(compute);
    VFI_LAUNCH((lookup_grad_kernel<T, A>), lookup_blocks(a), kThreads, lookup_shared_bytes<A>(a), stream, a,
               static_cast<T*>(grad_first));
  });
}

// grads[l]: memory for the gradient of level l, of the compute type; the first goes on into grad_second.
inline void launch_lookup_grad_levels(const LookupArgsGpu& a, void* const* grads, void* grad_second, Dtype dtype,
                                      bool wide, cudaStream_t stream) {
  dispatch(dtype, wide, [&](auto element, auto compute) {
    using T = decltype(element);
    using A = decltype(compute);
    for (int32_t l = a.count - 1; l >= 0; --l) {
      const bool last = l + 1 == a.count;
      const LookupLevel &level = a.levels[l], &next = a.levels[last ? l : l + 1];
      const int64_t elements = a.batch * level.height * level.width * a.channels;
      if (elements == 0) continue;
      A* const grad = static_cast<A*>(grads[l]);
      const A* const coarse = last ? nullptr : static_cast<const A*>(grads[l + 1]);
      const Grid blocks(a.batch * level.height * ceil_div(level.width, kTargets) * ceil_div(a.channels, kThreads));
      VFI_LAUNCH((lookup_grad_level_kernel<T, A>), blocks, kThreads, 0, stream, a, grad, l);
      const Grid all(ceil_div(elements, kThreads));
      if (l == 0) {
        VFI_LAUNCH((lookup_unpool_kernel<T, A>), all, kThreads, 0, stream, level, next, grad, coarse,
                   static_cast<T*>(grad_second), elements, a.channels);
      } else if (!last) {
        VFI_LAUNCH((lookup_unpool_kernel<A, A>), all, kThreads, 0, stream, level, next, grad, coarse, grad, elements,
                   a.channels);
      }
    }
  });
}

}  // namespace vfi::cuda
