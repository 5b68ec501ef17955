// Modulated deformable convolution on CUDA: sampling, and the forward kernel. Formulas: modulated_deform_conv2d.h.
//
// A block has kTile output pixels and M output channels of one group. It goes through the taps and, kDepth at a time,
// the input channels of the group: it samples that piece of the columns into shared memory, loads the same piece of the
// weights, and multiplies. Columns never go to global memory. Where a tap points is worked out once for all channels
// that share an offset. Channels of a piece may lie in up to kSlots offset groups.
#pragma once

#include "cuda/epilogue.cuh"
#include "cuda/products.cuh"
#include "sampling/gather.cuh"

namespace vfi::cuda {

constexpr int kSlots = 5;

struct DeformArgsGpu {
  DeformGeometry g;
  DenseShape in, out;  // of the input, and of the output or its gradient
  ConstView offset, mask;  // mask.data is null where there is none
  // Those of g, worked out once: a device divides slowly.
  int32_t taps, group_in, group_out, offset_channels;

  VFI_HOST_DEVICE int64_t tiles(int pixels) const { return (g.pixels() + pixels - 1) / pixels; }  // of one sample
};

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

// Some neighbouring output pixels of one sample, in row-major order.
struct PixelTile {
  int64_t b, first;
  int32_t row, column, count;
};

__device__ __forceinline__ PixelTile pixel_tile(const DeformGeometry& g, unsigned index, unsigned tiles, int pixels) {
  const int64_t b = index / tiles, first = int64_t{index % tiles} * pixels, left = g.pixels() - first;
  const int64_t row = first / g.out_W;
  return {b, first, static_cast<int32_t>(row), static_cast<int32_t>(first - row * g.out_W),
          static_cast<int32_t>(left < pixels ? left : pixels)};
}

__device__ __forceinline__ void pixel_of(const DeformGeometry& g, const PixelTile& tile, int pixel, int32_t& i,
                                         int32_t& j) {
  const int32_t column = tile.column + pixel;
  i = tile.row + column / g.out_W;
  j = column % g.out_W;
}

// Where one tap of an output pixel points.
template <class A>
struct Tap {
  Axis<A> x, y;
  A mask;        // 0 where no corner is inside, whatever the mask holds
  bool reads;    // some corner is inside
  bool on_edge;  // a coordinate is exactly -1
};

template <class A>
__device__ __forceinline__ Tap<A> tap_at(const DeformArgsGpu& a, const PixelTile& tile, int pixel, int32_t q,
                                         int32_t t) {
  Tap<A> tap{};
  if (pixel >= tile.count) return tap;
  int32_t i, j;
  pixel_of(a.g, tile, pixel, i, j);
  const int64_t channel = int64_t{q} * a.taps + t;
  const int32_t u = t / a.g.KW, y = a.g.start_y(i, u), x = a.g.start_x(j, t - u * a.g.KW);
  A move[2], mask[1] = {A(1)};
  load(a.offset, tile.b, 2 * channel, i, j, move);
  if (a.mask.data != nullptr) load(a.mask, tile.b, channel, i, j, mask);
  tap.y = zeros_axis(move[0], y, a.g.H);
  tap.x = zeros_axis(move[1], x, a.g.W);
  tap.reads = (tap.x.in0 || tap.x.in1) && (tap.y.in0 || tap.y.in1);
  tap.mask = tap.reads ? mask[0] : A(0);
  tap.on_edge = (tap.y.at == -1 && tap.y.l == A(0)) || (tap.x.at == -1 && tap.x.l == A(0));
  return tap;
}

// Where the pixels of a tile point, for one tap and several offset groups, in shared memory.
template <class A, int kPixels>
struct DeformPositions {
  int32_t y[kSlots][kPixels], x[kSlots][kPixels];
  A weight[kSlots][4][kPixels], mask[kSlots][kPixels];
  unsigned char used[kSlots][kPixels];  // a bit for every corner
};

template <class A, int kPixels>
__device__ __forceinline__ void find_positions(DeformPositions<A, kPixels>& to, const DeformArgsGpu& a,
                                               const PixelTile& tile, int32_t t, int32_t q, int slots) {
  for (int e = threadIdx.x; e < slots * kPixels; e += kThreads) {
    const int slot = e / kPixels, pixel = e % kPixels;
    const Tap<A> tap = tap_at<A>(a, tile, pixel, q + slot, t);
    const Corners<A> c = corners(tap.x, tap.y);
    unsigned used = 0;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      to.weight[slot][k][pixel] = c.weight[k];
      used |= static_cast<unsigned>(c.used[k]) << k;
    }
    to.y[slot][pixel] = tap.y.at;
    to.x[slot][pixel] = tap.x.at;
    to.mask[slot][pixel] = tap.mask;
    to.used[slot][pixel] = static_cast<unsigned char>(used);
  }
}

