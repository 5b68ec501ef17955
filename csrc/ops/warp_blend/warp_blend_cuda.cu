// Two blended backward warps on CUDA: tensors and registration. The kernels are in warp_blend_kernels.cuh.
#include <tuple>

#include "splatting/splat_tensors_gpu.h"
#include "ops/warp_blend/warp_blend_checks.h"
#include "ops/warp_blend/warp_blend_kernels.cuh"

namespace vfi::cuda {
namespace {

constexpr const char* kOp = "warp_blend";

BlendArgsGpu blend_args(const Tensor& frame0, const Tensor& out, const Tensor& flow, const Tensor& mask_logits) {
  const MemoryFormat layout = layout_of(frame0);
  return {dense_shape_of(frame0, layout), dense_shape_of(out, layout), view_of(flow), view_of(mask_logits),
          any_float64({&frame0, &flow, &mask_logits})};
}

Tensor warp_blend(Tensor frame0, Tensor frame1, Tensor flow, Tensor mask_logits) {
  check_warp_blend(frame0, frame1, flow, mask_logits);
  const OnDevice device(frame0);
  const MemoryFormat layout = layout_of(frame0);
  const Tensor in0 = with_layout(frame0, layout), in1 = with_layout(frame1, layout);
  Tensor out =
      result(frame0, {frame0.size(0), frame0.size(1), flow.size(2), flow.size(3)}, frame0.scalar_type(), layout);
  launch_warp_blend(in0.const_data_ptr(), in1.const_data_ptr(), out.mutable_data_ptr(), dtype_of(frame0),
                    blend_args(frame0, out, flow, mask_logits), device.stream);
  device.check_launches();
  return out;
}

// The gradient of one frame: grad_out spread along its half of the flow with the factor m or 1 - m.
Tensor frame_gradient(const OnDevice& device, const Tensor& grad_out, const Tensor& frame, Tensor flow,
                      const BlendArgsGpu& args, bool first, bool deterministic) {
  const Tensor half = torch::stable::narrow(flow, 1, first ? 0 : 2, 2);
  ScatterArgsGpu s{};
  s.B = frame.size(0);
  s.H = args.out.height;
  s.W = args.out.width;
  s.target_H = args.frame.height;
  s.target_W = args.frame.width;
  s.flow = view_of(half);
  s.padding = Padding::kBorder;
  s.factor = first ? Factor::kSigmoid : Factor::kOneMinusSigmoid;
  s.metric = args.mask;
  s.float64 = args.float64;
  return scatter_gradient(device, with_layout(grad_out, layout_of(frame)), frame, half, s, deterministic);
}

std::tuple<Tensor, Tensor, Tensor, Tensor> warp_blend_grad(Tensor grad_out, Tensor frame0, Tensor frame1, Tensor flow,
                                                           Tensor mask_logits, bool deterministic, bool need_frame0,
                                                           bool need_frame1, bool need_flow, bool need_mask) {
  check_warp_blend(frame0, frame1, flow, mask_logits);
  check_upstream(kOp, "grad_out", grad_out, {frame0.size(0), frame0.size(1), flow.size(2), flow.size(3)}, frame0);
  const OnDevice device(frame0);
  const MemoryFormat layout = layout_of(frame0);
  const Tensor g = with_layout(grad_out, layout);
  const BlendArgsGpu args = blend_args(frame0, g, flow, mask_logits);
  Tensor grad_frame0 = nothing(frame0, frame0.scalar_type()), grad_frame1 = nothing(frame1, frame1.scalar_type());
  if (need_frame0) grad_frame0 = frame_gradient(device, g, frame0, flow, args, true, deterministic);
  if (need_frame1) grad_frame1 = frame_gradient(device, g, frame1, flow, args, false, deterministic);
  Tensor grad_flow = empty_for(flow, need_flow), grad_mask = empty_for(mask_logits, need_mask);
  if (need_flow || need_mask) {
    const Tensor in0 = with_layout(frame0, layout), in1 = with_layout(frame1, layout);
    const MutableView to_flow = need_flow ? mutable_view_of(grad_flow) : MutableView{};
    const MutableView to_mask = need_mask ? mutable_view_of(grad_mask) : MutableView{};
    launch_warp_blend_grad(g.const_data_ptr(), in0.const_data_ptr(), in1.const_data_ptr(), to_flow, to_mask,
                           dtype_of(frame0), args, device.stream);
  }
  device.check_launches();
  return {grad_frame0, grad_frame1, grad_flow, grad_mask};
}

}  // namespace
}  // namespace vfi::cuda

VFI_CUDA_LIBRARY_IMPL(m) {
  m.impl("warp_blend", TORCH_BOX(&vfi::cuda::warp_blend));
  m.impl("warp_blend_grad", TORCH_BOX(&vfi::cuda::warp_blend_grad));
}
