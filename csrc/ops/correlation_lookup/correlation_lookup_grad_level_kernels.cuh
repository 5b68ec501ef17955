// The gradients of the levels of a cost volume's windows on CUDA; the formulas are in correlation_lookup.h.
//
// Work: a block has kTargets pixels of kTargetRows rows of a level and up to kRowChannels channels, four for each thread. It
// goes through all pixels in their order, kThreads at a time, skips those of which none comes near, lists those whose
// windows reach its own pixels, and adds them up in registers. No atomics, so results are the same from run to run.
#pragma once

#include "ops/correlation_lookup/correlation_lookup_grad_kernels.cuh"

namespace vfi::cuda {

constexpr int kTargets = 16, kRowThreads = 64, kRowChannels = kRowThreads * kChannelPack;
constexpr int kTargetRows = kThreads / kRowThreads;
constexpr int kListed = 8;  // pixels whose factors are made at a time

// The columns and rows of a level that the windows of some pixels reach.
struct LookupReach {
  int32_t left, right, top, bottom;

  __device__ __forceinline__ void add(const LookupReach& r) {
    left = min(left, r.left), right = max(right, r.right), top = min(top, r.top), bottom = max(bottom, r.bottom);
  }
  __device__ __forceinline__ bool meets(int64_t x0, int64_t y0) const {
    return left < x0 + kTargets && x0 <= right && top < y0 + kTargetRows && y0 <= bottom;
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
struct LookupTileGpu {
  int64_t b, x0, y0, start;  // start: the first channel

  __device__ __forceinline__ LookupTileGpu(const LookupArgsGpu& a, const LookupLevel& level) {
    const int64_t parts = (a.channels + kRowChannels - 1) / kRowChannels;
    const int64_t across = (level.width + kTargets - 1) / kTargets, down = (level.height + kTargetRows - 1) / kTargetRows;
    const int64_t tile = blockIdx.x / parts;
    start = blockIdx.x % parts * kRowChannels;
    x0 = tile % across * kTargets, y0 = tile / across % down * kTargetRows, b = tile / across / down;
  }
};

// The pixels from `start` on, of kThreads, whose windows reach the tile, in their order.
template <class A>
__device__ int32_t list_pixels(const LookupArgsGpu& a, int32_t number, const LookupTileGpu& tile, int64_t start, int64_t* list) {
  __shared__ int32_t counts[kThreads / 32];
  const int32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int64_t pixel = start + threadIdx.x;
  bool reaches = false;
  if (pixel < a.plane()) {
    reaches = reach_of(window_of<A>(a, tile.b, pixel, number), a.side()).meets(tile.x0, tile.y0);
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

// What kListed pixels give each target; left, top: of their windows, from the tile's.
template <class A>
struct alignas(16) LookupShares {
  A factors[kListed][kTargetRows][kTargets];
  int32_t left[kListed], top[kListed];
};

template <class T, class A>
__device__ __forceinline__ void make_shares(LookupShares<A>& shares, const LookupArgsGpu& a, int32_t number,
                                            const LookupTileGpu& tile, const int64_t* list, int32_t count) {
  constexpr int kTile = kTargets * kTargetRows;
  const int32_t n = a.side();
  for (int e = threadIdx.x; e < min(count, kListed) * kTile; e += kThreads) {
    const int item = e / kTile, row = e % kTile / kTargets, column = e % kTargets;
    const WindowGpu<A> w = window_of<A>(a, tile.b, list[item], number);
    const int32_t left = static_cast<int32_t>(w.x.at - tile.x0), top = static_cast<int32_t>(w.y.at - tile.y0);
    const int64_t offset = (tile.b * a.plane() + list[item]) * a.planes() + int64_t{number} * n * n;
    const int32_t i = column - left, j = row - top;
    const bool reaches = i >= 0 && i <= n && j >= 0 && j <= n;
    shares.factors[item][row][column] =
        reaches ? factor_at(static_cast<const T*>(a.grad_out) + offset, n, i, j, w) : A(0);
    if (e % kTile == 0) shares.left[item] = left, shares.top[item] = top;
  }
}

// Four channels of a pixel, of those that are left.
template <class T, class A>
__device__ __forceinline__ void load_pixel(const T* pixel, int64_t left, bool packs, A (&v)[kChannelPack]) {
  Pack<T, kChannelPack> raw{};
  if (packs) {
    raw = load_pack<T, kChannelPack>(pixel);
  } else {
#pragma unroll
    for (int m = 0; m < kChannelPack; ++m) {
      if (m < left) raw.at[m] = pixel[m];
    }
  }
#pragma unroll
  for (int m = 0; m < kChannelPack; ++m) v[m] = widen<A>(raw.at[m]);
}

// One pixel's channels v, times its factors, to the targets of this thread's row.
template <class A>
__device__ __forceinline__ void add_share(A (&sums)[kTargets][kChannelPack], const LookupShares<A>& shares, int item, int row,
                                          int32_t n, const A (&v)[kChannelPack]) {
  const int32_t top = shares.top[item], left = shares.left[item];
  if (row < top || row > top + n) return;
  A doubt = A(0);
#pragma unroll
  for (int m = 0; m < kChannelPack; ++m) doubt += A(0) * v[m];
#pragma unroll
  for (int q = 0; q < kTargets; q += 4) {
    if (q + 3 < left || q > left + n) continue;
    constexpr int kPack = 16 / sizeof(A);
    Pack<A, kPack> factors[4 / kPack];
#pragma unroll
    for (int k = 0; k < 4 / kPack; ++k) factors[k] = load_pack<A, kPack>(&shares.factors[item][row][q + k * kPack]);
    if (doubt == A(0)) {
#pragma unroll
      for (int t = 0; t < 4 * kChannelPack; ++t) {
        const int k = t / kChannelPack, m = t % kChannelPack;
        sums[q + k][m] += factors[k / kPack].at[k % kPack] * v[m];
      }
    } else {  // 0 times infinity
#pragma unroll
      for (int t = 0; t < 4 * kChannelPack; ++t) {
        const int k = t / kChannelPack, m = t % kChannelPack;
        const A factor = factors[k / kPack].at[k % kPack];
        if (factor != A(0)) sums[q + k][m] += factor * v[m];
      }
    }
  }
}

template <class T, class A>
__global__ __launch_bounds__(kThreads) void lookup_grad_level_kernel(LookupArgsGpu a, const LookupReach* __restrict__ reaches,
                                                                     A* __restrict__ grad, int32_t number) {
  __shared__ int64_t list[kThreads];
  __shared__ LookupShares<A> shares;
  const LookupLevel& level = a.levels[number];
  const LookupTileGpu tile(a, level);
  const int64_t chunks = (a.plane() + kThreads - 1) / kThreads;
  const int32_t row = threadIdx.x / kRowThreads;
  const int64_t c = tile.start + threadIdx.x % kRowThreads * kChannelPack, left = a.channels - c;
  const bool packs = a.channels % kChannelPack == 0;
  const T* const first = static_cast<const T*>(a.first) + tile.b * a.plane() * a.channels + c;
  A sums[kTargets][kChannelPack] = {};
  for (int64_t start = 0; start < chunks; start += 32) {
    const int64_t mine = start + threadIdx.x % 32;
    unsigned near = __ballot_sync(kFullWarp, mine < chunks && reaches[tile.b * chunks + mine].meets(tile.x0, tile.y0));
    for (; near != 0; near &= near - 1) {
      const int32_t total = list_pixels<A>(a, number, tile, (start + __ffs(near) - 1) * kThreads, list);
      for (int32_t i = 0; i < total; i += kListed) {
        make_shares<T>(shares, a, number, tile, list + i, total - i);
        __syncthreads();
        for (int k = 0; left > 0 && k < kListed && i + k < total; ++k) {
          A v[kChannelPack];
          load_pixel(first + list[i + k] * a.channels, left, packs, v);
          add_share(sums, shares, k, row, a.side(), v);
        }
        __syncthreads();
      }
    }
  }
  const int64_t y = tile.y0 + row;
  if (left <= 0 || y >= level.height) return;
  const A scale = lookup_scale<A>(a);
#pragma unroll
  for (int t = 0; t < kTargets; ++t) {
    if (tile.x0 + t >= level.width) break;
    A* const to = grad + ((tile.b * level.height + y) * level.width + tile.x0 + t) * a.channels + c;
#pragma unroll
    for (int m = 0; m < kChannelPack; ++m) {
      if (m < left) to[m] = sums[t][m] * scale;
    }
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

// How many reaches there are.
inline int64_t lookup_reaches(const LookupArgsGpu& a) { return a.batch * ceil_div(a.plane(), kThreads); }

// grads[l]: memory for the gradient of level l, of the compute type; the first goes on into grad_second.
inline void launch_lookup_grad_levels(const LookupArgsGpu& a, LookupReach* reaches, void* const* grads, void* grad_second,
                                      Dtype dtype, bool wide, cudaStream_t stream) {
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
      const Grid blocks(a.batch * ceil_div(level.height, kTargetRows) * ceil_div(level.width, kTargets) *
                        ceil_div(a.channels, kRowChannels));
      if (a.plane() > 0) {
        VFI_LAUNCH((lookup_reach_kernel<A>), Grid(lookup_reaches(a)), kThreads, 0, stream, a, reaches, l);
      }
      VFI_LAUNCH((lookup_grad_level_kernel<T, A>), blocks, kThreads, 0, stream, a, reaches, grad, l);
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
