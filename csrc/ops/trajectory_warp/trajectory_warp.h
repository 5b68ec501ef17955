// Backward warp along a trajectory: with flow[b, t] as in trajectories/trajectory.h, on the image's grid,
//
//   out[b T + t, c, y, x] = image[b, c] at (x + flow[b, t, 0, y, x], y + flow[b, t, 1, y, x])
//
// bilinear as in sampling/bilinear.h. The gradients are those of that warp and of that flow, one tau at a time: see
// vfi_kernels/ops/_shared/trajectory_gradients.py.
// Derived in docs/derivations.md#trajectory_warp.
#pragma once

#include "cpu/cpu_dispatch.h"
#include "sampling/sampling.h"
#include "trajectories/trajectory.h"

namespace vfi {

// Dense tensors, out in the layout of `image`.
struct TrajectoryWarpArgs {
  Trajectory path;
  Sampling sampling;  // its flow is not used
  const void* image;  // [B, C, H, W]
  void* out;          // [B T, C, H, W]
  int64_t C;
  Dtype type;  // the image's
  bool channels_last;
};

// Output rows begin <= b H + y < end of all taus, with arithmetic in float32, for images that fits_vectors() accepts.
// `memory`: run_memory_bytes(), aligned to 64.
VFI_DECLARE_CPU_KERNEL(trajectory_warp_rows, const TrajectoryWarpArgs& args, int64_t begin, int64_t end, void* memory);

}  // namespace vfi
