// Backward warping on CUDA: tensors and registration. The kernels are in backward_warp_kernels.cuh.
#include <tuple>

#include "ops/backward_warp/backward_warp_checks.h"
#include "ops/backward_warp/backward_warp_kernels.cuh"
#include "splatting/splat_tensors_gpu.h"

namespace vfi::cuda {
namespace {

constexpr const char* kOp = "backward_warp";

WarpArgsGpu warp_args(const Tensor& image, const Tensor& out, const Tensor& flow, Padding padding) {
  const MemoryFormat layout = layout_of(image);
  return {dense_shape_of(image, layout), dense_shape_of(out, layout), view_of(flow), padding};
}

Tensor backward_warp(Tensor image, Tensor flow, int64_t padding) {
  const Padding pad = check_backward_warp(image, flow, padding);
  const OnDevice device(image);
  const Tensor in = with_layout(image, layout_of(image));
  Tensor out =
      result(image, {image.size(0), image.size(1), flow.size(2), flow.size(3)}, image.scalar_type(), layout_of(image));
  launch_backward_warp(in.const_data_ptr(), out.mutable_data_ptr(), dtype_of(image), warp_args(image, out, flow, pad),
                       device.stream);
  device.check_launches();
  return out;
}

ScatterArgsGpu scatter_args(const Tensor& image, const Tensor& flow, Padding padding) {
  ScatterArgsGpu s{};
  s.B = image.size(0);
  s.H = static_cast<int32_t>(flow.size(2));
  s.W = static_cast<int32_t>(flow.size(3));
  s.target_H = static_cast<int32_t>(image.size(2));
  s.target_W = static_cast<int32_t>(image.size(3));
  s.flow = view_of(flow);
  s.padding = padding;
  s.factor = Factor::kOne;
  s.float64 = any_float64({&image, &flow});
  return s;
}

std::tuple<Tensor, Tensor> backward_warp_grad(Tensor grad_out, Tensor image, Tensor flow, int64_t padding,
                                              bool deterministic, bool need_image, bool need_flow) {
  const Padding pad = check_backward_warp(image, flow, padding);
  check_upstream(kOp, "grad_out", grad_out, {image.size(0), image.size(1), flow.size(2), flow.size(3)}, image);
  const OnDevice device(image);
  const Tensor g = with_layout(grad_out, layout_of(image));
  Tensor grad_image = nothing(image, image.scalar_type());
  if (need_image) grad_image = scatter_gradient(device, g, image, flow, scatter_args(image, flow, pad), deterministic);
  Tensor grad_flow = empty_for(flow, need_flow);
  if (need_flow) {
    const Tensor in = with_layout(image, layout_of(image));
    launch_backward_warp_grad_flow(g.const_data_ptr(), in.const_data_ptr(), mutable_view_of(grad_flow), dtype_of(image),
                                   warp_args(image, g, flow, pad), device.stream);
  }
  device.check_launches();
  return {grad_image, grad_flow};
}

}  // namespace
}  // namespace vfi::cuda

VFI_CUDA_LIBRARY_IMPL(m) {
  m.impl("backward_warp", TORCH_BOX(&vfi::cuda::backward_warp));
  m.impl("backward_warp_grad", TORCH_BOX(&vfi::cuda::backward_warp_grad));
}
