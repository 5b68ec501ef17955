// Bilinear sampling of kLanes neighbouring output pixels at once, the vector form of bilinear.h. For *_simd.cpp only.
//
// Along each axis a position reads the pair of pixels (at, at + 1), both inside the image, with weights (w0, w1). A
// corner that bilinear.h does not use has the weight 0 here, so clipping and zero padding need no further case.
// Neighbouring output pixels mostly read neighbouring inputs: where they all lie in one window of 2 kLanes columns and
// a few rows, the window is loaded row by row and the pairs are picked in registers; otherwise they are gathered from
// memory.
#pragma once

#include "sampling/simd_mirror.h"

namespace vfi {
namespace VFI_LEVEL {

struct PairAxis {
  I32 at;
  F32 w0, w1;  // weights
  F32 d0, d1;  // their derivatives along the flow
};

// Of positions x + f, where f = whole + l, in a mirrored image.
VFI_INLINE PairAxis mirrored_pair(F32 f, F32 whole, F32 x, F32 r, F32 l, int32_t size) {
  const F32 zero = {}, one = broadcast<F32>(1.0f), far = broadcast<F32>(kFar);
  const Mask near = less(zero - far, f) & less(f, far);
  const MirroredAxis<F32> m = mirrored_axis(whole, x, r, l, broadcast<F32>(static_cast<float>(size - 1)));
  PairAxis a;
  a.at = to_int(select(near, m.at, zero));
  a.w0 = select(near, m.r, one), a.w1 = select(near, m.l, zero);
  a.d1 = select(near & !m.fold, select(m.back, zero - one, one), zero);
  a.d0 = zero - a.d1;
  return a;
}

// The axis of positions x + f in an image of `size` >= 2 pixels.
template <Padding kPadding>
VFI_INLINE PairAxis pair_axis(F32 f, I32 x, int32_t size) {
  const F32 zero = {}, one = broadcast<F32>(1.0f);
  F32 whole = round_down(f);
  const F32 difference = f - whole;
  const Mask ordinary = less(difference, one);  // neither rounded up to 1, nor from NaN or infinity
  const F32 l = select(ordinary, difference, zero), r = select(ordinary, (whole + one) - f, one);
  whole = select(ordinary, whole, whole + one);
  whole = min(max(whole, broadcast<F32>(-kFar)), broadcast<F32>(kFar));
  if constexpr (kPadding == Padding::kReflection) return mirrored_pair(f, whole, to_float<F32>(x), r, l, size);
  const I32 first = {}, last = first + (size - 1), i = x + to_int(whole);
  const Mask low = less(i, first), high = !less(i, last);
  PairAxis a;
  a.at = min(max(i, first), last - 1);
  if constexpr (kPadding == Padding::kBorder) {
    a.w1 = select(low, zero, select(high, one, l));
    a.w0 = select(low, one, select(high, zero, r));
    const Mask moves = !(low | high) & (less(first, i) | less(zero, l));
    a.d1 = select(moves, one, zero);
    a.d0 = zero - a.d1;
  } else {
    const Mask before = equal(i, first - 1), at_end = equal(i, last);  // one of the pair is outside
    a.w0 = select(before, l, select(low | high, zero, r));
    a.w1 = select(at_end, r, select(low | high, zero, l));
    a.d0 = select(before, one, select(low | high, zero, zero - one));
    a.d1 = select(at_end, zero - one, select(low | high, zero, one));
  }
  return a;
}

// kLanes output pixels of one row, and how to read their corners.
struct Block {
  F32 x0, x1, y0, y1;  // weights along x and y
  I32 at;              // the pair's first column in the window; without a window its offset in the plane
  I32 row;             // the pair's first row in the window
  int64_t base;        // offset of the window in the plane
  int32_t rows;        // height of the window; 0: there is none, the corners are gathered
  bool careful;        // some weight is exactly 0, its corner must not be used; or the image lies mirrored somewhere
};

struct Range {
  int32_t first, last;
};

// The lowest and the highest lane. Neighbours' positions mostly grow or fall steadily: the outer lanes are tried first.
VFI_INLINE Range range(I32 v) {
  const int32_t a = v[0], b = v[kLanes - 1];
  const Range outer = a < b ? Range{a, b} : Range{b, a};
  const I32 zero = {};
  if (all(!(less(v, zero + outer.first) | less(zero + outer.last, v)))) return outer;
  return {lowest(v), highest(v)};
}

constexpr int kMaxRows = kLanes == 16 ? 8 : 5;  // higher windows are slower than gathering

VFI_INLINE void set_window(Block& b, I32 x, I32 y, int32_t width) {
  b.rows = 0;
  if constexpr (kHasWindow) {
    const Range columns = range(x), rows = range(y);
    if (columns.last - columns.first < 2 * kLanes - 1 && rows.last - rows.first < kMaxRows - 1 && width >= 2 * kLanes) {
      const int32_t left = columns.first < width - 2 * kLanes ? columns.first : width - 2 * kLanes;
      b.rows = rows.last - rows.first + 2;
      b.base = static_cast<int64_t>(rows.first) * width + left;
      b.at = x - left;
      b.row = y - rows.first;
      return;
    }
  }
  b.at = y * width + x;
}

VFI_INLINE Block make_block(const PairAxis& x, const PairAxis& y, int32_t width) {
  Block b;
  b.x0 = x.w0, b.x1 = x.w1, b.y0 = y.w0, b.y1 = y.w1;
  b.careful = any(equal((x.w0 * x.w1) * (y.w0 * y.w1), F32{}) | less(x.d1, F32{}) | less(y.d1, F32{}));
  set_window(b, x.at, y.at, width);
  return b;
}

// a0 v0 + a1 v1, where a value with weight 0 is not used.
template <bool kCareful>
VFI_INLINE F32 pair_sum(F32 a0, F32 v0, F32 a1, F32 v1) {
  if constexpr (!kCareful) return fma(a1, v1, a0 * v0);
  const F32 zero = {};
  const Mask use0 = not_equal(a0, zero), use1 = not_equal(a1, zero);
  // Not 0 + a v: that would turn -0 into +0, and zero flow has to be a copy.
  const F32 one_of_them = select(use0, a0 * v0, select(use1, a1 * v1, zero));
  return fma_where(use0 & use1, a1, v1, one_of_them);
}

// The four corners of each lane in the plane at p: v<row><column>.
struct CornerValues {
  F32 v00, v01, v10, v11;
};

template <class T>
VFI_INLINE CornerValues read_corners(const T* p, const Block& b, int64_t width) {
  CornerValues c;
  if (b.rows == 0) {
    gather_pairs(p, b.at, c.v00, c.v01);
    gather_pairs(p + width, b.at, c.v10, c.v11);
    return c;
  }
  p += b.base;
  const I32 next = b.at + 1;
  const auto first = load_window(p), second = load_window(p + width);
  c.v00 = lookup(first, b.at), c.v01 = lookup(first, next);
  c.v10 = lookup(second, b.at), c.v11 = lookup(second, next);
  for (int32_t r = 2; r < b.rows; ++r) {
    const Mask here = equal(b.row, I32{} + (r - 1)), below = less(I32{} + (r - 2), b.row);
    const auto row = load_window(p + r * width);
    c.v00 = select(here, c.v10, c.v00), c.v01 = select(here, c.v11, c.v01);
    c.v10 = select(below, lookup(row, b.at), c.v10), c.v11 = select(below, lookup(row, next), c.v11);
  }
  return c;
}

template <bool kCareful, class T>
VFI_INLINE F32 window_row(const T* p, const Block& b) {
  const auto row = load_window(p);
  return pair_sum<kCareful>(b.x0, lookup(row, b.at), b.x1, lookup(row, b.at + 1));
}

template <bool kCareful, class T>
VFI_INLINE F32 gathered_row(const T* p, const Block& b) {
  F32 v0, v1;
  gather_pairs(p, b.at, v0, v1);
  return pair_sum<kCareful>(b.x0, v0, b.x1, v1);
}

// The interpolated value of each lane in the plane at p: each row of the window is summed along x once for all lanes,
// and a lane takes the sums of its two rows.
template <bool kCareful, class T>
VFI_INLINE F32 sample_rows(const T* p, const Block& b, int64_t width) {
  F32 upper, lower;
  if (b.rows == 0) {
    upper = gathered_row<kCareful>(p, b);
    lower = gathered_row<kCareful>(p + width, b);
  } else {
    p += b.base;
    upper = window_row<kCareful>(p, b);
    lower = window_row<kCareful>(p + width, b);
    for (int32_t r = 2; r < b.rows; ++r) {
      const Mask here = equal(b.row, I32{} + (r - 1)), below = less(I32{} + (r - 2), b.row);
      upper = select(here, lower, upper);
      lower = select(below, window_row<kCareful>(p + r * width, b), lower);
    }
  }
  return pair_sum<kCareful>(b.y0, upper, b.y1, lower);
}

template <class T>
VFI_INLINE F32 sample(const T* p, const Block& b, int64_t width) {
  return b.careful ? sample_rows<true>(p, b, width) : sample_rows<false>(p, b, width);
}

}  // namespace VFI_LEVEL
}  // namespace vfi
