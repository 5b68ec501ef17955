// The gradients of local correlation of half-precision maps on tensor cores, where neighbouring points and displacements are
// neighbouring pixels; see correlation_banded_kernels.cuh.
//
// Of a strip of 8 owners and the row of 16 pixels of the other map that they meet within 9 displacements, grad_out is a band
// along the diagonal of [16][8], zeros beside it: the other map's [channels][16] times it is what the row gives. A block goes
// through the rows of displacements: the next row of the other map is on its way to shared memory, a ring of rows, and the
// next displacements' grad_out to registers. A warp has kWarpRows rows of owners.
//
// Beside the band 0 meets pixels that an owner has nothing to do with, and 0 times infinity is NaN: a sum that is not finite
// is taken again by itself.
#pragma once

#include "ops/correlation/correlation_banded_kernels.cuh"
#include "ops/correlation/correlation_grad_kernels.cuh"

namespace vfi::cuda {

constexpr int kGradChannels = 64;         // of a block
constexpr int kRing = kBandRows + 1;      // rows of the other map
constexpr int kRingRow = kGradChannels * kBandWindow;  // elements of one: [channel][pixel]
constexpr int kBandLine = 24;             // from owner to owner of a band: 8 of them meet all banks once
constexpr int kBand = kStrip * kBandLine + 8;  // elements of one strip's band
constexpr int kBands = kBandRows * kBandColumns / kStrip;
constexpr int kGradThreads = kBandRows * kBandColumns;  // one for each owner's grad_out
constexpr int kWarpRows = kBandRows * 32 / kGradThreads;  // of owners

// Where the grad_out of a thread's owner is, as displacements of the window go by, and where it goes in a band.
struct BandSource {
  int64_t at, step, row_step;  // elements: of the first displacement, to the next one along x, along y
  unsigned exist;              // bit k: the pixel of displacement k exists
  int to;
};

inline __device__ BandSource band_source(const CorrelationArgsGpu& a, const TilePlace& at, int32_t lowest,
                                                  const BandWindow& window) {
  const int line = threadIdx.x / kBandColumns, column = threadIdx.x % kBandColumns;
  const int32_t x = at.x + column, y = at.y + line, first = x + window.left;  // pixel of displacement 0 of the window
  const int64_t outputs = a.outputs(), row = a.h.outputs;
  BandSource s;
  // Displacement k of the window is number n of all along x; in the other's view it goes the other way.
  const int32_t n = -window.skip;
  if (a.mirrored) {
    s.at = ((int64_t{a.v.count} - 1) * a.h.count + a.h.count - 1 - n) * outputs + (int64_t{y} + lowest + a.v.padding) * row +
           first + a.h.padding;
    s.step = 1 - outputs, s.row_step = row - a.h.count * outputs;
  } else {
    s.at = n * outputs + (int64_t{y} + a.v.padding) * row + x + a.h.padding;
    s.step = outputs, s.row_step = a.h.count * outputs;
  }
  int32_t low = max(window.low, -first), high = min(window.high, a.h.size - first);
  if (x >= a.h.size || y >= a.v.size) high = 0;
  s.exist = high > max(low, 0) ? (1u << high) - (1u << low) : 0;
  s.to = (line * (kBandColumns / kStrip) + column / kStrip) * kBand + column % kStrip * (kBandLine + 1);
  return s;
}

// Of one row of displacements: the owner's numbers, 0 for what does not exist.
template <class T>
__device__ __forceinline__ void load_band(T (&held)[kReach], const T* __restrict__ from, const BandSource& s,
                                          bool row_inside) {
  const unsigned exist = row_inside ? s.exist : 0;
  if (exist == (1u << kReach) - 1) {
#pragma unroll
    for (int n = 0; n < kReach; ++n, from += s.step) held[n] = *from;
  } else {
#pragma unroll
    for (int n = 0; n < kReach; ++n, from += s.step) {
      held[n] = T{};
      if ((exist >> n & 1) != 0) held[n] = *from;
    }
  }
}

template <class T>
__device__ __forceinline__ void keep_bands(T* bands, const BandSource& s, const T (&held)[kReach]) {
#pragma unroll
  for (int n = 0; n < kReach; ++n) bands[s.to + n] = held[n];
}

// What a thread copies of a row of the other map: quads of the channels that are left, side by side in shared memory.
template <class T>
struct RingSpot {
  static constexpr unsigned kQuads = kBandWindow / kQuad, kAll = kGradChannels * kQuads;
  static constexpr int kCount = kAll / kGradThreads;
  static_assert(kAll % kGradThreads == 0);
  const T* from[kCount];
  int bytes[kCount];  // 0 where the quad does not exist

