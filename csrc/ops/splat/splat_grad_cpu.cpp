// The splat's gradients on the CPU: tensors in, tensors out; the float32 kernels are in splat_grad_simd.cpp.
#include <tuple>
#include <vector>

#include <torch/csrc/stable/library.h>

#include "ops/splat/splat.h"
#include "ops/splat/splat_checks.h"
#include "ops/splat/splat_grad_scalar.h"

namespace vfi {
namespace {

using Tensors = std::vector<Tensor>;
using MaybeTensor = std::optional<Tensor>;
constexpr const char* kOp = "splat_grad";

void check_like(const char* name, const Tensor& t, const Tensor& like, int64_t channels, ScalarType type) {
  const bool right = t.dim() == 4 && t.size(0) == like.size(0) && t.size(1) == channels && t.size(2) == like.size(2) &&
                     t.size(3) == like.size(3);
  const std::string shape = shape_text({like.size(0), channels, like.size(2), like.size(3)});
  check_shape(right, kOp, name, shape, t);
  if (t.scalar_type() != type) {
    fail(kOp, ": expected ", name, " of dtype ", dtype_text(type), ", got ", dtype_text(t.scalar_type()));
  }
}

// What the forward op returned, and the gradients of that.
void check_results(const Tensors& grad_outs, const MaybeTensor& grad_weight, const Tensors& inputs, const Tensors& outs,
                   const Tensor& weight, const Tensor& shift, const SplatRules& m, ScalarType acc) {
  const bool divides = m.division != Division::kNone;
  if (grad_outs.size() != inputs.size() || (divides && outs.size() != inputs.size())) {
    fail(kOp, ": expected as many grad_outs and outs as the ", std::to_string(inputs.size()), " inputs, got ",
         std::to_string(grad_outs.size()), " and ", std::to_string(outs.size()));
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    check_like("grad_out", grad_outs[i], inputs[i], inputs[i].size(1), inputs[i].scalar_type());
    if (divides) check_like("out", outs[i], inputs[i], inputs[i].size(1), inputs[i].scalar_type());
  }
  if (divides) check_like("weight", weight, inputs[0], 1, acc);
  if (divides && grad_weight) check_like("grad_weight", *grad_weight, inputs[0], 1, acc);
  if (m.factor == Factor::kSoftmax) check_like("shift", shift, inputs[0], 1, acc);
}

Tensor as_planes(const Tensor& t) { return with_layout(t, MemoryFormat::Contiguous); }

// Keeps the dense tensors alive that the kernels' arguments point to.
class Arguments {
 public:
  SplatGradArgs args{};
  bool float64 = false;

  const void* hold(const Tensor& t) {
    held_.push_back(t);
    return t.const_data_ptr();
  }
  void add_input(const Tensor& x, const Tensor& grad_out, const Tensor* out, const Tensor* grad_x) {
    const MemoryFormat layout = layout_of(x);
    SplatGradInput in{};
    in.x = hold(with_layout(x, layout)), in.grad_out = hold(with_layout(grad_out, layout));
    in.out = out == nullptr ? nullptr : hold(with_layout(*out, layout));
    in.grad_x = grad_x == nullptr ? nullptr : grad_x->mutable_data_ptr();
    in.C = x.size(1), in.type = check_dtype(kOp, "image", x), in.channels_last = layout == MemoryFormat::ChannelsLast;
    inputs_.push_back(in);
    args.inputs = inputs_.data(), args.input_count = static_cast<int64_t>(inputs_.size());
  }
  void run() const {
    const Sampling& s = args.sampling;
    int64_t channels = 4;
    for (const SplatGradInput& in : inputs_) channels += in.C;
    const bool vectors = fits_vectors(s) && !float64;
    const auto all_rows = [&](auto* kernel) {
      parallel_for(0, s.B * s.H, 1 + 16384 / (channels * s.W),
                                  [&](int64_t begin, int64_t end) { kernel(args, begin, end); });
    };
    if (args.division != Division::kNone) {
      all_rows(vectors   ? VFI_CPU_KERNEL(splat_grad_dots)
               : float64 ? &splat_grad_dots_scalar<double>
                         : &splat_grad_dots_scalar<float>);
    }
    all_rows(vectors   ? VFI_CPU_KERNEL(splat_grad_rows)
             : float64 ? &splat_grad_rows_scalar<double>
                       : &splat_grad_rows_scalar<float>);
  }

