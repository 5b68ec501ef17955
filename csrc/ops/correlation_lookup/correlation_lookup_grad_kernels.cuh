// The gradients of a cost volume's windows by first and by the positions, on CUDA; the formulas are in correlation_lookup.h.
// kPixelLanes threads have one pixel.
#pragma once

#include "ops/correlation_lookup/correlation_lookup_kernels.cuh"

namespace vfi::cuda {

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

// Of kNeighbours neighbours of a pixel: the factor of grad_first, and those of the position along x and y.
constexpr int kNeighbours = 32;
template <class A>
struct LookupFactors {
  A at[3][kNeighbours];
  A apart[kPixelLanes];  // so that the pixels of a warp are in different banks
};

// Those of neighbours first ... end - 1, made by the threads of the pixel.
template <class T, class A>
__device__ __forceinline__ void make_factors(LookupFactors<A>& factors, const LookupArgsGpu& a, const T* g,
                                             const WindowGpu<A>& w, int32_t first, int32_t end) {
  const int32_t n = a.side();
  for (int32_t k = first + threadIdx.x % kPixelLanes; k < end; k += kPixelLanes) {
    const int32_t i = k % (n + 1), j = k / (n + 1);
    factors.at[0][k - first] = factor_at(g, n, i, j, w);
    if (!a.need_positions) continue;
    factors.at[1][k - first] = spread(g, n, i, j, A(-1), A(1), w.y.near, w.y.far);
    factors.at[2][k - first] = spread(g, n, i, j, w.x.near, w.x.far, A(-1), A(1));
  }
}

// What one level gives the held channels of first, `sums`, and the position, from those channels of this lane.
template <class Lanes, class S, class T, class A>
__device__ void add_level(const LookupArgsGpu& a, int32_t number, const LookupPlace& at, int64_t start,
                          LookupFactors<A>& factors, const A (&v)[Lanes::kChannels], A (&sums)[Lanes::kChannels],
                          A (&position)[2]) {
  const int32_t n = a.side(), box = (n + 1) * (n + 1);
  const bool exists = at.pixel < a.plane();
  WindowGpu<A> w{};
  if (exists) w = window_of<A>(a, at.b, at.pixel, number);
  const T* const g =
      static_cast<const T*>(a.grad_out) + (at.b * a.plane() + at.pixel) * a.planes() + int64_t{number} * n * n;
  const LevelMap<S> map(a, a.levels[number], at.b);
  A along[2] = {A(0), A(0)};
  NeighboursGpu<S> neighbour(map, w.x.at, w.y.at, n);
  for (int32_t first = 0; first < box; first += kNeighbours) {
    const int32_t end = min(box, first + kNeighbours);
    __syncwarp();
    if (exists) make_factors(factors, a, g, w, first, end);
    __syncwarp();
    for (int32_t k = 0; exists && k < end - first; ++k, neighbour.advance()) {
      if (!neighbour.exists()) continue;
      A s[Lanes::kChannels];
      load_channels<Lanes>(neighbour.at, start, a, s);
      const A factor = factors.at[0][k];
      if (factor != A(0)) {
#pragma unroll
        for (int m = 0; m < Lanes::kChannels; ++m) sums[m] += factor * s[m];
      }
      if (!a.need_positions) continue;
      const A product = dot_channels(v, s), across = factors.at[1][k], down = factors.at[2][k];
      if (across != A(0)) along[0] += across * product;
      if (down != A(0)) along[1] += down * product;
    }
  }
  for (int d = 0; d < 2; ++d) position[d] += along[d] * static_cast<A>(a.levels[number].unit);
}

// The held channels of this lane, times `scale`.
template <class Lanes, class T, class A>
__device__ __forceinline__ void store_held(T* pixel, int64_t start, int64_t channels, A scale,
                                               const A (&sums)[Lanes::kChannels]) {
#pragma unroll
  for (int m = 0; m < Lanes::kPacks; ++m) {
    const int64_t c = start + (m * kPixelLanes + threadIdx.x % kPixelLanes) * kChannelPack;
    Pack<T, kChannelPack> v;
#pragma unroll
    for (int i = 0; i < kChannelPack; ++i) narrow(sums[m * kChannelPack + i] * scale, v.at[i]);
    if (Lanes::kFull) {
      store_pack(pixel + c, v);
    } else {
#pragma unroll
      for (int i = 0; i < kChannelPack; ++i) {
        if (c + i < channels) pixel[c + i] = v.at[i];
      }
    }
  }
}

template <class T, class A, class Lanes>
__global__ __launch_bounds__(kThreads) void lookup_grad_kernel(LookupArgsGpu a, T* __restrict__ grad_first) {
  __shared__ LookupFactors<A> factors[kMostLookupPixels];
  const LookupPlace at(a);
  const bool exists = at.pixel < a.plane();
  const int64_t own = (at.b * a.plane() + at.pixel) * a.channels;
  const A scale = lookup_scale<A>(a);
  A position[2] = {A(0), A(0)};
  for (int64_t start = 0; start < a.channels; start += Lanes::kHeld) {
    A v[Lanes::kChannels] = {}, sums[Lanes::kChannels] = {};
    if (exists) load_channels<Lanes>(static_cast<const T*>(a.first) + own, start, a, v);
    add_level<Lanes, T, T>(a, 0, at, start, factors[at.own], v, sums, position);
    for (int32_t level = 1; level < a.count; ++level) {
      add_level<Lanes, A, T>(a, level, at, start, factors[at.own], v, sums, position);
    }
    if (a.need_first && exists) store_held<Lanes>(grad_first + own, start, a.channels, scale, sums);
  }
  for (int d = 0; a.need_positions && d < 2; ++d) {
    const A sum = pixel_sum(position[d]);
    const int32_t y = static_cast<int32_t>(at.pixel / a.width), x = static_cast<int32_t>(at.pixel % a.width);
    if (exists && threadIdx.x % kPixelLanes == 0) store(a.grad_positions, at.b, d, y, x, sum * scale);
  }
}

inline void launch_lookup_grad(const LookupArgsGpu& a, void* grad_first, Dtype dtype, bool wide, cudaStream_t stream) {
  if (a.batch * a.plane() == 0) return;
  dispatch(dtype, wide, [&](auto element, auto compute) {
    using T = decltype(element);
    using A = decltype(compute);
    with_lanes<A>(a, [&](auto lanes) {
      VFI_LAUNCH((lookup_grad_kernel<T, A, decltype(lanes)>), lookup_blocks(a, kMostLookupPixels), kThreads, 0, stream, a,
                 static_cast<T*>(grad_first));
    });
  });
}

}  // namespace vfi::cuda