  __device__ __forceinline__ RingSpot(const T* other, const CorrelationArgsGpu& a, int32_t y, int32_t x, int32_t channels) {
#pragma unroll
    for (int n = 0; n < kCount; ++n) {
      const unsigned i = threadIdx.x + n * kGradThreads;
      const int32_t channel = i / kQuads, column = i % kQuads * kQuad;
      from[n] = other + channel * a.plane() + int64_t{y} * a.h.size + x + column;
      bytes[n] = channel < channels && a.h.is_inside(x + column) ? kQuad * static_cast<int>(sizeof(T)) : 0;
    }
  }
  // Row y, at `from`, of columns from x on; then `from` is at the next one.
  __device__ __forceinline__ void copy(T* row, const CorrelationArgsGpu& a, int32_t y, int32_t x, int32_t channels,
                                       bool aligned) {
    const bool inside = a.v.is_inside(y);
#pragma unroll
    for (int n = 0; n < kCount; ++n) {
      const unsigned i = threadIdx.x + n * kGradThreads;
      if (aligned) {
        copy_async<kQuad * sizeof(T)>(row + i * kQuad, from[n], inside ? bytes[n] : 0);
      } else {
        const int32_t channel = i / kQuads, column = i % kQuads * kQuad;
        store_quad(row + i * kQuad, from[n], a, inside && channel < channels, x + column);
      }
      from[n] += a.h.size;
    }
  }
};

// What row `line` of the ring's rows gives to the sums of the warp's owners.
template <class T>
__device__ __forceinline__ void add_bands(const T* row, const T* bands,
                                          WarpSums (&sums)[kBandColumns / kStrip][kGradChannels / 16]) {
  using Pixels = LeftFactor<T, kBandWindow, true>;
  using Band = RightFactor<T, kBandLine, true>;
  const T *pixels = row + Pixels::place(), *band = bands + Band::place();
#pragma unroll
  for (int s = 0; s < kBandColumns / kStrip; ++s) {
    Band right;
    right.load(band, s * kBand);
#pragma unroll
    for (int m = 0; m < kGradChannels / 16; ++m) {
      Pixels left;
      left.load(pixels, m * 16 * kBandWindow + s * kStrip);
      multiply_add<T>(sums[s][m], left, right);
    }
  }
}

// One sum of the gradient alone.
template <class T>
__device__ __forceinline__ float sum_alone(const T* grad_out, const T* other, const CorrelationArgsGpu& a, int32_t y,
                                        int32_t x) {
  const GradHalo halo(a);
  float sum = 0;
  for (int32_t i = 0; i < a.v.count; ++i) {
    for (int32_t j = 0; j < a.h.count; ++j) {
      const int32_t to_y = y + halo.top + i, to_x = x + halo.left + j;
      if (!a.v.is_inside(to_y) || !a.h.is_inside(to_x)) continue;
      const int32_t k = a.mirrored ? a.v.count - 1 - i : i, d = a.mirrored ? a.h.count - 1 - j : j;
      const int64_t point = int64_t{(a.mirrored ? to_y : y) + a.v.padding} * a.h.outputs + (a.mirrored ? to_x : x) + a.h.padding;
      sum += widen<float>(grad_out[(int64_t{k} * a.h.count + d) * a.outputs() + point]) *
             widen<float>(other[int64_t{to_y} * a.h.size + to_x]);
    }
  }
  return sum;
}

// The sums of this thread, of which some are not finite, were stored: those are taken again. `grad` and `other` are at the
// first of the channels that are left, `grad_out` at the sample.
template <class T>
__device__ __forceinline__ void mend_grads(T* grad, const T* __restrict__ grad_out, const T* __restrict__ other,
                                           const CorrelationArgsGpu& a, int32_t y, int32_t x, int32_t channels) {
#pragma unroll 1
  for (int e = 0; e < kBandColumns / kStrip * kGradChannels / 4; ++e) {
    const int32_t column = x + e / (kGradChannels / 4) * kStrip + WarpSums::column(e % 4);
    const int32_t channel = e / 4 % (kGradChannels / 16) * 16 + WarpSums::row(e % 4);
    if (channel >= channels || column >= a.h.size) continue;
    T* const to = grad + channel * a.plane() + int64_t{y} * a.h.size + column;
    if (finite(widen<float>(*to))) continue;
    const float sum = sum_alone(grad_out, other + channel * a.plane(), a, y, column);
    *to = narrow_to<T>(sum * (1.0f / static_cast<float>(a.divisor)));
  }
}

// Whether all are finite. kWhole: all channels and columns exist, and the width is even.
template <bool kWhole, class T>
__device__ __forceinline__ bool store_grad_sums(T* __restrict__ grad, const CorrelationArgsGpu& a, int32_t y, int32_t x,
                                                int32_t channels,
                                                const WarpSums (&sums)[kBandColumns / kStrip][kGradChannels / 16]) {
  const float scale = 1.0f / static_cast<float>(a.divisor);
  float doubt = 0;
  const int32_t columns = a.h.size - x - WarpSums::column(0), rows = channels - WarpSums::row(0);  // that are left
  const int64_t further = 8 * a.plane();
  T* to = grad + WarpSums::row(0) * a.plane() + int64_t{y} * a.h.size + x + WarpSums::column(0);
#pragma unroll
  for (int i = 0; i < kGradChannels / 8; ++i, to += further) {
#pragma unroll
    for (int s = 0; s < kBandColumns / kStrip; ++s) {
      const float* sum = sums[s][i / 2].at + i % 2 * 2;
      doubt += 0 * sum[0];
      doubt += 0 * sum[1];
      const Pack<T, 2> values{{narrow_to<T>(sum[0] * scale), narrow_to<T>(sum[1] * scale)}};
      if (kWhole) {
        store_pack(to + s * kStrip, values);
      } else if (i * 8 < rows) {
        if (s * kStrip < columns) to[s * kStrip] = values.at[0];
        if (s * kStrip + 1 < columns) to[s * kStrip + 1] = values.at[1];
      }
    }
  }
  return doubt == 0;
}

// The sums of a warp's rows, from row y on.
template <class T>
__device__ __forceinline__ void store_warp(T* __restrict__ grad, const T* __restrict__ grad_out, const T* __restrict__ other,
                                           const CorrelationArgsGpu& a, int32_t y, int32_t x, int32_t channels,
                                           const WarpSums (&sums)[kWarpRows][kBandColumns / kStrip][kGradChannels / 16]) {
  const bool whole = channels == kGradChannels && x + kBandColumns <= a.h.size && a.h.size % 2 == 0;
#pragma unroll
  for (int r = 0; r < kWarpRows; ++r) {
    if (y + r >= a.v.size) return;
    const bool all_finite = whole ? store_grad_sums<true>(grad, a, y + r, x, channels, sums[r])
                                  : store_grad_sums<false>(grad, a, y + r, x, channels, sums[r]);
    if (!all_finite) mend_grads(grad, grad_out, other, a, y + r, x, channels);
  }
}

template <class T>
__global__ __launch_bounds__(kGradThreads, 4) void correlation_grad_banded_kernel(const T* __restrict__ grad_out,
                                                                              const T* __restrict__ other,
                                                                              T* __restrict__ grad, CorrelationArgsGpu a,
                                                                              bool aligned) {
  VFI_DYNAMIC_SHARED(T, shared);  // [kRing][kRingRow], two times [kBands][kBand]
  const int32_t parts = (a.channels + kGradChannels - 1) / kGradChannels, part = blockIdx.x % parts;
  const int32_t across = (a.h.size + kBandColumns - 1) / kBandColumns, down = (a.v.size + kBandRows - 1) / kBandRows;
  const int32_t tile = blockIdx.x / parts, line = tile / across;
  const TilePlace at{line / down, line % down * kBandRows, tile % across * kBandColumns, part};
  const int32_t channels = min(a.channels - part * kGradChannels, kGradChannels);
  const GradHalo halo(a);
  const int64_t sample = (at.b * a.channels + part * kGradChannels) * a.plane();
  other += sample, grad += sample, grad_out += at.b * a.displacements() * a.outputs();
  T* const bands = shared + kRing * kRingRow;
  for (int e = threadIdx.x; e < 2 * kBands * kBand / 8; e += kGradThreads) store_pack(bands + e * 8, Pack<T, 8>{});
  __syncthreads();
  const int own_row = threadIdx.x / 32 * kWarpRows, own_line = threadIdx.x / kBandColumns;
  WarpSums sums[kWarpRows][kBandColumns / kStrip][kGradChannels / 16] = {};
  for (int32_t number = 0; number < BandWindow::count(halo.left, a.h.count); ++number) {
    const BandWindow window(halo.left, a.h.count, number);
    const BandSource source = band_source(a, at, halo.top, window);
    const int32_t y = at.y + halo.top, x = at.x + window.left;
    RingSpot<T> spot(other, a, y, x, channels);
    const auto copy = [&](int slot, int32_t i) { spot.copy(shared + slot * kRingRow, a, y + i, x, channels, aligned); };
    const T* from = grad_out + source.at;
    T held[kReach];
    load_band(held, from, source, a.v.is_inside(y + own_line));
#pragma unroll 1
    for (int i = 0; i < kBandRows; ++i) copy(i, i);
    keep_bands(bands, source, held);
    end_copies();
    wait_for_copies<0>();
    __syncthreads();
    int own = own_row, next = kBandRows;  // of the ring
#pragma unroll 1
    for (int32_t i = 0; i < a.v.count; ++i) {
      const bool further = i + 1 < a.v.count;
      from += source.row_step;
      if (further) copy(next, kBandRows + i);
      load_band(held, from, source, further && a.v.is_inside(y + own_line + i + 1));
      const T* const own_bands = bands + (i % 2 * kBands + own_row * (kBandColumns / kStrip)) * kBand;
#pragma unroll
      for (int r = 0; r < kWarpRows; ++r) {
        const int slot = own + r < kRing ? own + r : own + r - kRing;
        add_bands(shared + slot * kRingRow, own_bands + r * (kBandColumns / kStrip) * kBand, sums[r]);
      }
      keep_bands(bands + (i + 1) % 2 * kBands * kBand, source, held);
      end_copies();
      wait_for_copies<0>();
      __syncthreads();
      own = own + 1 == kRing ? 0 : own + 1, next = next + 1 == kRing ? 0 : next + 1;
    }
  }
  store_warp(grad, grad_out, other, a, at.y + own_row, at.x, channels, sums);
}

template <class T>
void launch_grad_banded(const T* grad_out, const T* other, T* grad, const CorrelationArgsGpu& a, cudaStream_t stream) {
  constexpr size_t kShared = (kRing * kRingRow + 2 * kBands * kBand) * sizeof(T);
  static_assert(kShared <= 48 << 10);
  const bool aligned = a.h.size % kQuad == 0 && reinterpret_cast<uintptr_t>(other) % (kQuad * sizeof(T)) == 0;
  const Grid blocks(a.batch * ceil_div(a.v.size, kBandRows) * ceil_div(a.h.size, kBandColumns) *
                    ceil_div(a.channels, kGradChannels));
  VFI_LAUNCH((correlation_grad_banded_kernel<T>), blocks, kGradThreads, kShared, stream, grad_out, other, grad, a, aligned);
}

}  // namespace vfi::cuda
