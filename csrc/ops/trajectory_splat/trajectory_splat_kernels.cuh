// Splatting along a trajectory on CUDA: the kernels are those of splatting (splatting/scatter.cuh, ordered_gather.cuh and
// softmax_shift.cuh), compiled for a path: they compute the flow where others read it. Here is what they need to know.
#pragma once

#include "splatting/landing.cuh"

namespace vfi::cuda {

// Samples are numbered b T + t.
inline Spreading path_spreading(const PathView& path, int64_t batch) {
  Spreading s{};
  s.batch = batch * path.count;
  s.height = s.target_height = path.size.H;
  s.width = s.target_width = path.size.W;
  s.path = path;
  s.padding = Padding::kZeros;
  return s;
}

}  // namespace vfi::cuda
