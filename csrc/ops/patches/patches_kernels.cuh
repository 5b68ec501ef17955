// The ops of patches.h on CUDA.
//
//   patch_indices_kernel      one block walks over the cells of the route map and numbers the active ones: the host is
//                             not asked, and the list is sorted
//   patch_copy_kernel         gather and scatter: a block has some rows of one patch
//   patch_gather_grad_kernel  a block has some rows of one cell of the image; a pixel adds the patches that hold it in
//                             the order of the grid, found in a table of the cells: no atomics, one order
//
// Threads follow the layout of what is written: neighbours have neighbouring channels, or neighbouring columns, and
// move 16 bytes each where both sides allow it. A thread with a column has it in many channels.
#pragma once

#include <algorithm>
#include <type_traits>

#include "patch_lists/patch_cells.cuh"
#include "ops/patches/patches.h"

namespace vfi::cuda {

static __global__ __launch_bounds__(kThreads) void patch_indices_kernel(const bool* __restrict__ route,
                                                                        PatchGrid grid, int32_t* __restrict__ indices,
                                                                        int64_t capacity, int64_t* __restrict__ count) {
  constexpr int kCells = 8;  // of a thread at a time
  __shared__ int32_t warps[kThreads / 32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t cells = grid.B * grid.rows * grid.columns;
  int64_t active_count = 0;
  for (int64_t start = 0; start < cells; start += kThreads * kCells) {
    const int64_t first = start + threadIdx.x * kCells;
    unsigned active = 0;
#pragma unroll
    for (int i = 0; i < kCells; ++i) {
      if (first + i < cells && route[first + i]) active |= 1u << i;
    }
    const int mine = __popc(active);
    int up_to = mine;  // those of the threads of the warp up to this one
#pragma unroll
    for (int delta = 1; delta < 32; delta *= 2) {
      const int other = __shfl_up_sync(kFullWarp, up_to, delta);
      if (lane >= delta) up_to += other;
    }
    if (lane == 31) warps[warp] = up_to;
    __syncthreads();
    int before = up_to - mine, all = 0;
#pragma unroll
    for (int w = 0; w < kThreads / 32; ++w) {
      if (w < warp) before += warps[w];
      all += warps[w];
    }
    __syncthreads();
    int64_t k = active_count + before;
    for (int i = 0; i < kCells; ++i) {
      if (!(active >> i & 1)) continue;
      if (k < capacity) {
        const int64_t n = first + i;
        indices[3 * k] = static_cast<int32_t>(n / (grid.rows * grid.columns));
        indices[3 * k + 1] = static_cast<int32_t>(n / grid.columns % grid.rows);
        indices[3 * k + 2] = static_cast<int32_t>(n % grid.columns);
      }
      ++k;
    }
    active_count += all;
  }
  for (int64_t n = 3 * active_count + threadIdx.x; n < 3 * capacity; n += kThreads) indices[n] = -1;
  if (threadIdx.x == 0) *count = active_count;
}

// How the rows of a patch are shared by blocks, and their elements by threads.
struct PatchCut {
  int32_t side, channels;  // of a patch
  int32_t rows, blocks;    // of a block; of a patch
  int32_t lanes;           // threads that share the channels of a pixel, where columns are fastest
  bool channels_fastest;   // else columns
};

// Row i, counted from the block's first, and column j; channels c, c + step ... below `end`.
struct PatchPixel {
  int32_t i, j, c, end, step;
};

// Calls run(PatchPixel) for the elements of a thread, N at a time. Where columns are fastest it has one pixel, whose place
// is worked out once for all channels.
template <int N, class Run>
__device__ __forceinline__ void each_pixel(const PatchCut& cut, const Run& run) {
  const int32_t thread = static_cast<int32_t>(threadIdx.x);
  if (cut.channels_fastest) {
    const int32_t packs = cut.channels / N, count = cut.rows * cut.side * packs;
    for (int32_t e = thread; e < count; e += kThreads) {
      const int32_t pixel = e / packs, c = e % packs * N;
      run(PatchPixel{pixel / cut.side, pixel % cut.side, c, c + 1, 1});
    }
    return;
  }
  const int32_t packs = cut.side / N, count = cut.rows * packs, lane = thread / count;
  if (lane >= cut.lanes) return;
  for (int32_t pixel = thread % count; pixel < count; pixel += kThreads) {
    run(PatchPixel{pixel / packs, pixel % packs * N, lane, cut.channels, cut.lanes});
  }
}

// Elements at `from`, or zeros without it, for every channel of a pixel.
template <class T, int N>
__device__ __forceinline__ void copy_channels(const T* __restrict__ from, int64_t from_step, T* __restrict__ to,
                                              int64_t to_step, const PatchPixel& at) {
  from_step *= at.step, to_step *= at.step;
  if (from == nullptr) {
#pragma unroll 1
    for (int32_t c = at.c; c < at.end; c += at.step, to += to_step) store_pack(to, Pack<T, N>{});
  } else {
#pragma unroll 4
    for (int32_t c = at.c; c < at.end; c += at.step, from += from_step, to += to_step) {
      store_pack(to, load_pack<T, N>(from));
    }
  }
}

template <class T, int N, bool kScatter>
__global__ __launch_bounds__(kThreads) void patch_copy_kernel(PatchArgs a, PatchCut cut) {
  const int64_t k = blockIdx.x / cut.blocks;
  const int32_t first = static_cast<int32_t>(blockIdx.x % cut.blocks) * cut.rows;
  const Patch p = patch_at(a.indices, k, a.grid);
  if (kScatter && !p.used) return;
  const int64_t top = p.row * a.patch - a.halo, left = p.column * a.patch - a.halo;
  each_pixel<N>(cut, [&](const PatchPixel& at) {
    const int32_t i = first + at.i;
    if (i >= cut.side) return;
    const int64_t y = top + i, x = left + at.j;
    const int64_t in_patch = a.patch_strides.offset(k, at.c, i, at.j);
    if constexpr (kScatter) {
      const T* const from = a.patches == nullptr ? nullptr : static_cast<const T*>(a.patches) + in_patch;
      T* const to = static_cast<T*>(a.result) + a.result_strides.offset(p.b, at.c, y, x);
      copy_channels<T, N>(from, a.patch_strides.channel, to, a.result_strides.channel, at);
    } else {
      const bool inside = p.used && y >= 0 && y < a.H && x >= 0 && x < a.W;
      const T* const from = static_cast<const T*>(a.image) + (inside ? a.image_strides.offset(p.b, at.c, y, x) : 0);
      T* const to = static_cast<T*>(a.patches) + in_patch;
      copy_channels<T, N>(inside ? from : nullptr, a.image_strides.channel, to, a.patch_strides.channel, at);
    }
  });
}

template <class T, class A, int N>
__global__ __launch_bounds__(kThreads) void patch_gather_grad_kernel(PatchArgs a, PatchCut cut) {
  const int64_t cell = blockIdx.x / cut.blocks, column = cell % a.grid.columns;
  const int64_t row = cell / a.grid.columns % a.grid.rows, b = cell / (a.grid.columns * a.grid.rows);
  const int32_t first = static_cast<int32_t>(blockIdx.x % cut.blocks) * cut.rows;
  const int32_t patch = static_cast<int32_t>(a.patch), halo = static_cast<int32_t>(a.halo);
  const int32_t rows = static_cast<int32_t>(a.grid.rows), columns = static_cast<int32_t>(a.grid.columns);
  const int32_t* const listed = a.listed + b * a.grid.rows * a.grid.columns;
  each_pixel<N>(cut, [&](const PatchPixel& at) {
    if (first + at.i >= cut.side) return;
    const int32_t y = static_cast<int32_t>(row) * patch + first + at.i, x = static_cast<int32_t>(column) * patch + at.j;
    const int32_t first_row = max(y - halo, 0) / patch, last_row = min((y + halo) / patch, rows - 1);
    const int32_t first_column = max(x - halo, 0) / patch, last_column = min((x + halo) / patch, columns - 1);
    for (int32_t channel = at.c; channel < at.end; channel += at.step) {
      A sums[N] = {};
      for (int32_t r = first_row; r <= last_row; ++r) {
        for (int32_t c = first_column; c <= last_column; ++c) {
          const int32_t k = listed[int64_t{r} * columns + c];
          if (k < 0) continue;
          const int64_t from = a.patch_strides.offset(k, channel, y - (r * patch - halo), x - (c * patch - halo));
          const Pack<T, N> values = load_pack<T, N>(static_cast<const T*>(a.patches) + from);
#pragma unroll
          for (int n = 0; n < N; ++n) sums[n] += widen<A>(values.at[n]);
        }
      }
      Pack<T, N> values;
#pragma unroll
      for (int n = 0; n < N; ++n) narrow(sums[n], values.at[n]);
      store_pack(static_cast<T*>(a.result) + a.result_strides.offset(b, channel, y, x), values);
    }
  });
}

// Whether n neighbours along the fastest axis can be moved at once, wherever a multiple of n starts.
inline bool packs(const void* data, const Strides& s, bool channels_fastest, int64_t n) {
  const int64_t fastest = channels_fastest ? s.channel : s.column, other = channels_fastest ? s.column : s.channel;
  return fastest == 1 && other % n == 0 && s.row % n == 0 && s.batch % n == 0 &&
         reinterpret_cast<uintptr_t>(data) % 16 == 0;
}

// `n` elements at a time. Where columns are fastest a block has as many rows as give most of its threads a pixel, or a
// share of the channels of one.
inline PatchCut patch_cut(int64_t side, int64_t channels, int64_t n, bool channels_fastest) {
  constexpr int64_t kUnits = 4 * kThreads, kMostThreads = 4 * kThreads / 5;
  const int64_t row = (channels_fastest ? side * channels : side) / n;
  int64_t rows = std::clamp<int64_t>((channels_fastest ? kUnits : kThreads) / row, 1, side), best = 0, lanes = 1;
  for (int64_t r = rows; !channels_fastest && r >= 1 && best < kMostThreads; --r) {
    const int64_t shares = std::clamp<int64_t>(kThreads / (r * row), 1, channels);
    const int64_t busy = shares * r * row * side / (ceil_div(side, r) * r);
    if (busy > best) best = busy, rows = r, lanes = shares;
  }
  return {static_cast<int32_t>(side), static_cast<int32_t>(channels), static_cast<int32_t>(rows),
          static_cast<int32_t>(ceil_div(side, rows)), static_cast<int32_t>(lanes), channels_fastest};
}

// Calls run(std::integral_constant<int, N>(), cut): elements of T that a thread moves at once. Every patch of `side`
// pixels is written to a tensor of the first strides and read from one of the second.
template <class T, class Run>
void with_patch_cut(const PatchArgs& a, int64_t side, const void* to, const Strides& to_strides, const void* from,
                    const Strides& from_strides, Run&& run) {
  constexpr int kMost = 16 / static_cast<int>(sizeof(T));
  if (side * a.C > std::numeric_limits<int32_t>::max() / 2) throw std::runtime_error("patches: a row is too long");
  const bool channels = to_strides.channel == 1 && a.C > 1;
  const bool whole = channels ? a.C % kMost == 0 : a.patch % kMost == 0 && a.halo % kMost == 0;
  const bool wide = whole && packs(to, to_strides, channels, kMost) && packs(from, from_strides, channels, kMost);
  const PatchCut cut = patch_cut(side, a.C, wide ? kMost : 1, channels);
  if (wide) return run(std::integral_constant<int, kMost>(), cut);
  run(std::integral_constant<int, 1>(), cut);
}

inline void launch_patch_indices(const bool* route, const PatchGrid& grid, int32_t* indices, int64_t capacity,
                                 int64_t* count, cudaStream_t stream) {
  VFI_LAUNCH(patch_indices_kernel, 1, kThreads, 0, stream, route, grid, indices, capacity, count);
}

// From `image` to `patches`, or scattered: from `patches` to `result`.
template <bool kScatter>
void launch_patch_copy(const PatchArgs& a, cudaStream_t stream) {
  if (a.P * a.C * a.side() == 0) return;
  dispatch(a.type, false, [&](auto element, auto) {
    using T = decltype(element);
    const auto run = [&](auto n, const PatchCut& cut) {
      VFI_LAUNCH((patch_copy_kernel<T, decltype(n)::value, kScatter>), Grid(a.P * cut.blocks), kThreads, 0, stream, a,
                 cut);
    };
    if constexpr (kScatter) {
      const bool zeros = a.patches == nullptr;
      with_patch_cut<T>(a, a.side(), a.result, a.result_strides, zeros ? a.result : a.patches,
                        zeros ? a.result_strides : a.patch_strides, run);
    } else {
      with_patch_cut<T>(a, a.side(), a.patches, a.patch_strides, a.image, a.image_strides, run);
    }
  });
}

inline void launch_patch_gather_grad(const PatchArgs& a, cudaStream_t stream) {
  const int64_t cells = a.grid.B * a.grid.rows * a.grid.columns;
  if (cells * a.C == 0) return;
  dispatch(a.type, false, [&](auto element, auto compute) {
    using T = decltype(element);
    with_patch_cut<T>(a, a.patch, a.result, a.result_strides, a.patches, a.patch_strides,
                      [&](auto n, const PatchCut& cut) {
                        VFI_LAUNCH((patch_gather_grad_kernel<T, decltype(compute), decltype(n)::value>),
                                   Grid(cells * cut.blocks), kThreads, 0, stream, a, cut);
                      });
  });
}

}  // namespace vfi::cuda
