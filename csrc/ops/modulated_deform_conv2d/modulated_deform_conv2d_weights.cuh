// Modulated deformable convolution on CUDA: the weights in the order in which blocks read them, and images made
// channels_last.
#pragma once

#include <optional>

#include "cuda/lines.cuh"
#include "ops/modulated_deform_conv2d/modulated_deform_conv2d_places.cuh"

namespace vfi::cuda {

// For every group and tap, a matrix: k is the input channel and a row has an output channel of the group, or, `transposed`,
// the other way round. Lines along k where tensor cores load such factors, else along the rows. Zeros follow the last k up to
// a multiple of 16, and, `padded`, the last row: a block of 128 rows from any place is inside.
struct PackedWeights {
  int64_t depth, rows, lines, line;  // numbers of k and rows; those of lines, and the length of one
  bool transposed, depth_inside;

  VFI_HOST_DEVICE int64_t at(int64_t matrix, int64_t row, int64_t k) const {
    return (matrix * lines + (depth_inside ? row : k)) * line + (depth_inside ? k : row);
  }
  VFI_HOST_DEVICE int64_t elements(const DeformGeometry& g) const { return g.groups * g.taps() * lines * line; }
};

template <class F>
PackedWeights packed_weights(const DeformGeometry& g, bool transposed, bool padded = true) {
  constexpr int64_t kMostRows = 128, kAlign = 16;
  const int64_t in = g.group_in(), out = g.group_out(), rows = transposed ? in : out, depth = transposed ? out : in;
  const int64_t all = padded ? ceil_div(rows + kMostRows, kAlign) * kAlign : rows;
  if (kTensorCores<F>) return {depth, rows, all, ceil_div(depth, kAlign) * kAlign, transposed, true};
  return {depth, rows, depth, all, transposed, false};
}

// Element (output channel, input channel in its group, tap) of the weight or its gradient.
VFI_HOST_DEVICE int64_t weight_at(const Strides& s, const DeformGeometry& g, int64_t o, int64_t c, int64_t tap) {
  return s.offset(o, c, static_cast<int32_t>(tap / g.KW), static_cast<int32_t>(tap % g.KW));
}

// A thread packs 16 bytes of a line.
template <class T, class F>
__global__ __launch_bounds__(kThreads) void deform_pack_kernel(const T* __restrict__ weight, Strides strides,
                                                               F* __restrict__ packed, DeformGeometry g,
                                                               PackedWeights p) {
  constexpr uint32_t N = 16 / static_cast<uint32_t>(sizeof(F));
  const uint32_t line = static_cast<uint32_t>(p.line / N), lines = static_cast<uint32_t>(p.lines);
  const uint32_t taps = static_cast<uint32_t>(g.taps()), count = static_cast<uint32_t>(p.elements(g) / N);
  const int64_t k_step = p.transposed ? strides.batch : strides.channel;
  const int64_t row_step = p.transposed ? strides.channel : strides.batch;
  const int64_t inner_step = p.depth_inside ? k_step : row_step, outer_step = p.depth_inside ? row_step : k_step;
  const uint32_t inner_end = static_cast<uint32_t>(p.depth_inside ? p.depth : p.rows);
  const uint32_t outer_end = static_cast<uint32_t>(p.depth_inside ? p.rows : p.depth);
  for (uint32_t i = blockIdx.x * kThreads + threadIdx.x; i < count; i += gridDim.x * kThreads) {
    const uint32_t at = i / line, inner = (i - at * line) * N, matrix = at / lines, outer = at - matrix * lines;
    const uint32_t group = matrix / taps, tap = matrix - group * taps;
    const T* from = weight + weight_at(strides, g, group * g.group_out(), 0, tap) + inner * inner_step + outer * outer_step;
    Pack<F, N> values{};
    if (outer < outer_end) {
#pragma unroll
      for (uint32_t n = 0; n < N; ++n, from += inner_step) {
        if (inner + n < inner_end) values.at[n] = factor_of<F>(*from);
      }
    }
    store_pack(packed + int64_t{i} * N, values);
  }
}

// Weights as lines of input channels: elements from one group, output channel or tap to the next.
struct WeightLines {
  int64_t group, row, tap;
};

inline WeightLines lines_of(const PackedWeights& p, const DeformGeometry& g) {
  return {g.taps() * p.lines * p.line, p.line, p.lines * p.line};
}

// Those of weights that are channels_last already and of the type of the factors.
inline std::optional<WeightLines> lines_in_place(const DeformGeometry& g, const Strides& s, const void* weight) {
  const int64_t tap = g.KW > 1 ? s.column : s.row;
  const bool even = g.KW == 1 || g.KH == 1 || s.row == g.KW * s.column;
  const bool aligned = reinterpret_cast<uintptr_t>(weight) % 16 == 0 && s.batch % 8 == 0 && tap % 8 == 0;
  if (s.channel != 1 || !even || !aligned) return {};
  return WeightLines{g.group_out() * s.batch, s.batch, tap};
}

// Weights of a tap and some input channels, copied to shared memory as HeldRows wants them: kPieces times 64 bytes of channels
// for M output channels, of which `rows` exist.
template <class F, int M, int kPieces>
class WeightCopies {
  static constexpr int kPack = 16 / static_cast<int>(sizeof(F)), kPacks = 4 * kPieces, kLines = kThreads / kPacks;
  static constexpr int kLineBytes = 64;
  static_assert(kLines % kRowColumns == 0);

