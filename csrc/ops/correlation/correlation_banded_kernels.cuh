// Local correlation of half-precision maps on tensor cores, where neighbouring points and displacements are neighbouring
// pixels; see correlation_kernels.cuh.
//
// Of a row of 8 points and the row of 16 pixels of `second` that they meet within 9 displacements, the product over the
// channels is [16][8], in which the displacements are a band along the diagonal: it alone is stored. A warp has such
// products of kBandLines rows of points and kReach rows of displacements, in registers. Channels go by kBandDepth at a
// time, the next ones on their way to shared memory.
#pragma once

#include "cuda/async_copy.cuh"
#include "cuda/warp_factors.cuh"
#include "ops/correlation/correlation_kernels.cuh"

namespace vfi::cuda {

constexpr int kReach = 9;                        // displacements along each axis of a block
constexpr int kStrip = 8, kKeys = 16;            // points and pixels of a product
constexpr int kBandRows = 8, kBandColumns = 16;  // points of a block
constexpr int kBandWindow = kBandColumns + kReach - 1;  // pixels that they meet in a row
constexpr int kBandLines = 2, kBandDepth = 16;
constexpr int kQuad = 4;  // neighbours that are copied together

// The rows of a map that is the other's, or of points: `quads` of a row, then the next row, for kBandDepth channels. Channels
// are an odd number of 16 bytes apart, so that eight of them meet all banks once.
constexpr int kFirstStep = kBandRows * kBandColumns + 8, kSecondStep = (kBandRows + kReach - 1) * kBandWindow + 8;
constexpr int kBandStage = kBandDepth * (kFirstStep + kSecondStep);
constexpr int kBandOut = kBandRows * kBandColumns + 8;  // of a displacement, from one to the next

// The displacements along x of a block: those of window `number`, whose first pixel is `left` of the first point, are
// at low ... high - 1 of it. Windows begin at multiples of 4 and are 8 apart; the last one has one displacement more.
struct BandWindow {
  int32_t left, skip, low, high;  // displacement k of the window is 8 number + k - skip of all

  VFI_HOST_DEVICE static int32_t skipped(int32_t start) { return (start % kQuad + kQuad) % kQuad; }
  VFI_HOST_DEVICE static int32_t count(int32_t start, int32_t count) {
    const int32_t windows = (skipped(start) + count - 1 + kStrip - 1) / kStrip;
    return windows > 1 ? windows : 1;
  }
  VFI_HOST_DEVICE BandWindow(int32_t start, int32_t displacements, int32_t number) {
    const int32_t all = skipped(start), end = all + displacements - number * kStrip;
    left = start - all + number * kStrip, skip = all - number * kStrip;
    low = skip > 0 ? skip : 0, high = end <= kReach ? end : kStrip;
  }
};

// Four neighbours of a map in shared memory, zeros outside the map.
template <class T>
__device__ __forceinline__ void store_quad(T* to, const T* from, const CorrelationArgsGpu& a, bool exists, int32_t x) {
  Pack<T, kQuad> quad{};
#pragma unroll
  for (int i = 0; i < kQuad; ++i) {
    if (exists && a.h.is_inside(x + i)) quad.at[i] = from[i];
  }
  store_pack(to, quad);
}

// What a thread copies of a map: one quad of every kStride-th of kBandDepth channels, then of the next kBandDepth.
template <class T, int kStride>
struct BandSpot {
  const T* from;
  int to, bytes;       // bytes: 0 where the quad is outside the map
  int32_t channel, x;  // x: negative where the row is outside the map

