// The gradients of routed_conv2d.h for weight and bias on CUDA, all sums in a fixed order. A block multiplies a tile of
// the gradient with what one tap reads, for every parts-th tile of the listed patches; another kernel adds the parts in
// order. Rows of the list that name no patch are left out.
#pragma once

#include "ops/routed_conv2d/routed_conv2d_kernels.cuh"

namespace vfi::cuda {

constexpr int kPixelsOfWeight = 32;  // k of the weight's product

struct RoutedParts {
  int64_t parts, tiles;  // tiles of all rows of the list
  int32_t pieces, rows;  // of kTile input channels; of M output channels
};

template <class F, int M>
struct RoutedWeightShared {
  union {
    Factors<F, M> factors;
    Sum<F> sums[M * kSumStep];
  };
  int64_t input[kPixelsOfWeight], grad[kPixelsOfWeight];
};

// The factor of (m, pixel) is from[at[pixel] + m channel] for m < count, 0 beyond and where at is -1.
template <class Factor, class T, class F>
__device__ __forceinline__ void load_rows(const T* __restrict__ from, int64_t channel, const int64_t* at, int count,
                                          F* to) {
  constexpr int M = Factor::kRows;
#pragma unroll 4  // the sums leave few registers
  for (int e = threadIdx.x; e < M * kPixelsOfWeight; e += kThreads) {
    const int m = channel == 1 ? e % M : e / kPixelsOfWeight, k = channel == 1 ? e / M : e % kPixelsOfWeight;
    to[Factor::at(m, k)] = m < count && at[k] >= 0 ? factor_of<F>(from[at[k] + m * channel]) : F{};
  }
}

// A tile of output pixels that tap (u, v) takes part in: index n of all, without regard to the phase.
__device__ __forceinline__ RoutedTileGpu routed_tap_tile(const RoutedArgsGpu& a, int64_t n, int32_t u, int32_t v) {
  const int64_t side = a.phase_side(), all = side * side, tiles = (all + kPixelsOfWeight - 1) / kPixelsOfWeight;
  const int64_t first = n % tiles * kPixelsOfWeight, count = all - first;
  const int32_t phases = a.phases(), far = a.K * phases - a.padding;  // a multiple of the stride more: no negative number
  return {routed_item(a, n / tiles), routed_phase(a, (u + far) % phases), routed_phase(a, (v + far) % phases),
          static_cast<int32_t>(first), static_cast<int32_t>(count < kPixelsOfWeight ? count : kPixelsOfWeight),
          static_cast<int32_t>(side)};
}

// partial[part][u][v][c][n]
template <class T, class F, int M>
__global__ __launch_bounds__(kThreads, 2) void routed_grad_weight_kernel(RoutedArgsGpu a, RoutedPlaceGpu grad,
                                                                         Sum<F>* __restrict__ partial, RoutedParts w) {
  using Shared = RoutedWeightShared<F, M>;
  VFI_DYNAMIC_SHARED(Shared, shared);
  int32_t index = static_cast<int32_t>(blockIdx.x);
  const auto next = [&](int32_t size) {
    const int32_t at = index % size;
    index /= size;
    return at;
  };
  const int32_t first_out = next(w.rows) * M, c = next(w.pieces) * kTile, v = next(a.K), u = next(a.K);
  const int count = min(a.depth - c, kTile), rows = min(a.columns - first_out, M);
  F *left = shared->factors.left, *right = shared->factors.right;
  const T* const from = static_cast<const T*>(a.from.data) + c * a.from.strides.channel;
  const T* const up = static_cast<const T*>(grad.data) + first_out * grad.strides.channel;
  Sums<F, M> sums;
  sums.clear();
  for (int64_t n = index; n < w.tiles; n += w.parts) {
    const RoutedTileGpu tile = routed_tap_tile(a, n, u, v);
    if (!tile.item.patch.used) continue;
    if (threadIdx.x < kPixelsOfWeight) {
      const int32_t pixel = tile.first + static_cast<int32_t>(threadIdx.x), y = pixel / tile.side, x = pixel % tile.side;
      const int32_t tap_y = (u - tile.y.first_tap) / tile.y.tap_step, tap_x = (v - tile.x.first_tap) / tile.x.tap_step;
      const bool exists = static_cast<int32_t>(threadIdx.x) < tile.count;
      shared->input[threadIdx.x] =
          exists ? routed_source(a, tile.item, tile.y.input(y, tap_y), tile.x.input(x, tap_x)) : -1;
      shared->grad[threadIdx.x] =
          exists ? grad.strides.offset(tile.item.k, 0, tile.y.output(y), tile.x.output(x)) : -1;
    }
    __syncthreads();
    load_rows<LeftPanel<F, M>>(up, grad.strides.channel, shared->grad, rows, left);
    load_rows<RightPanel<F>>(from, a.from.strides.channel, shared->input, count, right);
    __syncthreads();
    sums.multiply_add(left, right, kPixelsOfWeight, rows);
    __syncthreads();
  }
  sums.store(shared->sums);
  __syncthreads();
  partial += (((int64_t{index} * a.K + u) * a.K + v) * a.depth + c) * a.columns + first_out;
  for (int e = threadIdx.x; e < M * count; e += kThreads) {
    const int m = e % M, column = e / M;
    if (m < rows) partial[int64_t{column} * a.columns + m] = shared->sums[m * kSumStep + column];
  }
}

constexpr int kBiasChannels = 32, kBiasLanes = kThreads / kBiasChannels;

// partial[part][n]: a block has some channels, its threads every kBiasLanes-th pixel of every parts-th patch.
template <class T, class A>
__global__ __launch_bounds__(kThreads) void routed_grad_bias_kernel(RoutedArgsGpu a, RoutedPlaceGpu grad,
                                                                    A* __restrict__ partial, int64_t parts) {
  VFI_DYNAMIC_SHARED(A, shared);
  const bool last = grad.strides.channel == 1;
  const int thread = threadIdx.x, channel = last ? thread % kBiasChannels : thread / kBiasLanes;
  const int lane = last ? thread / kBiasChannels : thread % kBiasLanes;
  const int32_t pieces = (a.columns + kBiasChannels - 1) / kBiasChannels;
  const int32_t n = static_cast<int32_t>(blockIdx.x) % pieces * kBiasChannels + channel;
  const int64_t part = blockIdx.x / pieces;
  A sum = A(0);
  for (int64_t k = part; k < a.items && n < a.columns; k += parts) {
    if (!patch_at(a.indices, k, a.grid).used) continue;
    for (int32_t p = lane; p < a.out_side * a.out_side; p += kBiasLanes) {
      sum += widen<A>(
          static_cast<const T*>(grad.data)[grad.strides.offset(k, n, p / a.out_side, p % a.out_side)]);
    }
  }
  shared[lane * kBiasChannels + channel] = sum;
  __syncthreads();
  if (lane != 0 || n >= a.columns) return;
  for (int i = 1; i < kBiasLanes; ++i) sum += shared[i * kBiasChannels + channel];
  partial[part * a.columns + n] = sum;
}

// grad = the parts added in order; K = depth = 1 for the bias.
template <class T, class A>
__global__ __launch_bounds__(kThreads) void routed_grad_sum_kernel(const A* __restrict__ partial, T* __restrict__ grad,
                                                                   RoutedWeights w, int64_t K, int64_t depth,
                                                                   int64_t columns, int64_t parts) {
  const int64_t count = K * K * depth * columns;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < count; i += int64_t{gridDim.x} * kThreads) {
    A sum = A(0);
    for (int64_t part = 0; part < parts; ++part) sum += partial[part * count + i];
    const int64_t n = i % columns, row = i / columns, c = row % depth, tap = row / depth;
    narrow(sum, grad[c * w.depth_step + n * w.column_step + tap / K * w.row_step + tap % K * w.tap_step]);
  }
}

