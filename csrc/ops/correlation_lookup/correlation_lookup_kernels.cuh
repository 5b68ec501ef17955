// Windows of a cost volume on CUDA; the formulas are in correlation_lookup.h. Maps with the channels last.
//
// Work: kPixelLanes threads have one pixel, and packs of its channels in registers: neighbouring addresses. Products with the
// whole neighbours go to shared memory, from which the block blends the windows of its pixels. Every sum has one owner and a
// fixed order.
#pragma once

#include "cuda/launch.cuh"
#include "ops/correlation_lookup/correlation_lookup.h"

namespace vfi::cuda {

constexpr int kPixelLanes = 8;  // threads of a pixel
constexpr int kMostLookupPixels = kThreads / kPixelLanes;
constexpr int kChannelPack = 4;

// The channels of a lane that it holds in registers: kPacks packs, kPixelLanes packs apart; and those of a pixel's lanes. kFull:
// they are a divisor of all channels, so that none of them is missing.
template <int kPacks_, bool kFull_>
struct LaneShape {
  static constexpr int kPacks = kPacks_, kChannels = kPacks * kChannelPack;
  static constexpr int64_t kHeld = kPixelLanes * kChannels;
  static constexpr bool kFull = kFull_;
};

struct LookupArgsGpu {
  LookupLevel levels[kMostLevels];
  const void* first;     // [B, H, W, C]
  const void* grad_out;  // [B, H, W, planes]
  ConstView positions;
  MutableView grad_positions;
  int64_t batch, channels;
  int32_t height, width, count, radius;
  bool packs;  // four channels of either map can be loaded at once
  bool need_first, need_positions;

  VFI_HOST_DEVICE int32_t side() const { return 2 * radius + 1; }
  // Products of a window, [x][y], in shared memory: an odd number, so that pixels are in different banks.
  VFI_HOST_DEVICE int32_t box() const { return (side() + 1) * (side() + 1) | 1; }
  VFI_HOST_DEVICE int64_t plane() const { return int64_t{height} * width; }
  VFI_HOST_DEVICE int64_t planes() const { return int64_t{count} * side() * side(); }
};

// Calls run(shape) with the LaneShape of the channels; numbers of float64 take twice as many registers.
template <class A, class Run>
void with_lanes(const LookupArgsGpu& a, Run&& run) {
  constexpr int64_t kSome = LaneShape<4, true>::kHeld;
  if (!a.packs || a.channels == 0 || a.channels % kSome != 0) return run(LaneShape<4, false>());
  if constexpr (sizeof(A) == 4) {
    if (a.channels % (2 * kSome) == 0) return run(LaneShape<8, true>());
  }
  run(LaneShape<4, true>());
}

template <class A>
struct WindowGpu {
  WindowAxis<A> x, y;
};

template <class A>
__device__ __forceinline__ WindowGpu<A> window_of(const LookupArgsGpu& a, int64_t b, int64_t pixel, int32_t level) {
  double p[2];
  load(a.positions, b, static_cast<int32_t>(pixel / a.width), static_cast<int32_t>(pixel % a.width), p);
  const double unit = a.levels[level].unit;
  return {window_axis<A>(p[0] * unit, a.radius), window_axis<A>(p[1] * unit, a.radius)};
}

template <class A>
__device__ __forceinline__ A lookup_scale(const LookupArgsGpu& a) {
  return A(1) / std::sqrt(static_cast<A>(a.channels > 0 ? a.channels : 1));
}

// Of all threads of a pixel, to all of them.
template <class A>
__device__ __forceinline__ A pixel_sum(A value) {
#pragma unroll
  for (int step = kPixelLanes / 2; step > 0; step /= 2) value += __shfl_xor_sync(kFullWarp, value, step);
  return value;
}

// The channels of this lane from `start` on; 0 beyond the last.
template <class Lanes, class A, class T>
__device__ __forceinline__ void load_channels(const T* pixel, int64_t start, const LookupArgsGpu& a,
                                              A (&values)[Lanes::kChannels]) {
  const int32_t left = static_cast<int32_t>(min(a.channels - start, Lanes::kHeld)), lane = threadIdx.x % kPixelLanes;
  pixel += start + lane * kChannelPack;
#pragma unroll
  for (int m = 0; m < Lanes::kPacks; ++m) {
    const int32_t c = (m * kPixelLanes + lane) * kChannelPack;
    Pack<T, kChannelPack> v{};
    if (Lanes::kFull || a.packs) {
      if (Lanes::kFull || c < left) v = load_pack<T, kChannelPack>(pixel + m * kPixelLanes * kChannelPack);
    } else {
#pragma unroll
      for (int i = 0; i < kChannelPack; ++i) {
        if (c + i < left) v.at[i] = pixel[m * kPixelLanes * kChannelPack + i];
      }
    }
#pragma unroll
    for (int i = 0; i < kChannelPack; ++i) values[m * kChannelPack + i] = widen<A>(v.at[i]);
  }
}

template <int N, class A>
__device__ __forceinline__ A dot_channels(const A (&a)[N], const A (&b)[N]) {
  A sum = A(0);
#pragma unroll
  for (int m = 0; m < N; ++m) sum += a[m] * b[m];
  return sum;
}

// A sample of a level, for 32-bit numbers of rows and columns.
template <class S>
struct LevelMap {
  const S* pixels;
  int32_t height, width;
  int64_t row, channels;

