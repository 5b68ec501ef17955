// Two backward warps and their blend:
//
//   out = m w0 + (1 - m) w1,   m = sigmoid(mask_logits),   w_n = backward_warp(frame_n, flow[:, 2n : 2n + 2]), n = 0, 1
//
// with padding "border", and its gradients: with g = grad_out, s_0 = m and s_1 = 1 - m,
//
//   grad_frame_n and grad_flow[:, 2n : 2n + 2]: those of backward_warp for the output gradient s_n g
//   grad_mask_logits[b, 0, y, x] = m (1 - m) sum over c of g (w0 - w1)
//
// Source: the last step of RIFE's IFNet, Huang et al., Real-Time Intermediate Flow Estimation, ECCV 2022, eq. 3.
// Derived in docs/derivations.md#warp_blend.
#pragma once

#include "cpu/cpu_dispatch.h"
#include "sampling/sampling.h"

namespace vfi {

// Dense tensors, frames and grad_out in one layout; flow and mask, and their gradients, are contiguous.
struct BlendArgs {
  Sampling sampling[2];  // by the first and the last two channels of flow
  const void* frame[2];  // [B, C, H, W]
  const void* mask;      // [B, 1, out_H, out_W]
  const void* grad_out;  // [B, C, out_H, out_W], gradients only
  void* out;             // [B, C, out_H, out_W], forward only
  void* grad_flow;       // [B, 4, out_H, out_W]
  void* grad_mask;       // [B, 1, out_H, out_W]
  int64_t C;
  Dtype type, mask_type;  // of frames and out; of the mask
  bool channels_last;
};

// Output rows begin <= b out_H + y < end, with arithmetic in float32, for frames that fits_vectors() accepts.
VFI_DECLARE_CPU_KERNEL(blend_rows, const BlendArgs& args, int64_t begin, int64_t end);
VFI_DECLARE_CPU_KERNEL(blend_grad_rows, const BlendArgs& args, int64_t begin, int64_t end);

}  // namespace vfi
