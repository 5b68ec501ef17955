// Modulated deformable convolution on CUDA: tensors and registration. The kernels are in modulated_deform_conv2d_*.cuh.
#include <array>
#include <tuple>

#include "torch/cuda_tensors.h"
#include "ops/modulated_deform_conv2d/modulated_deform_conv2d_checks.h"
#include "ops/modulated_deform_conv2d/modulated_deform_conv2d_grad_kernels.cuh"
#include "ops/modulated_deform_conv2d/modulated_deform_conv2d_warp_kernels.cuh"
#include "ops/modulated_deform_conv2d/modulated_deform_conv2d_warp_weight_grad_kernels.cuh"
#include "ops/modulated_deform_conv2d/modulated_deform_conv2d_weight_grad_kernels.cuh"

namespace vfi::cuda {
namespace {

using Maybe = std::optional<Tensor>;
using Integers = std::vector<int64_t>;

// `t` itself where it is channels_last, else a copy.
template <class T>
Tensor turned(const Tensor& t, cudaStream_t stream) {
  const MemoryFormat layout = layout_of(t);
  const Tensor dense = with_layout(t, layout);
  if (layout == MemoryFormat::ChannelsLast || t.size(1) == 1) return dense;
  const Tensor copy = scratch<T>(t, t.numel());
  launch_deform_turn(static_cast<const T*>(dense.const_data_ptr()), elements<T>(copy), dense_shape_of(t, layout), stream);
  return copy;
}

// 16 bytes of zeros, kept as long as the kernels need them.
Tensor zeros_for(const Tensor& like, cudaStream_t stream) {
  const Tensor zeros = scratch<char>(like, 16);
  clear(zeros.mutable_data_ptr(), 16, stream);
  return zeros;
}

// The kernels see `input` as channels_last; `out` has the layout of the output, or of its gradient, which is at `data`.
DeformArgsGpu deform_args(const DeformGeometry& g, const Tensor& input, const Tensor& output, MemoryFormat out,
                          const void* data, const Tensor& offset, const Maybe& mask, const Tensor& zeros) {
  const auto narrow = [](int64_t x) { return static_cast<int32_t>(x); };
  const DenseShape shape = dense_shape_of(output, out);
  const int64_t across = 16 / static_cast<int64_t>(output.element_size());
  const int64_t side = shape.channels_last ? g.group_out() : shape.plane;
  return {g,
          dense_shape_of(input, MemoryFormat::ChannelsLast),
          shape,
          view_of(offset),
          mask ? view_of(*mask) : ConstView{},
          zeros.const_data_ptr(),
          g.C * static_cast<int64_t>(input.element_size()),
          g.W * g.C * static_cast<int64_t>(input.element_size()),
          offset.stride(1) * static_cast<int64_t>(offset.element_size()),
          mask ? mask->stride(1) * static_cast<int64_t>(mask->element_size()) : 0,
          narrow(g.taps()),
          narrow(g.group_in()),
          narrow(g.group_out()),
          narrow(g.offset_group_channels()),
          !mask || mask->scalar_type() == ScalarType::Half,
          mask && mask->scalar_type() == ScalarType::Half && offset.scalar_type() == ScalarType::Half,
          side % across == 0 && reinterpret_cast<uintptr_t>(data) % 16 == 0};
}

template <class T, class F>
Tensor pack_weight(const Tensor& weight, const DeformGeometry& g, const PackedWeights& p, cudaStream_t stream) {
  const Tensor packed = scratch<F>(weight, p.elements(g));
  launch_deform_pack(static_cast<const T*>(weight.const_data_ptr()), strides_of(weight), elements<F>(packed), g, p,
                     stream);
  return packed;
}

template <class T, class F>
void convolve(const T* input, const Tensor& weight, T* out, const DeformArgsGpu& a, const Epilogue& epilogue,
              cudaStream_t stream) {
  if constexpr (kTensorCores<F>) {
    if (by_warps<T, F>(a, input)) {
      const PackedWeights p = packed_weights<F>(a.g, false, false);
      const std::optional<WeightLines> in_place =
          std::is_same_v<T, F> ? lines_in_place(a.g, strides_of(weight), weight.const_data_ptr()) : std::nullopt;
      const Tensor lines = in_place ? weight : pack_weight<T, F>(weight, a.g, p, stream);
      launch_deform_warps(input, static_cast<const F*>(lines.const_data_ptr()), in_place ? *in_place : lines_of(p, a.g), out, a,
                          epilogue, stream);
      return;
    }
  }
  const Tensor packed = pack_weight<T, F>(weight, a.g, packed_weights<F>(a.g, false), stream);
  launch_deform(input, elements<F>(packed), out, a, epilogue, stream);
}

Tensor modulated_deform_conv2d(Tensor input, Tensor offset, Maybe mask, Tensor weight, Maybe bias, Integers stride,
                               Integers padding, Integers dilation, int64_t groups, int64_t offset_groups,
                               int64_t activation, Maybe activation_weight, int64_t edge, bool allow_tf32) {
  constexpr const char* kOp = "modulated_deform_conv2d";
  const DeformGeometry g = check_modulated_deform_conv2d(input, offset, mask, weight,
                                                         {stride, padding, dilation, groups, offset_groups, edge});
  if (bias) check_vector(kOp, "bias", *bias, g.C_out, false, input);
  if (activation_weight) check_vector(kOp, "activation_weight", *activation_weight, g.C_out, true, input);
  const Epilogue epilogue{data_or_null(bias), data_or_null(activation_weight), step_of(bias),
                          step_of(activation_weight),
                          check_activation(kOp, activation, activation_weight.has_value()), 0};
  const OnDevice device(input);
  const Tensor out = result(input, {g.B, g.C_out, g.out_H, g.out_W}, input.scalar_type(), layout_of(input));
  const Tensor zeros = zeros_for(input, device.stream);
  const DeformArgsGpu args =
      deform_args(g, input, out, layout_of(input), out.const_data_ptr(), offset, mask, zeros);
  with_factors(dtype_of(input), any_float64({&offset, mask ? &*mask : nullptr}), allow_tf32,
               [&](auto element, auto factor) {
                 using T = decltype(element);
                 using F = decltype(factor);
                 const Tensor x = turned<T>(input, device.stream);
                 convolve<T, F>(static_cast<const T*>(x.const_data_ptr()), weight, static_cast<T*>(out.mutable_data_ptr()), args,
                                epilogue, device.stream);
               });
  device.check_launches();
  return out;
}

// What is needed, in the order of the results.
struct DeformNeeded {
  bool input, offset, mask, weight, bias;
};

struct Gradients {
  Tensor input, offset, mask, weight, bias;
};

MutableView view_if(bool needed, const Tensor& t) { return needed ? mutable_view_of(t) : MutableView{}; }

// Gradients of input, offset and mask, which share G.
template <class T, class F>
void column_gradients(const T* grad_out, const T* input, const Tensor& weight, const DeformArgsGpu& a,
                      const DeformNeeded& need, bool deterministic, const Gradients& grads, const OnDevice& device) {
  using A = Sum<F>;
  const cudaStream_t stream = device.stream;
  if (a.g.C == 0) {  // nothing to sum
    for (const Tensor& t : {grads.offset, grads.mask}) clear(t.mutable_data_ptr(), t.numel() * t.element_size(), stream);
    return;
  }
  const Tensor packed = pack_weight<T, F>(weight, a.g, packed_weights<F>(a.g, true), stream);
  const int64_t channels = (a.g.C + 3) / 4 * 4, count = need.input ? a.in.pixels() * channels : 0;
  const int64_t integers = deterministic ? count * Bits<A>::kParts : 0;
  const Tensor sums = scratch<A>(weight, count), fixed = scratch<int64_t>(weight, integers), ranges = scratch<Ranges>(weight, 1);
  const Tensor& zero = deterministic ? fixed : sums;
  clear(zero.mutable_data_ptr(), zero.numel(), stream);
  const InputSums to{need.input ? sums.mutable_data_ptr() : nullptr,
                     integers > 0 ? elements<unsigned long long>(fixed) : nullptr, count, elements<Ranges>(ranges),
                     channels, terms_of(a.g)};
  if (to.fixed != nullptr) {
    clear(ranges.mutable_data_ptr(), sizeof(Ranges), stream);
    launch_deform_ranges<T, A>(grad_out, static_cast<const T*>(weight.const_data_ptr()), strides_of(weight), a,
                               elements<Ranges>(ranges), stream);
    launch_deform_clear<A>(to, a, stream);
  }
  GradColumnsTo results{};
  results.offset = view_if(need.offset, grads.offset), results.mask = view_if(need.mask, grads.mask), results.input = to;
  launch_deform_grad_columns(grad_out, input, elements<F>(packed), a, results, stream);
  if (!need.input) return;
  const DenseShape shape = dense_shape_of(grads.input, layout_of(grads.input));
  launch_deform_finish<T, A>(static_cast<T*>(grads.input.mutable_data_ptr()), shape, to, a, stream);
}

template <class T, class F>
void weight_gradient(const T* grad_out, const T* input, const DeformArgsGpu& a, const Tensor& grad,
                     cudaStream_t stream) {
  const auto add = [&](int64_t parts, auto&& launch) {
    const Tensor partial = scratch<Sum<F>>(grad, parts * grad.numel());
    launch(elements<Sum<F>>(partial));
    launch_deform_grad_weight_sum(elements<Sum<F>>(partial), static_cast<T*>(grad.mutable_data_ptr()), strides_of(grad), a.g,
                                  parts, stream);
  };
  if constexpr (kColumnsTurned<F>) {
    if (by_warps<T, F>(a, input) && a.wide_out) {
      const WarpWeightParts parts = warp_weight_parts<F>(a);
      return add(parts.parts, [&](float* to) { launch_deform_grad_weight_warps<T, F>(grad_out, input, to, a, parts, stream); });
    }
  }
  with_weight_parts<F>(a, [&](auto m, const WeightParts& parts) {
    add(parts.parts, [&](Sum<F>* to) {
      launch_deform_grad_weight<T, F, decltype(m)::value>(grad_out, input, to, a, parts, stream);
    });
  });
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> modulated_deform_conv2d_grad(
    Tensor grad_out, Tensor input, Tensor offset, Maybe mask, Tensor weight, Integers stride, Integers padding,
    Integers dilation, int64_t groups, int64_t offset_groups, int64_t edge, bool allow_tf32, bool deterministic,
    bool need_input, bool need_offset, bool need_mask, bool need_weight, bool need_bias) {
  const DeformGeometry g = check_modulated_deform_conv2d(input, offset, mask, weight,
                                                         {stride, padding, dilation, groups, offset_groups, edge});
  check_deform_grad_out(grad_out, input, g);
  const DeformNeeded need{need_input, need_offset, need_mask && mask, need_weight, need_bias};
  const ScalarType type = input.scalar_type();
  const Gradients grads{empty_for(input, need.input), empty_for(offset, need.offset),
                        need.mask ? empty_for(*mask) : nothing(input, type), empty_for(weight, need.weight),
                        need.bias ? empty(weight, {g.C_out}, type) : nothing(weight, type)};
  const OnDevice device(input);
  const Tensor zeros = zeros_for(input, device.stream);
  with_factors(dtype_of(input), any_float64({&offset, mask ? &*mask : nullptr}), allow_tf32,
               [&](auto element, auto factor) {
                 using T = decltype(element);
                 using F = decltype(factor);
                 const Tensor x = turned<T>(input, device.stream), up = turned<T>(grad_out, device.stream);
                 const T* from = static_cast<const T*>(up.const_data_ptr());
                 const T* in = static_cast<const T*>(x.const_data_ptr());
                 const DeformArgsGpu args =
                     deform_args(g, input, grad_out, MemoryFormat::ChannelsLast, from, offset, mask, zeros);
                 if (need.input || need.offset || need.mask) {
                   column_gradients<T, F>(from, in, weight, args, need, deterministic, grads, device);
                 }
                 if (need.weight) weight_gradient<T, F>(from, in, args, grads.weight, device.stream);
               });
  device.check_launches();
  if (need.bias) {
    Tensor bias = grads.bias;
    torch::stable::sum_out(bias, grad_out, std::array<int64_t, 3>{0, 2, 3});
  }
  return {grads.input, grads.offset, grads.mask, grads.weight, grads.bias};
}

}  // namespace
}  // namespace vfi::cuda

VFI_CUDA_LIBRARY_IMPL(m) {
  m.impl("modulated_deform_conv2d", TORCH_BOX(&vfi::cuda::modulated_deform_conv2d));
  m.impl("modulated_deform_conv2d_grad", TORCH_BOX(&vfi::cuda::modulated_deform_conv2d_grad));
}
