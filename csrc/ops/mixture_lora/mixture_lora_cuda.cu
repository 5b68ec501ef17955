// mixture_lora on CUDA: tensors and registration. The kernels are in mixture_lora_kernels.cuh.
#include <tuple>

#include "torch/cuda_tensors.h"
#include "ops/mixture_lora/matrices.h"
#include "ops/mixture_lora/mixture_lora_checks.h"
#include "ops/mixture_lora/mixture_lora_grad_kernels.cuh"

namespace vfi::cuda {
namespace {

LoraFactor factor_a(const Tensor& t) {
  return {const_cast<void*>(t.const_data_ptr()), t.stride(0), t.stride(1), t.stride(2), t.size(2)};
}
LoraFactor factor_b(const Tensor& t) {
  return {const_cast<void*>(t.const_data_ptr()), t.stride(0), t.stride(2), t.stride(1), t.size(1)};
}
// [E, r], or nothing.
LoraFactor bias_a(const Maybe& t) {
  if (!t) return {};
  return {const_cast<void*>(t->const_data_ptr()), t->stride(0), t->stride(1), 0, 1};
}
// [E, out], the gradient of lora_b_bias.
LoraFactor bias_b(const Tensor& t) { return {t.mutable_data_ptr(), t.stride(0), 0, t.stride(1), t.size(1)}; }

LoraBiases biases_of(const Maybe& bias, const Maybe& lora_b_bias) {
  return {data_or_null(bias), data_or_null(lora_b_bias), bias ? bias->stride(0) : 0,
          lora_b_bias ? lora_b_bias->stride(0) : 0, lora_b_bias ? lora_b_bias->stride(1) : 0};
}

// The dense lists of the segments, kept as long as the kernels need them.
struct Segments {
  std::optional<Tensor> offsets, experts;
  LoraTokens tokens;

