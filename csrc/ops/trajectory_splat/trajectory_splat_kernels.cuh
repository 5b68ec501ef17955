// Splatting along a trajectory on CUDA: the kernels are those of ops/splat, compiled for a path: they compute the flow where
// others read it. Here is what they need to know.
#pragma once

#include "splatting/scatter.cuh"

namespace vfi::cuda {

// Samples are numbered b T + t.
inline ScatterArgsGpu path_scatter(const PathView& path, int64_t batch) {
  ScatterArgsGpu s{};
  s.B = batch * path.count;
  s.H = s.target_H = path.size.H;
  s.W = s.target_W = path.size.W;
  s.path = path;
  s.padding = Padding::kZeros;
  return s;
}

}  // namespace vfi::cuda
