// Modulated deformable convolution on CUDA: the columns, and other channels of pixels, as factors of a product in shared
// memory. Formulas: modulated_deform_conv2d.h.
#pragma once

#include "ops/modulated_deform_conv2d/modulated_deform_conv2d_places.cuh"

namespace vfi::cuda {

// Element (pixel, channel) of a factor: its row and k, or k and row where pixels are what a product sums over.
template <class P, bool kPixelsDeep>
struct ColumnsIn {
  static constexpr bool kSideBySide = P::kDepthInside != kPixelsDeep;     // the channels of a pixel
  static constexpr bool kScattered = kPixelsDeep && P::kDepthInside;  // they are too far apart for the banks
  static constexpr int kPixels = kPixelsDeep ? P::kMost : P::kRows, kChannels = kPixelsDeep ? P::kRows : P::kMost;
  static __device__ __forceinline__ int at(int pixel, int c) { return kPixelsDeep ? P::at(c, pixel) : P::at(pixel, c); }
  template <class F, int N>
  static __device__ __forceinline__ void store(F* to, int pixel, int c, const Pack<F, N>& values) {
    if constexpr (kSideBySide) {
      store_pack(to + at(pixel, c), values);
    } else {
#pragma unroll
      for (int n = 0; n < N; ++n) to[at(pixel, c + n)] = values.at[n];
    }
  }
};

// mask sum over the corners of weight value, rounded to F.
template <bool, class F, class T, int N>
__device__ __forceinline__ Pack<F, N> column_of(const DeformPlaceGpu<F>& p, const Pack<T, N> (&v)[4]) {
  Pack<F, N> columns;
#pragma unroll
  for (int n = 0; n < N; ++n) {
    Sum<F> sum = p.weight[0] * widen<Sum<F>>(v[0].at[n]);
#pragma unroll
    for (int k = 1; k < 4; ++k) sum += p.weight[k] * widen<Sum<F>>(v[k].at[n]);
    narrow(p.mask * sum, columns.at[n]);
  }
  return columns;
}
template <bool kHalfMask, int N>
__device__ __forceinline__ Pack<Half, N> column_of(const DeformPlaceGpu<Half>& p, const Pack<Half, N> (&v)[4]) {
  using Pairs = Pack<uint32_t, (N + 1) / 2>;
  const auto twice = [](uint32_t pair, unsigned half) { return bits_as<__half2>(__byte_perm(pair, 0, half)); };
  const __half2 weight[4] = {twice(p.upper, 0x1010), twice(p.upper, 0x3232), twice(p.lower, 0x1010), twice(p.lower, 0x3232)};
  const auto pairs = [](const Pack<Half, N>& x) {
    if constexpr (N == 1) return Pairs{{x.at[0].bits}};
    else return bits_as<Pairs>(x);
  };
  const Pairs values[4] = {pairs(v[0]), pairs(v[1]), pairs(v[2]), pairs(v[3])};
  Pairs columns;
  const auto for_each = [&](auto masked) {
#pragma unroll
    for (int n = 0; n < (N + 1) / 2; ++n) {
      __half2 sum = __hmul2(weight[0], bits_as<__half2>(values[0].at[n]));
#pragma unroll
      for (int k = 1; k < 4; ++k) sum = __hfma2(weight[k], bits_as<__half2>(values[k].at[n]), sum);
      columns.at[n] = bits_as<uint32_t>(masked(sum));
    }
  };
  if constexpr (kHalfMask) {
    for_each([&](__half2 sum) { return __hmul2(bits_as<__half2>(p.mask), sum); });
  } else {
    const float mask = __uint_as_float(p.mask);
    for_each([&](__half2 sum) {
      const Pack<Half, 2> halves = bits_as<Pack<Half, 2>>(sum);
      return __floats2half2_rn(mask * widen<float>(halves.at[0]), mask * widen<float>(halves.at[1]));
    });
  }
  if constexpr (N == 1) return {{{static_cast<uint16_t>(columns.at[0])}}};
  else return bits_as<Pack<Half, N>>(columns);
}

template <class F>
__device__ __forceinline__ bool is_used(const DeformPlaceGpu<F>& p, int k) {
  return p.weight[k] != Sum<F>(0);
}
__device__ __forceinline__ bool is_used(const DeformPlaceGpu<Half>& p, int k) {
  const uint32_t pair = k < 2 ? p.upper : p.lower;
  return k % 2 == 0 ? (pair & 0xffffu) != 0 : pair >= 0x10000u;
}

// The channels of a thread: some packs of N of one pixel.
struct ColumnShare {
  int pixel, begin, end, step;
};

// Threads of a pixel have neighbouring packs, or neighbouring runs of packs where those have places of their own. Neighbouring
// threads have neighbouring addresses, or banks.
template <int N, class Columns>
__device__ __forceinline__ ColumnShare share_of(int count, int32_t offset_channels) {
  constexpr int kPixels = Columns::kPixels, kLanes = kThreads / kPixels;
  const int lane = Columns::kScattered ? threadIdx.x / kPixels : threadIdx.x % kLanes;
  const int pixel = Columns::kScattered ? threadIdx.x % kPixels : threadIdx.x / kLanes;
  if (offset_channels >= kLanes * N) return {pixel, lane * N, count, kLanes * N};
  const int run = (count + kLanes * N - 1) / (kLanes * N) * N;
  return {pixel, lane * run, min(count, (lane + 1) * run), N};
}

template <bool kHalfMask, int N, class Columns, class T, class F>
__device__ __forceinline__ void sample_as(const T* __restrict__ input, const DeformArgsGpu& a, const DeformPlaceGpu<F>* places,
                                          int32_t q, int32_t first, int count, F* columns) {
  constexpr int kSize = sizeof(T);
  const int32_t offset_channels = a.offset_channels;
  const ColumnShare share = share_of<N, Columns>(count, offset_channels);
  // Of pixel (-1, -1).
  const char* from = reinterpret_cast<const char*>(input) - (a.row_bytes + a.pixel_bytes) + (first + share.begin) * kSize;
  int32_t end = (q + 1) * offset_channels - first;  // of the channels that the place serves
  places += share.pixel;
  DeformPlaceGpu<F> place = *places;
#pragma unroll 1
  for (int c = share.begin; c < share.end; c += share.step, from += share.step * kSize) {
    if (c >= end) {
      do {
        places += Columns::kPixels;
        end += offset_channels;
      } while (c >= end);
      place = *places;
    }
    const char* const corner = from + uint64_t{place.at} * a.pixel_bytes;
    Pack<T, N> v[4];
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const char* const at = corner + (k & 1 ? a.pixel_bytes : 0) + (k & 2 ? a.row_bytes : 0);
      v[k] = load_pack<T, N>(reinterpret_cast<const T*>(is_used(place, k) ? at : static_cast<const char*>(a.zeros)));
    }
    Columns::store(columns, share.pixel, c, column_of<kHalfMask>(place, v));
  }
}

