// The scatter-add of splat_landing.cuh by atomic vector reductions, and the kernel that turns sums into a result.
//
// Work: a warp owns 32 columns of a few rows and four channels. Where the flow is smooth, neighbouring pixels land on
// neighbouring cells and share corners; those are added in registers first: along the row by shuffles, down the column
// by carrying the lower two corners to the next row. That leaves about one reduction per pixel instead of four, and
// four for all of a warp's rows where everything lands on one cell. The order of the reductions is not fixed.
#pragma once

#include "ops/splat/splat_landing.cuh"

namespace vfi::cuda {

// What one pixel, or several that land on one cell, add to the target pixels (y + k / 2, x + k % 2).
template <class A>
struct CellSums {
  int32_t x, y;
  A sum[4][4];  // [corner k][channel]
};

template <class A>
__device__ __forceinline__ CellSums<A> cell_sums(const Landing<A>& landing, const A (&v)[4]) {
  CellSums<A> p{landing.x, landing.y, {}};
#pragma unroll
  for (int k = 0; k < 4; ++k) {
#pragma unroll
    for (int c = 0; c < 4; ++c) p.sum[k][c] = landing.used[k] ? landing.weight[k] * v[c] : A(0);
  }
  return p;
}

template <class A>
__device__ __forceinline__ void clear_corner(CellSums<A>& p, int k) {
#pragma unroll
  for (int c = 0; c < 4; ++c) p.sum[k][c] = A(0);
}

// Lanes in a row that have the same cell: the first takes the sum of all. Returns the lanes that are first.
template <class A>
__device__ __forceinline__ unsigned merge_equal_cells(CellSums<A>& p, int lane) {
  const int32_t left_x = __shfl_up_sync(kFullWarp, p.x, 1), left_y = __shfl_up_sync(kFullWarp, p.y, 1);
  const bool first = lane == 0 || p.x == kNowhere || left_x != p.x || left_y != p.y;
  const unsigned firsts = __ballot_sync(kFullWarp, first);
  const unsigned later = firsts >> 1 >> lane;
  const int end = later ? lane + __ffs(static_cast<int>(later)) : 32;  // first lane after this run of equal cells
  for (int step = 1; __any_sync(kFullWarp, lane + step < end); step *= 2) {
#pragma unroll
    for (int k = 0; k < 4; ++k) {
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        const A other = __shfl_down_sync(kFullWarp, p.sum[k][c], step);
        if (lane + step < end) p.sum[k][c] += other;
      }
    }
  }
  if (!first) {
    for (int k = 0; k < 4; ++k) clear_corner(p, k);
    p.x = kNowhere;
  }
  return firsts;
}

// A cell whose left neighbour is the previous cell of the row takes over that one's right column.
template <class A>
__device__ __forceinline__ void merge_columns(CellSums<A>& p, unsigned firsts, int lane) {
  const unsigned before = firsts & ((1u << lane) - 1), later = firsts >> 1 >> lane;
  const int previous = before ? 31 - __clz(static_cast<int>(before)) : lane;
  const int32_t previous_x = __shfl_sync(kFullWarp, p.x, previous), previous_y = __shfl_sync(kFullWarp, p.y, previous);
  const bool joins = p.x != kNowhere && previous != lane && previous_x == p.x - 1 && previous_y == p.y;
  const unsigned joining = __ballot_sync(kFullWarp, joins);
#pragma unroll
  for (int c = 0; c < 4; ++c) {
    const A top = __shfl_sync(kFullWarp, p.sum[1][c], previous), bottom = __shfl_sync(kFullWarp, p.sum[3][c], previous);
    if (joins) {
      p.sum[0][c] += top;
      p.sum[2][c] += bottom;
    }
  }
  const int next = later ? lane + __ffs(static_cast<int>(later)) : 32;
  if (p.x != kNowhere && next < 32 && (joining >> next & 1)) {
    clear_corner(p, 1);
    clear_corner(p, 3);
  }
}

