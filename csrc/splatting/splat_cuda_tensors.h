// The splat of every mode on tensors, for the *_cuda.cu files of the ops that splat along a flow and along trajectories;
// defined in splat_tensors_cuda.cu.
#pragma once

#include <vector>

#include "splatting/scatter_tensors.h"

namespace vfi::cuda {

inline Division division_of(Mode mode, Eps eps) {
  if (mode == Mode::kSum) return Division::kNone;
  return eps == Eps::kZero ? Division::kZero : eps == Eps::kAdd ? Division::kAdd : Division::kClip;
}

inline Factor splat_factor(Mode mode) {
  return mode == Mode::kLinear ? Factor::kLinear : mode == Mode::kSoftmax ? Factor::kSoftmax : Factor::kOne;
}

struct Splatted {
  std::vector<Tensor> outs;
  Tensor weight, shift;  // empty where not kept
};

// `s` has everything that does not depend on the input: sizes, flow or path, metric. The results have s.batch samples.
Splatted splat_tensors(const OnDevice& device, Spreading s, const std::vector<Tensor>& inputs, Division division,
                       bool keep_weight, bool deterministic);

}  // namespace vfi::cuda
