// Modulated deformable convolution on CUDA: the weights in the order in which blocks read them, and images made
// channels_last.
#pragma once

#include "ops/modulated_deform_conv2d/modulated_deform_conv2d_places.cuh"

namespace vfi::cuda {

// For every group and tap, a matrix: k is the input channel and a row has an output channel of the group, or, `transposed`,
// the other way round. Lines along k where tensor cores load such factors, else along the rows. Zeros follow the last row and
// k: a block of 128 rows from any place, and a multiple of 16 of k, are inside.
struct PackedWeights {
  int64_t depth, rows, lines, line;  // numbers of k and rows; those of lines, and the length of one
  bool transposed, depth_inside;

  VFI_HOST_DEVICE int64_t at(int64_t matrix, int64_t row, int64_t k) const {
    return (matrix * lines + (depth_inside ? row : k)) * line + (depth_inside ? k : row);
  }
  VFI_HOST_DEVICE int64_t elements(const DeformGeometry& g) const { return g.groups * g.taps() * lines * line; }
};

template <class F>
PackedWeights packed_weights(const DeformGeometry& g, bool transposed) {
  constexpr int64_t kMostRows = 128, kAlign = 16;
  const int64_t in = g.group_in(), out = g.group_out(), rows = transposed ? in : out, depth = transposed ? out : in;
  const int64_t all = ceil_div(rows + kMostRows, kAlign) * kAlign;
  if (kTensorCores<F>) return {depth, rows, all, ceil_div(depth, kAlign) * kAlign, transposed, true};
  return {depth, rows, depth, all, transposed, false};
}

// Element (output channel, input channel in its group, tap) of the weight or its gradient.
VFI_HOST_DEVICE int64_t weight_at(const Strides& s, const DeformGeometry& g, int64_t o, int64_t c, int64_t tap) {
  return s.offset(o, c, static_cast<int32_t>(tap / g.KW), static_cast<int32_t>(tap % g.KW));
}

template <class T, class F>
__global__ __launch_bounds__(kThreads) void deform_pack_kernel(const T* __restrict__ weight, Strides strides,
                                                               F* __restrict__ packed, DeformGeometry g,
                                                               PackedWeights p) {
  const int64_t count = p.elements(g);
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < count; i += int64_t{gridDim.x} * kThreads) {
    const int64_t inner = i % p.line, outer = i / p.line % p.lines, matrix = i / p.line / p.lines;
    const int64_t row = p.depth_inside ? outer : inner, k = p.depth_inside ? inner : outer;
    const int64_t o = matrix / g.taps() * g.group_out() + (p.transposed ? k : row);
    const bool exists = row < p.rows && k < p.depth;
    packed[i] = exists ? factor_of<F>(weight[weight_at(strides, g, o, p.transposed ? row : k, matrix % g.taps())]) : F{};
  }
}

// `count` k of Left::kRows rows from `from` on, which is `k`; 0 for what a product's last step reads beyond.
template <class Left, class F>
__device__ __forceinline__ void load_weights(F* left, const F* __restrict__ from, const PackedWeights& p, int k, int count) {
  constexpr unsigned N = Left::kPack, kPacks = (Left::kDepthInside ? Left::kMost : Left::kRows) / N, kLines = kThreads / kPacks;
  const unsigned pack = threadIdx.x % kPacks, line = threadIdx.x / kPacks;
  const int lines = Left::kDepthInside ? Left::kRows : count;
  const int64_t step = p.line;
  from += line * step + pack * N;
  left += Left::kDepthInside ? Left::at(line, pack * N) : Left::at(pack * N, line);
  const int down = Left::kDepthInside ? Left::at(kLines, 0) : Left::at(0, kLines);
  if (Left::kDepthInside && static_cast<int>(pack * N) >= (count + 15) / 16 * 16) return;
  if (!Left::kDepthInside || (k % N == 0 && (count % 16 == 0 || k + count == p.depth))) {
#pragma unroll 4
    for (int n = line; n < lines; n += kLines, left += down, from += kLines * step) store_pack(left, load_pack<F, N>(from));
    return;
  }
#pragma unroll 1
  for (int n = line; n < lines; n += kLines, left += down, from += kLines * step) {
    for (int i = 0; i < static_cast<int>(N); ++i) left[i] = static_cast<int>(pack * N) + i < count ? from[i] : F{};
  }
}

template <class T, class F>
void launch_deform_pack(const T* weight, const Strides& strides, F* packed, const DeformGeometry& g,
                        const PackedWeights& p, cudaStream_t stream) {
  if (p.elements(g) == 0) return;
  VFI_LAUNCH((deform_pack_kernel<T, F>), grid_size(ceil_div(p.elements(g), kThreads)), kThreads, 0, stream, weight,
             strides, packed, g, p);
}

constexpr int kTurnPixels = 64, kTurnChannels = 32;

// A contiguous image made channels_last: neighbouring threads have neighbouring addresses on both sides.
template <class T>
__global__ __launch_bounds__(kThreads) void deform_turn_kernel(const T* __restrict__ from, T* __restrict__ to, DenseShape s) {
  constexpr int kStep = kTurnPixels + (sizeof(T) == 2 ? 2 : 1);
  VFI_DYNAMIC_SHARED(T, shared);
  const unsigned pieces = (s.channels + kTurnChannels - 1) / kTurnChannels;
  const unsigned tiles = static_cast<unsigned>((s.plane + kTurnPixels - 1) / kTurnPixels);
  const int32_t c = static_cast<int32_t>(blockIdx.x % pieces) * kTurnChannels;
  const int64_t first = int64_t{blockIdx.x / pieces % tiles} * kTurnPixels, b = blockIdx.x / pieces / tiles;
  const int channels = min(s.channels - c, kTurnChannels);
  const int pixels = static_cast<int>(min(s.plane - first, int64_t{kTurnPixels}));
  from += b * s.sample + c * s.plane + first;
  to += b * s.sample + first * s.channels + c;
  constexpr int kRows = kThreads / kTurnPixels, kColumns = kThreads / kTurnChannels;
  int n = threadIdx.x % kTurnPixels, m = threadIdx.x / kTurnPixels;
  from += m * s.plane + n;
  T* at = shared + m * kStep + n;
#pragma unroll
  for (int i = 0; i < kTurnChannels / kRows; ++i, from += kRows * s.plane) {
    if (n < pixels && m + i * kRows < channels) at[i * kRows * kStep] = *from;
  }
  __syncthreads();
  m = threadIdx.x % kTurnChannels, n = threadIdx.x / kTurnChannels;
  to += int64_t{n} * s.channels + m;
  at = shared + m * kStep + n;
#pragma unroll
  for (int i = 0; i < kTurnPixels / kColumns; ++i, to += int64_t{kColumns} * s.channels) {
    if (n + i * kColumns < pixels && m < channels) *to = at[i * kColumns];
  }
}

// `shape` is that of `from`.
template <class T>
void launch_deform_turn(const T* from, T* to, const DenseShape& shape, cudaStream_t stream) {
  if (shape.elements() == 0) return;
  const Grid grid(shape.batch * ceil_div(shape.plane, kTurnPixels) * ceil_div(shape.channels, kTurnChannels));
  VFI_LAUNCH((deform_turn_kernel<T>), grid, kThreads, kTurnChannels * (kTurnPixels + 2) * sizeof(T), stream, from, to, shape);
}

}  // namespace vfi::cuda
