// The levels of a cost volume's windows on CUDA: means of the level before. kPixelLanes threads have one pixel.
#pragma once

#include "ops/correlation_lookup/correlation_lookup_kernels.cuh"

namespace vfi::cuda {

// N channels of the mean of pixels at p, p + right, p + down, and both.
template <int N, class S, class A>
__device__ __forceinline__ void pool_channels(const S* __restrict__ p, int64_t right, int64_t down, A* __restrict__ to) {
  const auto v00 = load_pack<S, N>(p), v01 = load_pack<S, N>(p + right);
  const auto v10 = load_pack<S, N>(p + down), v11 = load_pack<S, N>(p + down + right);
  Pack<A, N> mean;
#pragma unroll
  for (int i = 0; i < N; ++i) {
    const A upper = widen<A>(v00.at[i]) + widen<A>(v01.at[i]), lower = widen<A>(v10.at[i]) + widen<A>(v11.at[i]);
    mean.at[i] = (upper + lower) * A(0.25);
  }
  store_pack(to, mean);
}

// Means of 2 x 2 pixels of `from`. `packs`: four channels can be loaded at once.
template <class S, class A>
__global__ __launch_bounds__(kThreads, 4) void lookup_pool_kernel(LookupLevel from, LookupLevel to, A* __restrict__ pooled,
                                                               int64_t pixels, int64_t channels, bool packs) {
  const int64_t pixel = int64_t{blockIdx.x} * (kThreads / kPixelLanes) + threadIdx.x / kPixelLanes;
  if (pixel >= pixels) return;
  const int64_t row = pixel / to.width, x = pixel - row * to.width, b = row / to.height, y = row - b * to.height;
  const int64_t down = from.width * channels;
  const S* const at = static_cast<const S*>(from.data) + (b * from.height + 2 * y) * down + 2 * x * channels;
  pooled += pixel * channels;
  const int lane = threadIdx.x % kPixelLanes;
  if (packs) {
#pragma unroll 1
    for (int64_t c = lane * kChannelPack; c < channels; c += kPixelLanes * kChannelPack) {
      pool_channels<kChannelPack>(at + c, channels, down, pooled + c);
    }
  } else {
#pragma unroll 1
    for (int64_t c = lane; c < channels; c += kPixelLanes) pool_channels<1>(at + c, channels, down, pooled + c);
  }
}

template <class A, class S>
void launch_lookup_pool(const LookupLevel& from, const LookupLevel& to, A* pooled, const LookupArgsGpu& a,
                        cudaStream_t stream, S) {
  const int64_t pixels = a.batch * to.height * to.width;
  if (pixels * a.channels == 0) return;
  VFI_LAUNCH((lookup_pool_kernel<S, A>), Grid(ceil_div(pixels, kThreads / kPixelLanes)), kThreads, 0, stream, from, to, pooled,
             pixels, a.channels, a.packs);
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