// The columns of `count` channels from `first` on, of the pixels of a tile; `places` begins with those of the offset group q
// of channel `first`. N neighbouring channels are loaded at once. `input` is the sample's.
template <int N, class Columns, class T, class F>
__device__ __forceinline__ void sample(const T* __restrict__ input, const DeformArgsGpu& a, const DeformPlaceGpu<F>* places,
                                       int32_t q, int32_t first, int count, F* columns) {
  if (!std::is_same_v<F, Half> || a.half_mask) {
    sample_as<true, N, Columns>(input, a, places, q, first, count, columns);
  } else {
    sample_as<false, N, Columns>(input, a, places, q, first, count, columns);
  }
}

// `channels` channels of `pixels` pixels that lie one after another at `from`, `step` apart; 0 for what a factor has beyond.
template <class Columns, class T, class F>
__device__ __forceinline__ void load_columns(const T* __restrict__ from, int64_t step, bool wide, int pixels, int channels,
                                             F* to) {
  constexpr int N = 16 / static_cast<int>(sizeof(T)), kPacks = Columns::kChannels / N, kPixels = Columns::kPixels;
  constexpr bool kPacksFirst = Columns::kSideBySide;
#pragma unroll 1
  for (unsigned e = threadIdx.x; e < kPixels * kPacks; e += kThreads) {
    const int c = (kPacksFirst ? e % kPacks : e / kPixels) * N, pixel = kPacksFirst ? e / kPacks : e % kPixels;
    const T* const at = from + pixel * step + c;
    Pack<F, N> factors{};
    if (pixel < pixels && wide && c < channels) {
      const Pack<T, N> values = load_pack<T, N>(at);
#pragma unroll
      for (int n = 0; n < N; ++n) factors.at[n] = factor_of<F>(values.at[n]);
    } else if (pixel < pixels) {
#pragma unroll
      for (int n = 0; n < N; ++n) factors.at[n] = c + n < channels ? factor_of<F>(at[n]) : F{};
    }
    Columns::store(to, pixel, c, factors);
  }
}

}  // namespace vfi::cuda
