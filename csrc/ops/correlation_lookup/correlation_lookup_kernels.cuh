// Windows of a cost volume on CUDA; the formulas are in correlation_lookup.h. Maps with the channels last.
//
// Work: a warp has one pixel, its lanes are channels: neighbouring addresses. Products with the whole neighbours go to
// shared memory, from which the block blends the windows of kLookupPixels neighbouring pixels. Every sum has one owner and a
// fixed order.
#pragma once

#include "cuda/launch.cuh"
#include "ops/correlation_lookup/correlation_lookup.h"

namespace vfi::cuda {

constexpr int kLookupPixels = kThreads / 32;  // of a block, one for each warp
constexpr int kLaneChannels = 8;              // of a lane, held in registers
constexpr int64_t kHeldChannels = 32 * kLaneChannels;

struct LookupArgsGpu {
  LookupLevel levels[kMostLevels];
  const void* first;     // [B, H, W, C]
  const void* grad_out;  // [B, H, W, planes]
  ConstView positions;
  MutableView grad_positions;
  int64_t batch, channels;
  int32_t height, width, count, radius;
  bool need_first, need_positions;

  VFI_HOST_DEVICE int32_t side() const { return 2 * radius + 1; }
  VFI_HOST_DEVICE int64_t plane() const { return int64_t{height} * width; }
  VFI_HOST_DEVICE int64_t planes() const { return int64_t{count} * side() * side(); }
};

template <class A>
struct WindowGpu {
  WindowAxis<A> x, y;
};

template <class A>
__device__ __forceinline__ WindowGpu<A> window_of(const LookupArgsGpu& a, int64_t b, int64_t pixel, int32_t level) {
  double p[2];
  load(a.positions, b, static_cast<int32_t>(pixel / a.width), static_cast<int32_t>(pixel % a.width), p);
  return {window_axis<A>(p[0], level, a.radius), window_axis<A>(p[1], level, a.radius)};
}

template <class A>
__device__ __forceinline__ A lookup_scale(const LookupArgsGpu& a) {
  return A(1) / std::sqrt(static_cast<A>(a.channels > 0 ? a.channels : 1));
}

// Of all lanes, to all lanes.
template <class A>
__device__ __forceinline__ A warp_sum(A value) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(kFullWarp, value, step);
  return value;
}

// Channels start + lane, start + lane + 32, ...; 0 beyond the last.
template <class A, class T>
__device__ __forceinline__ void load_channels(const T* pixel, int64_t start, int64_t channels, A (&values)[kLaneChannels]) {
#pragma unroll
  for (int m = 0; m < kLaneChannels; ++m) {
    const int64_t c = start + threadIdx.x % 32 + 32 * m;
    values[m] = c < channels ? widen<A>(pixel[c]) : A(0);
  }
}

template <class A>
__device__ __forceinline__ A dot_channels(const A (&a)[kLaneChannels], const A (&b)[kLaneChannels]) {
  A sum = A(0);
#pragma unroll
  for (int m = 0; m < kLaneChannels; ++m) sum += a[m] * b[m];
  return warp_sum(sum);
}

// The address of neighbour (x, y) of sample b, null outside.
template <class S>
__device__ __forceinline__ const S* neighbour(const LookupArgsGpu& a, const LookupLevel& level, int64_t b, int64_t x,
                                              int64_t y) {
  if (x < 0 || x >= level.width || y < 0 || y >= level.height) return nullptr;
  return static_cast<const S*>(level.data) + ((b * level.height + y) * level.width + x) * a.channels;
}

// near_x (near_y v00 + far_y v01) + far_x (near_y v10 + far_y v11) of products [x][y]; corners of weight 0 are not used.
template <class A>
__device__ __forceinline__ A blend(const A* products, int32_t step, const WindowGpu<A>& w) {
  A left = w.y.near * products[0], right = A(0);
  if (w.y.far != A(0)) left += w.y.far * products[1];
  if (w.x.far == A(0)) return w.x.near * left;
  right = w.y.near * products[step];
  if (w.y.far != A(0)) right += w.y.far * products[step + 1];
  return w.x.near * left + w.x.far * right;
}

