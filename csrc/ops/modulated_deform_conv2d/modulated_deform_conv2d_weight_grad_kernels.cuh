// The gradient of modulated_deform_conv2d.h for the weight on CUDA, all sums in a fixed order, for any channels and factors. A
// block samples a piece of the columns for a fixed part of the pixels and multiplies; another kernel adds the parts in order.
#pragma once

#include <algorithm>

#include "ops/modulated_deform_conv2d/modulated_deform_conv2d_kernels.cuh"

namespace vfi::cuda {

struct WeightParts {
  int64_t parts, tiles_of_part;  // of the pixels
  int step;                      // input channels of a block
  int32_t pieces, rows;          // of the input and of the output channels of a group
};

template <class F, int M>
struct GradWeight {
  static constexpr int kPixels = sizeof(F) == 2 ? 64 : 32;  // k of the product
  using Left = Panel<F, M, Inner::kRow, kPixels>;
  using Right = Panel<F, kTile, Inner::kRow, kPixels>;
  using Product = SumsOf<F, Left, Right>;
  using Out = SumPanel<M, kTile, false>;
  union Shared {
    struct {
      FactorsOf<F, Left, Right> factors;
      DeformPlaces<F, kPixels> places;
    } in;
    Sum<F> sums[Out::kElements];
  };
};

// partial[part][group][tap][c][o]
template <class T, class F, int N, int M>
__global__ __launch_bounds__(kThreads, 2) void deform_grad_weight_kernel(const T* __restrict__ grad_out,
                                                                         const T* __restrict__ input,
                                                                         Sum<F>* __restrict__ partial, DeformArgsGpu a,
                                                                         WeightParts w) {
  using K = GradWeight<F, M>;
  using Shared = typename K::Shared;
  constexpr int kPixels = K::kPixels;
  VFI_DYNAMIC_SHARED(Shared, shared);
  const DeformGeometry& g = a.g;
  Digits<int32_t> block{static_cast<int32_t>(blockIdx.x)};
  const int32_t first_out = block.next(w.rows) * M, c = block.next(w.pieces) * w.step, t = block.next(a.taps);
  const int32_t group = block.next(static_cast<int32_t>(g.groups)), part = block.rest;
  const int32_t first = group * a.group_in + c, q = first / a.offset_channels, o = group * a.group_out + first_out;
  const int count = min(a.group_in - c, w.step), rows = min(a.group_out - first_out, M);
  const int slots = (first + count - 1) / a.offset_channels - q + 1;
  const int64_t tiles = a.tiles(kPixels), all = g.B * tiles, begin = part * w.tiles_of_part;
  const int64_t end = min(begin + w.tiles_of_part, all);
  F *left = shared->in.factors.left, *right = shared->in.factors.right;
  typename K::Product sums;
  sums.clear();
  const auto tile_of = [&](int64_t n) {
    return pixel_tile(g, static_cast<unsigned>(n), static_cast<unsigned>(tiles), kPixels);
  };
  const auto find = [&](int64_t n) {
    if (n < end) shared->in.places.find(a, pixel_at(a, tile_of(n), threadIdx.x % kPixels), t, 1, q, slots);
    __syncthreads();
  };
  find(begin);
  for (int64_t n = begin; n < end; ++n) {
    const PixelTile tile = tile_of(n);
    load_columns<ColumnsIn<typename K::Left, true>>(grad_out + tile.b * a.out.sample + tile.first * a.out.channels + o,
                                                    a.out.channels, a.wide_out, tile.count, rows, left);
    // Columns of the product beyond `count` hold anything: they are not kept.
    const T* const from = input + tile.b * a.in.sample;
    sample<N, ColumnsIn<typename K::Right, true>>(from, a, shared->in.places.at(0), q, first, count, right);
    __syncthreads();
    sums.multiply_add(left, right, kPixels, rows);
    find(n + 1);
  }
  sums.template store<typename K::Out>(shared->sums);
  __syncthreads();
  partial += (((part * g.groups + group) * a.taps + t) * a.group_in + c) * a.group_out + first_out;
  for (int e = threadIdx.x; e < M * count; e += kThreads) {
    const int m = e % M, column = e / M;
    if (m < rows) partial[int64_t{column} * a.group_out + m] = shared->sums[K::Out::at(m, column)] * Sum<F>(kColumnUnit<F>);
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

// How the gradient of the weight is cut: by sizes alone, so that sums have one order on every device.
inline WeightParts weight_parts(const DeformGeometry& g, int64_t tiles, int rows, int slots) {
  constexpr int64_t kEnoughBlocks = 1024, kMostParts = 64;
  WeightParts w{1, tiles, piece_of(g, kTile, slots), 0, static_cast<int32_t>(ceil_div(g.group_out(), rows))};
  w.pieces = static_cast<int32_t>(ceil_div(g.group_in(), w.step));
  const int64_t blocks = int64_t{w.rows} * w.pieces * g.groups * g.taps();
  if (blocks == 0 || tiles == 0) return w;
  const int64_t parts = std::clamp<int64_t>(kEnoughBlocks / blocks, 1, std::min(kMostParts, tiles));
  w.tiles_of_part = ceil_div(tiles, parts);
  w.parts = ceil_div(tiles, w.tiles_of_part);
  return w;
}

// `run(m, parts)`: the rows of a block as in with_rows, and how the sums are cut.
template <class F, class Run>
void with_weight_parts(const DeformArgsGpu& a, Run&& run) {
  with_rows<F>(a.g.group_out(), [&](auto m) {
    constexpr int M = decltype(m)::value, kPixels = GradWeight<F, M>::kPixels;
    run(m, weight_parts(a.g, a.g.B * a.tiles(kPixels), M, kSlots<F, kPixels>));
  });
}

template <class T, class F, int M>
void launch_deform_grad_weight(const T* grad_out, const T* input, Sum<F>* partial, const DeformArgsGpu& a,
                               const WeightParts& w, cudaStream_t stream) {
  const int64_t blocks = w.parts * w.rows * w.pieces * a.g.groups * a.g.taps();
  if (blocks == 0) return;
  with_pack<T, F>(a, input, [&](auto n) {
    constexpr size_t kBytes = shared_bytes<typename GradWeight<F, M>::Shared>();
    VFI_LAUNCH((deform_grad_weight_kernel<T, F, decltype(n)::value, M>), Grid(blocks), kThreads, kBytes, stream, grad_out,
               input, partial, a, w);
  });
}

template <class T, class A>
void launch_deform_grad_weight_sum(const A* partial, T* grad, const Strides& strides, const DeformGeometry& g, int64_t parts,
                                   cudaStream_t stream) {
  const int64_t count = g.C_out * g.group_in() * g.taps();
  if (count == 0) return;
  VFI_LAUNCH((deform_grad_weight_sum_kernel<T, A>), grid_size(ceil_div(count, kThreads)), kThreads, 0, stream, partial, grad,
             strides, g, parts);
}

}  // namespace vfi::cuda
