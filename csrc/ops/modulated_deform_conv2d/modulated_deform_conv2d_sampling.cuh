// Modulated deformable convolution on CUDA: where the taps of output pixels point, and the columns that are sampled there, for
// the forward kernel and those of the gradients. Formulas: modulated_deform_conv2d.h.
#pragma once

#include "cuda/products.cuh"
#include "sampling/gather.cuh"
#include "ops/modulated_deform_conv2d/modulated_deform_conv2d.h"

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

}  // namespace vfi::cuda
