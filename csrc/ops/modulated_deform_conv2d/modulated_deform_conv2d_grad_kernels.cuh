// The gradients of modulated_deform_conv2d.h for input, offset and mask on CUDA. Nothing as large as the columns is in
// global memory: blocks work G out again where they need it.
//
//   deform_grad_columns_kernel  offset and mask: a block has a tile of pixels, one tap and one offset group, and owns
//                               their sums over channels. It can scatter the input's gradient too, by atomics.
//   deform_grad_ordered_kernel  the input's gradient in a fixed order: a block owns some channels of a band of rows.
//
// Sums of the input's gradient lie as in splatting/scatter.cuh: [B, C / 4, H, W, 4].
#pragma once

#include <algorithm>
#include <numeric>

#include "ops/modulated_deform_conv2d/modulated_deform_conv2d_kernels.cuh"

namespace vfi::cuda {

// Element of channel c at pixel (y, x) among the sums of the input's gradient.
VFI_HOST_DEVICE int64_t input_sum_at(const DeformGeometry& g, int64_t b, int32_t c, int32_t y, int32_t x) {
  return (((b * ((g.C + 3) / 4) + c / 4) * g.H + y) * g.W + x) * 4 + c % 4;
}

template <class F, int M>
struct GradColumns {
  union {
    Factors<F, M> factors;
    Sum<F> g[M * kSumStep];  // G of channel m and pixel n
  };
};

// shared.g = G of `count` channels from `channel` on, all of one group, at the pixels of the tile. The caller has gone
// past a barrier since it last used `shared`; it may read at once.
template <int M, class T, class F>
__device__ __forceinline__ void find_grad_columns(GradColumns<F, M>& shared, const T* __restrict__ grad_out,
                                                  const F* __restrict__ weight, const DeformArgsGpu& a,
                                                  const PackedWeights& packed, const PixelTile& tile, int32_t t,
                                                  int32_t channel, int count) {
  const int32_t group = channel / a.group_in, column = channel - group * a.group_in;
  F *left = shared.factors.left, *right = shared.factors.right;
  Sums<F, M> sums;
  sums.clear();
  for (int32_t o = 0; o < a.group_out; o += kDepth) {
    const int depth = min(a.group_out - o, kDepth);
    const T* from = grad_out + tile.b * a.out.sample + (int64_t{group} * a.group_out + o) * a.out.channel_stride() +
                    tile.first * a.out.pixel_stride();
#pragma unroll 2  // the sums leave few registers
    for (int e = threadIdx.x; e < kDepth * kTile; e += kThreads) {
      const int k = a.out.channels_last ? e % kDepth : e / kTile, n = a.out.channels_last ? e / kDepth : e % kTile;
      F value{};
      if (k < depth && n < tile.count) {
        narrow(widen<Sum<F>>(from[k * a.out.channel_stride() + n * a.out.pixel_stride()]), value);
      }
      right[k * kRightStep<F> + n] = value;
    }
    load_left<M>(left, weight + packed.row(a, group, t, o) + column, packed.row_length, depth,
                 column % (16 / static_cast<int>(sizeof(F))) == 0);
    const int steps = clear_tail<Sums<F, M>::kStep>(left, kLeftStep<F, M>, depth);
    __syncthreads();
    sums.multiply_add(left, right, steps, count);
    __syncthreads();
  }
  sums.store(shared.g);
  __syncthreads();
}

// What the sums of a thread over its channels are about.
template <class A>
struct TapGradient {
  A mask = A(0), x = A(0), y = A(0);
};

struct GradColumnsTo {
  MutableView offset, mask;  // data is null where it is not needed
  void* input_sums;          // the same
};

// Adds m w_k G of four channels (`count` of them exist) to corner k at (y, x).
template <class A>
__device__ __forceinline__ void add_input_gradient(A* sums, const DeformGeometry& g, int64_t b, int32_t c, int count,
                                                   int32_t y, int32_t x, const A (&v)[4]) {
  if (c % 4 == 0 && count >= 4) return atomic_add4(sums + input_sum_at(g, b, c, y, x), v);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (i < count) atomicAdd(sums + input_sum_at(g, b, c + i, y, x), v[i]);
  }
}