// Adds one corner to memory, unless it is outside the target or there is nothing to add.
template <class A>
__device__ __forceinline__ void add_corner(const ScatterArgsGpu& s, A* sums, int32_t y, int32_t x, const A (&v)[4]) {
  const bool something = v[0] != A(0) || v[1] != A(0) || v[2] != A(0) || v[3] != A(0);
  if (!something || x < 0 || x >= s.target_W || y < 0 || y >= s.target_H) return;
  atomic_add4(sums + 4 * (static_cast<int64_t>(y) * s.target_W + x), v);
}

template <class A>
__device__ __forceinline__ void add_upper_row(const ScatterArgsGpu& s, A* sums, const CellSums<A>& p) {
  add_corner(s, sums, p.y, p.x, p.sum[0]);
  add_corner(s, sums, p.y, p.x + 1, p.sum[1]);
}

template <class A>
__device__ __forceinline__ void add_lower_row(const ScatterArgsGpu& s, A* sums, const CellSums<A>& p) {
  add_corner(s, sums, p.y + 1, p.x, p.sum[2]);
  add_corner(s, sums, p.y + 1, p.x + 1, p.sum[3]);
}

// `pending` is what the rows so far have left to add. Sums for the same cell join it, those for the cell below take over
// its lower corners.
template <class A>
__device__ __forceinline__ void push_cell(const ScatterArgsGpu& s, A* sums, CellSums<A>& pending, CellSums<A>& p) {
  const bool same_column = p.x != kNowhere && pending.x == p.x;
  if (same_column && pending.y == p.y) {
#pragma unroll
    for (int i = 0; i < 16; ++i) pending.sum[i / 4][i % 4] += p.sum[i / 4][i % 4];
    return;
  }
  add_upper_row(s, sums, pending);
  if (same_column && pending.y == p.y - 1) {
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      p.sum[0][c] += pending.sum[2][c];
      p.sum[1][c] += pending.sum[3][c];
    }
  } else {
    add_lower_row(s, sums, pending);
  }
  pending = p;
}

template <class T, class A, bool kPath>
__global__ __launch_bounds__(kThreads, (kLandingResident<A, kPath>)) void scatter_kernel(const T* __restrict__ values,
                                                                                         ScatterArgsGpu s, SumLayout l,
                                                                                         int32_t rows) {
  const int lane = threadIdx.x;
  const int32_t x = blockIdx.x * 32 + lane, top = (blockIdx.y * blockDim.y + threadIdx.y) * rows;
  const int32_t end = min(top + rows, s.H);  // the same for the whole warp, which stays together
  const bool inside = x < s.W && top < end;
  for (int64_t z = blockIdx.z; z < s.B * l.groups; z += gridDim.z) {
    const int64_t b = z / l.groups;
    const int32_t g = static_cast<int32_t>(z - b * l.groups);
    A* sums = sums_at<A>(s, l, b, g, 0, 0);
    CellSums<A> pending{kNowhere, kNowhere, {}};
    SourcePixel<T, A> next{};
    if (inside) next = load_pixel<kPath, T, A>(values, s, l, b, g, top, x);
#pragma unroll 1
    for (int32_t y = top; y < end; ++y) {
      const SourcePixel<T, A> pixel = next;
      if (inside && y + 1 < end) next = load_pixel<kPath, T, A>(values, s, l, b, g, y + 1, x);
      Landing<A> landing;
      if (inside) landing = land(s, b, y, x, pixel.flow, pixel.metric[0]);
      A v[4];
      spread_values(pixel, l, g, v);
      CellSums<A> p = cell_sums(landing, v);
      merge_columns(p, merge_equal_cells(p, lane), lane);
      push_cell(s, sums, pending, p);
    }
    add_upper_row(s, sums, pending);
    add_lower_row(s, sums, pending);
  }
}

