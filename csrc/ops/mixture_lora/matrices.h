// Products of matrices by torch's own library, on the device of the tensors: what a large product is best left to.
#pragma once

#include <torch/csrc/inductor/aoti_torch/generated/c_shim_cpu.h>
#include <torch/csrc/inductor/aoti_torch/generated/c_shim_cuda.h>

#include "torch/checks.h"

#pragma weak aoti_torch_cuda_addmm_out  // not in a CPU build of torch, where nothing calls it

namespace vfi {

// Indices begin ... begin + count - 1 of dimension `dim`. (torch's narrow wants a tensor that may be assigned to.)
inline Tensor slice(Tensor t, int64_t dim, int64_t begin, int64_t count) {
  return torch::stable::narrow(t, dim, begin, count);
}

inline Tensor transposed(const Tensor& matrix) { return torch::stable::transpose(matrix, 0, 1); }

// to = left right, or to += left right with the old value in the sum. The dispatcher of the stable ABI has no type for
// addmm's factors; these are the functions that models compiled by AOTInductor call, which torch keeps for their sake.
inline void multiply(const Tensor& to, const Tensor& left, const Tensor& right, bool add) {
  const auto addmm = to.is_cuda() ? aoti_torch_cuda_addmm_out : aoti_torch_cpu_addmm_out;
  STABLE_TORCH_ERROR_CODE_CHECK(addmm(to.get(), to.get(), left.get(), right.get(), add ? 1.0 : 0.0, 1.0));
}

// Copies of the parts one after another along `dim`.
inline Tensor concatenated(const std::vector<Tensor>& parts, int64_t dim) {
  StableIValue stack[2] = {torch::stable::detail::from(parts), torch::stable::detail::from(dim)};
  STABLE_TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::cat", "", stack, TORCH_ABI_VERSION));
  return torch::stable::detail::to<Tensor>(stack[0]);
}

}  // namespace vfi