constexpr int kPixelLanes = kThreads / kTile;  // threads of a pixel

template <class F, int M>
struct GradColumnsShared {
  GradColumns<F, M> columns;
  Tap<Sum<F>> taps[kTile];  // not in registers, which the product needs
  Sum<F> lanes[kPixelLanes][3][kTile];
};

// Sums over the lanes of a pixel, in their order; lane 0 gets them.
template <class A>
__device__ __forceinline__ void sum_lanes(A (&shared)[kPixelLanes][3][kTile], TapGradient<A>& sum, int lane,
                                          int pixel) {
  shared[lane][0][pixel] = sum.mask;
  shared[lane][1][pixel] = sum.y;
  shared[lane][2][pixel] = sum.x;
  __syncthreads();
  if (lane != 0) return;
#pragma unroll
  for (int i = 1; i < kPixelLanes; ++i) {
    sum.mask += shared[i][0][pixel];
    sum.y += shared[i][1][pixel];
    sum.x += shared[i][2][pixel];
  }
}

// What four channels of a pixel at `from` (`count` of them exist) add to the gradients of its mask and offset. `grad` is
// their G. N: channels that are loaded at once, 1 or 4.
template <int N, class T, class A>
__device__ __forceinline__ void add_values(const T* from, const A* grad, int count, const DenseShape& in, A mask,
                                           const Corners<A>& c, const CornerSlopes<A>& slopes, TapGradient<A>& sum) {
#pragma unroll 1
  for (int i = 0; i < 4 && i < count; i += N) {
    Pack<T, N> v[4];
    load_corners(from + i * in.channel_stride(), in, slopes.reads, v);
#pragma unroll
    for (int n = 0; n < N; ++n) {
      const A g_n = grad[(i + n) * kSumStep];
      sum.mask += g_n * interpolate(c, v, n);
      add_slopes(slopes, v, n, mask * g_n, sum.x, sum.y);
    }
  }
}

// Adds what the four channels from c on give to the gradient of the input.
template <class A>
__device__ __forceinline__ void scatter_values(A* sums, const A* grad, int count, const DeformGeometry& g, int64_t b,
                                               int32_t c, const Tap<A>& tap, const Corners<A>& at) {
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    if (!at.used[k]) continue;
    const A factor = tap.mask * at.weight[k];
    A v[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) v[i] = factor * grad[i * kSumStep];
    add_input_gradient(sums, g, b, c, count, tap.y.at + (k >> 1), tap.x.at + (k & 1), v);
  }
}

