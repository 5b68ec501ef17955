// The scatter and the splat of every mode on CUDA tensors, for the *_cuda.cu files of the ops; defined in
// ops/splat/splat_cuda.cu. The CPU's are in scatter.h and splat_tensors.h.
#pragma once

#include <vector>

#include "torch/cuda_tensors.h"
#include "splatting/scatter.cuh"
#include "splatting/splat_tensors.h"

namespace vfi::cuda {

// The gradient of `image`: grad_out [B, C, H, W], laid out as the image, spread along the flow. With `deterministic` the
// order of all sums is fixed.
Tensor scatter_gradient(const OnDevice& device, const Tensor& grad_out, const Tensor& image, const Tensor& flow,
                        const ScatterArgsGpu& s, bool deterministic);

// The sums of a scatter, as scatter.cuh lays them out, become `result`, which is dense with `layout`.
void finish_sums(const OnDevice& device, const Tensor& sums, const Tensor& result, MemoryFormat layout, bool float64);

// `s` has everything that does not depend on the input: sizes, flow or path, factor, metric. The results have s.B samples.
Splatted splat_tensors_gpu(const OnDevice& device, ScatterArgsGpu s, const std::vector<Tensor>& inputs, Division division,
                       bool keep_weight, bool deterministic);

}  // namespace vfi::cuda