  Segments(const LoraArguments& a, const LoraShape& shape) : tokens{shape, nullptr, nullptr} {
    if (!a.segments) return;
    offsets = torch::stable::contiguous(*a.segments), experts = torch::stable::contiguous(*a.experts);
    tokens.segments = static_cast<const int64_t*>(offsets->const_data_ptr());
    tokens.experts = static_cast<const int64_t*>(experts->const_data_ptr());
  }
};

// s or q [tokens, 2 r] as factors F.
template <class T, class F>
Tensor shrink(const Tensor& rows, const LoraFactor& factor, const LoraFactor& bias, const LoraTokens& t,
              cudaStream_t stream) {
  const int64_t count = 2 * t.shape.rank * t.shape.tokens;
  const Tensor s = scratch<F>(rows, count), partial = scratch<Sum<F>>(rows, lora_parts(t, factor.side).parts * count);
  launch_lora_shrink<T, F>(static_cast<const T*>(rows.const_data_ptr()), factor, bias, t, elements<Sum<F>>(partial),
                           elements<F>(s), stream);
  return s;
}

template <class T, class F>
void expand(const Tensor& s, const LoraFactor& factor, const LoraBiases& biases, const LoraTokens& t, const Tensor& out,
            cudaStream_t stream) {
  launch_lora_expand<T, F>(elements<F>(s), factor, biases, t, static_cast<T*>(out.mutable_data_ptr()), stream);
}

Tensor mixture_lora(Tensor x, Tensor weight, Maybe bias, Tensor lora_a, Tensor lora_b, Maybe lora_a_bias,
                    Maybe lora_b_bias, int64_t expert, Maybe experts, Maybe segments, bool allow_tf32) {
  const LoraArguments a{x, weight, lora_a, lora_b, lora_a_bias, expert, experts, segments};
  const LoraShape shape = check_mixture_lora(a);
  check_lora_biases(x, bias, lora_b_bias, shape);
  const OnDevice device(x);
  const Segments list(a, shape);
  const Tensor rows = rows_of(x, shape.tokens, shape.in);
  const Tensor out = result(x, {shape.tokens, shape.out}, x.scalar_type());
  with_factors(dtype_of(x), false, allow_tf32, [&](auto element, auto factor) {
    using T = decltype(element);
    using F = decltype(factor);
    const Tensor s = shrink<T, F>(rows, factor_a(lora_a), bias_a(lora_a_bias), list.tokens, device.stream);
    expand<T, F>(s, factor_b(lora_b), biases_of(bias, lora_b_bias), list.tokens, out, device.stream);
  });
  device.check_launches();
  multiply(out, rows, transposed(weight), true);
  return from_rows(out, x);
}

template <class T, class F>
void gradient(const std::optional<Tensor>& left, int64_t ranks, const std::optional<Tensor>& right,
              const LoraFactor& grad, const LoraTokens& t, const Tensor& like, cudaStream_t stream) {
  const int64_t count = lora_grad_parts(t, ranks, grad.side) * t.shape.entries * ranks * grad.side;
  const Tensor partial = scratch<Sum<F>>(like, count);
  launch_lora_grad<T, F>(left ? elements<F>(*left) : nullptr, ranks,
                         right ? static_cast<const T*>(right->const_data_ptr()) : nullptr, grad, t,
                         elements<Sum<F>>(partial), stream);
}

using Gradients = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

Gradients mixture_lora_grad(Tensor grad_out, Tensor x, Tensor weight, Tensor lora_a, Tensor lora_b, Maybe lora_a_bias,
                            int64_t expert, Maybe experts, Maybe segments, bool allow_tf32, bool need_x,
                            bool need_weight, bool need_bias, bool need_lora_a, bool need_lora_b, bool need_lora_a_bias,
                            bool need_lora_b_bias) {
  const LoraArguments a{x, weight, lora_a, lora_b, lora_a_bias, expert, experts, segments};
  const LoraShape shape = check_mixture_lora(a);
  check_lora_grad_out(grad_out, x, shape);
  const OnDevice device(x);
  const Segments list(a, shape);
  const LoraTokens& t = list.tokens;
  const ScalarType type = x.scalar_type();
  const auto fresh = [&](bool needed, Sizes sizes) { return needed ? empty(x, sizes, type) : nothing(x, type); };
  const Tensor rows = rows_of(x, shape.tokens, shape.in), g = rows_of(grad_out, shape.tokens, shape.out);
  const Tensor grad_x = fresh(need_x, {shape.tokens, shape.in});
  const Tensor grad_weight = fresh(need_weight, {shape.out, shape.in});
  const Tensor grad_a = fresh(need_lora_a, {shape.entries, shape.rank, shape.in});
  const Tensor grad_b = fresh(need_lora_b, {shape.entries, shape.out, shape.rank});
  const Tensor grad_a_bias = fresh(need_lora_a_bias, {shape.entries, shape.rank});
  const Tensor grad_b_bias = fresh(need_lora_b_bias, {shape.entries, shape.out});
  with_factors(dtype_of(x), false, allow_tf32, [&](auto element, auto factor) {
    using T = decltype(element);
    using F = decltype(factor);
    const auto add = [&](const Maybe& left, int64_t ranks, const Maybe& right, const LoraFactor& grad) {
      gradient<T, F>(left, ranks, right, grad, t, x, device.stream);
    };
    if (need_x || need_lora_a || need_lora_a_bias) {
      const Tensor q = shrink<T, F>(g, factor_b(lora_b), LoraFactor{}, t, device.stream);
      if (need_x) expand<T, F>(q, factor_a(lora_a), LoraBiases{}, t, grad_x, device.stream);
      if (need_lora_a) add(q, shape.rank, rows, factor_a(grad_a));
      if (need_lora_a_bias) add(q, shape.rank, std::nullopt, bias_a(grad_a_bias));
    }
    if (need_lora_b) {
      add(shrink<T, F>(rows, factor_a(lora_a), bias_a(lora_a_bias), t, device.stream), shape.rank, g, factor_b(grad_b));
    }
    if (need_lora_b_bias) {  // a sum rounds no factor
      using Exact = std::conditional_t<std::is_same_v<F, Tf32>, float, F>;
      gradient<T, Exact>(std::nullopt, 1, g, bias_b(grad_b_bias), t, x, device.stream);
    }
  });
  device.check_launches();
  if (need_x) multiply(grad_x, g, weight, true);
  if (need_weight) multiply(grad_weight, transposed(g), rows, false);
  Tensor grad_bias = fresh(need_bias, {shape.out});
  if (need_bias) torch::stable::sum_out(grad_bias, g, std::array<int64_t, 1>{0});
  return {need_x ? from_rows(grad_x, x) : grad_x, grad_weight, grad_bias, grad_a, grad_b, grad_a_bias, grad_b_bias};
}

}  // namespace
}  // namespace vfi::cuda

VFI_CUDA_LIBRARY_IMPL(m) {
  m.impl("mixture_lora", TORCH_BOX(&vfi::cuda::mixture_lora));
  m.impl("mixture_lora_grad", TORCH_BOX(&vfi::cuda::mixture_lora_grad));
}