  __device__ __forceinline__ LevelMap(const LookupArgsGpu& a, const LookupLevel& level, int64_t b)
      : pixels(static_cast<const S*>(level.data) + b * level.height * level.width * a.channels),
        height(static_cast<int32_t>(level.height)),
        width(static_cast<int32_t>(level.width)),
        row(level.width * a.channels),
        channels(a.channels) {}
  __device__ __forceinline__ bool holds(int32_t x, int32_t y) const {
    return static_cast<uint32_t>(x) < static_cast<uint32_t>(width) && static_cast<uint32_t>(y) < static_cast<uint32_t>(height);
  }
  __device__ __forceinline__ const S* at(int32_t x, int32_t y) const { return pixels + y * row + x * channels; }
};

// near_x (near_y v00 + far_y v01) + far_x (near_y v10 + far_y v11) of products [x][y]; corners of weight 0 are not used.
template <class A>
__device__ __forceinline__ A blend(const A* products, int32_t step, const WindowGpu<A>& w) {
  A left = w.y.near * products[0], right = A(0);
  if (w.y.far != A(0)) left += w.y.far * products[1];
  if (w.x.far == A(0)) return w.x.near * left;
  right = w.y.near * products[step];
  if (w.y.far != A(0)) right += w.y.far * products[step + 1];
  return w.x.near * left + w.x.far * right;
}

// The pixels of a block, kPixelLanes threads for each.
struct LookupPlace {
  int64_t b, begin, pixel;  // begin: the block's first
  int32_t pixels, own;      // own: of this thread, in the block

  __device__ __forceinline__ explicit LookupPlace(const LookupArgsGpu& a)
      : pixels(blockDim.x / kPixelLanes), own(threadIdx.x / kPixelLanes) {
    const int64_t blocks = (a.plane() + pixels - 1) / pixels;
    b = blockIdx.x / blocks, begin = blockIdx.x % blocks * pixels, pixel = begin + own;
  }
};

// Lane k of a pixel gets the sum over its lanes of products[k]: half of what is left goes to the other half of the lanes.
template <class A>
__device__ __forceinline__ A transposed_sum(A (&products)[kPixelLanes]) {
#pragma unroll
  for (int half = kPixelLanes / 2; half > 0; half /= 2) {
    const bool upper = (threadIdx.x & half) != 0;
#pragma unroll
    for (int k = 0; k < half; ++k) {
      const A kept = upper ? products[k + half] : products[k], given = upper ? products[k] : products[k + half];
      products[k] = kept + __shfl_xor_sync(kFullWarp, given, half);
    }
  }
  return products[0];
}

// Goes through the neighbours of a window, along x first.
template <class S>
struct NeighboursGpu {
  const LevelMap<S>& map;
  const S* at;  // the neighbour's channels
  int32_t x, y, i, n;