// How the gradient of the weight is cut: by sizes alone, so that sums have one order on every device.
template <class F>
RoutedParts routed_parts(const RoutedArgsGpu& a) {
  constexpr int64_t kEnoughBlocks = 1024, kMostParts = 64;
  RoutedParts w{1, a.items * routed_tiles(a, kPixelsOfWeight), static_cast<int32_t>(ceil_div(a.depth, kTile)), 0};
  with_routed_rows<F>(a.columns, [&](auto m) { w.rows = static_cast<int32_t>(ceil_div(a.columns, decltype(m)::value)); });
  const int64_t blocks = std::max<int64_t>(int64_t{w.rows} * w.pieces * a.K * a.K, 1);
  w.parts = std::clamp<int64_t>(kEnoughBlocks / blocks, 1, std::clamp<int64_t>(w.tiles, 1, kMostParts));
  return w;
}

inline int64_t routed_bias_parts(const RoutedArgsGpu& a) { return std::clamp<int64_t>(a.items, 1, 64); }

// `partial` has parts K K depth columns elements.
template <class T, class F>
void launch_routed_grad_weight(const RoutedArgsGpu& a, const RoutedPlaceGpu& grad_out, const RoutedParts& w,
                               Sum<F>* partial, T* grad, const RoutedWeights& place, cudaStream_t stream) {
  const int64_t count = a.K * a.K * a.depth * int64_t{a.columns};
  if (count == 0) return;
  with_routed_rows<F>(a.columns, [&](auto m) {
    constexpr int M = decltype(m)::value;
    constexpr size_t kBytes = shared_bytes<RoutedWeightShared<F, M>>();
    VFI_LAUNCH((routed_grad_weight_kernel<T, F, M>), Grid(w.parts * w.rows * w.pieces * a.K * a.K), kThreads,
               kBytes, stream, a, grad_out, partial, w);
  });
  VFI_LAUNCH((routed_grad_sum_kernel<T, Sum<F>>), grid_size(ceil_div(count, kThreads)), kThreads, 0, stream,
             static_cast<const Sum<F>*>(partial), grad, place, int64_t{a.K}, int64_t{a.depth}, int64_t{a.columns},
             w.parts);
}

// `partial` has routed_bias_parts(a) columns elements.
template <class T, class A>
void launch_routed_grad_bias(const RoutedArgsGpu& a, const RoutedPlaceGpu& grad_out, A* partial, T* grad,
                             cudaStream_t stream) {
  if (a.columns == 0) return;
  const int64_t parts = routed_bias_parts(a);
  VFI_LAUNCH((routed_grad_bias_kernel<T, A>), Grid(parts * ceil_div(a.columns, kBiasChannels)), kThreads,
             kThreads * sizeof(A), stream, a, grad_out, partial, parts);
  VFI_LAUNCH((routed_grad_sum_kernel<T, A>), grid_size(ceil_div(a.columns, kThreads)), kThreads, 0, stream,
             static_cast<const A*>(partial), grad, RoutedWeights{0, 1, 0, 0, 0}, int64_t{1}, int64_t{1},
             int64_t{a.columns}, parts);
}

}  // namespace vfi::cuda
