// The splat's gradients on CUDA: tensors in, tensors out. The kernel is in splat_grad_kernels.cuh.
#include <tuple>
#include <vector>

#include "ops/splat/splat_args_gpu.h"
#include "ops/splat/splat_grad_kernels.cuh"

namespace vfi::cuda {
namespace {

constexpr const char* kOp = "splat";

using Tensors = std::vector<Tensor>;

// Either of weight and shift is empty where the mode has none.
SplatGradArgsGpu grad_args(const ScatterArgsGpu& s, const SplatRules& m, const Tensor& weight, const Tensor& shift) {
  SplatGradArgsGpu a{};
  a.s = s;
  a.division = m.division;
  if (m.division != Division::kNone) a.weight = {weight.const_data_ptr()};
  if (m.factor == Factor::kSoftmax) a.shift = {shift.const_data_ptr()};
  return a;
}

// What the forward op returned, given back.
void check_saved(const Tensors& grad_outs, const MaybeTensor& grad_weight, const Tensors& inputs, const Tensors& outs,
                 const Tensor& weight, const Tensor& shift, const Tensor& like, Mode mode) {
  const auto expect_count = [&](const char* name, const Tensors& list) {
    if (list.size() == inputs.size()) return;
    fail(kOp, ": expected one of ", name, " for each of ", std::to_string(inputs.size()), " inputs, got ",
         std::to_string(list.size()));
  };
  expect_count("grad_outs", grad_outs);
  if (mode != Mode::kSum) expect_count("outs", outs);
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Tensor& x = inputs[i];
    check_upstream(kOp, "grad_out", grad_outs[i], {x.size(0), x.size(1), x.size(2), x.size(3)}, x);
    if (mode != Mode::kSum) check_upstream(kOp, "out", outs[i], {x.size(0), x.size(1), x.size(2), x.size(3)}, x);
  }
  const Sizes plane = {inputs[0].size(0), 1, inputs[0].size(2), inputs[0].size(3)};
  if (mode != Mode::kSum) check_upstream(kOp, "weight", weight, plane, like);
  if (mode == Mode::kSoftmax) check_upstream(kOp, "shift", shift, plane, like);
  if (mode != Mode::kSum && grad_weight) check_upstream(kOp, "grad_weight", *grad_weight, plane, like);
}

std::tuple<Tensors, Tensor, Tensor> splat_grad(Tensors grad_outs, MaybeTensor grad_weight, Tensors inputs, Tensor flow,
                                               MaybeTensor metric, Tensors outs, Tensor weight, Tensor shift,
                                               int64_t mode, int64_t holes, bool summed, bool need_inputs, bool need_flow,
                                               bool need_metric) {
  const SplatRules m = check_splat(inputs, flow, metric, mode, holes);
  const OnDevice device(flow);
  const ScatterArgsGpu s = splat_args(inputs, flow, metric, m.factor);
  const ScalarType type = s.float64 ? ScalarType::Double : ScalarType::Float;
  check_saved(grad_outs, grad_weight, inputs, outs, weight, shift, nothing(flow, type), m.mode);
  const Tensor saved_weight = torch::stable::contiguous(weight), saved_shift = torch::stable::contiguous(shift);
  SplatGradArgsGpu a = grad_args(s, m, saved_weight, saved_shift);
  const bool rounded = has_half(inputs);
  a.most = most_of(rounded), a.doubt = doubt_of(m.division, rounded, summed || inputs.size() > 1);
  const bool needs_metric = need_metric && metric.has_value(), moves = need_flow || needs_metric;
  Tensor grad_flow = empty_for(flow, need_flow);
  Tensor grad_metric = needs_metric ? empty_for(*metric) : nothing(flow, flow.scalar_type());
  if (need_flow) a.grad_flow = mutable_view_of(grad_flow);
  if (needs_metric) a.grad_metric = mutable_view_of(grad_metric);
  std::optional<Tensor> partial, direct;
  if (moves && inputs.size() > 1) {
    partial = empty(flow, {s.B, 8, s.H, s.W}, type);
    a.partial = {partial->mutable_data_ptr()};
  }
  if (grad_weight && m.mode != Mode::kSum) {
    direct = torch::stable::contiguous(*grad_weight);
    a.grad_weight = {direct->const_data_ptr()};
  }
  Tensors grad_inputs;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const MemoryFormat layout = layout_of(inputs[i]);
    grad_inputs.push_back(empty_for(inputs[i], need_inputs));
    if (!need_inputs && !moves) continue;
    const Tensor g = with_layout(grad_outs[i], layout), x = with_layout(inputs[i], layout);
    const std::optional<Tensor> out =
        m.mode == Mode::kSum ? std::nullopt : std::optional<Tensor>(with_layout(outs[i], layout));
    a.shape = dense_shape_of(x, layout);
    a.first = i == 0;
    a.last = i + 1 == inputs.size();
    launch_splat_grad(g.const_data_ptr(), moves ? x.const_data_ptr() : nullptr,
                      moves && out ? out->const_data_ptr() : nullptr,
                      need_inputs ? grad_inputs[i].mutable_data_ptr() : nullptr, dtype_of(x), a, device.stream);
  }
  device.check_launches();
  return {grad_inputs, grad_flow, grad_metric};
}

}  // namespace
}  // namespace vfi::cuda

VFI_CUDA_LIBRARY_IMPL(m) { m.impl("splat_grad", TORCH_BOX(&vfi::cuda::splat_grad)); }