// S: the elements of this level.
template <class T, class S, class A>
__global__ __launch_bounds__(kThreads) void lookup_kernel(LookupArgsGpu a, T* __restrict__ out, int32_t number,
                                                          bool channels_last) {
  VFI_DYNAMIC_SHARED(A, shared);
  __shared__ WindowGpu<A> windows[kLookupPixels];
  const int32_t n = a.side(), box = (n + 1) * (n + 1), warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int64_t blocks = (a.plane() + kLookupPixels - 1) / kLookupPixels;
  const int64_t b = blockIdx.x / blocks, begin = blockIdx.x % blocks * kLookupPixels, pixel = begin + warp;
  const LookupLevel& level = a.levels[number];
  A* const products = shared + warp * box;
  if (pixel < a.plane()) {
    const WindowGpu<A> w = window_of<A>(a, b, pixel, number);
    if (lane == 0) windows[warp] = w;
    for (int32_t k = lane; k < box; k += 32) products[k] = A(0);
    __syncwarp();
    const T* const own = static_cast<const T*>(a.first) + (b * a.plane() + pixel) * a.channels;
    for (int64_t start = 0; start < a.channels; start += kHeldChannels) {
      A v[kLaneChannels], s[kLaneChannels];
      load_channels(own, start, a.channels, v);
      for (int32_t k = 0; k < box; ++k) {
        const S* const at = neighbour<S>(a, level, b, int64_t{w.x.at} + k % (n + 1), int64_t{w.y.at} + k / (n + 1));
        if (at == nullptr) continue;
        load_channels(at, start, a.channels, s);
        const A sum = dot_channels(v, s);
        if (lane == 0) products[k % (n + 1) * (n + 1) + k / (n + 1)] += sum;
      }
    }
  }
  __syncthreads();
  const A scale = lookup_scale<A>(a);
  const int64_t first_plane = int64_t{number} * n * n;
  for (int32_t e = threadIdx.x; e < n * n * kLookupPixels; e += kThreads) {
    const int32_t p = channels_last ? e / (n * n) : e % kLookupPixels, d = channels_last ? e % (n * n) : e / kLookupPixels;
    if (begin + p >= a.plane()) continue;
    const A value = blend(shared + p * box + d / n * (n + 1) + d % n, n + 1, windows[p]) * scale;
    const int64_t at = channels_last ? (b * a.plane() + begin + p) * a.planes() + first_plane + d
                                     : (b * a.planes() + first_plane + d) * a.plane() + begin + p;
    out[at] = narrow_to<T>(value);
  }
}

// Means of 2 x 2 pixels of `from`.
template <class S, class A>
__global__ __launch_bounds__(kThreads) void lookup_pool_kernel(LookupLevel from, LookupLevel to, A* __restrict__ pooled,
                                                               int64_t elements, int64_t channels) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= elements) return;
  const int64_t c = i % channels, x = i / channels % to.width, row = i / channels / to.width;
  const int64_t y = row / to.height * from.height + row % to.height * 2, step = from.width * channels;
  const S* const at = static_cast<const S*>(from.data) + y * step + 2 * x * channels + c;
  pooled[i] = ((widen<A>(at[0]) + widen<A>(at[channels])) + (widen<A>(at[step]) + widen<A>(at[step + channels]))) * A(0.25);
}

template <class A, class S>
void launch_lookup_pool(const LookupLevel& from, const LookupLevel& to, A* pooled, int64_t batch, int64_t channels,
                        cudaStream_t stream, S) {
  const int64_t elements = batch * to.height * to.width * channels;
  if (elements == 0) return;
  VFI_LAUNCH((lookup_pool_kernel<S, A>), Grid(ceil_div(elements, kThreads)), kThreads, 0, stream, from, to, pooled,
             elements, channels);
}

// Level `number` out of the one before.
inline void launch_pool(const LookupArgsGpu& a, int32_t number, void* pooled, Dtype dtype, bool wide,
                        cudaStream_t stream) {
  dispatch(dtype, wide, [&](auto element, auto compute) {
    using A = decltype(compute);
    const LookupLevel &from = a.levels[number - 1], &to = a.levels[number];
    A* const data = static_cast<A*>(pooled);
    if (number == 1) return launch_lookup_pool(from, to, data, a.batch, a.channels, stream, element);
    launch_lookup_pool(from, to, data, a.batch, a.channels, stream, compute);
  });
}

inline Grid lookup_blocks(const LookupArgsGpu& a) { return a.batch * ceil_div(a.plane(), kLookupPixels); }

template <class A>
size_t lookup_shared_bytes(const LookupArgsGpu& a) {
  return sizeof(A) * kLookupPixels * (a.side() + 1) * (a.side() + 1);
}

inline void launch_lookup(const LookupArgsGpu& a, void* out, Dtype dtype, bool wide, bool channels_last,
                          cudaStream_t stream) {
  if (a.batch * a.plane() == 0) return;
  dispatch(dtype, wide, [&](auto element, auto compute) {
    using T = decltype(element);
    using A = decltype(compute);
    T* const to = static_cast<T*>(out);
    const size_t bytes = lookup_shared_bytes<A>(a);
    VFI_LAUNCH((lookup_kernel<T, T, A>), lookup_blocks(a), kThreads, bytes, stream, a, to, 0, channels_last);
    for (int32_t level = 1; level < a.count; ++level) {
      VFI_LAUNCH((lookup_kernel<T, A, A>), lookup_blocks(a), kThreads, bytes, stream, a, to, level, channels_last);
    }
  });
}

}  // namespace vfi::cuda
