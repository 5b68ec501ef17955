// Modulated deformable convolution. With taps t = u KW + v, output pixels p = (i, j), offset group q of channel c:
//
//   y = i s_y - p_y + u d_y + offset[2 (q T + t)][p]        x = j s_x - p_x + v d_x + offset[2 (q T + t) + 1][p]
//   value[c, t, p]  = sum over corners k of w_k input[c, corner k of (y, x)]        (bilinear.h; 0 outside)
//   column[c, t, p] = mask[q T + t][p] value[c, t, p]
//   out[o, p] = act(bias[o] + sum over c in o's group, t of weight[o, c, t] column[c, t, p])
//
// and with g = grad_out, m = mask and G[c, t, p] = sum over o of weight[o, c, t] g[o, p], each sum over c within one q:
//
//   grad_input[c, corner k] += w_k m G            grad_offset y, x = sum over c, k of m G (dw_k/dy, dw_k/dx) input[c, corner k]
//   grad_mask = sum over c of G value             grad_weight[o, c, t] = sum over p of g[o, p] column     grad_bias = sum of g
//
// Corners outside, or of weight exactly 0, are not read; an offset that is not finite has no corners. Where a coordinate is
// exactly -1 the value is 0 and the derivative that of the right side, or 0 along both axes with the edge rule "mmcv".
//
// Source: Zhu et al., Deformable ConvNets v2, CVPR 2019; the layout is that of torchvision.ops.deform_conv2d.
// Derived in docs/derivations.md#modulated_deform_conv2d.
#pragma once

#include "base/options.h"
#include "sampling/bilinear.h"

namespace vfi {

struct DeformGeometry {
  int64_t B, C, C_out, groups, offset_groups;
  int32_t H, W, out_H, out_W, KH, KW;
  int32_t stride_y, stride_x, padding_y, padding_x, dilation_y, dilation_x;
  bool mmcv_edge;

  VFI_HOST_DEVICE int64_t taps() const { return int64_t{KH} * KW; }
  VFI_HOST_DEVICE int64_t pixels() const { return int64_t{out_H} * out_W; }         // of one sample's output
  VFI_HOST_DEVICE int64_t group_in() const { return C / groups; }                   // input channels of a group
  VFI_HOST_DEVICE int64_t group_out() const { return C_out / groups; }              // output channels of a group
  VFI_HOST_DEVICE int64_t offset_group_channels() const { return C / offset_groups; }  // that share offsets
  VFI_HOST_DEVICE int32_t start_y(int32_t i, int32_t u) const { return i * stride_y - padding_y + u * dilation_y; }
  VFI_HOST_DEVICE int32_t start_x(int32_t j, int32_t v) const { return j * stride_x - padding_x + v * dilation_x; }
};

}  // namespace vfi
