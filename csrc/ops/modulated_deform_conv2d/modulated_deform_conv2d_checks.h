// The argument checks of modulated_deform_conv2d, for its CPU and CUDA registration; the same sentences as reference.py.
#pragma once

#include "torch/checks.h"
#include "ops/modulated_deform_conv2d/modulated_deform_conv2d.h"

namespace vfi {

struct DeformOptions {
  const std::vector<int64_t>&stride, &padding, &dilation;
  int64_t groups, offset_groups;
  int64_t edge;
};

inline void check_pair(const char* op, const char* name, const std::vector<int64_t>& pair, int64_t least) {
  if (pair.size() == 2 && pair[0] >= least && pair[1] >= least) return;
  fail(op, ": expected ", name, " of two integers from ", std::to_string(least), " up, got ", shape_text(pair));
}

inline void check_divides(const char* op, const char* name, int64_t parts, int64_t channels, const char* owner) {
  if (parts >= 1 && channels % parts == 0) return;
  fail(op, ": expected ", name, " that divide the ", std::to_string(channels), " channels of ", owner, ", got ",
       std::to_string(parts));
}

inline void check_vector(const char* op, const char* name, const Tensor& t, int64_t size, bool or_one, const Tensor& input) {
  const bool right = t.dim() == 1 && (t.size(0) == size || (or_one && t.size(0) == 1));
  check_shape(right, op, name, (or_one ? "(1,) or " : "") + shape_text({size}), t);
  check_like(op, name, t, "input", input);
}

inline Activation check_activation(const char* op, int64_t activation, bool has_weight) {
  const Activation kind = check_option<Activation>(op, activation);
  if (kind == Activation::kGelu || kind == Activation::kLeakyRelu) {
    fail(op, ": expected activation 'none', 'relu' or 'prelu', got '", word(kind), "'");
  }
  if (has_weight != (kind == Activation::kPrelu)) {
    fail(op, ": expected an activation_weight with activation 'prelu', and only then, got ", word(kind));
  }
  return kind;
}

// All but bias and activation.
inline DeformGeometry check_modulated_deform_conv2d(const Tensor& input, const Tensor& offset,
                                                    const std::optional<Tensor>& mask, const Tensor& weight,
                                                    const DeformOptions& o) {
  constexpr const char* kOp = "modulated_deform_conv2d";
  check_image(kOp, "input", input);
  check_shape(weight.dim() == 4, kOp, "weight", "(C_out, C / groups, KH, KW)", weight);
  check_pair(kOp, "stride", o.stride, 1);
  check_pair(kOp, "padding", o.padding, 0);
  check_pair(kOp, "dilation", o.dilation, 1);
  const int64_t c = input.size(1), c_out = weight.size(0);
  check_divides(kOp, "groups", o.groups, c, "input");
  check_divides(kOp, "groups", o.groups, c_out, "the output");
  if (weight.size(1) != c / o.groups || weight.size(2) * weight.size(3) == 0) {
    fail(kOp, ": expected weight of shape (", std::to_string(c_out), ", ", std::to_string(c / o.groups),
         ", KH, KW) for ", std::to_string(c), " channels in ", std::to_string(o.groups), " groups, got ",
         shape_text(weight));
  }
  check_like(kOp, "weight", weight, "input", input);
  check_divides(kOp, "offset_groups", o.offset_groups, c, "input");
  const auto size = [&](int dim) {
    const int64_t span = input.size(2 + dim) + 2 * o.padding[dim] - o.dilation[dim] * (weight.size(2 + dim) - 1) - 1;
    return span < 0 ? (span - o.stride[dim] + 1) / o.stride[dim] + 1 : span / o.stride[dim] + 1;
  };
  const int64_t out_h = size(0), out_w = size(1);
  if (out_h < 0 || out_w < 0) {
    fail(kOp, ": expected an input that the kernel fits into with its padding, got ", shape_text(input));
  }
  const auto check_map = [&](const char* name, const Tensor& t, int64_t each) {
    check_planes(kOp, name, t, each * o.offset_groups * weight.size(2) * weight.size(3), input, "input");
    if (t.size(2) == out_h && t.size(3) == out_w) return;
    fail(kOp, ": expected ", name, " of height and width ", shape_text({out_h, out_w}), " as the output has, got ",
         shape_text(t));
  };
  check_map("offset", offset, 2);
  if (mask) check_map("mask", *mask, 1);
  const Edge edge = check_option<Edge>(kOp, o.edge);
  const auto narrow = [](int64_t x) { return static_cast<int32_t>(x); };
  DeformGeometry g{};
  g.B = input.size(0), g.C = c, g.C_out = c_out, g.groups = o.groups, g.offset_groups = o.offset_groups;
  g.H = narrow(input.size(2)), g.W = narrow(input.size(3)), g.out_H = narrow(out_h), g.out_W = narrow(out_w);
  g.KH = narrow(weight.size(2)), g.KW = narrow(weight.size(3));
  g.stride_y = narrow(o.stride[0]), g.stride_x = narrow(o.stride[1]);
  g.padding_y = narrow(o.padding[0]), g.padding_x = narrow(o.padding[1]);
  g.dilation_y = narrow(o.dilation[0]), g.dilation_x = narrow(o.dilation[1]);
  g.mmcv_edge = edge == Edge::kMmcv;
  return g;
}

// The gradient of the output, beside arguments that the check above has passed.
inline void check_deform_grad_out(const Tensor& grad_out, const Tensor& input, const DeformGeometry& g) {
  constexpr const char* kOp = "modulated_deform_conv2d_grad";
  const std::string expected = shape_text({g.B, g.C_out, g.out_H, g.out_W});
  check_shape(shape_text(grad_out) == expected, kOp, "grad_out", expected, grad_out);
  check_like(kOp, "grad_out", grad_out, "input", input);
}

}  // namespace vfi
