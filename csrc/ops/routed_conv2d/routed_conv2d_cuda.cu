// routed_conv2d on CUDA: tensors and registration. The kernels are in routed_conv2d_*.cuh.
#include <tuple>

#include "torch/cuda_tensors.h"
#include "ops/routed_conv2d/routed_conv2d_checks.h"
#include "ops/routed_conv2d/routed_conv2d_launch.cuh"
#include "ops/routed_conv2d/routed_conv2d_weight_grad_launch.cuh"

namespace vfi::cuda {
namespace {

using Maybe = std::optional<Tensor>;

RoutedPlaceGpu place_of(const Tensor& t, bool in_image) {
  return {const_cast<void*>(t.const_data_ptr()), strides_of(t), in_image};
}

// Of a tensor that is written: memory that it shares with another one until then (copy on write) becomes its own.
RoutedPlaceGpu target_of(const Tensor& t, bool in_image) {
  t.mutable_data_ptr();
  return place_of(t, in_image);
}

RoutedWeights weights_of(const Tensor& weight, bool transposed) {
  const Strides s = strides_of(weight);
  if (transposed) return {s.batch, s.channel, s.row, s.column};
  return {s.channel, s.batch, s.row, s.column};
}

// What all directions share: the forward one's geometry.
RoutedArgsGpu forward_args(const RoutedGeometry& g, const Tensor& x, const Tensor& list) {
  const auto narrow = [](int64_t n) { return static_cast<int32_t>(n); };
  RoutedArgsGpu a{};
  a.K = narrow(g.K), a.stride = narrow(g.stride), a.padding = narrow(g.padding);
  a.transposed = g.transposed;
  a.in_side = narrow(g.patch), a.out_side = narrow(g.out_patch);
  a.neighbours = g.reach() > 0;
  a.depth = narrow(g.C), a.columns = narrow(g.C_out);
  a.grid = g.grid;
  a.indices = static_cast<const int32_t*>(list.const_data_ptr());
  a.items = list.size(0);
  a.from = place_of(x, true);
  return a;
}

// The gradient of the input: the other form of the convolution, from output patches to the cells of the image.
RoutedArgsGpu backward_args(const RoutedArgsGpu& forward, const Tensor& grad_out, const Tensor& grad_x,
                            const int32_t* listed) {
  RoutedArgsGpu a = forward;
  a.transposed = !a.transposed;
  std::swap(a.in_side, a.out_side);
  std::swap(a.depth, a.columns);
  a.from = place_of(grad_out, false), a.to = target_of(grad_x, true);
  a.listed = listed;
  a.items = a.grid.B * a.grid.rows * a.grid.columns;
  return a;
}

template <class T, class F>
void convolve(const Tensor& weight, const RoutedWeights& w, const RoutedArgsGpu& a, const Epilogue& epilogue,
              cudaStream_t stream) {
  std::optional<Tensor> panels;  // kept as long as the kernels need it
  const auto memory = [&](int64_t count) { return elements<F>(*(panels = scratch<F>(weight, count))); };
  launch_routed_conv<T, F>(static_cast<const T*>(weight.const_data_ptr()), w, a, epilogue, memory, stream);
}

void forward(const OnDevice& device, const Tensor& weight, const RoutedArgsGpu& a, const Epilogue& epilogue, Dtype type,
             bool transposed, bool allow_tf32) {
  with_factors(type, false, allow_tf32, [&](auto element, auto factor) {
    convolve<decltype(element), decltype(factor)>(weight, weights_of(weight, transposed), a, epilogue, device.stream);
  });
  device.check_launches();
}

Tensor routed_conv2d(Tensor x, Tensor weight, Maybe bias, Tensor indices, int64_t patch, int64_t stride,
                     bool transposed, int64_t border, bool allow_tf32) {
  const RoutedGeometry g = check_routed_conv2d(x, weight, bias, indices, {patch, stride, transposed, border});
  const OnDevice device(x);
  const Tensor list = torch::stable::contiguous(indices);
  const Tensor out = empty(x, {list.size(0), g.C_out, g.out_patch, g.out_patch}, x.scalar_type(), layout_of(x));
  RoutedArgsGpu a = forward_args(g, x, list);
  a.to = target_of(out, false);
  const Epilogue epilogue{data_or_null(bias), nullptr, step_of(bias), 0, Activation::kNone, 0};
  forward(device, weight, a, epilogue, dtype_of(x), transposed, allow_tf32);
  return out;
}

void routed_conv2d_(Tensor x, Tensor weight, Maybe bias, Tensor indices, int64_t patch, int64_t stride, bool transposed,
                    int64_t border, int64_t activation, Maybe activation_weight, double negative_slope,
                    bool allow_tf32, Tensor base) {
  const RoutedGeometry g = check_routed_conv2d(x, weight, bias, indices, {patch, stride, transposed, border});
  check_routed_base(base, x, g);
  const Activation kind = check_routed_activation(activation, activation_weight, x, g);
  const OnDevice device(x);
  const Tensor list = torch::stable::contiguous(indices);
  RoutedArgsGpu a = forward_args(g, x, list);
  a.to = target_of(base, true);
  const Epilogue epilogue{data_or_null(bias), data_or_null(activation_weight), step_of(bias), step_of(activation_weight),
                          kind, negative_slope};
  forward(device, weight, a, epilogue, dtype_of(x), transposed, allow_tf32);
}

template <class T, class F>
void weight_gradient(const RoutedArgsGpu& a, const RoutedPlaceGpu& grad_out, const Tensor& grad, bool transposed,
                     cudaStream_t stream) {
  const RoutedParts parts = routed_parts<F>(a);
  const Tensor partial = scratch<Sum<F>>(grad, parts.parts * grad.numel());
  launch_routed_grad_weight<T, F>(a, grad_out, parts, elements<Sum<F>>(partial),
                                  static_cast<T*>(grad.mutable_data_ptr()), weights_of(grad, transposed), stream);
}

std::tuple<Tensor, Tensor, Tensor> routed_conv2d_grad(Tensor grad_out, Tensor x, Tensor weight, Tensor indices,
                                                      int64_t patch, int64_t stride, bool transposed,
                                                      int64_t border, bool allow_tf32, bool need_x,
                                                      bool need_weight, bool need_bias) {
  const RoutedGeometry g = check_routed_conv2d(x, weight, {}, indices, {patch, stride, transposed, border});
  check_routed_grad_out(grad_out, x, indices, g);
  const ScalarType type = x.scalar_type();
  const OnDevice device(x);
  const Tensor list = torch::stable::contiguous(indices);
  const Tensor grad_x = empty_for(x, need_x), grad_weight = empty_for(weight, need_weight);
  const Tensor grad_bias = need_bias ? empty(x, {g.C_out}, type) : nothing(x, type);
  const RoutedArgsGpu a = forward_args(g, x, list);
  const RoutedPlaceGpu up = place_of(grad_out, false);
  with_factors(dtype_of(x), false, allow_tf32, [&](auto element, auto factor) {
    using T = decltype(element);
    using F = decltype(factor);
    if (need_x) {
      const Tensor listed = empty(x, {g.grid.B * g.grid.rows * g.grid.columns}, ScalarType::Int);
      int32_t* const table = static_cast<int32_t*>(listed.mutable_data_ptr());
      launch_list_cells(a.indices, a.items, a.grid, table, device.stream);
      convolve<T, F>(weight, weights_of(weight, !transposed), backward_args(a, grad_out, grad_x, table), Epilogue{},
                     device.stream);
    }
    if (need_weight) weight_gradient<T, F>(a, up, grad_weight, transposed, device.stream);
    if (need_bias) {
      const Tensor partial = scratch<Sum<F>>(x, routed_bias_parts(a) * g.C_out);
      launch_routed_grad_bias(a, up, elements<Sum<F>>(partial), static_cast<T*>(grad_bias.mutable_data_ptr()),
                              device.stream);
    }
  });
  device.check_launches();
  return {grad_x, grad_weight, grad_bias};
}

}  // namespace
}  // namespace vfi::cuda

VFI_CUDA_LIBRARY_IMPL(m) {
  m.impl("routed_conv2d", TORCH_BOX(&vfi::cuda::routed_conv2d));
  m.impl("routed_conv2d_", TORCH_BOX(&vfi::cuda::routed_conv2d_));
  m.impl("routed_conv2d_grad", TORCH_BOX(&vfi::cuda::routed_conv2d_grad));
}
