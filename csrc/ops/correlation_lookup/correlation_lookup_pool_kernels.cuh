// The levels of a cost volume's windows on CUDA: means of the level before. kPoolLanes threads have one pixel: 64 bytes at a
// time, for which few threads have to find out where they are.
#pragma once

#include "ops/correlation_lookup/correlation_lookup_kernels.cuh"

namespace vfi::cuda {

constexpr int kPoolLanes = 4;

// The means of `left` channels of two pixels at `upper` and two at `lower`, `right` elements apart: N at once, and again those
// kPoolLanes N further.
template <int N, class S, class A>
__device__ __forceinline__ void pool_channels(const S* __restrict__ upper, const S* __restrict__ lower, int64_t right,
                                              A* __restrict__ to, int64_t left) {
  constexpr int kStep = kPoolLanes * N;
  const S *upper_right = upper + right, *lower_right = lower + right;
#pragma unroll 1
  for (; left > 0; left -= kStep) {
    const auto v00 = load_pack<S, N>(upper), v01 = load_pack<S, N>(upper_right);
    const auto v10 = load_pack<S, N>(lower), v11 = load_pack<S, N>(lower_right);
    Pack<A, N> mean;
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const A above = widen<A>(v00.at[i]) + widen<A>(v01.at[i]), below = widen<A>(v10.at[i]) + widen<A>(v11.at[i]);
      mean.at[i] = (above + below) * A(0.25);
    }
    store_pack(to, mean);
    upper += kStep, upper_right += kStep, lower += kStep, lower_right += kStep, to += kStep;
  }
}

// Channels that are loaded at once where they can be: 16 bytes of a half type.
template <class S>
constexpr int kPoolPack = sizeof(S) == 2 ? 8 : kChannelPack;

// Means of 2 x 2 pixels of `from`. `pack`: channels that can be loaded at once, kPoolPack, kChannelPack or 1.
template <class S, class A>
__global__ __launch_bounds__(kThreads, 4) void lookup_pool_kernel(LookupLevel from, LookupLevel to, A* __restrict__ pooled,
                                                               int64_t pixels, int64_t channels, int pack) {
  const int64_t pixel = int64_t{blockIdx.x} * (kThreads / kPoolLanes) + threadIdx.x / kPoolLanes;
  if (pixel >= pixels) return;
  const int64_t row = pixel / to.width, x = pixel - row * to.width, down = from.width * channels;
  int64_t upper = 2 * row;
  if (from.height % 2 != 0) upper += row / to.height;  // the last row of each sample has no partner
  const S* at = static_cast<const S*>(from.data) + upper * down + 2 * x * channels;
  const int c = threadIdx.x % kPoolLanes * pack;
  pooled += pixel * channels + c, at += c;
  if (pack == kPoolPack<S>) pool_channels<kPoolPack<S>>(at, at + down, channels, pooled, channels - c);
  else if (pack == kChannelPack) pool_channels<kChannelPack>(at, at + down, channels, pooled, channels - c);
  else pool_channels<1>(at, at + down, channels, pooled, channels - c);
}

template <class A, class S>
void launch_lookup_pool(const LookupLevel& from, const LookupLevel& to, A* pooled, const LookupArgsGpu& a,
                        cudaStream_t stream, S) {
  const int64_t pixels = a.batch * to.height * to.width;
  if (pixels * a.channels == 0) return;
  const bool wide = a.channels % kPoolPack<S> == 0 && reinterpret_cast<uintptr_t>(from.data) % (kPoolPack<S> * sizeof(S)) == 0;
  VFI_LAUNCH((lookup_pool_kernel<S, A>), Grid(ceil_div(pixels, kThreads / kPoolLanes)), kThreads, 0, stream, from, to, pooled,
             pixels, a.channels, a.packs && wide ? kPoolPack<S> : a.packs ? kChannelPack : 1);
}

// Level `number` out of the one before.
inline void launch_pool(const LookupArgsGpu& a, int32_t number, void* pooled, Dtype dtype, bool wide,
                        cudaStream_t stream) {
  dispatch(dtype, wide, [&](auto element, auto compute) {
    using A = decltype(compute);
    const LookupLevel &from = a.levels[number - 1], &to = a.levels[number];
    A* const data = static_cast<A*>(pooled);
    if (number == 1) return launch_lookup_pool(from, to, data, a, stream, element);
    launch_lookup_pool(from, to, data, a, stream, compute);
  });
}

}  // namespace vfi::cuda
