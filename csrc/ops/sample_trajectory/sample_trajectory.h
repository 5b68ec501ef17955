// Flows along a trajectory, with the weights of trajectories/keys_cubic.h and the resize R of trajectories/trajectory.h:
//
//   out[b, t, c] = sum over k of weight_k(tau) R(keyframes[b, k, c])
//
// and its gradients: with g = grad_out,
//
//   grad_keyframes[b, k, c] = R^T(sum over t of weight_k(tau) g[b, t, c])
//   grad_taus[b, t] = sum over c (and pixels, where they share tau) of g[b, t, c] d out[b, t, c] / d tau
//
// A pixel whose d out / d tau is not finite adds nothing to grad_taus, a tau whose weights are not finite nothing to
// grad_keyframes.
// Source: Keys, Cubic Convolution Interpolation for Digital Image Processing, 1981.
// Derived in docs/derivations.md#sample_trajectory.
#pragma once

#include "cpu/cpu_dispatch.h"
#include "trajectories/trajectory.h"

namespace vfi {

struct SampleArgs {
  Trajectory path;
  void* out;  // [B, T, 2, H, W], of the keyframes' dtype
  int64_t B;
  bool float64;
};

struct SampleGradArgs {
  Trajectory path;       // for grad_taus its order is one more than that of the forward op
  const void* grad_out;  // [B, T, 2, H, W], of the keyframes' dtype
  void* grad_keyframes;  // [B, K, 2, h, w]
  void* grad_taus;       // [B, T, H, W]; where pixels share tau, A [B, T, H]: the sums of rows
  bool float64;
};

// Output rows begin <= b H + y < end. `memory`: run_memory_bytes(), aligned to 64.
VFI_DECLARE_CPU_KERNEL(sample_rows, const SampleArgs& args, int64_t begin, int64_t end, void* memory);
VFI_DECLARE_CPU_KERNEL(sample_grad_taus, const SampleGradArgs& args, int64_t begin, int64_t end, void* memory);
// Rows begin <= b h + y < end of the keyframes. `memory`: A [2 K + 2, w], aligned to 64.
VFI_DECLARE_CPU_KERNEL(sample_grad_keyframes, const SampleGradArgs& args, int64_t begin, int64_t end, void* memory);

}  // namespace vfi
