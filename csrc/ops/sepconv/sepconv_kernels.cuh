// Separable adaptive convolution on CUDA; the formulas are in sepconv.h. The image is contiguous.
//
// Work: a thread has kSepconvPixels neighbours of a row, and the sums of some taps and kSepconvGroup channels of each in
// registers: a pixel of the image that is read serves all of them. Every sum has one owner and a fixed order.
#pragma once

#include <type_traits>

#include "cuda/launch.cuh"

namespace vfi::cuda {

constexpr int kSepconvPixels = 4, kSepconvGroup = 3;
constexpr int kSepconvAcross = 16, kSepconvLines = 8;  // threads of a block
constexpr int kSepconvThreads = kSepconvAcross * kSepconvLines;
// Blocks on one multiprocessor: as many as keep every register out of memory.
template <class A>
constexpr int kSepconvResident = sizeof(A) == 4 ? 4 : 2;
constexpr int kSepconvColumns = kSepconvAcross * kSepconvPixels;
constexpr int kSepconvTaps = 2;                   // weights that are read at a time
constexpr int kSepconvRows = 2, kSepconvSide = 4;  // taps that a thread has sums for, along y, along x

struct SepconvArgsGpu {
  int64_t batch;
  int32_t channels, height, width;  // of the output
  int32_t taps_v, taps_h;
  ConstView vertical, horizontal;
  bool packed;  // every kSepconvPixels pixels' weights can be loaded at once, and are of the image's type

  VFI_HOST_DEVICE int32_t image_height() const { return height + taps_v - 1; }
  VFI_HOST_DEVICE int32_t image_width() const { return width + taps_h - 1; }
  VFI_HOST_DEVICE int64_t image_plane() const { return int64_t{image_height()} * image_width(); }
  VFI_HOST_DEVICE int64_t plane() const { return int64_t{height} * width; }
};

// The first pixel of a thread in planes of some size, and its block's `part` of the work of the pixel.
struct SepconvPlace {
  int64_t b;
  int32_t y, x, part;
};

__device__ __forceinline__ SepconvPlace sepconv_place(int32_t height, int32_t width, int32_t parts) {
  const int32_t across = (width + kSepconvColumns - 1) / kSepconvColumns;
  const int32_t down = (height + kSepconvLines - 1) / kSepconvLines;
  const int32_t tile = blockIdx.x / parts, row = tile / across;
  return {row / down, row % down * kSepconvLines + static_cast<int32_t>(threadIdx.y),
          tile % across * kSepconvColumns + static_cast<int32_t>(threadIdx.x) * kSepconvPixels,
          static_cast<int32_t>(blockIdx.x) % parts};
}

inline Grid sepconv_grid(int64_t batch, int64_t height, int64_t width, int64_t parts) {
  return batch * ceil_div(height, kSepconvLines) * ceil_div(width, kSepconvColumns) * parts;
}

// Weights of a thread's pixels, tap by tap, where all of the pixels exist and can be loaded at once.
template <class W>
struct SepconvPacks {
  const W* at;  // tap 0
  int64_t step;

  __device__ __forceinline__ SepconvPacks(const ConstView& view, const SepconvPlace& place)
      : at(static_cast<const W*>(view.data) + view.strides.offset(place.b, 0, place.y, place.x)), step(view.strides.channel) {}

  // Taps tap ... tap + M - 1; any others for those beyond `taps`, of which there are none if kAll.
  template <bool kAll, class A, int M>
  __device__ __forceinline__ void load(A (&to)[M][kSepconvPixels], int32_t tap, int32_t taps) const {
    const W* const from = at + tap * step;
#pragma unroll
    for (int m = 0; m < M; ++m) {
      const auto v = load_pack<W, kSepconvPixels>(kAll || tap + m < taps ? from + m * step : from);
#pragma unroll
      for (int p = 0; p < kSepconvPixels; ++p) to[m][p] = widen<A>(v.at[p]);
    }
  }
};

// The same of any weights.
struct SepconvWeights {
  ConstView view;
  int64_t at;      // elements, of tap 0 of the first pixel
  int32_t pixels;  // of the thread that exist

  __device__ __forceinline__ SepconvWeights(const ConstView& view, const SepconvPlace& place, int32_t width)
      : view(view), at(view.strides.offset(place.b, 0, place.y, place.x)), pixels(width - place.x) {}