  __device__ __forceinline__ NeighboursGpu(const LevelMap<S>& map, int32_t x, int32_t y, int32_t n)
      : map(map), at(map.at(x, y)), x(x), y(y), i(0), n(n) {}
  __device__ __forceinline__ bool exists() const { return map.holds(x, y); }
  __device__ __forceinline__ void advance() {
    const bool ends = i == n;
    at += ends ? map.row - n * map.channels : map.channels;
    x = ends ? x - n : x + 1;
    y += ends;
    i = ends ? 0 : i + 1;
  }
};

// Products of first's channels with all neighbours of its window in a level, to `products`, kPixelLanes at a time.
template <class Lanes, class T, class S, class A>
__device__ __forceinline__ void multiply_window(const LookupArgsGpu& a, const LookupLevel& level, const LookupPlace& at,
                                                const WindowGpu<A>& w, A* products) {
  const int32_t n = a.side(), lane = threadIdx.x % kPixelLanes;
  const int32_t box = at.pixel < a.plane() ? (n + 1) * (n + 1) : 0;
  const LevelMap<S> map(a, level, at.b);
  const T* const own = static_cast<const T*>(a.first) + (at.b * a.plane() + at.pixel) * a.channels;
  for (int64_t start = 0; start < a.channels; start += Lanes::kHeld) {
    A v[Lanes::kChannels] = {};
    if (box > 0) load_channels<Lanes>(own, start, a, v);
    NeighboursGpu<S> neighbour(map, w.x.at, w.y.at, n);
#pragma unroll 1
    for (int32_t first = 0; first < (n + 1) * (n + 1); first += kPixelLanes) {
      A of[kPixelLanes];
#pragma unroll
      for (int k = 0; k < kPixelLanes; ++k) {
        of[k] = A(0);
        if (first + k < box && neighbour.exists()) {
          A s[Lanes::kChannels];
          load_channels<Lanes>(neighbour.at, start, a, s);
          of[k] = dot_channels(v, s);
        }
        neighbour.advance();
      }
      const A sum = transposed_sum(of);
      const int32_t k = first + lane;
      if (k >= box) continue;
      A* const to = products + k % (n + 1) * (n + 1) + k / (n + 1);
      *to = start == 0 ? sum : *to + sum;
    }
  }
}

// Level `number` of the windows of a block.
template <class T, class A>
__device__ __forceinline__ void blend_windows(const LookupArgsGpu& a, const LookupPlace& at, const A* shared,
                                              const WindowGpu<A>* windows, T* __restrict__ out, int32_t number,
                                              bool channels_last) {
  const A scale = lookup_scale<A>(a);
  const int32_t n = a.side(), box = a.box(), first_plane = number * n * n, threads = blockDim.x;
  for (int32_t e = threadIdx.x; e < n * n * at.pixels; e += threads) {
    const int32_t p = channels_last ? e / (n * n) : e % at.pixels, d = channels_last ? e % (n * n) : e / at.pixels;
    if (at.begin + p >= a.plane()) continue;
    const A value = blend(shared + p * box + d / n * (n + 1) + d % n, n + 1, windows[p]) * scale;
    const int64_t to = channels_last ? (at.b * a.plane() + at.begin + p) * a.planes() + first_plane + d
                                     : (at.b * a.planes() + first_plane + d) * a.plane() + at.begin + p;
    out[to] = narrow_to<T>(value);
  }
}

// All levels, one after another: `first` comes from memory once.
template <class T, class A, class Lanes>
__global__ __launch_bounds__(kThreads, sizeof(A) == 8 ? 1 : 2) void lookup_kernel(LookupArgsGpu a, T* __restrict__ out,
                                                                                bool channels_last) {
  VFI_DYNAMIC_SHARED(A, shared);
  __shared__ WindowGpu<A> windows[kMostLookupPixels];
  const LookupPlace at(a);
  A* const products = shared + at.own * a.box();
#pragma unroll 1
  for (int32_t number = 0; number < a.count; ++number) {
    WindowGpu<A> w{};
    if (at.pixel < a.plane()) w = window_of<A>(a, at.b, at.pixel, number);
    if (threadIdx.x % kPixelLanes == 0) windows[at.own] = w;
    if (a.channels == 0) {
      for (int32_t k = threadIdx.x; k < at.pixels * a.box(); k += blockDim.x) shared[k] = A(0);
    }
    if (std::is_same_v<T, A> || number > 0) multiply_window<Lanes, T, A>(a, a.levels[number], at, w, products);
    else multiply_window<Lanes, T, T>(a, a.levels[number], at, w, products);
    __syncthreads();
    blend_windows(a, at, shared, windows, out, number, channels_last);
    __syncthreads();
  }
}

// As many pixels as the numbers of each leave room for, in whole warps.
inline int lookup_pixels(int64_t bytes_each) {
  constexpr int64_t kLeast = 32 / kPixelLanes, kShared = 40 << 10;
  const int64_t fit = kShared / bytes_each / kLeast * kLeast;
  return static_cast<int>(fit < kLeast ? kLeast : fit < kMostLookupPixels ? fit : kMostLookupPixels);
}

inline Grid lookup_blocks(const LookupArgsGpu& a, int pixels) { return a.batch * ceil_div(a.plane(), pixels); }

inline void launch_lookup(const LookupArgsGpu& a, void* out, Dtype dtype, bool wide, bool channels_last,
                          cudaStream_t stream) {
  if (a.batch * a.plane() == 0) return;
  dispatch(dtype, wide, [&](auto element, auto compute) {
    using T = decltype(element);
    using A = decltype(compute);
    T* const to = static_cast<T*>(out);
    const int64_t each = sizeof(A) * a.box();
    const int pixels = lookup_pixels(each), threads = pixels * kPixelLanes;
    const Grid blocks = lookup_blocks(a, pixels);
    with_lanes<A>(a, [&](auto lanes) {
      VFI_LAUNCH((lookup_kernel<T, A, decltype(lanes)>), blocks, threads, pixels * each, stream, a, to, channels_last);
    });
  });
}

}  // namespace vfi::cuda
