// Which pixels' windows reach a tile of a level, on CUDA.
#pragma once

#include "ops/correlation_lookup/correlation_lookup_kernels.cuh"

namespace vfi::cuda {

constexpr int kTargets = 16;

// A block has kThreads_ threads, of four channels each, for each of its rows.
template <int kThreads_>
struct RowShape {
  static constexpr int kThreadsOfRow = kThreads_, kRows = kThreads / kThreads_, kChannels = kThreads_ * kChannelPack;
};

// Calls run(shape) with the RowShape of so many channels.
template <class Run>
void with_rows(int64_t channels, Run&& run) {
  if (channels <= RowShape<32>::kChannels) return run(RowShape<32>());
  run(RowShape<64>());
}

// The columns and rows of a level that the windows of some pixels reach.
struct LookupReach {
  int32_t left, right, top, bottom;

  __device__ __forceinline__ void add(const LookupReach& r) {
    left = min(left, r.left), right = max(right, r.right), top = min(top, r.top), bottom = max(bottom, r.bottom);
  }
  __device__ __forceinline__ bool meets(int64_t x0, int64_t y0, int32_t rows) const {
    return left < x0 + kTargets && x0 <= right && top < y0 + rows && y0 <= bottom;
  }
};

template <class A>
__device__ __forceinline__ LookupReach reach_of(const WindowGpu<A>& w, int32_t n) {
  return {w.x.at, w.x.at + n, w.y.at, w.y.at + n};
}

// Of each kThreads pixels.
template <class A>
__global__ __launch_bounds__(kThreads) void lookup_reach_kernel(LookupArgsGpu a, LookupReach* __restrict__ to,
                                                                int32_t number) {
  __shared__ LookupReach warps[kThreads / 32];
  constexpr int32_t kFurthest = std::numeric_limits<int32_t>::max();
  const int64_t chunks = (a.plane() + kThreads - 1) / kThreads, b = blockIdx.x / chunks;
  const int64_t pixel = blockIdx.x % chunks * kThreads + threadIdx.x;
  LookupReach r{kFurthest, -kFurthest, kFurthest, -kFurthest};
  if (pixel < a.plane()) r = reach_of(window_of<A>(a, b, pixel, number), a.side());
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    r.add({__shfl_xor_sync(kFullWarp, r.left, step), __shfl_xor_sync(kFullWarp, r.right, step),
           __shfl_xor_sync(kFullWarp, r.top, step), __shfl_xor_sync(kFullWarp, r.bottom, step)});
  }
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = r;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int i = 1; i < kThreads / 32; ++i) r.add(warps[i]);
  to[blockIdx.x] = r;
}

// The place of a block in a level.
template <class Rows>
struct LookupTileGpu {
  int64_t b, x0, y0, start;  // start: the first channel

  __device__ __forceinline__ LookupTileGpu(const LookupArgsGpu& a, const LookupLevel& level) {
    const int64_t parts = (a.channels + Rows::kChannels - 1) / Rows::kChannels;
    const int64_t across = (level.width + kTargets - 1) / kTargets, down = (level.height + Rows::kRows - 1) / Rows::kRows;
    const int64_t tile = blockIdx.x / parts;
    start = blockIdx.x % parts * Rows::kChannels;
    x0 = tile % across * kTargets, y0 = tile / across % down * Rows::kRows, b = tile / across / down;
  }
};

// Pixels whose windows reach a tile, in their order.
template <class A>
struct LookupListGpu {
  int64_t pixels[kThreads];
  WindowGpu<A> windows[kThreads];
  int32_t counts[kThreads / 32];
};

// Those of the kThreads pixels from `start` on; returns how many.
template <class Rows, class A>
__device__ __forceinline__ int32_t list_pixels(LookupListGpu<A>& list, const LookupArgsGpu& a, int32_t number,
                                               const LookupTileGpu<Rows>& tile, int64_t start) {
  const int32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int64_t pixel = start + threadIdx.x;
  WindowGpu<A> w{};
  bool reaches = false;
  if (pixel < a.plane()) {
    w = window_of<A>(a, tile.b, pixel, number);
    reaches = reach_of(w, a.side()).meets(tile.x0, tile.y0, Rows::kRows);
  }
  const unsigned votes = __ballot_sync(kFullWarp, reaches);
  if (lane == 0) list.counts[warp] = __popc(votes);  // those of the list before this one are read before its last barrier
  __syncthreads();                                   // and that list has been read
  int32_t before = 0, total = 0;
#pragma unroll
  for (int i = 0; i < kThreads / 32; ++i) {
    const int32_t count = list.counts[i];
    if (i < warp) before += count;
    total += count;
  }
  if (reaches) {
    before += __popc(votes & ((1u << lane) - 1u));
    list.pixels[before] = pixel, list.windows[before] = w;
  }
  __syncthreads();
  return total;
}

}  // namespace vfi::cuda