// The offset groups and the tap that a block has the positions of.
struct Held {
  int32_t q = -1, t = -1;
  int slots = 0;

  __device__ __forceinline__ bool replace(int32_t first, int count, int32_t tap) {
    const bool same = first == q && count <= slots && tap == t;
    if (!same) {
      q = first;
      t = tap;
      slots = count;
    }
    return !same;
  }
};

// Position of a pixel for one thread.
template <class A>
struct Spot {
  int64_t at;  // element of corner 0 in channel 0 of the sample
  Corners<A> corners;
  A mask;
};

template <class A, int kPixels>
__device__ __forceinline__ Spot<A> spot(const DeformPositions<A, kPixels>& p, const DenseShape& in, int slot,
                                        int pixel) {
  Spot<A> s;
  s.at = p.y[slot][pixel] * in.row_stride() + p.x[slot][pixel] * in.pixel_stride();
  s.mask = p.mask[slot][pixel];
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    s.corners.weight[k] = p.weight[slot][k][pixel];
    s.corners.used[k] = p.used[slot][pixel] >> k & 1;
  }
  return s;
}

// columns[(c - first) * kChannelStep + pixel * kPixelStep] = the element of channel c, rounded to F, for `count`
// channels from `first` on; slot 0 of the positions is offset group q. N neighbouring channels are loaded at once.
template <int N, int kChannelStep, int kPixelStep, class T, class F, class A, int kPixels>
__device__ __forceinline__ void sample(const T* __restrict__ input, const DeformArgsGpu& a,
                                       const DeformPositions<A, kPixels>& positions, int32_t q, int32_t first,
                                       int count, F* columns) {
  constexpr int kLanes = kThreads / kPixels;
  [[maybe_unused]] constexpr int kUnroll = N > 1 ? 1 : 2;
  const int thread = threadIdx.x;
  // Neighbouring threads have neighbouring addresses.
  const int lane = N > 1 ? thread % kLanes : thread / kPixels, pixel = N > 1 ? thread / kLanes : thread % kPixels;
  const int64_t step = a.in.channel_stride();
  const T* from = input + first * step;
  int slot = 0, end = (q + 1) * a.offset_channels - first;  // of the channels that the position serves
  Spot<A> at = spot(positions, a.in, 0, pixel);
#pragma unroll kUnroll
  for (int c = lane * N; c < count; c += kLanes * N) {
    if (c >= end) {
      do {
        ++slot;
        end += a.offset_channels;
      } while (c >= end);
      at = spot(positions, a.in, slot, pixel);
    }
    Pack<T, N> v[4];
    load_corners(from + c * step + at.at, a.in, at.corners.used, v);
#pragma unroll
    for (int n = 0; n < N; ++n) {
      narrow(at.mask * interpolate(at.corners, v, n), columns[(c + n) * kChannelStep + pixel * kPixelStep]);
    }
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

// Channels of a piece of the columns: at most `most`, in at most kSlots offset groups wherever it starts.
inline int piece_of(const DeformGeometry& g, int most) {
  const int64_t fits = (kSlots - 1) * g.offset_group_channels();
  return static_cast<int>(fits > 0 && fits < most ? fits : most);
}

// Whether N neighbouring channels can be loaded at once.
inline bool packs(const DeformArgsGpu& a, const void* input, int n) {
  return a.in.channels_last && a.g.group_in() % n == 0 && a.g.offset_group_channels() % n == 0 &&
         reinterpret_cast<uintptr_t>(input) % 16 == 0;
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