  template <class W, class A, int M>
  __device__ __forceinline__ void load_as(A (&to)[M][kSepconvPixels], int32_t tap, int32_t taps) const {
    const W* from = static_cast<const W*>(view.data) + at + tap * view.strides.channel;
    const uint64_t places = reinterpret_cast<uintptr_t>(from) | view.strides.channel * sizeof(W);
    const bool packs = pixels >= kSepconvPixels && view.strides.column == 1 && tap + M <= taps &&
                       places % sizeof(Pack<W, kSepconvPixels>) == 0;
#pragma unroll
    for (int m = 0; m < M; ++m, from += view.strides.channel) {
      Pack<W, kSepconvPixels> v{};
      if (packs) {
        v = load_pack<W, kSepconvPixels>(from);
      } else if (tap + m < taps) {
#pragma unroll
        for (int p = 0; p < kSepconvPixels; ++p) {
          if (p < pixels) v.at[p] = from[p * view.strides.column];
        }
      }
#pragma unroll
      for (int p = 0; p < kSepconvPixels; ++p) to[m][p] = widen<A>(v.at[p]);
    }
  }
  // Taps tap ... tap + M - 1 of `taps`; 0 beyond.
  template <bool, class A, int M>
  __device__ __forceinline__ void load(A (&to)[M][kSepconvPixels], int32_t tap, int32_t taps) const {
    switch (view.dtype) {
      case Dtype::kFloat64: return load_as<double>(to, tap, taps);
      case Dtype::kFloat32: return load_as<float>(to, tap, taps);
      case Dtype::kFloat16: return load_as<Half>(to, tap, taps);
      default: return load_as<BFloat16>(to, tap, taps);
    }
  }
};

// The planes of the image of a thread's channels; those that do not exist are the last that does.
template <class T>
__device__ __forceinline__ void sepconv_planes(const T* (&planes)[kSepconvGroup], const T* image, int64_t plane,
                                               int32_t channels) {
#pragma unroll
  for (int n = 0; n < kSepconvGroup; ++n) planes[n] = image + min(n, channels - 1) * plane;
}

// Calls run(k, all) for every `step`-th of the taps k; `all` is std::true_type where step of them are left.
template <class Run>
__device__ __forceinline__ void for_each_taps(int32_t taps, int32_t step, Run&& run) {
  int32_t k = 0;
#pragma unroll 1
  for (; k + step <= taps; k += step) run(k, std::true_type());
  if (k < taps) run(k, std::false_type());
}

// sums[r][n][p] = sum over the taps k of weights[k][p] image[n, first + r, x + p + k]: `planes` are at the first pixel, `left`
// pixels before the end of its row, and the next row is `row` further; kWhole: none of what is read is beyond.
template <bool kWhole, class T, class A, class Weights>
__device__ __forceinline__ void sum_along_rows(A (&sums)[kSepconvRows][kSepconvGroup][kSepconvPixels],
                                               const T* (&planes)[kSepconvGroup], int64_t row, const Weights& weights,
                                               int32_t taps, int32_t left) {
  constexpr int P = kSepconvPixels;
  A window[kSepconvRows][kSepconvGroup][P];  // pixel x of the row is at x % P
  const auto enter = [&](int to, int32_t k, int at) {
#pragma unroll
    for (int r = 0; r < kSepconvRows; ++r) {
#pragma unroll
      for (int n = 0; n < kSepconvGroup; ++n) {
        window[r][n][to] = kWhole || k + at < left ? widen<A>(planes[n][r * row + at]) : A(0);
      }
    }
  };
#pragma unroll
  for (int p = 0; p < P - 1; ++p) enter(p, 0, p);
#pragma unroll
  for (int i = 0; i < kSepconvRows * kSepconvGroup * P; ++i) sums[i / P / kSepconvGroup][i / P % kSepconvGroup][i % P] = A(0);
  for_each_taps(taps, P, [&](int32_t k, auto all) {
    constexpr bool kAll = decltype(all)::value;
#pragma unroll
    for (int first = 0; first < P; first += kSepconvTaps) {
      if (!kAll && k + first >= taps) break;
      A w[kSepconvTaps][P];
      weights.template load<kAll>(w, k + first, taps);
#pragma unroll
      for (int u = first; u < first + kSepconvTaps; ++u) {
        if (!kAll && k + u >= taps) break;
        enter((u + P - 1) % P, k, u + P - 1);
#pragma unroll
        for (int i = 0; i < kSepconvRows * kSepconvGroup * P; ++i) {
          const int r = i / P / kSepconvGroup, n = i / P % kSepconvGroup, p = i % P;
          sums[r][n][p] += w[u - first][p] * window[r][n][(u + p) % P];
        }
      }
    }
#pragma unroll
    for (int n = 0; n < kSepconvGroup; ++n) planes[n] += P;
  });
}

// sums[r][n][p] = sum over the taps k of weights[k][p] image[n, y + k, x + first + p + r]: `planes` are at the first pixel,
// `left` pixels before the end of its row; kWhole: none of what is read is beyond.
template <bool kWhole, class T, class A, class Weights>
__device__ __forceinline__ void sum_along_columns(A (&sums)[kSepconvSide][kSepconvGroup][kSepconvPixels],
                                                  const T* (&planes)[kSepconvGroup], const Weights& weights, int32_t taps,
                                                  int32_t row, int32_t left) {
  constexpr int P = kSepconvPixels, kWindow = P + kSepconvSide - 1;
#pragma unroll
  for (int i = 0; i < kSepconvSide * kSepconvGroup * P; ++i) sums[i / P / kSepconvGroup][i / P % kSepconvGroup][i % P] = A(0);
  for_each_taps(taps, kSepconvTaps, [&](int32_t k, auto all) {
    constexpr bool kAll = decltype(all)::value;
    A w[kSepconvTaps][P];
    weights.template load<kAll>(w, k, taps);
#pragma unroll
    for (int u = 0; u < kSepconvTaps; ++u) {
      if (!kAll && k + u >= taps) break;
#pragma unroll
      for (int n = 0; n < kSepconvGroup; ++n) {
        A window[kWindow];
#pragma unroll
        for (int i = 0; i < kWindow; ++i) window[i] = kWhole || i < left ? widen<A>(planes[n][i]) : A(0);
        planes[n] += row;
#pragma unroll
        for (int i = 0; i < kSepconvSide * P; ++i) sums[i / P][n][i % P] += w[u][i % P] * window[i / P + i % P];
      }
    }
  });
}

template <class T, class A>
__device__ __forceinline__ void store_pixels(T* to, const A (&values)[kSepconvPixels], int32_t pixels) {
#pragma unroll
  for (int p = 0; p < kSepconvPixels; ++p) {
    if (p < pixels) to[p] = narrow_to<T>(values[p]);
  }
}

// The output of a thread's pixels and channels; kWhole: all of its pixels exist.
template <bool kWhole, class T, class A, class Weights>
__device__ __forceinline__ void convolve(A (&totals)[kSepconvGroup][kSepconvPixels], const T* __restrict__ image,
                                         const SepconvArgsGpu& a, const Weights& vertical, const Weights& horizontal,
                                         int32_t channels, int32_t left) {
  constexpr int P = kSepconvPixels;
#pragma unroll 1
  for (int32_t i = 0; i < a.taps_v; i += kSepconvRows) {
    const T* planes[kSepconvGroup];
    sepconv_planes(planes, image + i * int64_t{a.image_width()}, a.image_plane(), channels);
    A sums[kSepconvRows][kSepconvGroup][P], w[kSepconvRows][P];
    sum_along_rows<kWhole>(sums, planes, i + 1 < a.taps_v ? a.image_width() : 0, horizontal, a.taps_h, left);
    vertical.template load<false>(w, i, a.taps_v);
#pragma unroll
    for (int j = 0; j < kSepconvRows * kSepconvGroup * P; ++j) {
      const int r = j / P / kSepconvGroup, n = j / P % kSepconvGroup, p = j % P;
      if (i + r < a.taps_v) totals[n][p] += w[r][p] * sums[r][n][p];
    }
  }
}

// kPacked: as a.packed says.
template <class T, class A, bool kPacked>
__global__ __launch_bounds__(kSepconvThreads, kSepconvResident<A>) void sepconv_kernel(const T* __restrict__ image,
                                                                                       T* __restrict__ out,
                                                                                       SepconvArgsGpu a) {
  const SepconvPlace at = sepconv_place(a.height, a.width, (a.channels + kSepconvGroup - 1) / kSepconvGroup);
  if (at.y >= a.height || at.x >= a.width) return;
  const int32_t c = at.part * kSepconvGroup, channels = min(a.channels - c, kSepconvGroup);
  image += (at.b * a.channels + c) * a.image_plane() + int64_t{at.y} * a.image_width() + at.x;
  A totals[kSepconvGroup][kSepconvPixels] = {};
  if constexpr (kPacked) {
    const SepconvPacks<T> vertical(a.vertical, at), horizontal(a.horizontal, at);
    convolve<true>(totals, image, a, vertical, horizontal, channels, 0);
  } else {
    const SepconvWeights vertical(a.vertical, at, a.width), horizontal(a.horizontal, at, a.width);
    convolve<false>(totals, image, a, vertical, horizontal, channels, a.image_width() - at.x);
  }
  out += (at.b * a.channels + c) * a.plane() + int64_t{at.y} * a.width + at.x;
#pragma unroll
  for (int n = 0; n < kSepconvGroup; ++n) {
    if (n < channels) store_pixels(out + n * a.plane(), totals[n], a.width - at.x);
  }
}

inline bool sepconv_wide(const SepconvArgsGpu& a) {
  return a.vertical.dtype == Dtype::kFloat64 || a.horizontal.dtype == Dtype::kFloat64;
}

inline void launch_sepconv(const void* image, void* out, Dtype dtype, const SepconvArgsGpu& a, cudaStream_t stream) {
  if (a.batch * a.channels * a.plane() == 0) return;
  dispatch(dtype, sepconv_wide(a), [&](auto element, auto compute) {
    using T = decltype(element);
    using A = decltype(compute);
    const auto run = [&](auto packed) {
      VFI_LAUNCH((sepconv_kernel<T, A, decltype(packed)::value>),
                 sepconv_grid(a.batch, a.height, a.width, ceil_div(a.channels, kSepconvGroup)),
                 dim3(kSepconvAcross, kSepconvLines), 0, stream, static_cast<const T*>(image), static_cast<T*>(out), a);
    };
    a.packed ? run(std::true_type()) : run(std::false_type());
  });
}

}  // namespace vfi::cuda