  // A quad of `rows` rows of kColumns from (top, left) on.
  template <int kColumns>
  static __device__ __forceinline__ BandSpot of(const T* map, const CorrelationArgsGpu& a, unsigned thread, unsigned spots,
                                                int32_t top, int32_t left, int32_t rows, int step) {
    constexpr unsigned kQuads = kColumns / kQuad;
    const unsigned spot = thread % spots, channel = thread / spots, row = spot / kQuads, column = spot % kQuads * kQuad;
    const int32_t y = top + static_cast<int32_t>(row), x = left + static_cast<int32_t>(column);
    const bool exists = a.v.is_inside(y) && static_cast<int32_t>(row) < rows;
    return {map + channel * a.plane() + int64_t{y} * a.h.size + x, static_cast<int>(channel * step + row * kColumns + column),
            exists && a.h.is_inside(x) ? kQuad * static_cast<int>(sizeof(T)) : 0, static_cast<int32_t>(channel),
            exists ? x : -kQuad};
  }
  // Channels from `start` on, at `from`.
  __device__ __forceinline__ void copy(T* stage, int step, const CorrelationArgsGpu& a, int32_t start, bool aligned) {
    constexpr int kCount = kBandDepth / kStride;
    const int64_t further = kStride * a.plane();
    const T* channels = from;
    const int32_t left = a.channels - start - channel;
    T* const at = stage + to;
    if (aligned && left >= kBandDepth) {
#pragma unroll
      for (int i = 0; i < kCount; ++i, channels += further) {
        copy_async<kQuad * sizeof(T)>(at + i * kStride * step, channels, bytes);
      }
    } else {
#pragma unroll 1
      for (int i = 0; i < kCount; ++i, channels += further) {
        const bool exists = left > i * kStride;
        if (aligned) {
          copy_async<kQuad * sizeof(T)>(at + i * kStride * step, channels, exists ? bytes : 0);
        } else {
          store_quad(at + i * kStride * step, channels, a, exists, x);
        }
      }
    }
    from = channels;
  }
};

// The sums of a warp over some channels: rows of points `row` and on, of strip `strip`.
template <class T>
__device__ __forceinline__ void add_band(const T* stage, int row, int strip,
                                         WarpSums (&sums)[kBandLines][kReach]) {
  using Keys = LeftFactor<T, kSecondStep, false>;
  using Points = RightFactor<T, kFirstStep, false>;
  const T* first = stage + row * kBandColumns + strip + Points::place();
  const T* second = stage + kBandDepth * kFirstStep + row * kBandWindow + strip + Keys::place();
  Points points[kBandLines];
#pragma unroll
  for (int r = 0; r < kBandLines; ++r) points[r].load(first, r * kBandColumns);
#pragma unroll
  for (int j = 0; j < kBandLines + kReach - 1; ++j) {
    Keys keys;
    keys.load(second, j * kBandWindow);
#pragma unroll
    for (int r = 0; r < kBandLines; ++r) {
      if (j >= r && j - r < kReach) multiply_add<T>(sums[r][j - r], keys, points[r]);
    }
  }
}

// The band of the sums, as [displacement][row][column] of the block's points.
template <class T>
__device__ __forceinline__ void keep_band(T* out, int row, int strip, float scale,
                                          const WarpSums (&sums)[kBandLines][kReach]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int point = WarpSums::column(i), k = WarpSums::row(i) - point;
    if (k < 0 || k >= kReach) continue;
    T* to = out + k * kBandOut + row * kBandColumns + strip + point;
#pragma unroll
    for (int r = 0; r < kBandLines; ++r) {
#pragma unroll
      for (int d = 0; d < kReach; ++d) {
        to[d * kReach * kBandOut + r * kBandColumns] = narrow_to<T>(sums[r][d].at[i] * scale);
      }
    }
  }
}

// From shared memory to `out`, which is at the block's sample; exactly 0 where a pixel is outside its map.
template <class T>
__device__ __forceinline__ void store_band(T* __restrict__ out, const T* kept, const CorrelationArgsGpu& a,
                                           const TilePlace& at, int32_t top, int layers, const BandWindow& window) {
  constexpr int kSpots = kBandRows * kBandColumns / kStrip, kAcross = kReach - 1, kLayers = kThreads / kSpots / kAcross;
  const int spot = threadIdx.x % kSpots, strip = spot % 2 * kStrip, line = spot / 2, part = threadIdx.x / kSpots;
  const int32_t y = at.y + line, x = at.x + strip, row = a.v.pixel(y), from = a.h.pixel(x);
  if (y >= a.v.points || x >= a.h.points) return;
  const bool vectors = a.h.points % kStrip == 0, row_inside = a.v.is_inside(row);
  const bool whole = row_inside && from >= 0 && from + kStrip <= a.h.size;
  out += (int64_t{top} * a.h.count - window.skip) * a.points() + int64_t{y} * a.h.points + x;
  kept += line * kBandColumns + strip;
  const auto store = [&](int d, int k) {
    if (k < window.low || k >= window.high) return;
    auto values = load_pack<T, kStrip>(kept + (d * kReach + k) * kBandOut);
    const int32_t to = from + window.left + k;
    const bool row_meets = a.v.is_inside(row + a.v.displacement(top + d));
    if (!(whole && row_meets && to >= 0 && to + kStrip <= a.h.size)) {
#pragma unroll
      for (int i = 0; i < kStrip; ++i) {
        const bool meets = row_inside && row_meets && a.h.is_inside(from + i) && a.h.is_inside(to + i);
        if (!meets) values.at[i] = T{};
      }
    }
    T* const target = out + (int64_t{d} * a.h.count + k) * a.points();
    if (vectors) {
      store_pack(target, values);
    } else {
      for (int i = 0; i < kStrip && x + i < a.h.points; ++i) target[i] = values.at[i];
    }
  };
#pragma unroll 1
  for (int d = part / kAcross; d < layers; d += kLayers) store(d, part % kAcross);
  if (part < layers) store(part, kAcross);
}

