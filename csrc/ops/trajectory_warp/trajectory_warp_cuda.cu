// Backward warping along a trajectory on CUDA: tensors and registration. The kernel is in trajectory_warp_kernels.cuh.
#include "trajectories/trajectory_cuda_tensors.h"
#include "ops/trajectory_warp/trajectory_warp_checks.h"
#include "ops/trajectory_warp/trajectory_warp_kernels.cuh"

namespace vfi::cuda {
namespace {

Tensor trajectory_warp(Tensor image, Tensor keyframes, Tensor taus, double first, double step, double a,
                       int64_t boundary, bool extrapolate, int64_t padding) {
  const TrajectoryWarpRules rules =
      check_trajectory_warp(image, keyframes, taus, first, step, a, boundary, extrapolate, padding);
  const OnDevice device(image);
  const MemoryFormat layout = layout_of(image);
  const Tensor in = with_layout(image, layout);
  const int64_t height = image.size(2), width = image.size(3);
  Tensor out =
      result(image, {image.size(0) * taus.size(1), image.size(1), height, width}, image.scalar_type(), layout);
  const TrajectoryWarpArgsGpu args{path_view(keyframes, taus, height, width, rules.curve, 0),
                                   dense_shape_of(in, layout), dense_shape_of(out, layout), rules.padding};
  launch_trajectory_warp(in.const_data_ptr(), out.mutable_data_ptr(), dtype_of(image),
                         any_float64({&image, &keyframes, &taus}), args, device.stream);
  device.check_launches();
  return out;
}

}  // namespace
}  // namespace vfi::cuda

VFI_CUDA_LIBRARY_IMPL(m) { m.impl("trajectory_warp", TORCH_BOX(&vfi::cuda::trajectory_warp)); }
