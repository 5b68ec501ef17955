// Splatting along a trajectory on CUDA: tensors and registration.
#include <tuple>

#include "splatting/splat_tensors_gpu.h"
#include "trajectories/trajectory_cuda_tensors.h"
#include "ops/trajectory_splat/trajectory_splat_checks.h"
#include "ops/trajectory_splat/trajectory_splat_kernels.cuh"

namespace vfi::cuda {
namespace {

std::tuple<std::vector<Tensor>, Tensor, Tensor> trajectory_splat(
    std::vector<Tensor> inputs, Tensor keyframes, Tensor taus, std::optional<Tensor> metric, double first, double step,
    double a, int64_t boundary, bool extrapolate, int64_t mode, int64_t holes, bool keep_weight, bool deterministic) {
  const TrajectorySplatRules rules = check_trajectory_splat(inputs, keyframes, taus, metric, first, step, a, boundary,
                                                            extrapolate, mode, holes);
  const Tensor& input = inputs[0];
  const OnDevice device(input);
  const PathView path = path_view(keyframes, taus, input.size(2), input.size(3), rules.curve, 0);
  ScatterArgsGpu s = path_scatter(path, input.size(0));
  s.factor = rules.splat.factor;
  if (metric) s.metric = view_of(*metric);
  s.float64 = any_float64({&keyframes, &taus, metric ? &*metric : nullptr});
  for (const Tensor& x : inputs) s.float64 = s.float64 || any_float64({&x});
  const Splatted result = splat_tensors_gpu(device, s, inputs, rules.splat.division, keep_weight, deterministic);
  return {result.outs, result.weight, result.shift};
}

}  // namespace
}  // namespace vfi::cuda

VFI_CUDA_LIBRARY_IMPL(m) { m.impl("trajectory_splat", TORCH_BOX(&vfi::cuda::trajectory_splat)); }
