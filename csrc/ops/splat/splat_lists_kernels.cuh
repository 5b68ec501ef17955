// The scatter-add in a fixed order of flows that take the pixels of most rows all over the target, which the tiles of
// splat_ordered_kernels.cuh leave: lists of the pixels that land on each cell (the target of their corner 0), by counting, in
// which each list is then sorted. For any other flow these kernels return at once.
//
// A target is corner 0, 1, 2, 3 of the pixels of four cells: one thread adds those, list by list.
#pragma once

#include "ops/splat/splat_ordered_kernels.cuh"

namespace vfi::cuda {

// Cells start one row above and one column left of the target, because corner 0 may be outside while others are inside.
VFI_HOST_DEVICE int64_t cells_of(int64_t batch, int64_t target_height, int64_t target_width) {
  return batch * (target_height + 1) * (target_width + 1);
}

struct CellLists {
  int32_t* ends;   // [cells] where the pixels of a cell end in `order`, and those of the next begin
  int32_t* order;  // [B H W] pixels (b H + y) W + x
  int64_t cells, pixels;
};

__device__ __forceinline__ int64_t first_thread() { return static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; }
__device__ __forceinline__ int64_t all_threads() { return static_cast<int64_t>(gridDim.x) * kThreads; }

__device__ __forceinline__ int64_t cell_of(const ScatterArgsGpu& s, int64_t b, int32_t y, int32_t x) {
  return (b * (s.target_H + 1) + y + 1) * (s.target_W + 1) + x + 1;
}

__global__ __launch_bounds__(kThreads) void clear_lists_kernel(int64_t batch, BoundsTree t, CellLists lists) {
  if (!t.is_wild(batch)) return;
  for (int64_t i = first_thread(); i < lists.cells; i += all_threads()) lists.ends[i] = 0;
}

// Counts the pixels of each cell; or, with kFill, puts each where its cell's list has room, in any order.
template <class A, bool kPath, bool kFill>
__global__ __launch_bounds__(kThreads, (kLandingResident<A, kPath>)) void list_pixels_kernel(ScatterArgsGpu s, BoundsTree t,
                                                                                           CellLists lists) {
  if (!t.is_wild(s.B)) return;
  for (int64_t i = first_thread(); i < lists.pixels; i += all_threads()) {
    const int64_t row = i / s.W, b = row / s.H;
    const int32_t x = static_cast<int32_t>(i - row * s.W), y = static_cast<int32_t>(row - b * s.H);
    A flow[2];
    load_flow_of<kPath>(s, b, y, x, flow);
    const Landing<A> landing = land_unweighted(s, y, x, flow);
    if (landing.used == 0) continue;
    const int32_t at = atomicAdd(lists.ends + cell_of(s, b, landing.y, landing.x), 1);
    if (kFill) lists.order[at] = static_cast<int32_t>(i);
  }
}

// Counts become the places where the lists begin. One block: wild flows are rare.
__global__ __launch_bounds__(kThreads) void begin_lists_kernel(int64_t batch, BoundsTree t, CellLists lists) {
  VFI_DYNAMIC_SHARED(int32_t, sums);
  if (!t.is_wild(batch)) return;
  int32_t before = 0;
  for (int64_t start = 0; start < lists.cells; start += kThreads) {
    const int64_t i = start + threadIdx.x;
    const int32_t count = i < lists.cells ? lists.ends[i] : 0;
    __syncthreads();
    sums[threadIdx.x] = count;
    for (int step = 1; step < kThreads; step *= 2) {
      __syncthreads();
      const int32_t other = static_cast<int>(threadIdx.x) >= step ? sums[threadIdx.x - step] : 0;
      __syncthreads();
      sums[threadIdx.x] += other;
    }
    __syncthreads();
    if (i < lists.cells) lists.ends[i] = before + sums[threadIdx.x] - count;
    before += sums[kThreads - 1];
  }
}

// Moves the pixel at `root` of a heap down to where it belongs.
__device__ __forceinline__ void sift(int32_t* heap, int32_t root, int32_t size) {
  while (2 * root + 1 < size) {
    int32_t child = 2 * root + 1;
    if (child + 1 < size && heap[child] < heap[child + 1]) ++child;
    if (heap[root] >= heap[child]) return;
    const int32_t swapped = heap[root];
    heap[root] = heap[child];
    heap[child] = swapped;
    root = child;
  }
}

// Sorts each list. A heap takes long lists too, in n log n steps.
__global__ __launch_bounds__(kThreads) void sort_lists_kernel(int64_t batch, BoundsTree t, CellLists lists) {
  if (!t.is_wild(batch)) return;
  for (int64_t i = first_thread(); i < lists.cells; i += all_threads()) {
    const int32_t begin = i == 0 ? 0 : lists.ends[i - 1];
    int32_t size = lists.ends[i] - begin;
    int32_t* const heap = lists.order + begin;
    for (int32_t root = size / 2 - 1; root >= 0; --root) sift(heap, root, size);
    while (size > 1) {
      --size;
      const int32_t last = heap[size];
      heap[size] = heap[0];
      heap[0] = last;
      sift(heap, 0, size);
    }
  }
}

// Adds to one target what the pixels give that have it as corner k.
template <bool kPath, int G, class T, class A>
__device__ __forceinline__ void add_list(const T* values, const ScatterArgsGpu& s, const SumLayout& l,
                                         const SampleShift<A>& shift, const CellLists& lists, int64_t b, int64_t cell, int k,
                                         int32_t first, Pack<A, 4> (&sums)[G]) {
  const int32_t end = lists.ends[cell];
  for (int32_t i = cell == 0 ? 0 : lists.ends[cell - 1]; i < end; ++i) {
    const int64_t row = lists.order[i] / s.W;
    const int32_t x = static_cast<int32_t>(lists.order[i] - row * s.W), y = static_cast<int32_t>(row - b * s.H);
    const int32_t rows[1] = {y};
    A flow[1][2], metric[1][1];
    load_flows<kPath>(s, b, rows, x, flow);
    load_metrics<kPath>(s, b, rows, x, metric);
    Landing<A> landing = land_unweighted(s, y, x, flow[0]);
    multiply_factor(s, shift, b, metric[0][0], landing);
    if ((landing.used >> k & 1) == 0) continue;
    const A weight = k == 0 ? landing.weight[0] : k == 1 ? landing.weight[1] : k == 2 ? landing.weight[2] : landing.weight[3];
    const T* at[1] = {values + l.values.offset(owner_of<kPath>(s, b), y, x) + 4 * first * l.values.channel_stride()};
    A v[G][4];
    load_groups<G>(at, l, first, v);
#pragma unroll
    for (int i = 0; i < 4 * G; ++i) sums[i / 4].at[i % 4] = std::fma(weight, v[i / 4][i % 4], sums[i / 4].at[i % 4]);
  }
}

template <class T, class A, bool kPath, int G>
__global__ __launch_bounds__(kThreads, sizeof(A) == 8 ? 1 : 2) void add_lists_kernel(const T* __restrict__ values,
                                                                                    ScatterArgsGpu s, SumLayout l,
                                                                                    BoundsTree t, CellLists lists, Direct d) {
  if (!t.is_wild(s.B)) return;
  const int64_t plane = s.target_plane(), count = s.B * plane;
  for (int64_t i = first_thread(); i < count; i += all_threads()) {
    const int64_t b = i / plane;
    const int32_t y = static_cast<int32_t>((i - b * plane) / s.target_W);
    const int32_t x = static_cast<int32_t>(i - b * plane - static_cast<int64_t>(y) * s.target_W);
    const SampleShift<A> shift = shift_of<A>(s, b);
    for (int32_t first = 0; first < l.groups; first += G) {
      Pack<A, 4> sums[1][G] = {};
      for (int k = 0; k < 4; ++k) {
        const int64_t cell = cell_of(s, b, y - (k >> 1), x - (k & 1));
        add_list<kPath, G>(values, s, l, shift, lists, b, cell, k, first, sums[0]);
      }
      write_targets<T>(s, l, d, b, i - b * plane, 0, first, sums);
    }
  }
}

// Not many blocks: those of most flows only look and return.
inline Grid list_blocks(int64_t count) {
  const int64_t blocks = ceil_div(count, 16 * kThreads);
  return blocks < 1024 ? blocks : 1024;
}

// Makes the lists, if the flow is wild.
inline void launch_lists(const ScatterArgsGpu& s, const BoundsTree& t, const CellLists& lists, cudaStream_t stream) {
  if (s.pixels() == 0) return;
  VFI_LAUNCH((clear_lists_kernel), list_blocks(lists.cells), kThreads, 0, stream, s.B, t, lists);
  with_path(s, [&](auto compute, auto is_path) {
    using A = decltype(compute);
    constexpr bool kPath = decltype(is_path)::value;
    VFI_LAUNCH((list_pixels_kernel<A, kPath, false>), list_blocks(lists.pixels), kThreads, 0, stream, s, t, lists);
    VFI_LAUNCH((begin_lists_kernel), 1, kThreads, kThreads * sizeof(int32_t), stream, s.B, t, lists);
    VFI_LAUNCH((list_pixels_kernel<A, kPath, true>), list_blocks(lists.pixels), kThreads, 0, stream, s, t, lists);
  });
  VFI_LAUNCH((sort_lists_kernel), list_blocks(lists.cells), kThreads, 0, stream, s.B, t, lists);
}

template <class T, class A, bool kPath, int G>
void launch_ordered_as(const void* values, const ScatterArgsGpu& s, const SumLayout& l, const BoundsTree& t,
                       const CellLists& lists, const Direct& d, cudaStream_t stream) {
  const Grid grid(ceil_div(s.target_W, kTileWarps * kTileColumns), grid_size(ceil_div(s.target_H, TargetTile<A, G>::kRows)),
                  grid_size(s.B * ceil_div(l.groups, G)));
  VFI_LAUNCH((ordered_kernel<T, A, kPath, G>), grid, dim3(32, kTileWarps), (TargetTile<A, G>::bytes()), stream,
             static_cast<const T*>(values), s, l, t, d);
  if (t.visits == nullptr) return;
  VFI_LAUNCH((add_lists_kernel<T, A, kPath, G>), list_blocks(s.B * s.target_plane()), kThreads, 0, stream,
             static_cast<const T*>(values), s, l, t, lists, d);
}

// Groups of channels that a tile has at once; a path takes the registers of a second one.
inline int groups_of_tile(const ScatterArgsGpu& s, const SumLayout& l) {
  return !s.float64 && s.path.count == 0 && l.groups > 1 ? 2 : 1;
}

inline void launch_ordered(const void* values, Dtype dtype, const ScatterArgsGpu& s, const SumLayout& l, const BoundsTree& t,
                           const CellLists& lists, const Direct& d, cudaStream_t stream) {
  if (s.B * l.groups == 0 || s.target_plane() == 0) return;
  dispatch(dtype, s.float64, [&](auto element, auto compute) {
    using T = decltype(element);
    using A = decltype(compute);
    const auto run = [&](auto is_path) {
      constexpr bool kPath = decltype(is_path)::value;
      if constexpr (sizeof(A) == sizeof(float) && !kPath) {
        if (groups_of_tile(s, l) == 2) return launch_ordered_as<T, A, kPath, 2>(values, s, l, t, lists, d, stream);
      }
      launch_ordered_as<T, A, kPath, 1>(values, s, l, t, lists, d, stream);
    };
    s.path.count > 0 ? run(std::true_type()) : run(std::false_type());
  });
}

}  // namespace vfi::cuda
