// The argument checks of routed_conv2d, for its CPU and CUDA registration; the same sentences as reference.py.
#pragma once

#include "patch_lists/patch_checks.h"
#include "ops/routed_conv2d/routed_conv2d.h"

namespace vfi {

struct RoutedOptions {
  int64_t patch, stride;
  bool transposed;
  int64_t border;
};

namespace routed {
constexpr const char* kOp = "routed_conv2d";

// C_out.
inline int64_t check_weight(const Tensor& weight, const Tensor& x, const RoutedOptions& o) {
  const int64_t c = x.size(1);
  const std::string channels = std::to_string(c);
  const auto kernel = [&](int64_t k) { return weight.size(2) == k && weight.size(3) == k; };
  if (o.transposed) {
    const bool fits = weight.dim() == 4 && weight.size(0) == c && kernel(4);
    check_shape(fits, kOp, "weight",
                "(" + channels + ", C_out, 4, 4) for a transposed convolution of " + channels + " channels", weight);
    if (o.stride != 2) {
      fail(kOp, ": expected stride 2 for a transposed convolution, got ", std::to_string(o.stride));
    }
    return weight.size(1);
  }
  const bool fits = weight.dim() == 4 && weight.size(1) == c && (kernel(1) || kernel(3));
  check_shape(fits, kOp, "weight", "(C_out, " + channels + ", K, K) with K = 1 or 3 for " + channels + " channels", weight);
  if (o.stride != 1 && o.stride != 2) fail(kOp, ": expected stride 1 or 2, got ", std::to_string(o.stride));
  if (o.patch % o.stride != 0) {
    fail(kOp, ": expected a patch that is a multiple of the stride of ", std::to_string(o.stride), ", got ",
         std::to_string(o.patch));
  }
  return weight.size(0);
}
}  // namespace routed

inline RoutedGeometry check_routed_conv2d(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias,
                                          const Tensor& indices, const RoutedOptions& o) {
  using routed::kOp;
  check_image(kOp, "input", x);
  check_indices(kOp, indices, x, "input");
  RoutedGeometry g{};
  g.grid = check_patch(kOp, o.patch, x, "input");
  g.C_out = routed::check_weight(weight, x, o);
  check_like(kOp, "weight", weight, "input", x);
  if (bias) {
    check_shape(bias->dim() == 1 && bias->size(0) == g.C_out, kOp, "bias", shape_text({g.C_out}), *bias);
    check_like(kOp, "bias", *bias, "input", x);
  }
  const Border border = check_option<Border>(kOp, o.border);
  g.C = x.size(1), g.H = x.size(2), g.W = x.size(3);
  g.K = weight.size(2), g.stride = o.stride, g.padding = o.transposed ? 1 : g.K / 2;
  g.patch = o.patch, g.out_patch = o.transposed ? 2 * o.patch : o.patch / o.stride;
  g.transposed = o.transposed, g.image_border = border == Border::kImage;
  return g;
}

inline void check_routed_base(const Tensor& base, const Tensor& x, const RoutedGeometry& g) {
  const std::string expected =
      shape_text({x.size(0), g.C_out, g.grid.rows * g.out_patch, g.grid.columns * g.out_patch});
  check_shape(shape_text(base) == expected, routed::kOp, "base", expected + " as the output has", base);
  check_like(routed::kOp, "base", base, "input", x);
  check_written("routed_conv2d_", "base", base);
}

inline Activation check_routed_activation(int64_t activation, const std::optional<Tensor>& slopes, const Tensor& x,
                                          const RoutedGeometry& g) {
  using routed::kOp;
  const Activation kind = check_option<Activation>(kOp, activation);
  if (slopes.has_value() != (kind == Activation::kPrelu)) {
    fail(kOp, ": expected an activation_weight with activation 'prelu', and only then, got ", word(kind));
  }
  if (slopes) {
    const bool right = slopes->dim() == 1 && (slopes->size(0) == 1 || slopes->size(0) == g.C_out);
    check_shape(right, kOp, "activation_weight", "(1,) or " + shape_text({g.C_out}), *slopes);
    check_like(kOp, "activation_weight", *slopes, "input", x);
  }
  return kind == Activation::kLeakyRelu ? Activation::kPrelu : kind;
}

// The gradient of the output patches, beside arguments that the check above has passed.
inline void check_routed_grad_out(const Tensor& grad_out, const Tensor& x, const Tensor& indices, const RoutedGeometry& g) {
  const std::string expected = shape_text({indices.size(0), g.C_out, g.out_patch, g.out_patch});
  check_shape(shape_text(grad_out) == expected, "routed_conv2d_grad", "grad_out", expected, grad_out);
  check_like(routed::kOp, "grad_out", grad_out, "input", x);
}

}  // namespace vfi
