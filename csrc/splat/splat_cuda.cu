// Splatting on CUDA: tensors and registration. The kernels are in splat_kernels.cuh, splat_grad_kernels.cuh and, for
// the scatter-add, in common/.
#include <tuple>
#include <vector>

#include "common/scatter_tensors.h"
#include "splat/splat_checks.h"
#include "splat/splat_grad_kernels.cuh"
#include "splat/splat_kernels.cuh"

namespace vfi::cuda {
namespace {

constexpr const char* kOp = "splat";

using Tensors = std::vector<Tensor>;
using MaybeTensor = std::optional<Tensor>;

Division division_of(const std::string& mode, const std::string& eps) {
  if (mode == "sum") return Division::kNone;
  return eps == "zero" ? Division::kZero : eps == "add" ? Division::kAdd : Division::kClip;
}

Spreading spreading_of(const Tensors& inputs, const Tensor& flow, const MaybeTensor& metric, const std::string& mode) {
  Spreading s{};
  s.batch = flow.size(0);
  s.height = s.target_height = static_cast<int32_t>(flow.size(2));
  s.width = s.target_width = static_cast<int32_t>(flow.size(3));
  s.flow = view_of(flow);
  s.padding = Padding::kZeros;
  s.factor = mode == "linear" ? Factor::kLinear : mode == "softmax" ? Factor::kSoftmax : Factor::kOne;
  if (metric) s.metric = view_of(*metric);
  s.float64 = any_float64({&flow, metric ? &*metric : nullptr});
  for (const Tensor& x : inputs) s.float64 = s.float64 || x.scalar_type() == ScalarType::Double;
  return s;
}

// The input whose last group of four channels has room for the weight; the first one if none has.
size_t carrier_of(const Tensors& inputs) {
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i].size(1) % 4 != 0) return i;
  }
  return 0;
}

// Where in its sums the weight of channel C starts, and the distance from sample to sample.
void find_weight(Finish& f, const Tensor& sums, const SumLayout& l, const Spreading& s) {
  const int64_t plane = s.target_plane(), channel = l.values.channels;
  const int64_t offset = 4 * (channel / 4) * plane + channel % 4;
  f.weights = static_cast<const char*>(sums.const_data_ptr()) + offset * (s.float64 ? sizeof(double) : sizeof(float));
  f.weight_batch = 4 * l.groups * plane;
}

std::tuple<Tensors, Tensor, Tensor> splat(Tensors inputs, Tensor flow, MaybeTensor metric, std::string mode,
                                          std::string eps, bool keep_weight, bool deterministic) {
  check_splat(inputs, flow, metric, mode, eps);
  const OnDevice device(flow);
  Spreading s = spreading_of(inputs, flow, metric, mode);
  const ScalarType type = s.float64 ? ScalarType::Double : ScalarType::Float;
  const bool keep = keep_weight && mode != "sum", softmax = mode == "softmax";
  Tensor weight = nothing(flow, type), shift = nothing(flow, type), range = nothing(flow, type);
  if (keep) weight = empty(flow, {s.batch, 1, s.height, s.width}, type);
  if (softmax) {
    shift = empty(flow, {s.batch, 1, s.height, s.width}, type);
    range = empty(flow, {s.batch, 2}, type);
    s.target_max = shift.mutable_data_ptr();
    s.range = range.const_data_ptr();
    launch_softmax_shift(s, range.mutable_data_ptr(), device.stream);
  }
  const Scatter scatter(device, flow, s, deterministic);
  const size_t carrier = carrier_of(inputs);
  Tensors sums, outs;
  std::vector<Finish> finishes;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const MemoryFormat layout = layout_of(inputs[i]);
    const bool with_weight = mode != "sum" && i == carrier;
    const Tensor values = with_layout(inputs[i], layout);
    sums.push_back(scatter.sums(values, layout, with_weight));
    Finish f{};
    f.sums = scatter.sum_layout(values, layout, with_weight);
    f.sums.sums = sums[i].mutable_data_ptr();
    f.division = division_of(mode, eps);
    finishes.push_back(f);
  }
  // The shift is decoded in place, so that every scatter comes before the first finish.
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (mode != "sum") find_weight(finishes[i], sums[carrier], finishes[carrier].sums, s);
    if (i == carrier && keep) finishes[i].weight_out = weight.mutable_data_ptr();
    if (i == carrier && keep && softmax) finishes[i].shift_out = shift.mutable_data_ptr();
    outs.push_back(empty_for(inputs[i]));
    launch_finish(outs[i].mutable_data_ptr(), dtype_of(inputs[i]), dense_shape_of(outs[i], layout_of(inputs[i])), s,
                  finishes[i], device.stream);
  }
  device.check_launches();
  return {outs, weight, keep && softmax ? shift : nothing(flow, type)};
}

