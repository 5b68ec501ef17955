// What the CUDA kernels of splat, forward and backward, are told of its arguments.
#pragma once

#include "splatting/splat_tensors_gpu.h"
#include "ops/splat/splat_checks.h"

namespace vfi::cuda {

using MaybeTensor = std::optional<Tensor>;

inline ScatterArgsGpu splat_args(const std::vector<Tensor>& inputs, const Tensor& flow, const MaybeTensor& metric,
                                 Factor factor) {
  ScatterArgsGpu s{};
  s.B = flow.size(0);
  s.H = s.target_H = static_cast<int32_t>(flow.size(2));
  s.W = s.target_W = static_cast<int32_t>(flow.size(3));
  s.flow = view_of(flow);
  s.padding = Padding::kZeros;
  s.factor = factor;
  if (metric) s.metric = view_of(*metric);
  s.float64 = needs_float64(inputs, flow, metric);
  return s;
}

}  // namespace vfi::cuda