 public:
  static constexpr int kChannels = kPacks * kPack;
  // The padding keeps the pieces of a line in different banks.
  static constexpr int kPieceBytes = M * kLineBytes + kLineBytes, kBytes = kPieces * kPieceBytes;

  // Begins to copy those of channels c ... of tap t; `weight` is the first line of tap 0. wait_for_copies<0>() and a barrier
  // wait for it.
  static __device__ __forceinline__ void begin(unsigned char* shared, const F* __restrict__ weight, const DeformArgsGpu& a,
                                               const WeightLines& lines, int32_t rows, int32_t t, int32_t c) {
    if (t >= a.taps) return;
    const int32_t pack = threadIdx.x % kPacks, line = threadIdx.x / kPacks, channel = c + pack * kPack;
    const F* const from = weight + t * lines.tap + line * lines.row + channel;
    const unsigned of_part = threadIdx.x / kPacks % kRowColumns;
    const int32_t place = line - static_cast<int32_t>(of_part) + row_line(static_cast<int32_t>(of_part));
    unsigned char* const to = shared + pack / 4 * kPieceBytes + pack % 4 * 16 + place * kLineBytes;
#pragma unroll
    for (int n = 0; n < M; n += kLines) {
      const bool exists = n + line < rows && channel < a.group_in;
      copy_async<16>(to + n * kLineBytes, exists ? from + n * lines.row : weight, exists ? 16 : 0);
    }
    end_copies();
  }
};

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
  if constexpr (Left::kDepthInside) {
    if (static_cast<int>(pack * N) >= (count + 15) / 16 * 16) return;
    if (k % N != 0 || (count % 16 != 0 && k + count != p.depth)) {
#pragma unroll 1
      for (int n = line; n < lines; n += kLines, left += down, from += kLines * step) {
        for (int i = 0; i < static_cast<int>(N); ++i) left[i] = static_cast<int>(pack * N) + i < count ? from[i] : F{};
      }
      return;
    }
  }
#pragma unroll 4
  for (int n = line; n < lines; n += kLines, left += down, from += kLines * step) store_pack(left, load_pack<F, N>(from));
}

template <class T, class F>
void launch_deform_pack(const T* weight, const Strides& strides, F* packed, const DeformGeometry& g,
                        const PackedWeights& p, cudaStream_t stream) {
  if (p.elements(g) == 0) return;
  const int64_t packs = p.elements(g) * static_cast<int64_t>(sizeof(F)) / 16;
  VFI_LAUNCH((deform_pack_kernel<T, F>), grid_size(ceil_div(packs, kThreads)), kThreads, 0, stream, weight, strides, packed, g,
             p);
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
