// Separable adaptive convolution: every pixel has a kernel of its own, the product of a column V and a row H of weights,
//
//   out[b, c, y, x] = sum over i < Fv of V[b, i, y, x] S_i,   S_i = sum over j < Fh of H[b, j, y, x] image[b, c, y + i, x + j]
//
// Its gradients, with g = grad_out[b, c, y, x]:
//
//   grad_V[b, i, y, x] = sum over c of g S_i
//   grad_H[b, j, y, x] = sum over c of g sum over i of V[b, i, y, x] image[b, c, y + i, x + j]
//   grad_image[b, c, Y, X] = sum over i, j of (V_i H_j g)[Y - i, X - j]          where that pixel exists
//
// Each is a gather: no sum has more than one owner.
//
// Source: Niklaus et al., Video Frame Interpolation via Adaptive Separable Convolution, ICCV 2017, eq. 1 and 2.
// Derived in docs/derivations.md#sepconv.
#pragma once

#include "cpu/cpu_dispatch.h"

namespace vfi {

// Contiguous tensors, each of a type of its own.
struct SepconvArgs {
  const void* image;       // [B, C, H + taps_v - 1, W + taps_h - 1]
  const void* vertical;    // [B, taps_v, H, W]
  const void* horizontal;  // [B, taps_h, H, W]
  const void* grad_out;    // [B, C, H, W], of the image's type; gradients only
  void* out;               // what the kernel gives: the output, or one of the gradients
  Dtype image_type, vertical_type, horizontal_type;
  int64_t B, C, H, W, taps_v, taps_h;

  VFI_INLINE int64_t image_H() const { return H + taps_v - 1; }
  VFI_INLINE int64_t image_W() const { return W + taps_h - 1; }
};

// The work is cut into tiles of the result's pixels, the same for any number of threads.
struct SepconvTiles {
  static constexpr int64_t kRows = 24, kColumns = 64;
  int64_t down, across, count;

  VFI_INLINE SepconvTiles(int64_t batch, int64_t height, int64_t width)
      : down((height + kRows - 1) / kRows), across((width + kColumns - 1) / kColumns), count(batch * down * across) {}
};

// Tiles begin ... end - 1 of the output, of the gradients of V and H, and of the image; float64 too.
VFI_DECLARE_CPU_KERNEL(sepconv_tiles, const SepconvArgs& args, int64_t begin, int64_t end);
VFI_DECLARE_CPU_KERNEL(sepconv_grad_vertical_tiles, const SepconvArgs& args, int64_t begin, int64_t end);
VFI_DECLARE_CPU_KERNEL(sepconv_grad_horizontal_tiles, const SepconvArgs& args, int64_t begin, int64_t end);
VFI_DECLARE_CPU_KERNEL(sepconv_grad_image_tiles, const SepconvArgs& args, int64_t begin, int64_t end);

}  // namespace vfi
