// Rows of pixels from one memory order and element type to another. For *_simd.cpp only.
#pragma once

#include "base/elements.h"
#include "simd/simd.h"

namespace vfi {
namespace VFI_LEVEL {

// The vector that elements of type T are loaded into.
template <class T>
struct VectorOf {
  using type = F32;
};
template <>
struct VectorOf<double> {
  using type = double;
};

template <class T>
using SumOf = typename Lanes<typename VectorOf<T>::type>::Scalar;

// From one pixel to the next, and from one channel to the next, in elements.
struct PixelStrides {
  int64_t pixel, channel;
};

// to = v, or to += v where kAdd, for n lanes.
template <bool kAdd, class F, class U>
VFI_INLINE void put_lanes(U* to, F v, int64_t n) {
  store(to, kAdd ? v + load<F>(to, n) : v, n);
}

// n elements one after another.
template <bool kAdd, class F, class T, class U>
VFI_INLINE void copy_run(const T* from, U* to, int64_t n) {
  for (int64_t i = 0; i < n; i += Lanes<F>::kCount) put_lanes<kAdd>(to + i, load<F>(from + i, n - i), n - i);
}

// Squares of kCount pixels and channels; planes to pixels where kToPixels, else back. `step` is the distance of the
// planes, or of the pixels, on either side.
template <bool kAdd, bool kToPixels, class F, class T, class U>
VFI_INLINE void copy_turned(const T* from, int64_t from_step, U* to, int64_t to_step, int64_t pixels, int64_t channels) {
  constexpr int64_t kCount = Lanes<F>::kCount;
  const int64_t rows = kToPixels ? channels : pixels, columns = kToPixels ? pixels : channels;
  for (int64_t r = 0; r < rows; r += kCount) {
    const int64_t height = min(kCount, rows - r);
    for (int64_t c = 0; c < columns; c += kCount) {
      const int64_t width = min(kCount, columns - c);
      F square[kCount];
      for (int64_t k = 0; k < kCount; ++k) {
        square[k] = k < height ? load<F>(from + (r + k) * from_step + c, width) : broadcast<F>(0);
      }
      transpose(square);
      for (int64_t k = 0; k < width; ++k) put_lanes<kAdd>(to + (c + k) * to_step + r, square[k], height);
    }
  }
}

// n pixels of C channels.
template <bool kAdd, class T, class U>
void copy_pixels(const T* from, PixelStrides f, U* to, PixelStrides t, int64_t n, int64_t C) {
  using F = typename VectorOf<T>::type;
  if (f.channel == 1 && t.channel == 1) {
    if (f.pixel == C && t.pixel == C) return copy_run<kAdd, F>(from, to, n * C);
    for (int64_t i = 0; i < n; ++i) copy_run<kAdd, F>(from + i * f.pixel, to + i * t.pixel, C);
  } else if (f.pixel == 1 && t.pixel == 1) {
    for (int64_t c = 0; c < C; ++c) copy_run<kAdd, F>(from + c * f.channel, to + c * t.channel, n);
  } else if (f.pixel == 1 && t.channel == 1) {
    copy_turned<kAdd, true, F>(from, f.channel, to, t.pixel, n, C);
  } else if (f.channel == 1 && t.pixel == 1) {
    copy_turned<kAdd, false, F>(from, f.pixel, to, t.channel, n, C);
  } else {
    for (int64_t c = 0; c < C; ++c) {
      for (int64_t i = 0; i < n; ++i) {
        copy_run<kAdd, typename Lanes<F>::Scalar>(from + i * f.pixel + c * f.channel, to + i * t.pixel + c * t.channel, 1);
      }
    }
  }
}

// n bytes from one place to another, past the cache.
VFI_INLINE void stream_bytes(const char* from, char* to, int64_t n) {
  constexpr int64_t kBytes = kLanes * sizeof(float);
  const int64_t before = min(n, static_cast<int64_t>(-reinterpret_cast<uintptr_t>(to) % kBytes));
  std::memcpy(to, from, before);
  int64_t i = before;
  for (; i + kBytes <= n; i += kBytes) {
    stream(reinterpret_cast<float*>(to + i), load<F32>(reinterpret_cast<const float*>(from + i)));
  }
  std::memcpy(to + i, from + i, n - i);
}

// n pixels of C channels become 0.
template <class T>
void clear_pixels(T* to, PixelStrides t, int64_t n, int64_t C) {
  const bool along_pixels = t.channel == 1;
  const int64_t runs = along_pixels ? n : C, length = along_pixels ? C : n;
  const int64_t step = along_pixels ? t.pixel : t.channel, within = along_pixels ? t.channel : t.pixel;
  for (int64_t r = 0; r < runs; ++r) {
    if (within == 1) {
      std::memset(to + r * step, 0, length * sizeof(T));
    } else {
      for (int64_t i = 0; i < length; ++i) to[r * step + i * within] = T{};
    }
  }
}

}  // namespace VFI_LEVEL
}  // namespace vfi
