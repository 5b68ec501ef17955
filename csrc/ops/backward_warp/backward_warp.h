// Backward warp:
//
//   out[b, c, y, x] = sum over i, j in {0, 1} of wx_i wy_j image[b, c, y0 + j, x0 + i]
//   with (x0, wx), (y0, wy) the split of (x + flow[b, 0, y, x], y + flow[b, 1, y, x]) in sampling/bilinear.h
//
// and its gradients: with g = grad_out[b, c, y, x],
//
//   grad_image[b, c, y0 + j, x0 + i] += wx_i wy_j g                 (a splat of g)
//   grad_flow[b, 0, y, x] = sum over c of g sum_j wy_j (image[b, c, y0 + j, x0 + 1] - image[b, c, y0 + j, x0])
//   grad_flow[b, 1, y, x] = sum over c of g sum_i wx_i (image[b, c, y0 + 1, x0 + i] - image[b, c, y0, x0 + i])
//
// Source: Jaderberg et al., Spatial Transformer Networks, 2015, eq. 5 to 7. Derived in docs/derivations.md#backward_warp.
#pragma once

#include "cpu/cpu_dispatch.h"
#include "sampling/sampling.h"

namespace vfi {

// Dense tensors in the layout of `image`; flow and its gradient are always contiguous.
struct WarpArgs {
  Sampling sampling;
  const void* image;     // [B, C, H, W]
  const void* grad_out;  // [B, C, out_H, out_W], of the image's dtype; gradients only
  void* out;             // [B, C, out_H, out_W]; or grad_flow [B, 2, out_H, out_W], of the flow's dtype
  int64_t C;
  Dtype type;  // the image's
  bool channels_last;
};

// Output rows begin <= b out_H + y < end, with arithmetic in float32, for images that fits_vectors() accepts.
VFI_DECLARE_CPU_KERNEL(warp_rows, const WarpArgs& args, int64_t begin, int64_t end);
VFI_DECLARE_CPU_KERNEL(warp_grad_flow_rows, const WarpArgs& args, int64_t begin, int64_t end);

}  // namespace vfi
