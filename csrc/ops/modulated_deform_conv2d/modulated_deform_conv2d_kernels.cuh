// Modulated deformable convolution on CUDA: the forward kernel. Formulas: modulated_deform_conv2d.h.
//
// A block has kTile output pixels and M output channels of one group. It goes through the taps and, kDepth at a time,
// the input channels of the group: it samples that piece of the columns into shared memory, loads the same piece of the
// weights, and multiplies. Columns never go to global memory. Where a tap points is worked out once for all channels
// that share an offset. Channels of a piece may lie in up to kSlots offset groups.
#pragma once

#include "cuda/epilogue.cuh"
#include "ops/modulated_deform_conv2d/modulated_deform_conv2d_sampling.cuh"

namespace vfi::cuda {

// Weights in the order in which blocks read them, [group][tap][k][row_length], zeros at the end of a row: M elements
// from any place are inside. k is the input channel and a row has the output channels of the group, or, `transposed`,
// the other way round.
struct PackedWeights {
  int64_t depth, columns, row_length;
  bool transposed;

  VFI_HOST_DEVICE int64_t row(const DeformArgsGpu& a, int64_t group, int32_t tap, int32_t k) const {
    return ((group * a.taps + tap) * depth + k) * row_length;
  }
  VFI_HOST_DEVICE int64_t elements(const DeformGeometry& g) const { return g.groups * g.taps() * depth * row_length; }
};

inline PackedWeights packed_weights(const DeformGeometry& g, bool transposed) {
  constexpr int64_t kMostRows = 128, kAlign = 16;
  const int64_t in = g.group_in(), out = g.group_out(), columns = transposed ? in : out;
  return {transposed ? out : in, columns, ceil_div(columns + kMostRows, kAlign) * kAlign, transposed};
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
    const int64_t m = i % p.row_length, k = i / p.row_length % p.depth, tap = i / (p.row_length * p.depth) % g.taps();
    const int64_t o = i / (p.row_length * p.depth * g.taps()) * g.group_out() + (p.transposed ? k : m);
    F value{};
    if (m < p.columns) {
      narrow(widen<Sum<F>>(weight[weight_at(strides, g, o, p.transposed ? m : k, tap)]), value);
    }
    packed[i] = value;
  }
}

template <class F, int M>
struct ForwardShared {
  union {
    Factors<F, M> factors;
    Sum<F> sums[M * kSumStep];
  };
  DeformPositions<Sum<F>, kTile> positions;
};

template <class T, class F, int N, int M>
__global__ __launch_bounds__(kThreads, M == 32 && sizeof(F) < 8 ? 3 : 2) void deform_kernel(
    const T* __restrict__ input, const F* __restrict__ weight, T* __restrict__ out, DeformArgsGpu a,
    PackedWeights packed, int step, Epilogue epilogue) {
  using A = Sum<F>;
  using Shared = ForwardShared<F, M>;
  VFI_DYNAMIC_SHARED(Shared, shared);
  const DeformGeometry& g = a.g;
  const unsigned parts = (a.group_out + M - 1) / M, groups = static_cast<unsigned>(g.groups);
  const int32_t first_out = static_cast<int32_t>(blockIdx.x % parts) * M;
  const int32_t group = static_cast<int32_t>(blockIdx.x / parts % groups), rows = min(a.group_out - first_out, M);
  const PixelTile tile = pixel_tile(g, blockIdx.x / parts / groups, static_cast<unsigned>(a.tiles(kTile)), kTile);
  input += tile.b * a.in.sample;
  Sums<F, M> sums;
  sums.clear();
  Held held;
  for (int32_t t = 0; t < a.taps; ++t) {
    for (int32_t c = 0; c < a.group_in; c += step) {
      const int count = min(a.group_in - c, step);
      const int32_t first = group * a.group_in + c, q = first / a.offset_channels;
      const int slots = (first + count - 1) / a.offset_channels - q + 1;
      if (held.replace(q, slots, t)) {
        find_positions(shared->positions, a, tile, t, q, slots);
        __syncthreads();
      }
      F *left = shared->factors.left, *right = shared->factors.right;
      load_left<M>(left, weight + packed.row(a, group, t, c) + first_out, packed.row_length, count, true);
      sample<N, kRightStep<F>, 1>(input, a, shared->positions, q, first, count, right);
      clear_tail<Sums<F, M>::kStep>(left, kLeftStep<F, M>, count);
      const int depth = clear_tail<Sums<F, M>::kStep>(right, kRightStep<F>, count);
      __syncthreads();
      sums.multiply_add(left, right, depth, rows);
      __syncthreads();
    }
  }
  sums.store(shared->sums);
  __syncthreads();
  const int64_t o = int64_t{group} * a.group_out + first_out;
  out += tile.b * a.out.sample + o * a.out.channel_stride() + tile.first * a.out.pixel_stride();
  for (int e = threadIdx.x; e < M * kTile; e += kThreads) {
    const int m = a.out.channels_last ? e % M : e / kTile, n = a.out.channels_last ? e / M : e % kTile;
    if (m >= rows || n >= tile.count) continue;
    const A value = finish<T>(epilogue, o + m, shared->sums[m * kSumStep + n]);
    narrow(value, out[m * a.out.channel_stride() + n * a.out.pixel_stride()]);
  }
}

// Calls run(std::integral_constant<int, M>()): blocks of 32 rows for small groups, else of 128. float64 has 32.
template <class F, class Run>
void with_rows(int64_t rows, Run&& run) {
  if constexpr (!std::is_same_v<F, double>) {
    if (rows > 32) return run(std::integral_constant<int, 128>());
  }
  run(std::integral_constant<int, 32>());
}

// Calls run(std::integral_constant<int, N>()): N channels at once, or one.
template <int kMost, class F, class Run>
void with_pack(const DeformArgsGpu& a, const void* input, Run&& run) {
  if constexpr (!std::is_same_v<F, double>) {
    if (packs(a, input, kMost)) return run(std::integral_constant<int, kMost>());
  }
  run(std::integral_constant<int, 1>());
}

template <class T, class F>
void launch_deform_pack(const T* weight, const Strides& strides, F* packed, const DeformGeometry& g,
                        const PackedWeights& p, cudaStream_t stream) {
  if (p.elements(g) == 0) return;
  VFI_LAUNCH((deform_pack_kernel<T, F>), grid_size(ceil_div(p.elements(g), kThreads)), kThreads, 0, stream, weight,
             strides, packed, g, p);
}

template <class T, class F>
void launch_deform(const T* input, const F* weight, T* out, const DeformArgsGpu& a, const Epilogue& epilogue,
                   cudaStream_t stream) {
  if (a.out.elements() == 0) return;
  with_rows<F>(a.g.group_out(), [&](auto m) {
    with_pack<16 / static_cast<int>(sizeof(T)), F>(a, input, [&](auto n) {
      constexpr int M = decltype(m)::value, N = decltype(n)::value;
      const int64_t blocks = a.g.B * a.tiles(kTile) * a.g.groups * ceil_div(a.g.group_out(), M);
      constexpr size_t kBytes = shared_bytes<ForwardShared<F, M>>();
      VFI_LAUNCH((deform_kernel<T, F, N, M>), Grid(blocks), kThreads, kBytes, stream, input, weight, out, a,
                 packed_weights(a.g, false), piece_of(a.g, kDepth), epilogue);
    });
  });
}

}  // namespace vfi::cuda
