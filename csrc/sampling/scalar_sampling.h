// Bilinear sampling of one output pixel, for the CPU paths that are not vectorised. A is the type of the arithmetic.
#pragma once

#include "base/elements.h"
#include "sampling/sampling.h"

namespace vfi {
namespace VFI_LEVEL {

// The offsets of the corners that are used, and their coefficients.
template <class A>
struct PixelReads {
  int64_t offset[4];
  A weight[4];
  int count = 0;

  void add(int64_t at, A w) {
    offset[count] = at;
    weight[count++] = w;
  }
  template <class T>
  A sum(const T* p) const {
    A total = 0;
    for (int k = 0; k < count; ++k) {
      const A term = weight[k] * static_cast<A>(to_float(p[offset[k]]));
      total = k == 0 ? term : total + term;  // 0 + -0 would lose the sign
    }
    return total;
  }
};

// The position that output pixel (y, x) of sample b reads, in an image whose pixels are `step` elements apart.
template <class A>
struct PixelPosition {
  Axis<A> x, y;
  int64_t step, width;

  PixelPosition(const Sampling& s, A flow_x, A flow_y, int32_t at_y, int32_t at_x, int64_t pixel_step)
      : x(padded_axis(s.padding, flow_x, at_x, s.W)),
        y(padded_axis(s.padding, flow_y, at_y, s.H)),
        step(pixel_step),
        width(s.W) {}
  PixelPosition(const Sampling& s, int64_t b, int32_t at_y, int32_t at_x, int64_t pixel_step)
      : PixelPosition(s, flow_of(s, b, 0, at_y, at_x), flow_of(s, b, 1, at_y, at_x), at_y, at_x, pixel_step) {}
  static A flow_of(const Sampling& s, int64_t b, int64_t c, int32_t at_y, int32_t at_x) {
    const int64_t plane = int64_t{s.out_H} * s.out_W;
    return read_as<A>(s.flow, s.flow_type, b * s.flow_batch + c * plane + int64_t{at_y} * s.out_W + at_x);
  }
  int64_t offset(int j, int i) const { return ((int64_t{y.at} + j) * width + x.at + i) * step; }
  PixelReads<A> value() const {
    PixelReads<A> reads;
    for_each_corner(x, y, [&](int j, int i, A w) { reads.add(offset(j, i), w); });
    return reads;
  }
  PixelReads<A> dx() const {
    PixelReads<A> reads;
    for_each_corner_dx(x, y, [&](int j, int i, A w) { reads.add(offset(j, i), w); });
    return reads;
  }
  PixelReads<A> dy() const {
    PixelReads<A> reads;
    for_each_corner_dx(y, x, [&](int i, int j, A w) { reads.add(offset(j, i), w); });
    return reads;
  }
};

}  // namespace VFI_LEVEL
}  // namespace vfi
