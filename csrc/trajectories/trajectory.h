// Flow along a trajectory: keyframes combined by keys_cubic.h and resized to the output's grid.
//
//   flow[b, t, c, y, x] = scale_c sum over k of weight_k(tau) sum over corners of by bx keyframes[b, k, c, y0 + j, x0 + i]
//
// with x0 and the fraction of ((2x + 1) w / W - 1) / 2, clipped to the keyframe (F.interpolate, bilinear, without
// align_corners), and scale_x = W / w, scale_y = H / h. The fraction is the exact one of that quotient of integers. A
// corner of weight 0 is not read.
#pragma once

#include "base/chunk.h"
#include "trajectories/keys_cubic.h"

namespace vfi {

// What both the CPU and CUDA kernels need of the sizes.
struct Resize {
  int32_t h, w, H, W;  // of the keyframes, of the output

  VFI_HOST_DEVICE bool same() const { return h == H && w == W; }
};

// The flows of an op, for the CPU kernels. A is float, or double where any tensor of the op is float64.
struct Trajectory {
  const void* keyframes;  // [B, K, 2, h, w], contiguous
  Dtype type;
  const void* taus;  // [B, T, H, W], contiguous; only where each pixel has its own
  Dtype tau_type;
  const void* table;  // Taps<A> [B, T]; null where each pixel has its own
  int64_t T;
  Resize size;
  Curve curve;
  int order;  // of the derivative
};

// The scratch memory of the kernels that read the keyframes of a run of pixels once: A [2 K, kChunk].
inline int64_t run_memory_bytes(const Curve& curve, bool float64) {
  return int64_t{2} * curve.count * kChunk * (float64 ? 8 : 4);
}

namespace VFI_LEVEL {

// Output pixel x lies between `at` and `at` + 1, at fraction l from the first; at the end l is 0.
template <class A>
struct ResizeAxis {
  int32_t at;
  A l;
};

// a / b of numbers that are not negative, b below 2^32 and a / b below 2^31. A GPU divides 64 bits by a call of a function, with
// its registers in memory meanwhile; numbers that need them are rare.
VFI_HOST_DEVICE int64_t whole_part(int64_t a, int64_t b) {
  if (a >> 32 == 0) return static_cast<int64_t>(static_cast<uint32_t>(a) / static_cast<uint32_t>(b));
  int64_t whole = 0;
#ifdef __CUDACC__
#pragma unroll 1  // unrolled, its steps would be moved out of loops around a call, and so taken by every pixel
#endif
  for (int bit = 30; bit >= 0; --bit) {
    if (a >> bit < b) continue;
    a -= b << bit;
    whole += int64_t{1} << bit;
  }
  return whole;
}

template <class A>
VFI_HOST_DEVICE ResizeAxis<A> resize_axis(int32_t x, int32_t size, int32_t out_size) {
  if (size == out_size) return {x, A(0)};
  const int64_t doubled = 2 * int64_t{out_size}, numerator = (2 * int64_t{x} + 1) * size - out_size;
  if (numerator < 0) return {0, A(0)};
  const int32_t at = static_cast<int32_t>(whole_part(numerator, doubled));
  if (at >= size - 1) return {size - 1, A(0)};
  return {at, static_cast<A>(numerator - at * doubled) / static_cast<A>(doubled)};
}

// Both components at the resized pixel, not scaled; read(y, x, pixel) gives those of one pixel.
template <class A, class Read>
VFI_HOST_DEVICE void resized(const ResizeAxis<A>& y, const ResizeAxis<A>& x, Read&& read, A (&value)[2]) {
  A other[2], below[2];
  const auto mix = [](A l, A (&to)[2], const A (&with)[2]) {
    for (int c = 0; c < 2; ++c) to[c] = (A(1) - l) * to[c] + l * with[c];
  };
  read(y.at, x.at, value);
  if (x.l != A(0)) {
    read(y.at, x.at + 1, other);
    mix(x.l, value, other);
  }
  if (y.l == A(0)) return;
  read(y.at + 1, x.at, below);
  if (x.l != A(0)) {
    read(y.at + 1, x.at + 1, other);
    mix(x.l, below, other);
  }
  mix(y.l, value, below);
}

template <class A>
VFI_HOST_DEVICE A scale_x(const Resize& r) {
  return r.w == r.W ? A(1) : static_cast<A>(r.W) / static_cast<A>(r.w);
}
template <class A>
VFI_HOST_DEVICE A scale_y(const Resize& r) {
  return r.h == r.H ? A(1) : static_cast<A>(r.H) / static_cast<A>(r.h);
}

// The flow of the output pixel at (ay, ax): read(k, y, x, pixel) gives both components of a pixel of keyframe k.
template <class A, class Read>
VFI_HOST_DEVICE void trajectory_flow(const Taps<A>& taps, const Resize& r, const ResizeAxis<A>& ay, const ResizeAxis<A>& ax,
                                     Read&& read, A (&flow)[2]) {
  flow[0] = flow[1] = A(0);
  for (int m = 0; m < 4; ++m) {
    if (taps.w[m] == A(0)) continue;
    A value[2];
    resized<A>(ay, ax, [&](int32_t row, int32_t column, A(&pixel)[2]) { read(taps.first + m, row, column, pixel); }, value);
    for (int c = 0; c < 2; ++c) flow[c] += taps.w[m] * value[c];
  }
  flow[0] *= scale_x<A>(r), flow[1] *= scale_y<A>(r);
}

template <class A, class Read>
VFI_HOST_DEVICE void trajectory_flow(const Taps<A>& taps, const Resize& r, int32_t y, int32_t x, Read&& read,
                                     A (&flow)[2]) {
  trajectory_flow(taps, r, resize_axis<A>(y, r.h, r.H), resize_axis<A>(x, r.w, r.W), read, flow);
}

}  // namespace VFI_LEVEL
}  // namespace vfi
