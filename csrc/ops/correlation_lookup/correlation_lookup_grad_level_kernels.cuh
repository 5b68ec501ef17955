// The gradients of the levels of a cost volume's windows on CUDA; the formulas are in correlation_lookup.h.
//
// Work: a block has kTargets pixels of some rows of a level and some channels, four for each thread. It goes through all pixels
// in their order, kThreads at a time, skips those of which none comes near, lists those whose windows reach its own pixels, and
// adds them up in registers. No atomics, so results are the same from run to run. A factor of 0 meets what it may; a block with
// a sum that is not finite begins again, and leaves those factors out.
#pragma once

#include "ops/correlation_lookup/correlation_lookup_grad_kernels.cuh"
#include "ops/correlation_lookup/correlation_lookup_lists.cuh"

namespace vfi::cuda {

constexpr int kListed = 8;  // pixels whose factors are made at a time

// What kListed pixels give each target; left, top: of their windows, from the tile's; from: their first channel.
template <class Rows, class A>
struct alignas(16) LookupShares {
  A factors[kListed][Rows::kRows][kTargets];
  int64_t from[kListed];
  int32_t left[kListed], top[kListed];
};

// Of `count` pixels from number `first` of the list on.
template <class T, class Rows, class A>
__device__ __forceinline__ void make_shares(LookupShares<Rows, A>& shares, const LookupArgsGpu& a, int32_t number,
                                            const LookupTileGpu<Rows>& tile, const LookupListGpu<A>& list, int32_t first,
                                            int32_t count) {
  constexpr int kTile = kTargets * Rows::kRows;
  const int32_t n = a.side();
#pragma unroll 1
  for (int e = threadIdx.x; e < min(count, kListed) * kTile; e += kThreads) {
    const int item = e / kTile, row = e % kTile / kTargets, column = e % kTargets;
    const WindowGpu<A> w = list.windows[first + item];
    const int64_t pixel = tile.b * a.plane() + list.pixels[first + item];
    const int32_t left = static_cast<int32_t>(w.x.at - tile.x0), top = static_cast<int32_t>(w.y.at - tile.y0);
    const int32_t i = column - left, j = row - top;
    const bool reaches = i >= 0 && i <= n && j >= 0 && j <= n;
    const T* const g = static_cast<const T*>(a.grad_out) + pixel * a.planes() + int64_t{number} * n * n;
    shares.factors[item][row][column] = reaches ? factor_at(g, n, i, j, w) : A(0);
    if (e % kTile == 0) shares.left[item] = left, shares.top[item] = top, shares.from[item] = pixel * a.channels;
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

// One pixel's channels v, times its factors, to the targets of this thread's row; `exact`: but for factors that are 0.
template <class A>
__device__ __forceinline__ void add_share(A (&sums)[kTargets][kChannelPack], const A* factors, int32_t left, int32_t n,
                                          const A (&v)[kChannelPack], bool exact) {
#pragma unroll
  for (int q = 0; q < kTargets; q += 4) {
    if (q + 3 < left || q > left + n) continue;
    constexpr int kPack = 16 / sizeof(A);
    Pack<A, kPack> packs[4 / kPack];
#pragma unroll
    for (int k = 0; k < 4 / kPack; ++k) packs[k] = load_pack<A, kPack>(factors + q + k * kPack);
    if (!exact) {
#pragma unroll
      for (int t = 0; t < 4 * kChannelPack; ++t) {
        const int k = t / kChannelPack, m = t % kChannelPack;
        sums[q + k][m] += packs[k / kPack].at[k % kPack] * v[m];
      }
    } else {
#pragma unroll
      for (int t = 0; t < 4 * kChannelPack; ++t) {
        const int k = t / kChannelPack, m = t % kChannelPack;
        const A factor = packs[k / kPack].at[k % kPack];
        if (factor != A(0)) sums[q + k][m] += factor * v[m];
      }
    }
  }
}

template <class Rows, class A>
struct LookupLevelShared {
  LookupListGpu<A> list;
  LookupShares<Rows, A> shares;
  bool doubts[kThreads / 32];
};

// The sums of a tile, of the channels of this thread.
template <class T, class Rows, class A>
__device__ __forceinline__ void sum_tile(A (&sums)[kTargets][kChannelPack], LookupLevelShared<Rows, A>& shared,
                                         const LookupArgsGpu& a, const LookupReach* __restrict__ reaches, int32_t number,
                                         const LookupTileGpu<Rows>& tile, int64_t c, bool exact) {
  const int64_t chunks = (a.plane() + kThreads - 1) / kThreads, left = a.channels - c;
  const int32_t row = threadIdx.x / Rows::kThreadsOfRow, n = a.side();
  const T* const first = static_cast<const T*>(a.first) + c;
#pragma unroll
  for (int t = 0; t < kTargets * kChannelPack; ++t) sums[t / kChannelPack][t % kChannelPack] = A(0);
  for (int64_t start = 0; start < chunks; start += 32) {
    const int64_t mine = start + threadIdx.x % 32;
    unsigned near = __ballot_sync(
        kFullWarp, mine < chunks && reaches[tile.b * chunks + mine].meets(tile.x0, tile.y0, Rows::kRows));
    for (; near != 0; near &= near - 1) {
      const int32_t total = list_pixels(shared.list, a, number, tile, (start + __ffs(near) - 1) * kThreads);
      for (int32_t i = 0; i < total; i += kListed) {
        const int32_t count = min(total - i, kListed);
        make_shares<T>(shared.shares, a, number, tile, shared.list, i, count);
        __syncthreads();
#pragma unroll 1
        for (int k = 0; left > 0 && k < count; ++k) {
          const int32_t j = row - shared.shares.top[k];
          if (j < 0 || j > n) continue;
          A v[kChannelPack];
          load_pixel(first + shared.shares.from[k], left, a.packs, v);
          add_share(sums, shared.shares.factors[k][row], shared.shares.left[k], n, v, exact);
        }
        __syncthreads();
      }
    }
  }
}

// Whether a thread of the block says so. Every thread has to call it.
__device__ __forceinline__ bool any_of_block(bool (&warps)[kThreads / 32], bool says) {
  const bool any = __ballot_sync(kFullWarp, says) != 0;
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = any;
  __syncthreads();
  bool result = false;
#pragma unroll
  for (const bool warp : warps) result = result || warp;
  return result;
}

// Adds a quarter of the gradient of the coarser level's pixels to those of a row, from x on.
template <class A>
__device__ __forceinline__ void add_coarse(A (&sums)[kTargets][kChannelPack], const LookupArgsGpu& a, const LookupLevel& next,
                                           const A* __restrict__ coarse, int64_t b, int64_t x, int64_t y, int64_t c) {
  if (y / 2 >= next.height) return;
  coarse += ((b * next.height + y / 2) * next.width + x / 2) * a.channels + c;
#pragma unroll
  for (int t = 0; t < kTargets; t += 2, coarse += a.channels) {
    if (x / 2 + t / 2 >= next.width) break;
    A v[kChannelPack];
    load_pixel(coarse, a.channels - c, a.channels % kChannelPack == 0, v);  // fresh memory
#pragma unroll
    for (int k = 0; k < 2 * kChannelPack; ++k) sums[t + k / kChannelPack][k % kChannelPack] += A(0.25) * v[k % kChannelPack];
  }
}

// to: the gradient of level `number`, of elements O, to which that of the next level, `coarse`, has been given its part.
template <class T, class A, class O, class Rows>
__global__ __launch_bounds__(kThreads, sizeof(A) == 4 ? 2 : 1) void lookup_grad_level_kernel(
    LookupArgsGpu a, const LookupReach* __restrict__ reaches, const A* __restrict__ coarse, O* __restrict__ to,
    int32_t number) {
  __shared__ LookupLevelShared<Rows, A> shared;
  const LookupLevel& level = a.levels[number];
  const LookupTileGpu<Rows> tile(a, level);
  const int64_t c = tile.start + threadIdx.x % Rows::kThreadsOfRow * kChannelPack, left = a.channels - c;
  A sums[kTargets][kChannelPack];
  bool exact = false, again;
#pragma unroll 1
  do {
    sum_tile<T>(sums, shared, a, reaches, number, tile, c, exact);
    bool all_finite = true;  // what is not finite stays so in a sum
#pragma unroll
    for (int t = 0; t < kTargets * kChannelPack; ++t) {
      all_finite = all_finite && finite(sums[t / kChannelPack][t % kChannelPack]);
    }
    again = !exact && any_of_block(shared.doubts, !all_finite);
    exact = true;
  } while (again);
  const int64_t y = tile.y0 + threadIdx.x / Rows::kThreadsOfRow;
  if (left <= 0 || y >= level.height) return;
  const A scale = lookup_scale<A>(a);
#pragma unroll
  for (int t = 0; t < kTargets * kChannelPack; ++t) sums[t / kChannelPack][t % kChannelPack] *= scale;
  if (coarse != nullptr) add_coarse(sums, a, a.levels[number + 1], coarse, tile.b, tile.x0, y, c);
  to += ((tile.b * level.height + y) * level.width + tile.x0) * a.channels + c;
#pragma unroll
  for (int t = 0; t < kTargets; ++t, to += a.channels) {
    if (tile.x0 + t >= level.width) break;
    Pack<O, kChannelPack> pack;
#pragma unroll
    for (int m = 0; m < kChannelPack; ++m) narrow(sums[t][m], pack.at[m]);
    if (a.channels % kChannelPack == 0) {  // fresh memory
      store_pack(to, pack);
    } else {
#pragma unroll
      for (int m = 0; m < kChannelPack; ++m) {
        if (m < left) to[m] = pack.at[m];
      }
    }
  }
}

// How many reaches there are.
inline int64_t lookup_reaches(const LookupArgsGpu& a) { return a.batch * ceil_div(a.plane(), kThreads); }

// grads[l]: the gradient of level l, of the compute type; of level 0 it is grad_second, of the element type.
inline void launch_lookup_grad_levels(const LookupArgsGpu& a, LookupReach* reaches, void* const* grads, Dtype dtype,
                                      bool wide, cudaStream_t stream) {
  dispatch(dtype, wide, [&](auto element, auto compute) {
    using T = decltype(element);
    using A = decltype(compute);
    for (int32_t l = a.count - 1; l >= 0; --l) {
      const LookupLevel& level = a.levels[l];
      if (a.batch * level.height * level.width * a.channels == 0) continue;
      if (a.plane() > 0) {
        VFI_LAUNCH((lookup_reach_kernel<A>), Grid(lookup_reaches(a)), kThreads, 0, stream, a, reaches, l);
      }
      const A* const coarse = l + 1 == a.count ? nullptr : static_cast<const A*>(grads[l + 1]);
      with_rows(a.channels, [&](auto rows) {
        using Rows = decltype(rows);
        const Grid blocks(a.batch * ceil_div(level.height, Rows::kRows) * ceil_div(level.width, kTargets) *
                          ceil_div(a.channels, Rows::kChannels));
        const auto run = [&](auto* to) {
          using O = std::remove_pointer_t<decltype(to)>;
          VFI_LAUNCH((lookup_grad_level_kernel<T, A, O, Rows>), blocks, kThreads, 0, stream, a, reaches, coarse, to, l);
        };
        l == 0 ? run(static_cast<T*>(grads[0])) : run(static_cast<A*>(grads[l]));
      });
    }
  });
}

}  // namespace vfi::cuda
