// Splat along a trajectory: with flow[b, t] as in trajectories/trajectory.h, on the input's grid,
//
//   out[b T + t] = the splat of input[b] along flow[b, t], with metric[b]
//
// in every mode of ops/splat/splat.h. The sums are those of splatting/scatter.h, whose flow comes from a path. The gradients are
// those of that splat and of that flow, one tau at a time: see vfi_kernels/ops/_shared/trajectory_gradients.py.
// Derived in docs/derivations.md#trajectory_splat.
#pragma once

#include "splatting/scatter.h"
#include "trajectories/trajectory.h"
