// Splatting along a trajectory on CUDA: tensors and registration.
#include <tuple>

#include "splatting/splat_tensors_gpu.h"
#include "trajectories/trajectory_cuda_tensors.h"
#include "ops/trajectory_splat/trajectory_splat_checks.h"
#include "ops/trajectory_splat/trajectory_splat_kernels.cuh"

namespace vfi::cuda {
namespace {

std::tuple<Tensor, Tensor, Tensor> trajectory_splat(Tensor input, Tensor keyframes, Tensor taus,
                                                    std::optional<Tensor> metric, double first, double step, double a,
                                                    int64_t boundary, bool extrapolate, int64_t mode,
                                                    int64_t eps, bool keep_weight, bool deterministic) {
  const TrajectorySplatRules rules = check_trajectory_splat(input, keyframes, taus, metric, first, step, a, boundary,
                                                            extrapolate, mode, eps);
  const OnDevice device(input);
  const PathView path = path_view(keyframes, taus, input.size(2), input.size(3), rules.curve, 0);
  ScatterArgsGpu s = path_scatter(path, input.size(0));
  s.factor = rules.splat.factor;
  if (metric) s.metric = view_of(*metric);
  s.float64 = any_float64({&input, &keyframes, &taus, metric ? &*metric : nullptr});
  const Splatted result = splat_tensors_gpu(device, s, {input}, rules.splat.division, keep_weight, deterministic);
  return {result.outs[0], result.weight, result.shift};
}

}  // namespace
}  // namespace vfi::cuda

VFI_CUDA_LIBRARY_IMPL(m) { m.impl("trajectory_splat", TORCH_BOX(&vfi::cuda::trajectory_splat)); }
