// The scatter-add of splat_landing.cuh as a gather in a fixed order, for torch.use_deterministic_algorithms(True):
//
//   sums[b, t, c] = sum over the source pixels that land on t, in row-major order, of weight * values
//
// A plan is made once per flow and serves every input: the key of a source pixel is its cell (the target pixel of its
// corner 0), and a stable sort by key lists the pixels of each cell in row-major order. A target pixel is corner 0, 1,
// 2, 3 of the pixels in four cells; one thread merges those four lists. Every sum has one order, so it is bitwise equal
// from run to run.
#pragma once

#include "ops/splat/splat_landing.cuh"

namespace vfi::cuda {

// Cells start one row above and one column left of the target, because corner 0 may be outside while others are inside.
VFI_HOST_DEVICE int64_t cells_of(int64_t batch, int64_t target_height, int64_t target_width) {
  return batch * (target_height + 1) * (target_width + 1);
}

VFI_HOST_DEVICE int64_t cell_key(int64_t b, int32_t y, int32_t x, int64_t target_height, int64_t target_width) {
  return (b * (target_height + 1) + y + 1) * (target_width + 1) + x + 1;
}

struct Plan {
  const int64_t* order;   // [B H W] source pixels (b H + y) W + x, sorted by cell; the ones that land nowhere come last
  const int64_t* starts;  // [cells + 1] where the pixels of a cell start in `order`
};

template <class A, bool kPath>
__global__ __launch_bounds__(kThreads, (kLandingResident<A, kPath>)) void cell_keys_kernel(int64_t* __restrict__ keys,
                                                                                           ScatterArgsGpu s,
                                                                                           PixelGrid grid) {
  const Place p = place<false>(grid);
  if (!p.inside) return;
  A flow[2], metric[1] = {};
  load_flow_of<kPath>(s, p.b, p.y, p.x, flow);
  if (s.factor != Factor::kOne) load(s.metric, owner_of<kPath>(s, p.b), p.y, p.x, metric);
  const Landing<A> landing = land(s, p.b, p.y, p.x, flow, metric[0]);
  keys[(p.b * s.H + p.y) * s.W + p.x] = landing.x == kNowhere
                                            ? cells_of(s.B, s.target_H, s.target_W)
                                            : cell_key(p.b, landing.y, landing.x, s.target_H, s.target_W);
}

// starts[cell] = number of keys below cell, by binary search.
template <class Key>
__global__ __launch_bounds__(kThreads) void cell_starts_kernel(const Key* __restrict__ sorted_keys,
                                                               int64_t* __restrict__ starts, int64_t count,
                                                               int64_t cells) {
  for (int64_t cell = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; cell <= cells;
       cell += static_cast<int64_t>(gridDim.x) * kThreads) {
    int64_t low = 0, high = count;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (sorted_keys[middle] < cell) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    starts[cell] = low;
  }
}

// The pixels that have target (y, x) as corner k, in row-major order.
struct CornerList {
  int64_t at, end, pixel;

