// Modulated deformable convolution on CUDA: tensors and registration. The kernels are in modulated_deform_conv2d_*.cuh.
#include <tuple>

#include "splatting/splat_tensors_gpu.h"
#include "ops/modulated_deform_conv2d/modulated_deform_conv2d_checks.h"
#include "ops/modulated_deform_conv2d/modulated_deform_conv2d_grad_kernels.cuh"
#include "ops/modulated_deform_conv2d/modulated_deform_conv2d_weight_grad_kernels.cuh"

namespace vfi::cuda {
namespace {

using Maybe = std::optional<Tensor>;
using Integers = std::vector<int64_t>;

// `input` has been made dense with its layout; `out` is the output or its gradient.
DeformArgsGpu deform_args(const DeformGeometry& g, const Tensor& input, MemoryFormat in, const Tensor& output,
                          MemoryFormat out, const Tensor& offset, const Maybe& mask) {
  const auto narrow = [](int64_t x) { return static_cast<int32_t>(x); };
  return {g,
          dense_shape_of(input, in),
          dense_shape_of(output, out),
          view_of(offset),
          mask ? view_of(*mask) : ConstView{},
          narrow(g.taps()),
          narrow(g.group_in()),
          narrow(g.group_out()),
          narrow(g.offset_group_channels())};
}

template <class T, class F>
Tensor pack_weight(const Tensor& weight, const DeformGeometry& g, bool transposed, cudaStream_t stream) {
  const PackedWeights p = packed_weights(g, transposed);
  const Tensor packed = scratch<F>(weight, p.elements(g));
  launch_deform_pack(static_cast<const T*>(weight.const_data_ptr()), strides_of(weight), elements<F>(packed), g, p,
                     stream);
  return packed;
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
  const Tensor x = with_layout(input, layout_of(input));
  const Tensor out = result(input, {g.B, g.C_out, g.out_H, g.out_W}, input.scalar_type(), layout_of(input));
  const DeformArgsGpu args = deform_args(g, x, layout_of(input), out, layout_of(input), offset, mask);
  with_factors(dtype_of(input), any_float64({&offset, mask ? &*mask : nullptr}), allow_tf32,
               [&](auto element, auto factor) {
                 using T = decltype(element);
                 using F = decltype(factor);
                 const Tensor packed = pack_weight<T, F>(weight, g, false, device.stream);
                 launch_deform(static_cast<const T*>(x.const_data_ptr()), elements<F>(packed),
                               static_cast<T*>(out.mutable_data_ptr()), args, epilogue, device.stream);
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
  const cudaStream_t stream = device.stream;
  const Tensor packed = pack_weight<T, F>(weight, a.g, true, stream);
  const int64_t count = need.input ? 4 * a.g.B * groups_of(a.g.C, false) * a.g.H * a.g.W : 0;
  const Tensor sums = scratch<Sum<F>>(weight, count);
  clear(sums.mutable_data_ptr(), count * sizeof(Sum<F>), stream);
  const bool scatters = need.input && !deterministic;
  if (scatters || need.offset || need.mask) {
    launch_deform_grad_columns(grad_out, input, elements<F>(packed), a,
                               {view_if(need.offset, grads.offset), view_if(need.mask, grads.mask),
                                scatters ? sums.mutable_data_ptr() : nullptr},
                               stream);
  }
  if (need.input && deterministic) {
    launch_deform_grad_ordered(grad_out, elements<F>(packed), a, elements<Sum<F>>(sums), stream);
  }
  const MemoryFormat layout = a.in.channels_last ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous;
  if (need.input) finish_sums(device, sums, grads.input, layout, std::is_same_v<F, double>);
}

template <class T, class F>
void weight_gradient(const T* grad_out, const T* input, const DeformArgsGpu& a, const Tensor& grad,
                     cudaStream_t stream) {
  const WeightParts parts = weight_parts(a.g, a.g.B * a.tiles(kPixelsOfWeight), weight_rows<F>(a.g));
  const Tensor partial = scratch<Sum<F>>(grad, parts.parts * grad.numel());
  launch_deform_grad_weight<T, F>(grad_out, input, elements<Sum<F>>(partial), static_cast<T*>(grad.mutable_data_ptr()),
                                  strides_of(grad), a, parts, stream);
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
  const Tensor x = with_layout(input, layout_of(input)), up = with_layout(grad_out, layout_of(grad_out));
  const DeformArgsGpu args = deform_args(g, x, layout_of(input), up, layout_of(grad_out), offset, mask);
  with_factors(dtype_of(input), any_float64({&offset, mask ? &*mask : nullptr}), allow_tf32,
               [&](auto element, auto factor) {
                 using T = decltype(element);
                 using F = decltype(factor);
                 const T* from = static_cast<const T*>(up.const_data_ptr());
                 const T* in = static_cast<const T*>(x.const_data_ptr());
                 if (need.input || need.offset || need.mask) {
                   column_gradients<T, F>(from, in, weight, args, need, deterministic, grads, device);
                 }
                 if (need.weight) weight_gradient<T, F>(from, in, args, grads.weight, device.stream);
                 if (need.bias) {
                   launch_deform_grad_bias<T, Sum<F>>(from, static_cast<T*>(grads.bias.mutable_data_ptr()), args.out,
                                                      device.stream);
                 }
               });
  device.check_launches();
  return {grads.input, grads.offset, grads.mask, grads.weight, grads.bias};
}

}  // namespace
}  // namespace vfi::cuda

VFI_CUDA_LIBRARY_IMPL(m) {
  m.impl("modulated_deform_conv2d", TORCH_BOX(&vfi::cuda::modulated_deform_conv2d));
  m.impl("modulated_deform_conv2d_grad", TORCH_BOX(&vfi::cuda::modulated_deform_conv2d_grad));
}