template <class T, class F, int N, int M>
__global__ __launch_bounds__(kThreads, 2) void deform_grad_columns_kernel(const T* __restrict__ grad_out,
                                                                          const T* __restrict__ input,
                                                                          const F* __restrict__ weight, DeformArgsGpu a,
                                                                          PackedWeights packed, GradColumnsTo to) {
  using A = Sum<F>;
  using Shared = GradColumnsShared<F, M>;
  VFI_DYNAMIC_SHARED(Shared, shared);
  const DeformGeometry& g = a.g;
  const unsigned taps = static_cast<unsigned>(a.taps), groups = static_cast<unsigned>(g.offset_groups);
  const int32_t t = static_cast<int32_t>(blockIdx.x % taps);
  const int32_t q = static_cast<int32_t>(blockIdx.x / taps % groups);
  const PixelTile tile = pixel_tile(g, blockIdx.x / taps / groups, static_cast<unsigned>(a.tiles(kTile)), kTile);
  const int pixel = threadIdx.x % kTile, lane = threadIdx.x / kTile;
  if (lane == 0) shared->taps[pixel] = tap_at<A>(a, tile, pixel, q, t);
  const bool values = to.offset.data != nullptr || to.mask.data != nullptr;
  TapGradient<A> sum;
  const int32_t end = (q + 1) * a.offset_channels;
  for (int32_t first = q * a.offset_channels; first < end;) {
    const int32_t group_end = (first / a.group_in + 1) * a.group_in;
    const int count = min(min(group_end, end) - first, M);
    find_grad_columns<M>(shared->columns, grad_out, weight, a, packed, tile, t, first, count);
    const Tap<A> tap = shared->taps[pixel];
    const Corners<A> c = corners(tap.x, tap.y);
    const CornerSlopes<A> slopes = corner_slopes(tap.x, tap.y);
    const T* from = input + tile.b * a.in.sample + tap.y.at * a.in.row_stride() + tap.x.at * a.in.pixel_stride();
    for (int m = 4 * lane; tap.reads && m < count; m += 4 * kPixelLanes) {
      const A* grad = shared->columns.g + m * kSumStep + pixel;
      const T* const channels = from + (first + m) * a.in.channel_stride();
      if (values) add_values<N>(channels, grad, count - m, a.in, tap.mask, c, slopes, sum);
      if (to.input_sums == nullptr) continue;
      scatter_values(static_cast<A*>(to.input_sums), grad, count - m, g, tile.b, first + m, tap, c);
    }
    first += count;
    __syncthreads();
  }
  if (!values) return;
  sum_lanes(shared->lanes, sum, lane, pixel);
  if (lane != 0 || pixel >= tile.count) return;
  int32_t i, j;
  pixel_of(g, tile, pixel, i, j);
  const int64_t channel = int64_t{q} * a.taps + t;
  const bool still = g.mmcv_edge && shared->taps[pixel].on_edge;
  if (to.mask.data != nullptr) store(to.mask, tile.b, channel, i, j, sum.mask);
  if (to.offset.data != nullptr) {
    store(to.offset, tile.b, 2 * channel, i, j, still ? A(0) : sum.y);
    store(to.offset, tile.b, 2 * channel + 1, i, j, still ? A(0) : sum.x);
  }
}

// Channels that share group and offset group, cut into pieces; rows cut into bands.
struct OrderedParts {
  int32_t segment, segments, pieces;  // channels of a segment, their number, pieces of each
  int32_t bands, band;                // their number, and rows of each
};

template <class F, int M>
struct OrderedShared {
  GradColumns<F, M> columns;
  DeformPositions<Sum<F>, kTile> positions;
  unsigned lands[kTile / 32];
};

template <class T, class F, int M>
__global__ __launch_bounds__(kThreads, 2) void deform_grad_ordered_kernel(const T* __restrict__ grad_out,
                                                                          const F* __restrict__ weight, DeformArgsGpu a,
                                                                          PackedWeights packed, OrderedParts parts,
                                                                          Sum<F>* __restrict__ input_sums) {
  using A = Sum<F>;
  using Shared = OrderedShared<F, M>;
  constexpr int kLayers = kThreads / M;  // of threads: a thread has one channel and every kLayers-th row
  VFI_DYNAMIC_SHARED(Shared, shared);
  const DeformGeometry& g = a.g;
  const int32_t index = static_cast<int32_t>(blockIdx.x) / parts.bands;
  const int32_t low = static_cast<int32_t>(blockIdx.x) % parts.bands * parts.band, high = min(low + parts.band, g.H);
  const int32_t piece = index % parts.pieces, segment = index / parts.pieces % parts.segments;
  const int32_t first = segment * parts.segment + piece * M, q = first / a.offset_channels;
  const int count = min(parts.segment - piece * M, M), m = threadIdx.x % M, layer = threadIdx.x / M;
  const unsigned tiles = static_cast<unsigned>(a.tiles(kTile)), b = index / parts.pieces / parts.segments;
  for (int32_t t = 0; t < a.taps; ++t) {
    for (unsigned n = 0; n < tiles; ++n) {
      const PixelTile tile = pixel_tile(g, b * tiles + n, tiles, kTile);
      find_positions(shared->positions, a, tile, t, q, 1);
      __syncthreads();
      const int pixel = threadIdx.x % kTile;
      const int32_t y = shared->positions.y[0][pixel];
      const unsigned reads = shared->positions.used[0][pixel];
      const bool here = ((reads & 3) && y >= low && y < high) || ((reads & 12) && y + 1 >= low && y + 1 < high);
      const unsigned lands = __ballot_sync(kFullWarp, here);
      if (threadIdx.x < kTile && threadIdx.x % 32 == 0) shared->lands[threadIdx.x / 32] = lands;
      __syncthreads();
      if ((shared->lands[0] | shared->lands[1]) != 0) {  // the same for all threads
        find_grad_columns<M>(shared->columns, grad_out, weight, a, packed, tile, t, first, count);
        for (int p = 0; p < kTile && m < count; ++p) {
          if (!(shared->lands[p / 32] >> p % 32 & 1)) continue;
          const A grad = shared->positions.mask[0][p] * shared->columns.g[m * kSumStep + p];
          for (int k = 0; k < 4; ++k) {
            const int32_t row = shared->positions.y[0][p] + (k >> 1), x = shared->positions.x[0][p] + (k & 1);
            const bool used = shared->positions.used[0][p] >> k & 1;
            if (!used || row < low || row >= high || row % kLayers != layer) continue;
            input_sums[input_sum_at(g, b, first + m, row, x)] += shared->positions.weight[0][k][p] * grad;
          }
        }
      }
      __syncthreads();
    }
  }
}

