// The scatter-add of landing.cuh on tensors, for the *_cuda.cu files of the ops; defined in scatter_cuda.cu.
#pragma once

#include "torch/cuda_tensors.h"
#include "splatting/landing.cuh"

namespace vfi::cuda {

// Spreads several inputs along one flow. With `deterministic` the order of all sums is fixed by a plan that is made
// here, once; without, nothing is computed yet.
class Scatter {
 public:
  Scatter(const OnDevice& device, const Tensor& flow, const Spreading& spreading, bool deterministic);

  // The sums of `values`, which is dense with `layout`; and of the weight as channel C.
  Tensor sums(const Tensor& values, MemoryFormat layout, bool with_weight) const;
  SumLayout sum_layout(const Tensor& values, MemoryFormat layout, bool with_weight) const;

  const Spreading spreading;

 private:
  const OnDevice& device_;
  bool deterministic_;
  std::optional<Tensor> order_, starts_;
};

// The gradient of `image`: grad_out [B, C, H, W], laid out as the image, spread along the flow.
Tensor scatter_gradient(const OnDevice& device, const Tensor& grad_out, const Tensor& image, const Tensor& flow,
                        const Spreading& spreading, bool deterministic);

}  // namespace vfi::cuda
