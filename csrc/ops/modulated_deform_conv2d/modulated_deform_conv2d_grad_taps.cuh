// The gradients of modulated_deform_conv2d.h for offset and mask on CUDA: the corners of one tap of a pixel, and what sums over
// channels at them give.
#pragma once

#include "ops/modulated_deform_conv2d/modulated_deform_conv2d_places.cuh"

namespace vfi::cuda {

// One axis of a tap: the factors of its two pixels, 0 outside; whether the second is inside, where its factor may be 0.
template <class A>
struct PlaceAxis {
  uint32_t at;
  A weight[2];
  bool in1;

  __device__ __forceinline__ PlaceAxis(A f, int32_t x, int32_t size) {
    const Axis<A> axis = split_axis(f, 0);
    at = static_cast<uint32_t>(axis.at) + static_cast<uint32_t>(x);
    in1 = at + 1 < static_cast<uint32_t>(size);
    weight[0] = at < static_cast<uint32_t>(size) ? axis.r : A(0);
    weight[1] = in1 ? axis.l : A(0);
  }
  __device__ __forceinline__ bool reads(int i) const { return i == 0 ? weight[0] != A(0) : in1; }
  __device__ __forceinline__ bool any() const { return reads(0) || in1; }
  __device__ __forceinline__ bool on_edge() const { return in1 && weight[0] == A(0) && weight[1] == A(0); }  // exactly -1
};

template <class A>
struct TapCorners {
  PlaceAxis<A> y, x;
  uint32_t at;  // pixels from (-1, -1) to corner 0
  A mask;       // 0 where no corner is inside, whatever the mask holds

  __device__ __forceinline__ TapCorners(const DeformArgsGpu& a, const PixelAt& p, const TapIndex& t, const A (&move)[2], A m)
      : y(move[0], p.y + t.u * a.g.dilation_y, a.g.H), x(move[1], p.x + t.v * a.g.dilation_x, a.g.W),
        at((y.at + 1) * static_cast<uint32_t>(a.g.W) + x.at + 1), mask(any() ? m : A(0)) {}
  __device__ __forceinline__ bool any() const { return y.any() && x.any(); }
  __device__ __forceinline__ bool reads(int k) const { return y.reads(k >> 1) && x.reads(k & 1); }
  __device__ __forceinline__ bool used(int k) const { return y.weight[k >> 1] != A(0) && x.weight[k & 1] != A(0); }
};

// Sums over the channels of an offset group of G times the value at each corner.
template <class A>
struct CornerSums {
  A at[4] = {A(0), A(0), A(0), A(0)};
};

// The gradients of one tap of a pixel, from those sums. A corner that takes no part adds nothing, whatever is there.
template <class A>
struct TapGradient {
  A mask, x, y;

  __device__ __forceinline__ TapGradient(const TapCorners<A>& c, const CornerSums<A>& sums, bool mmcv_edge) {
    const auto kept = [](bool takes_part, A value) { return takes_part ? value : A(0); };
    A rows[2], across[2];
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const A left = kept(c.reads(2 * j), sums.at[2 * j]), right = kept(c.reads(2 * j + 1), sums.at[2 * j + 1]);
      rows[j] = c.x.weight[0] * left + c.x.weight[1] * kept(c.x.weight[1] != A(0), right);
      across[j] = right - left;
    }
    const bool below = c.y.weight[1] != A(0), still = mmcv_edge && c.any() && (c.y.on_edge() || c.x.on_edge());
    mask = c.y.weight[0] * rows[0] + c.y.weight[1] * kept(below, rows[1]);
    x = c.y.weight[0] * across[0] + c.y.weight[1] * kept(below, across[1]);
    y = rows[1] - rows[0];
    x = still ? A(0) : c.mask * x;
    y = still ? A(0) : c.mask * y;
  }
};

}  // namespace vfi::cuda