// The widest piece of G that a block can need.
inline int64_t widest_piece(const DeformGeometry& g) { return std::min(g.group_in(), g.offset_group_channels()); }

template <class T, class F>
void launch_deform_grad_columns(const T* grad_out, const T* input, const F* weight, const DeformArgsGpu& a,
                                const GradColumnsTo& to, cudaStream_t stream) {
  const int64_t blocks = a.g.B * a.tiles(kTile) * a.g.offset_groups * a.g.taps();
  if (blocks == 0) return;
  with_rows<F>(widest_piece(a.g), [&](auto m) {
    with_pack<4, F>(a, input, [&](auto n) {
      constexpr int M = decltype(m)::value, N = decltype(n)::value;
      constexpr size_t kBytes = shared_bytes<GradColumnsShared<F, M>>();
      VFI_LAUNCH((deform_grad_columns_kernel<T, F, N, M>), Grid(blocks), kThreads, kBytes, stream, grad_out,
                 input, weight, a, packed_weights(a.g, true), to);
    });
  });
}

template <class T, class F>
void launch_deform_grad_ordered(const T* grad_out, const F* weight, const DeformArgsGpu& a, Sum<F>* input_sums,
                                cudaStream_t stream) {
  constexpr int M = 32;
  constexpr int64_t kEnoughBlocks = 1024, kFewestRows = 8;
  const int64_t segment = std::gcd(a.g.group_in(), a.g.offset_group_channels());
  if (a.g.B * a.tiles(kTile) * segment * a.g.H * a.g.W == 0) return;
  OrderedParts parts{static_cast<int32_t>(segment), static_cast<int32_t>(a.g.C / segment),
                     static_cast<int32_t>(ceil_div(segment, M)), 0, 0};
  const int64_t blocks = a.g.B * parts.segments * parts.pieces;
  const int64_t bands = std::clamp<int64_t>(kEnoughBlocks / blocks, 1, ceil_div(a.g.H, kFewestRows));
  parts.band = static_cast<int32_t>(ceil_div(a.g.H, bands));
  parts.bands = static_cast<int32_t>(ceil_div(a.g.H, parts.band));
  constexpr size_t kBytes = shared_bytes<OrderedShared<F, M>>();
  VFI_LAUNCH((deform_grad_ordered_kernel<T, F, M>), Grid(blocks * parts.bands), kThreads, kBytes, stream,
             grad_out, weight, a, packed_weights(a.g, true), parts, input_sums);
}

}  // namespace vfi::cuda