 private:
  Tensors held_;
  std::vector<SplatGradInput> inputs_;
};

std::tuple<Tensors, Tensor, Tensor> splat_grad(const Tensors& grad_outs, const MaybeTensor& grad_weight,
                                               const Tensors& inputs, const Tensor& flow, const MaybeTensor& metric,
                                               const Tensors& outs, const Tensor& weight, const Tensor& shift,
                                               int64_t mode, int64_t holes, bool summed, bool need_inputs,
                                               bool need_flow, bool need_metric) {
  const SplatRules m = check_splat(inputs, flow, metric, mode, holes);
  const bool divides = m.division != Division::kNone, float64 = needs_float64(inputs, flow, metric);
  const ScalarType acc = float64 ? ScalarType::Double : ScalarType::Float;
  check_results(grad_outs, grad_weight, inputs, outs, weight, shift, m, acc);
  Tensors grad_inputs;
  for (const Tensor& x : inputs) grad_inputs.push_back(need_inputs ? empty_like_layout(x) : nothing(x, x.scalar_type()));
  Tensor grad_flow = nothing(flow, flow.scalar_type()), grad_metric = grad_flow;
  const auto planes = [](const Tensor& t) { return empty(t, {t.size(0), t.size(1), t.size(2), t.size(3)}, t.scalar_type()); };
  if (need_flow) grad_flow = planes(flow);
  if (need_metric && metric) grad_metric = planes(*metric);
  if (flow.numel() == 0) return {grad_inputs, grad_flow, grad_metric};

  Arguments call;
  call.float64 = float64;
  SplatGradArgs& a = call.args;
  const int32_t height = static_cast<int32_t>(flow.size(2)), width = static_cast<int32_t>(flow.size(3));
  a.sampling = {call.hold(as_planes(flow)), int64_t{2} * height * width, check_dtype(kOp, "flow", flow), flow.size(0),
                height, width, height, width, Padding::kZeros};
  a.factor = m.factor, a.division = m.division;
  if (metric) a.metric = call.hold(as_planes(*metric)), a.metric_type = check_dtype(kOp, "metric", *metric);
  if (m.factor == Factor::kSoftmax) a.shift = call.hold(as_planes(shift));
  if (divides) {
    a.weight = call.hold(as_planes(weight));
    for (void** plane : {&a.dots, &a.noise}) {
      *plane = const_cast<void*>(call.hold(empty(flow, {flow.size(0), 1, height, width}, acc)));
    }
    if (grad_weight) a.grad_weight = call.hold(as_planes(*grad_weight));
  }
  if (need_flow) a.grad_flow = grad_flow.mutable_data_ptr();
  if (need_metric && metric) a.grad_metric = grad_metric.mutable_data_ptr();
  for (size_t i = 0; i < inputs.size(); ++i) {
    call.add_input(inputs[i], grad_outs[i], divides ? &outs[i] : nullptr, need_inputs ? &grad_inputs[i] : nullptr);
  }
  const bool rounded = has_half(inputs);
  a.most = most_of(rounded), a.doubt = doubt_of(m.division, rounded, summed || inputs.size() > 1);
  call.run();
  if (need_flow) grad_flow = with_layout(grad_flow, layout_of(flow));
  return {grad_inputs, grad_flow, grad_metric};
}

}  // namespace
}  // namespace vfi

STABLE_TORCH_LIBRARY_IMPL(vfi_kernels, CPU, m) { m.impl("splat_grad", TORCH_BOX(&vfi::splat_grad)); }