template <class T>
__global__ __launch_bounds__(kThreads, 2) void correlation_banded_kernel(const T* __restrict__ first,
                                                                         const T* __restrict__ second,
                                                                         T* __restrict__ out, CorrelationArgsGpu a,
                                                                         int32_t windows, bool aligned) {
  VFI_DYNAMIC_SHARED(T, shared);
  const int32_t groups = (a.v.count + kReach - 1) / kReach, across = (a.h.points + kBandColumns - 1) / kBandColumns;
  const int32_t down = (a.v.points + kBandRows - 1) / kBandRows, part = blockIdx.x % (windows * groups);
  const int32_t tile = blockIdx.x / (windows * groups), line = tile / across;
  const TilePlace at{line / down, line % down * kBandRows, tile % across * kBandColumns, part};
  const BandWindow window(a.h.start, a.h.count, part % windows);
  const int32_t top = part / windows * kReach;
  const int layers = min(a.v.count - top, kReach);
  first += at.b * a.channels * a.plane();
  second += at.b * a.channels * a.plane();

  constexpr unsigned kFirstSpots = kBandRows * kBandColumns / kQuad;
  constexpr unsigned kSecondSpots = (kBandRows + kReach - 1) * kBandWindow / kQuad, kSecondStride = kThreads / kSecondSpots;
  const int32_t y = a.v.pixel(at.y), x = a.h.pixel(at.x);
  using FirstSpot = BandSpot<T, kThreads / kFirstSpots>;
  using SecondSpot = BandSpot<T, kSecondStride>;
  auto of_first = FirstSpot::template of<kBandColumns>(first, a, threadIdx.x, kFirstSpots, y, x, kBandRows, kFirstStep);
  auto of_second =
      SecondSpot::template of<kBandWindow>(second, a, threadIdx.x, kSecondSpots, y + a.v.displacement(top),
                                           x + window.left, kBandRows + layers - 1, kSecondStep);
  const auto copy = [&](T* stage, int32_t start) {
    of_first.copy(stage, kFirstStep, a, start, aligned);
    if (threadIdx.x < kSecondSpots * kSecondStride) {
      of_second.copy(stage + kBandDepth * kFirstStep, kSecondStep, a, start, aligned);
    }
    end_copies();
  };
  const int row = threadIdx.x / 64 * kBandLines, strip = threadIdx.x / 32 % 2 * kStrip;
  WarpSums sums[kBandLines][kReach] = {};
  T *stage = shared, *next = shared + kBandStage;
  if (a.channels > 0) copy(stage, 0);
  for (int32_t start = 0; start < a.channels; start += kBandDepth) {
    if (start + kBandDepth < a.channels) {
      copy(next, start + kBandDepth);
    } else {
      end_copies();
    }
    wait_for_copies<1>();
    __syncthreads();
    add_band(stage, row, strip, sums);
    __syncthreads();
    T* const other = stage;
    stage = next, next = other;
  }
  keep_band(shared, row, strip, 1.0f / static_cast<float>(a.divisor), sums);
  __syncthreads();
  store_band(out + at.b * a.displacements() * a.points(), shared, a, at, top, layers, window);
}

template <class T>
void launch_correlation_banded(const T* first, const T* second, T* out, const CorrelationArgsGpu& a, cudaStream_t stream) {
  constexpr size_t kShared = sizeof(T) * (2 * kBandStage > kReach * kReach * kBandOut ? 2 * kBandStage
                                                                                      : kReach * kReach * kBandOut);
  static_assert(kShared <= 48 << 10);
  const bool aligned = has_aligned_rows(first, a, kQuad) && has_aligned_rows(second, a, kQuad);
  const int32_t windows = BandWindow::count(a.h.start, a.h.count);
  const Grid blocks(a.batch * ceil_div(a.v.points, kBandRows) * ceil_div(a.h.points, kBandColumns) * windows *
                    ceil_div(a.v.count, kReach));
  VFI_LAUNCH((correlation_banded_kernel<T>), blocks, kThreads, kShared, stream, first, second, out, a, windows, aligned);
}

}  // namespace vfi::cuda
