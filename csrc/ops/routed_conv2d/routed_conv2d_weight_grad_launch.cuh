// Launches of the gradients of routed_conv2d for weight and bias; the kernels that are no product.
#pragma once

#include <limits>

#include "ops/routed_conv2d/routed_conv2d_weight_grad_kernels.cuh"

namespace vfi::cuda {

// partial[part][n]: a block has some channels, a thread N neighbouring ones of every kLanes-th pixel of every parts-th
// patch.
template <class T, class A, int N>
__global__ __launch_bounds__(kThreads) void routed_grad_bias_kernel(RoutedArgsGpu a, RoutedPlaceGpu grad,
                                                                    A* __restrict__ partial, int64_t parts) {
  constexpr int kLanes = 8 * (N < 4 ? N : 4), kAcross = kThreads / kLanes;
  VFI_DYNAMIC_SHARED(A, shared);
  const bool last = grad.strides.channel == 1;
  const int thread = threadIdx.x, pack = last ? thread % kAcross : thread / kLanes;
  const int lane = last ? thread / kAcross : thread % kLanes;
  const int32_t pieces = (a.columns + kAcross * N - 1) / (kAcross * N);
  const int32_t n = (static_cast<int32_t>(blockIdx.x) % pieces * kAcross + pack) * N;
  const int64_t part = blockIdx.x / pieces;
  A sums[N] = {};
  for (int64_t k = part; k < a.items && n < a.columns; k += parts) {
    if (!patch_at(a.indices, k, a.grid).used) continue;
    const T* const from = static_cast<const T*>(grad.data) + k * grad.strides.batch + n * grad.strides.channel;
    for (int32_t p = lane; p < a.out_side * a.out_side; p += kLanes) {
      const int32_t y = p / a.out_side, x = p - y * a.out_side;
      const Pack<T, N> values = load_pack<T, N>(from + y * grad.strides.row + x * grad.strides.column);
#pragma unroll
      for (int i = 0; i < N; ++i) sums[i] += widen<A>(values.at[i]);
    }
  }
#pragma unroll
  for (int i = 0; i < N; ++i) shared[(i * kLanes + lane) * kAcross + pack] = sums[i];
  __syncthreads();
  if (lane != 0 || n >= a.columns) return;
  for (int i = 0; i < N; ++i) {
    A sum = A(0);
    for (int from = 0; from < kLanes; ++from) sum += shared[(i * kLanes + from) * kAcross + pack];
    partial[part * a.columns + n + i] = sum;
  }
}

// grad = the parts added in order; K = depth = 1 for the bias.
template <class T, class A>
__global__ __launch_bounds__(kThreads) void routed_grad_sum_kernel(const A* __restrict__ partial, T* __restrict__ grad,
                                                                   RoutedWeights w, uint32_t K, uint32_t depth,
                                                                   uint32_t columns, uint32_t parts) {
  const uint32_t count = K * K * depth * columns;
  for (uint32_t i = blockIdx.x * kThreads + threadIdx.x; i < count; i += gridDim.x * kThreads) {
    A sum = A(0);
    for (uint32_t part = 0; part < parts; ++part) sum += partial[int64_t{part} * count + i];
    const uint32_t n = i % columns, row = i / columns, c = row % depth, tap = row / depth;
    narrow(sum, grad[c * w.depth_step + n * w.column_step + tap / K * w.row_step + tap % K * w.tap_step]);
  }
}

// Weights, which kernels count in 32 bits.
inline int64_t checked_weights(int64_t count) {
  if (count > std::numeric_limits<int32_t>::max()) {
    throw std::runtime_error("routed_conv2d: expected fewer than 2147483648 weights");
  }
  return count;
}

template <class T, class A>
void launch_routed_grad_sum(const A* partial, T* grad, const RoutedWeights& w, int64_t K, int64_t depth, int64_t columns,
                            int64_t parts, cudaStream_t stream) {
  const int64_t count = checked_weights(K * K * depth * columns);
  const auto size = [](int64_t n) { return static_cast<uint32_t>(n); };
  VFI_LAUNCH((routed_grad_sum_kernel<T, A>), grid_size(ceil_div(count, kThreads)), kThreads, 0, stream, partial, grad, w,
             size(K), size(depth), size(columns), size(parts));
}

inline int64_t routed_bias_parts(const RoutedArgsGpu& a) { return std::clamp<int64_t>(a.items, 1, 64); }

// `partial` has parts K K depth columns elements.
template <class T, class F>
void launch_routed_grad_weight(const RoutedArgsGpu& a, const RoutedPlaceGpu& grad_out, const RoutedParts& w,
                               Sum<F>* partial, T* grad, const RoutedWeights& place, cudaStream_t stream) {
  if (checked_weights(a.K * a.K * a.depth * int64_t{a.columns}) == 0) return;
  constexpr int64_t kPack = 16 / static_cast<int64_t>(sizeof(T));
  const Grid grid(int64_t{w.parts} * w.rows * w.pieces * w.groups * a.phases() * a.phases());
  const auto run = [&](auto packed) {
    VFI_LAUNCH((routed_grad_weight_kernel<T, F, decltype(packed)::value>), grid, kThreads,
               (shared_bytes<RoutedWeightShared<F>>()), stream, a, grad_out, partial, w);
  };
  if (!std::is_same_v<F, double> && routed_packs(a.from, a.depth, kPack) && routed_packs(grad_out, a.columns, kPack)) {
    run(std::bool_constant<!std::is_same_v<F, double>>());
  } else {
    run(std::false_type());
  }
  launch_routed_grad_sum<T, Sum<F>>(partial, grad, place, a.K, a.depth, a.columns, w.parts, stream);
}

// `partial` has routed_bias_parts(a) columns elements.
template <class T, class A>
void launch_routed_grad_bias(const RoutedArgsGpu& a, const RoutedPlaceGpu& grad_out, A* partial, T* grad,
                             cudaStream_t stream) {
  constexpr int kPack = 16 / static_cast<int>(sizeof(T));
  if (a.columns == 0) return;
  const int64_t parts = routed_bias_parts(a);
  const auto run = [&](auto n) {
    constexpr int N = decltype(n)::value, kLanes = 8 * (N < 4 ? N : 4);
    VFI_LAUNCH((routed_grad_bias_kernel<T, A, N>), Grid(parts * ceil_div(a.columns, kThreads / kLanes * N)), kThreads,
               kThreads * N * sizeof(A), stream, a, grad_out, partial, parts);
  };
  if (routed_packs(grad_out, a.columns, kPack)) {
    run(std::integral_constant<int, kPack>());
  } else {
    run(std::integral_constant<int, 1>());
  }
  launch_routed_grad_sum<T, A>(partial, grad, RoutedWeights{0, 1, 0, 0}, 1, 1, a.columns, parts, stream);
}

}  // namespace vfi::cuda
