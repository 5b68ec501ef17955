// adacof one pixel at a time, for float64 and for images that the vector kernels do not take. A is the type of the
// arithmetic, T the image's.
#pragma once

#include <vector>

#include "ops/adacof/adacof.h"
#include "sampling/scalar_sampling.h"

namespace vfi {
namespace VFI_LEVEL {

// One tap of one pixel: what it reads of a plane of the image, and with which derivatives.
template <class A>
struct ScalarTap {
  Axis<A> x, y;
  A weight;
  int64_t width;

  ScalarTap(const AdacofArgs& a, int64_t b, int32_t n, int32_t at_y, int32_t at_x) : width(a.in_W) {
    const int64_t at = a.tap_at(b, n, at_y, at_x);
    y = truncated_axis(read_as<A>(a.vertical, a.vertical_type, at), at_y + n / a.side * a.dilation, a.in_H);
    x = truncated_axis(read_as<A>(a.horizontal, a.horizontal_type, at), at_x + n % a.side * a.dilation, a.in_W);
    weight = read_as<A>(a.weights, a.weights_type, at);
  }
  PixelReads<A> value() const {
    PixelReads<A> reads;
    for_each_corner(x, y, [&](int j, int i, A w) { reads.add((int64_t{y.at} + j) * width + x.at + i, w); });
    return reads;
  }
  PixelReads<A> dx() const {
    PixelReads<A> reads;
    for_each_corner_dx(x, y, [&](int j, int i, A w) { reads.add((int64_t{y.at} + j) * width + x.at + i, w); });
    return reads;
  }
  PixelReads<A> dy() const {
    PixelReads<A> reads;
    for_each_corner_dx(y, x, [&](int i, int j, A w) { reads.add((int64_t{y.at} + j) * width + x.at + i, w); });
    return reads;
  }
};

template <class A, class T>
void scalar_row(const AdacofArgs& a, int64_t b, int32_t y) {
  const T* image = static_cast<const T*>(a.image) + b * a.C * a.in_plane();
  T* out = static_cast<T*>(a.out) + (b * a.C * a.H + y) * a.W;
  std::vector<A> sums(a.C);
  for (int32_t x = 0; x < a.W; ++x) {
    std::fill(sums.begin(), sums.end(), A(0));
    for (int32_t n = 0; n < a.taps(); ++n) {
      const ScalarTap<A> tap(a, b, n, y, x);
      const PixelReads<A> reads = tap.value();
      for (int64_t c = 0; reads.count > 0 && c < a.C; ++c) sums[c] += tap.weight * reads.sum(image + c * a.in_plane());
    }
    for (int64_t c = 0; c < a.C; ++c) out[c * a.plane() + x] = Element<T>::from(sums[c]);
  }
}

template <class A, class T>
void scalar_grad_taps_row(const AdacofArgs& a, int64_t b, int32_t y) {
  const T* image = static_cast<const T*>(a.image) + b * a.C * a.in_plane();
  const T* upstream = static_cast<const T*>(a.grad_out) + (b * a.C * a.H + y) * a.W;
  for (int32_t x = 0; x < a.W; ++x) {
    for (int32_t n = 0; n < a.taps(); ++n) {
      const ScalarTap<A> tap(a, b, n, y, x);
      const PixelReads<A> value = tap.value(), dx = tap.dx(), dy = tap.dy();
      A sum = 0, along_x = 0, along_y = 0;
      for (int64_t c = 0; c < a.C; ++c) {
        const A g = static_cast<A>(to_float(upstream[c * a.plane() + x]));
        const T* plane = image + c * a.in_plane();
        if (value.count > 0) sum += g * value.sum(plane);
        if (dx.count > 0) along_x += g * dx.sum(plane);
        if (dy.count > 0) along_y += g * dy.sum(plane);
      }
      const int64_t at = a.tap_at(b, n, y, x);
      const A moved_x = dx.count > 0 ? tap.weight * along_x : A(0), moved_y = dy.count > 0 ? tap.weight * along_y : A(0);
      if (a.grad_weights != nullptr) write_as(a.grad_weights, a.weights_type, at, sum);
      if (a.grad_vertical != nullptr) write_as(a.grad_vertical, a.vertical_type, at, moved_y);
      if (a.grad_horizontal != nullptr) write_as(a.grad_horizontal, a.horizontal_type, at, moved_x);
    }
  }
}

// One channel of one sample, in the order of pixels and taps.
template <class A, class T>
void scalar_grad_image_plane(const AdacofArgs& a, int64_t b, int64_t c) {
  const T* upstream = static_cast<const T*>(a.grad_out) + (b * a.C + c) * a.plane();
  std::vector<A> sums(a.in_plane());
  for (int32_t y = 0; y < a.H; ++y) {
    for (int32_t n = 0; n < a.taps(); ++n) {
      for (int32_t x = 0; x < a.W; ++x) {
        const ScalarTap<A> tap(a, b, n, y, x);
        const PixelReads<A> reads = tap.value();
        const A g = static_cast<A>(to_float(upstream[int64_t{y} * a.W + x])) * tap.weight;
        for (int k = 0; k < reads.count; ++k) {
          if (reads.weight[k] != A(0)) sums[reads.offset[k]] += reads.weight[k] * g;
        }
      }
    }
  }
  T* out = static_cast<T*>(a.out) + (b * a.C + c) * a.in_plane();
  for (int64_t i = 0; i < a.in_plane(); ++i) out[i] = Element<T>::from(sums[i]);
}

}  // namespace VFI_LEVEL
}  // namespace vfi
