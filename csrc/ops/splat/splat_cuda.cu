// Splatting on CUDA: tensors and registration. The kernels of the gradients are in splat_kernels.cuh, those of the
// scatter-add and of what softmax subtracts in common/.
#include <tuple>
#include <vector>

#include "splatting/splat_cuda_tensors.h"
#include "ops/splat/splat_checks.h"
#include "ops/splat/splat_kernels.cuh"

namespace vfi::cuda {
namespace {

constexpr const char* kOp = "splat";

using Tensors = std::vector<Tensor>;
using MaybeTensor = std::optional<Tensor>;

Spreading spreading_of(const Tensors& inputs, const Tensor& flow, const MaybeTensor& metric, Mode mode) {
  Spreading s{};
  s.batch = flow.size(0);
  s.height = s.target_height = static_cast<int32_t>(flow.size(2));
  s.width = s.target_width = static_cast<int32_t>(flow.size(3));
  s.flow = view_of(flow);
  s.padding = Padding::kZeros;
  s.factor = splat_factor(mode);
  if (metric) s.metric = view_of(*metric);
  s.float64 = any_float64({&flow, metric ? &*metric : nullptr});
  for (const Tensor& x : inputs) s.float64 = s.float64 || x.scalar_type() == ScalarType::Double;
  return s;
}

std::tuple<Tensors, Tensor, Tensor> splat(Tensors inputs, Tensor flow, MaybeTensor metric, int64_t mode,
                                          int64_t eps, bool keep_weight, bool deterministic) {
  const SplatMode m = check_splat(inputs, flow, metric, mode, eps);
  const OnDevice device(flow);
  const Spreading s = spreading_of(inputs, flow, metric, m.mode);
  const Splatted result = splat_tensors(device, s, inputs, division_of(m.mode, m.eps), keep_weight, deterministic);
  return {result.outs, result.weight, result.shift};
}

// Either of weight and shift is empty where the mode has none.
SplatGradArgs grad_args(const Spreading& s, const SplatMode& m, const Tensor& weight, const Tensor& shift) {
  SplatGradArgs a{};
  a.s = s;
  a.division = division_of(m.mode, m.eps);
  if (m.mode != Mode::kSum) a.weight = weight.const_data_ptr();
  if (m.mode == Mode::kSoftmax) a.s.target_max = shift.mutable_data_ptr();
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
                                               int64_t mode, int64_t eps, bool summed, bool need_inputs, bool need_flow,
                                               bool need_metric) {
  const SplatMode m = check_splat(inputs, flow, metric, mode, eps);
  const OnDevice device(flow);
  const Spreading s = spreading_of(inputs, flow, metric, m.mode);
  const ScalarType type = s.float64 ? ScalarType::Double : ScalarType::Float;
  check_saved(grad_outs, grad_weight, inputs, outs, weight, shift, nothing(flow, type), m.mode);
  const Tensor saved_weight = torch::stable::contiguous(weight), saved_shift = torch::stable::contiguous(shift);
  SplatGradArgs a = grad_args(s, m, saved_weight, saved_shift);
  a.doubt = summed || inputs.size() > 1 ? kDoubtSummed : kDoubt;
  const bool needs_metric = need_metric && metric.has_value(), moves = need_flow || needs_metric;
  Tensor grad_flow = empty_for(flow, need_flow);
  Tensor grad_metric = needs_metric ? empty_for(*metric) : nothing(flow, flow.scalar_type());
  if (need_flow) a.grad_flow = mutable_view_of(grad_flow);
  if (needs_metric) a.grad_metric = mutable_view_of(grad_metric);
  std::optional<Tensor> partial, direct;
  if (moves && inputs.size() > 1) {
    partial = empty(flow, {s.batch, 3, s.height, s.width}, type);
    a.partial = partial->mutable_data_ptr();
  }
  if (grad_weight && m.mode != Mode::kSum) direct = torch::stable::contiguous(*grad_weight);
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
    a.grad_weight = a.first && direct ? direct->const_data_ptr() : nullptr;
    launch_splat_grad(g.const_data_ptr(), moves ? x.const_data_ptr() : nullptr,
                      moves && out ? out->const_data_ptr() : nullptr,
                      need_inputs ? grad_inputs[i].mutable_data_ptr() : nullptr, dtype_of(x), a, device.stream);
  }
  device.check_launches();
  return {grad_inputs, grad_flow, grad_metric};
}

}  // namespace
}  // namespace vfi::cuda

VFI_CUDA_LIBRARY_IMPL(m) {
  m.impl("splat", TORCH_BOX(&vfi::cuda::splat));
  m.impl("splat_grad", TORCH_BOX(&vfi::cuda::splat_grad));
}