inline void launch_scatter(const void* values, Dtype dtype, const ScatterArgsGpu& s, const SumLayout& l,
                           cudaStream_t stream) {
  const int64_t slices = s.B * l.groups;
  if (slices == 0 || s.pixels() == 0 || s.target_plane() == 0) return;
  // Longer columns carry more, as long as there are warps for every multiprocessor; and the grid has room for them.
  constexpr int64_t kEnoughWarps = 8192;
  const int64_t columns = ceil_div(s.W, 32);
  int32_t rows = 8;
  while (rows > 1 && columns * ceil_div(s.H, rows) * slices < kEnoughWarps) rows /= 2;
  const dim3 block(32, kThreads / 32);
  while (ceil_div(s.H, int64_t{block.y} * rows) > kMaxGrid) rows *= 2;
  const Grid grid(columns, ceil_div(s.H, int64_t{block.y} * rows), grid_size(slices));
  dispatch(dtype, s.float64, [&](auto element, auto compute) {
    using T = decltype(element);
    using A = decltype(compute);
    if (s.path.count > 0) {
      VFI_LAUNCH((scatter_kernel<T, A, true>), grid, block, 0, stream, static_cast<const T*>(values), s, l, rows);
    } else {
      VFI_LAUNCH((scatter_kernel<T, A, false>), grid, block, 0, stream, static_cast<const T*>(values), s, l, rows);
    }
  });
}

struct Finish {
  SumLayout sums;
  Division division;
  // The sums of the weight begin at element `weight_first`, `weight_batch` apart from sample to sample, 4 from pixel to pixel.
  ConstNumbers weights;
  int64_t weight_first, weight_batch;
  Numbers weight_out;  // [B, 1, target_H, target_W]; data may be null
  Numbers shift_out;   // the same; its memory may be that of target_max
};

template <class A>
__device__ __forceinline__ void write_weight(const ScatterArgsGpu& s, const Finish& f, const Place& p, int64_t pixel,
                                             A weight) {
  const int64_t target = p.b * s.target_plane() + pixel;
  if (f.weight_out.data != nullptr) f.weight_out.as<A>()[target] = weight;
  if (f.shift_out.data != nullptr) {
    const SampleShift<A> shift = sample_shift<A>(s, p.b);
    f.shift_out.as<A>()[target] = shift.per_target ? target_shift<A>(s, p.b, p.y, p.x) : shift.common;
  }
}

template <class T, class A, bool kLast>
__global__ __launch_bounds__(kThreads) void finish_kernel(T* __restrict__ out, DenseShape shape, ScatterArgsGpu s,
                                                          Finish f, PixelGrid grid) {
  const DenseShape to = shape.laid_out(kLast);
  const Place p = place<kLast>(grid);
  if (!p.inside) return;
  const int64_t pixel = static_cast<int64_t>(p.y) * to.width + p.x;
  A q = A(1);
  if (f.weights.data != nullptr) {
    const A weight = f.weights.as<A>()[f.weight_first + p.b * f.weight_batch + 4 * pixel];
    q = divisor(f.division, weight);
    if (p.lane == 0) write_weight(s, f, p, pixel, weight);
  }
  out += to.offset(p.b, p.y, p.x);
  for (int32_t g = p.lane; 4 * g < to.channels; g += p.lanes) {
    const Pack<A, 4> n = load_pack<A, 4>(sums_at<A>(s, f.sums, p.b, g, p.y, p.x));
    Pack<T, 4> result;
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      result.at[c] = narrow_to<T>(f.division == Division::kNone ? n.at[c] : q == A(0) ? A(0) : n.at[c] / q);
    }
    T* at = out + 4 * g * to.channel_stride();
    if (kLast && to.channels % 4 == 0) {
      store_pack(at, result);
    } else {
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        if (4 * g + c < to.channels) at[c * to.channel_stride()] = result.at[c];
      }
    }
  }
}

inline void launch_finish(void* out, Dtype dtype, const DenseShape& shape, const ScatterArgsGpu& s, const Finish& f,
                          cudaStream_t stream) {
  if (shape.pixels() == 0) return;
  dispatch(dtype, s.float64, [&](auto element, auto compute) {
    using T = decltype(element);
    using A = decltype(compute);
    for_each_launch(pixel_grid(shape, shape.channels_last, f.sums.groups), [&](const PixelGrid& part, Grid blocks) {
      if (shape.channels_last) {
        VFI_LAUNCH((finish_kernel<T, A, true>), blocks, part.block, 0, stream, static_cast<T*>(out), shape, s, f, part);
      } else {
        VFI_LAUNCH((finish_kernel<T, A, false>), blocks, part.block, 0, stream, static_cast<T*>(out), shape, s, f,
                   part);
      }
    });
  });
}

}  // namespace vfi::cuda
