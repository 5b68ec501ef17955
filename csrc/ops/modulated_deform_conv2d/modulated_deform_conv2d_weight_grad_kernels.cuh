// The gradients of modulated_deform_conv2d.h for weight and bias on CUDA, all sums in a fixed order. A block samples a
// piece of the columns for a fixed part of the pixels and multiplies; another kernel adds the parts in order.
#pragma once

#include <algorithm>

#include "ops/modulated_deform_conv2d/modulated_deform_conv2d_kernels.cuh"

namespace vfi::cuda {

constexpr int kPixelsOfWeight = 32;  // k of the weight's product

struct WeightParts {
  int64_t parts, tiles_of_part;  // of the pixels
  int step;                      // input channels of a block
  int32_t pieces, rows;          // of the input and of the output channels of a group
};

template <class F, int M>
struct GradWeightShared {
  union {
    Factors<F, M> factors;
    Sum<F> sums[M * kSumStep];
  };
  DeformPositions<Sum<F>, kPixelsOfWeight> positions;
};

// partial[part][group][tap][c][o]
template <class T, class F, int N, int M>
__global__ __launch_bounds__(kThreads, 2) void deform_grad_weight_kernel(const T* __restrict__ grad_out,
                                                                         const T* __restrict__ input,
                                                                         Sum<F>* __restrict__ partial, DeformArgsGpu a,
                                                                         WeightParts w) {
  using Shared = GradWeightShared<F, M>;
  VFI_DYNAMIC_SHARED(Shared, shared);
  const DeformGeometry& g = a.g;
  int32_t index = static_cast<int32_t>(blockIdx.x);
  const auto next = [&](int32_t size) {
    const int32_t at = index % size;
    index /= size;
    return at;
  };
  const int32_t first_out = next(w.rows) * M, c = next(w.pieces) * w.step, t = next(a.taps);
  const int32_t group = next(static_cast<int32_t>(g.groups));
  const int32_t first = group * a.group_in + c, q = first / a.offset_channels;
  const int count = min(a.group_in - c, w.step), rows = min(a.group_out - first_out, M);
  const int slots = (first + count - 1) / a.offset_channels - q + 1;
  const int64_t tiles = a.tiles(kPixelsOfWeight), all = g.B * tiles, begin = index * w.tiles_of_part;
  const int64_t end = begin + w.tiles_of_part < all ? begin + w.tiles_of_part : all;
  F *left = shared->factors.left, *right = shared->factors.right;
  Sums<F, M> sums;
  sums.clear();
  for (int64_t n = begin; n < end; ++n) {
    const PixelTile tile = pixel_tile(g, static_cast<unsigned>(n), static_cast<unsigned>(tiles), kPixelsOfWeight);
    find_positions(shared->positions, a, tile, t, q, slots);
    const int64_t o = int64_t{group} * a.group_out + first_out;
    const T* from = grad_out + tile.b * a.out.sample + o * a.out.channel_stride() + tile.first * a.out.pixel_stride();
#pragma unroll 4  // the sums leave few registers
    for (int e = threadIdx.x; e < M * kPixelsOfWeight; e += kThreads) {
      const int m = a.out.channels_last ? e % M : e / kPixelsOfWeight;
      const int k = a.out.channels_last ? e / M : e % kPixelsOfWeight;
      F value{};
      if (m < rows && k < tile.count) {
        narrow(widen<Sum<F>>(from[m * a.out.channel_stride() + k * a.out.pixel_stride()]), value);
      }
      left[k * kLeftStep<F, M> + m] = value;
    }
    __syncthreads();
    // Columns of the product beyond `count` hold anything: they are not kept.
    sample<N, 1, kRightStep<F>>(input + tile.b * a.in.sample, a, shared->positions, q, first, count, right);
    __syncthreads();
    sums.multiply_add(left, right, kPixelsOfWeight, rows);
    __syncthreads();
  }
  sums.store(shared->sums);
  __syncthreads();
  partial += (((index * g.groups + group) * a.taps + t) * a.group_in + c) * a.group_out + first_out;
  for (int e = threadIdx.x; e < M * count; e += kThreads) {
    const int m = e % M, column = e / M;
    if (m < rows) partial[int64_t{column} * a.group_out + m] = shared->sums[m * kSumStep + column];
  }
}

template <class T, class A>
__global__ __launch_bounds__(kThreads) void deform_grad_weight_sum_kernel(const A* __restrict__ partial,
                                                                          T* __restrict__ grad, Strides strides,
                                                                          DeformGeometry g, int64_t parts) {
  const int64_t count = g.C_out * g.group_in() * g.taps();
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < count; i += int64_t{gridDim.x} * kThreads) {
    A sum = A(0);
    for (int64_t part = 0; part < parts; ++part) sum += partial[part * count + i];
    const int64_t o = i % g.group_out(), row = i / g.group_out(), c = row % g.group_in();
    const int64_t tap = row / g.group_in() % g.taps(), group = row / g.group_in() / g.taps();
    narrow(sum, grad[weight_at(strides, g, group * g.group_out() + o, c, tap)]);
  }
}

