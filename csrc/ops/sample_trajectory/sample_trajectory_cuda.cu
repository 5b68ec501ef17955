// Flows along a trajectory on CUDA: tensors and registration. The kernels are in sample_trajectory_kernels.cuh.
#include <tuple>

#include "trajectories/trajectory_cuda_tensors.h"
#include "ops/sample_trajectory/sample_trajectory_kernels.cuh"

namespace vfi::cuda {
namespace {

constexpr const char* kOp = "sample_trajectory";

Tensor sample_trajectory(Tensor keyframes, Tensor taus, int64_t height, int64_t width, double first, double step,
                         double a, int64_t boundary, bool extrapolate, bool derivative) {
  const Curve curve = check_trajectory(kOp, keyframes, taus, height, width, first, step, a, boundary, extrapolate);
  const OnDevice device(keyframes);
  const int64_t batch = keyframes.size(0);
  Tensor out = result(keyframes, {batch, 2 * taus.size(1), height, width}, keyframes.scalar_type(), layout_of(keyframes));
  SampleArgsGpu args{};
  args.path = path_view(keyframes, taus, height, width, curve, derivative);
  args.out = mutable_view_of(out);
  args.batch = batch;
  launch_sample_trajectory(args, any_float64({&keyframes, &taus}), device.stream);
  device.check_launches();
  return out;
}

std::tuple<Tensor, Tensor> sample_trajectory_grad(Tensor grad_out, Tensor keyframes, Tensor taus, int64_t height,
                                                  int64_t width, double first, double step, double a,
                                                  int64_t boundary, bool extrapolate, bool derivative,
                                                  bool need_keyframes, bool need_taus) {
  const Curve curve = check_trajectory(kOp, keyframes, taus, height, width, first, step, a, boundary, extrapolate);
  check_flows(kOp, grad_out, keyframes, taus, height, width);
  const OnDevice device(keyframes);
  const bool float64 = any_float64({&keyframes, &taus});
  Tensor grad_keyframes = empty_for(keyframes, need_keyframes), grad_taus = empty_for(taus, need_taus);
  SampleArgsGpu args{};
  args.grad_out = view_of(grad_out);
  args.batch = keyframes.size(0);
  if (need_keyframes) {
    args.path = path_view(keyframes, taus, height, width, curve, derivative);
    args.out = mutable_view_of(grad_keyframes);
    launch_grad_keyframes(args, float64, device.stream);
  }
  if (need_taus) {
    args.path = path_view(keyframes, taus, height, width, curve, derivative + 1);
    args.out = mutable_view_of(grad_taus);
    if (args.path.per_pixel) {
      launch_grad_pixel_taus(args, float64, device.stream);
    } else {
      TauTiles tiles = tau_tiles(args);
      const ScalarType type = float64 ? ScalarType::Double : ScalarType::Float;
      const Tensor sums = empty(keyframes, {tiles.taus, tiles.count}, type);
      tiles.sums = {sums.mutable_data_ptr()};
      launch_grad_taus(args, tiles, float64, device.stream);
    }
  }
  device.check_launches();
  return {grad_keyframes, grad_taus};
}

}  // namespace
}  // namespace vfi::cuda

VFI_CUDA_LIBRARY_IMPL(m) {
  m.impl("sample_trajectory", TORCH_BOX(&vfi::cuda::sample_trajectory));
  m.impl("sample_trajectory_grad", TORCH_BOX(&vfi::cuda::sample_trajectory_grad));
}
