// A linear layer with two low-rank adapters: the universal one, entry 0, and one of the experts 1 ... E - 1. With
//
//   s_e = x A_e^T + a_e    (shrink: r columns)
//
//   y = x W^T + b + sum over e in {0, expert} of (s_e B_e^T + beta_e)    (expand)
//
// where x has a token in each row. All tokens have one expert, or every segment of them its own. A = lora_a, B = lora_b,
// a = lora_a_bias, beta = lora_b_bias. s_0 and s_expert stand side by side, as a matrix s of 2 r columns: one shrink and
// one expand, whatever the number of experts.
//
// Gradients, with g = grad_out and q_e = g B_e, over the tokens that have entry e (all of them for 0):
//
//   grad_x = g W + q_0 A_0 + q_expert A_expert    grad_W = g^T x      grad_b = sum of g
//   grad_A_e = q_e^T x    grad_B_e = g^T s_e      grad_a_e = sum of q_e    grad_beta_e = sum of g
//
// x W^T, g W and grad_W are torch's own products. y and grad_x start as what the adapters give, rounded to the dtype of
// x; the large product is then added to it, in its own sums. So an output is rounded once, and beside it only the small
// numbers s, q and the share of the adapters.
//
// Source: Hu et al., LoRA, 2021, eq. 3; Hong et al., Semantic Frame Interpolation, 2025: the mixture; Chen et al., Punica,
// 2023: segments. Derived in docs/derivations.md#mixture_lora.
#pragma once

#include <cstdint>

#include "base/host_device.h"

namespace vfi {

struct LoraShape {
  int64_t tokens, in, out, entries, rank;
  int64_t expert;    // of all tokens; 0: segments have their own
  int64_t segments;  // 0: there are none
};

}  // namespace vfi