// A thread adds every kThreads-th pixel, then the threads are added pairwise.
template <class T, class A>
__global__ __launch_bounds__(kThreads) void deform_grad_bias_kernel(const T* __restrict__ grad_out,
                                                                    T* __restrict__ grad, DenseShape out) {
  VFI_DYNAMIC_SHARED(A, shared);
  const int64_t o = blockIdx.x;
  A sum = A(0);
  for (int64_t b = 0; b < out.batch; ++b) {
    const T* from = grad_out + b * out.sample + o * out.channel_stride();
    for (int64_t p = threadIdx.x; p < out.plane; p += kThreads) sum += widen<A>(from[p * out.pixel_stride()]);
  }
  shared[threadIdx.x] = sum;
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (static_cast<int>(threadIdx.x) < half) shared[threadIdx.x] += shared[threadIdx.x + half];
  }
  if (threadIdx.x == 0) narrow(shared[0], grad[o]);
}

// How the gradient of the weight is cut: by sizes alone, so that sums have one order on every device.
inline WeightParts weight_parts(const DeformGeometry& g, int64_t tiles, int rows) {
  constexpr int64_t kEnoughBlocks = 1024, kMostParts = 64;
  WeightParts w{1, tiles, piece_of(g, kTile), 0, static_cast<int32_t>(ceil_div(g.group_out(), rows))};
  w.pieces = static_cast<int32_t>(ceil_div(g.group_in(), w.step));
  const int64_t blocks = int64_t{w.rows} * w.pieces * g.groups * g.taps();
  if (blocks == 0 || tiles == 0) return w;
  const int64_t parts = std::clamp<int64_t>(kEnoughBlocks / blocks, 1, std::min(kMostParts, tiles));
  w.tiles_of_part = ceil_div(tiles, parts);
  w.parts = ceil_div(tiles, w.tiles_of_part);
  return w;
}

// Rows of the weight's product.
template <class F>
int weight_rows(const DeformGeometry& g) {
  int rows = 0;
  with_rows<F>(g.group_out(), [&](auto m) { rows = decltype(m)::value; });
  return rows;
}

template <class T, class F>
void launch_deform_grad_weight(const T* grad_out, const T* input, Sum<F>* partial, T* grad, const Strides& strides,
                               const DeformArgsGpu& a, const WeightParts& w, cudaStream_t stream) {
  const int64_t blocks = w.parts * w.rows * w.pieces * a.g.groups * a.g.taps();
  if (blocks == 0) return;
  with_rows<F>(a.g.group_out(), [&](auto m) {
    with_pack<16 / static_cast<int>(sizeof(T)), F>(a, input, [&](auto n) {
      constexpr int M = decltype(m)::value, N = decltype(n)::value;
      constexpr size_t kBytes = shared_bytes<GradWeightShared<F, M>>();
      VFI_LAUNCH((deform_grad_weight_kernel<T, F, N, M>), Grid(blocks), kThreads, kBytes, stream, grad_out,
                 input, partial, a, w);
    });
  });
  const int64_t count = a.g.C_out * a.g.group_in() * a.g.taps();
  VFI_LAUNCH((deform_grad_weight_sum_kernel<T, Sum<F>>), grid_size(ceil_div(count, kThreads)), kThreads, 0, stream,
             static_cast<const Sum<F>*>(partial), grad, strides, a.g, w.parts);
}

template <class T, class A>
void launch_deform_grad_bias(const T* grad_out, T* grad, const DenseShape& out, cudaStream_t stream) {
  if (out.channels == 0) return;
  VFI_LAUNCH((deform_grad_bias_kernel<T, A>), out.channels, kThreads, kThreads * sizeof(A), stream, grad_out, grad, out);
}

}  // namespace vfi::cuda
