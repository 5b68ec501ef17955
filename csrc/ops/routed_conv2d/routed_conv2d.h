// Convolution of listed patches. Along each axis, with o an output pixel and i an input pixel of the same patch, counted from
// the patch's first pixel, stride s, padding p, taps u = 0 .. K - 1:
//
//   i = o s - p + u          or transposed          o = i s - p + u
//   out[k, n, o] = act(bias[n] + sum over c, u of weight[n, c, u] x[c, i])
//
// where x is 0 outside the patch (border "zero") or outside the image (border "image"). With g = grad_out:
//
//   grad_x[c, i] = sum over n, o, u of weight[n, c, u] g[k, n, o]        the same sum with input and output exchanged: the
//                  gradient of the one convolution is the other one, of g; patches add up where border "image" lets them
//                  read the same pixel
//   grad_weight[n, c, u] = sum over k, o of g[k, n, o] x[c, i]           grad_bias[n] = sum over k, o of g[k, n, o]
//
// Source: Ren et al., SBNet, CVPR 2018. Derived in docs/derivations.md#routed_conv2d.
#pragma once

#include "base/options.h"
#include "base/indexing.h"
#include "patch_lists/patches.h"

namespace vfi {

struct RoutedGeometry {
  PatchGrid grid;
  int64_t C, C_out, H, W;                  // of x
  int64_t patch, out_patch, K, stride, padding;
  bool transposed, image_border;

  // Pixels around its own that a patch reads.
  VFI_HOST_DEVICE int64_t reach() const { return image_border && K > 1 ? 1 : 0; }
};

}  // namespace vfi
