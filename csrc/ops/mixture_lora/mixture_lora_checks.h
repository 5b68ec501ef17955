// The argument checks of mixture_lora, for its CPU and CUDA registration; the same sentences as reference.py.
#pragma once

#include "torch/checks.h"
#include "ops/mixture_lora/mixture_lora.h"

namespace vfi {

using Maybe = std::optional<Tensor>;

// What both ops take.
struct LoraArguments {
  const Tensor &x, &weight, &lora_a, &lora_b;
  const Maybe& lora_a_bias;
  int64_t expert;
  const Maybe &experts, &segments;
};

inline void check_lora_tensor(const char* name, const Tensor& t, const std::vector<int64_t>& sizes, const Tensor& x) {
  constexpr const char* kOp = "mixture_lora";
  check_shape(shape_text(t) == shape_text(sizes), kOp, name, shape_text(sizes), t);
  check_like(kOp, name, t, "input", x);
}

// One int64 tensor of `count` numbers for the segments.
inline void check_lora_numbers(const char* name, const Tensor& t, int64_t count, const Tensor& x) {
  constexpr const char* kOp = "mixture_lora";
  check_shape(shape_text(t) == shape_text({count}), kOp, name, shape_text({count}), t);
  if (t.scalar_type() != ScalarType::Long) {
    fail(kOp, ": expected ", name, " of dtype int64, got ", dtype_text(t.scalar_type()));
  }
  check_device(kOp, name, t, "input", x);
}

// All but bias and lora_b_bias, and but the values of segments and their experts.
inline LoraShape check_mixture_lora(const LoraArguments& a) {
  constexpr const char* kOp = "mixture_lora";
  check_shape(a.x.dim() >= 1, kOp, "input", "(..., in)", a.x);
  check_dtype(kOp, "input", a.x);
  LoraShape s{1, a.x.size(a.x.dim() - 1), 0, 0, 0, a.expert, 0};
  for (int64_t i = 0; i + 1 < a.x.dim(); ++i) s.tokens *= a.x.size(i);
  const std::string in = std::to_string(s.in);
  const bool fits = a.weight.dim() == 2 && a.weight.size(1) == s.in;
  check_shape(fits, kOp, "weight", "(out, " + in + ") for input of shape " + shape_text(a.x), a.weight);
  check_like(kOp, "weight", a.weight, "input", a.x);
  s.out = a.weight.size(0);
  const bool adapters = a.lora_a.dim() == 3 && a.lora_a.size(0) >= 2 && a.lora_a.size(2) == s.in;
  check_shape(adapters, kOp, "lora_a", "(E, r, " + in + ") with E from 2 up", a.lora_a);
  check_like(kOp, "lora_a", a.lora_a, "input", a.x);
  s.entries = a.lora_a.size(0), s.rank = a.lora_a.size(1);
  check_lora_tensor("lora_b", a.lora_b, {s.entries, s.out, s.rank}, a.x);
  if (a.lora_a_bias) check_lora_tensor("lora_a_bias", *a.lora_a_bias, {s.entries, s.rank}, a.x);
  if (a.experts.has_value() != a.segments.has_value()) {
    fail(kOp, ": expected segments with a tensor of experts, and only then, got ",
         a.segments ? "segments alone" : "experts alone");
  }
  if (!a.segments) {
    if (a.expert < 1 || a.expert >= s.entries) {
      fail(kOp, ": expected expert from 1 to ", std::to_string(s.entries - 1), ", got ", std::to_string(a.expert));
    }
    return s;
  }
  check_shape(a.experts->dim() == 1 && a.experts->size(0) >= 1, kOp, "expert", "(S,) with S from 1 up", *a.experts);
  s.segments = a.experts->size(0);
  check_lora_numbers("expert", *a.experts, s.segments, a.x);
  check_lora_numbers("segments", *a.segments, s.segments + 1, a.x);
  return s;
}

inline void check_lora_biases(const Tensor& x, const Maybe& bias, const Maybe& lora_b_bias, const LoraShape& s) {
  if (bias) check_lora_tensor("bias", *bias, {s.out}, x);
  if (lora_b_bias) check_lora_tensor("lora_b_bias", *lora_b_bias, {s.entries, s.out}, x);
}

// The sizes of x but the last, then `last`.
inline std::vector<int64_t> lora_sizes(const Tensor& x, int64_t last) {
  std::vector<int64_t> sizes;
  for (int64_t i = 0; i + 1 < x.dim(); ++i) sizes.push_back(x.size(i));
  sizes.push_back(last);
  return sizes;
}

// The gradient of the output, beside arguments that the check above has passed.
inline void check_lora_grad_out(const Tensor& grad_out, const Tensor& x, const LoraShape& s) {
  constexpr const char* kOp = "mixture_lora_grad";
  const std::string expected = shape_text(lora_sizes(x, s.out));
  check_shape(shape_text(grad_out) == expected, kOp, "grad_out", expected, grad_out);
  check_like(kOp, "grad_out", grad_out, "input", x);
}

// A token in each row, contiguous.
inline Tensor rows_of(const Tensor& t, int64_t tokens, int64_t columns) {
  return torch::stable::contiguous(torch::stable::reshape(t, {tokens, columns}));
}

// Rows as a result that belongs to `x`, whose last size is theirs.
inline Tensor from_rows(const Tensor& rows, const Tensor& x) {
  return with_layout(torch::stable::reshape(rows, lora_sizes(x, rows.size(1))), layout_of(x));
}

}  // namespace vfi
