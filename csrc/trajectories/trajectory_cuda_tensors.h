// Tensors as the CUDA kernels' PathView. For the *_cuda.cu files of the ops.
#pragma once

#include "torch/cuda_tensors.h"
#include "trajectories/trajectory.cuh"
#include "trajectories/trajectory_checks.h"

namespace vfi::cuda {

inline PathView path_view(const Tensor& keyframes, const Tensor& taus, int64_t height, int64_t width, const Curve& curve,
                          int order) {
  return {view_of(keyframes), view_of(taus), static_cast<int32_t>(taus.size(1)), taus_per_pixel(taus, height, width),
          resize_of(keyframes, height, width), curve, order};
}

}  // namespace vfi::cuda