// Either of weight and shift is empty where the mode has none.
SplatGradArgs grad_args(const Spreading& s, const std::string& mode, const std::string& eps, const Tensor& weight,
                        const Tensor& shift) {
  SplatGradArgs a{};
  a.s = s;
  a.division = division_of(mode, eps);
  if (mode != "sum") a.weight = weight.const_data_ptr();
  if (mode == "softmax") a.s.target_max = shift.mutable_data_ptr();
  return a;
}

// What the forward op returned, given back.
void check_saved(const Tensors& grad_outs, const MaybeTensor& grad_weight, const Tensors& inputs, const Tensors& outs,
                 const Tensor& weight, const Tensor& shift, const Tensor& like, const std::string& mode) {
  const auto expect_count = [&](const char* name, const Tensors& list) {
    if (list.size() == inputs.size()) return;
    fail(kOp, ": expected one of ", name, " for each of ", std::to_string(inputs.size()), " inputs, got ",
         std::to_string(list.size()));
  };
  expect_count("grad_outs", grad_outs);
  if (mode != "sum") expect_count("outs", outs);
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Tensor& x = inputs[i];
    check_upstream(kOp, "grad_out", grad_outs[i], {x.size(0), x.size(1), x.size(2), x.size(3)}, x);
    if (mode != "sum") check_upstream(kOp, "out", outs[i], {x.size(0), x.size(1), x.size(2), x.size(3)}, x);
  }
  const Sizes plane = {inputs[0].size(0), 1, inputs[0].size(2), inputs[0].size(3)};
  if (mode != "sum") check_upstream(kOp, "weight", weight, plane, like);
  if (mode == "softmax") check_upstream(kOp, "shift", shift, plane, like);
  if (mode != "sum" && grad_weight) check_upstream(kOp, "grad_weight", *grad_weight, plane, like);
}

std::tuple<Tensors, Tensor, Tensor> splat_grad(Tensors grad_outs, MaybeTensor grad_weight, Tensors inputs, Tensor flow,
                                               MaybeTensor metric, Tensors outs, Tensor weight, Tensor shift,
                                               std::string mode, std::string eps, bool need_inputs, bool need_flow,
                                               bool need_metric) {
  check_splat(inputs, flow, metric, mode, eps);
  const OnDevice device(flow);
  const Spreading s = spreading_of(inputs, flow, metric, mode);
  const ScalarType type = s.float64 ? ScalarType::Double : ScalarType::Float;
  check_saved(grad_outs, grad_weight, inputs, outs, weight, shift, nothing(flow, type), mode);
  const Tensor saved_weight = torch::stable::contiguous(weight), saved_shift = torch::stable::contiguous(shift);
  SplatGradArgs a = grad_args(s, mode, eps, saved_weight, saved_shift);
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
  if (grad_weight && mode != "sum") direct = torch::stable::contiguous(*grad_weight);
  Tensors grad_inputs;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const MemoryFormat layout = layout_of(inputs[i]);
    grad_inputs.push_back(empty_for(inputs[i], need_inputs));
    if (!need_inputs && !moves) continue;
    const Tensor g = with_layout(grad_outs[i], layout), x = with_layout(inputs[i], layout);
    const std::optional<Tensor> out =
        mode == "sum" ? std::nullopt : std::optional<Tensor>(with_layout(outs[i], layout));
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