  __device__ __forceinline__ void fetch(const int64_t* order) {
    pixel = at < end ? order[at] : std::numeric_limits<int64_t>::max();
  }
};

// The sums of channel group g of one target pixel.
template <bool kPath, class T, class A>
__device__ __forceinline__ void gather_target(const T* __restrict__ values, const ScatterArgsGpu& s, const SumLayout& l,
                                              const Plan& plan, int64_t b, int32_t g, int32_t y, int32_t x) {
  CornerList lists[4];
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const int64_t cell = cell_key(b, y - (k >> 1), x - (k & 1), s.target_H, s.target_W);
    lists[k] = {plan.starts[cell], plan.starts[cell + 1], 0};
    lists[k].fetch(plan.order);
  }
  A sums[4] = {A(0), A(0), A(0), A(0)};
  while (true) {
    int first = 0;
    int64_t pixel = lists[0].pixel;
#pragma unroll
    for (int k = 1; k < 4; ++k) {
      if (lists[k].pixel < pixel) {
        first = k;
        pixel = lists[k].pixel;
      }
    }
    if (pixel == std::numeric_limits<int64_t>::max()) break;
    const int64_t row = pixel / s.W;
    const int32_t from_x = static_cast<int32_t>(pixel - row * s.W), from_y = static_cast<int32_t>(row - b * s.H);
    const SourcePixel<T, A> source = load_pixel<kPath, T, A>(values, s, l, b, g, from_y, from_x);
    const Landing<A> landing = land(s, b, from_y, from_x, source.flow, source.metric[0]);
    A v[4];
    spread_values(source, l, g, v);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      if (k != first) continue;
      ++lists[k].at;
      lists[k].fetch(plan.order);
      for (int c = 0; c < 4; ++c) {
        if (landing.used[k]) sums[c] += landing.weight[k] * v[c];
      }
    }
  }
  store_pack(sums_at<A>(s, l, b, g, y, x), Pack<A, 4>{{sums[0], sums[1], sums[2], sums[3]}});
}

template <class T, class A, bool kPath>
__global__ __launch_bounds__(kThreads,
                             (kLandingResident<A, kPath>)) void ordered_gather_kernel(const T* __restrict__ values,
                                                                                      ScatterArgsGpu s, SumLayout l,
                                                                                      Plan plan) {
  const int32_t x = blockIdx.x * 32 + threadIdx.x;
  if (x >= s.target_W) return;
  for (int64_t z = blockIdx.z; z < s.B * l.groups; z += gridDim.z) {
    const int64_t b = z / l.groups;
    const int32_t g = static_cast<int32_t>(z - b * l.groups);
    for (int32_t y = blockIdx.y * blockDim.y + threadIdx.y; y < s.target_H; y += gridDim.y * blockDim.y) {
      gather_target<kPath, T, A>(values, s, l, plan, b, g, y, x);
    }
  }
}

inline void launch_cell_keys(int64_t* keys, const ScatterArgsGpu& s, cudaStream_t stream) {
  if (s.pixels() == 0) return;
  const DenseShape pixels = dense_shape(s.B, 1, s.H, s.W, false);
  for_each_launch(pixel_grid(pixels, false, 1), [&](const PixelGrid& part, Grid blocks) {
    with_path(s, [&](auto compute, auto is_path) {
      VFI_LAUNCH((cell_keys_kernel<decltype(compute), decltype(is_path)::value>), blocks, part.block, 0, stream, keys,
                 s, part);
    });
  });
}

inline void launch_cell_starts(const int64_t* sorted_keys, int64_t* starts, int64_t count, int64_t cells,
                               cudaStream_t stream) {
  VFI_LAUNCH((cell_starts_kernel<int64_t>), grid_size(ceil_div(cells + 1, kThreads)), kThreads, 0, stream, sorted_keys,
             starts, count, cells);
}

inline void launch_ordered_gather(const void* values, Dtype dtype, const ScatterArgsGpu& s, const SumLayout& l,
                                  const Plan& plan, cudaStream_t stream) {
  const int64_t slices = s.B * l.groups;
  if (slices == 0 || s.target_plane() == 0) return;
  const dim3 block(32, kThreads / 32);
  const Grid grid(ceil_div(s.target_W, 32), grid_size(ceil_div(s.target_H, block.y)), grid_size(slices));
  dispatch(dtype, s.float64, [&](auto element, auto compute) {
    using T = decltype(element);
    using A = decltype(compute);
    if (s.path.count > 0) {
      VFI_LAUNCH((ordered_gather_kernel<T, A, true>), grid, block, 0, stream, static_cast<const T*>(values), s, l,
                 plan);
    } else {
      VFI_LAUNCH((ordered_gather_kernel<T, A, false>), grid, block, 0, stream, static_cast<const T*>(values), s, l,
                 plan);
    }
  });
}

}  // namespace vfi::cuda
