// warp_blend on the CPU: tensors in, tensors out. The float32 kernels are in *_simd.cpp; here are the scalar ones, for
// float64 and for frames that the vector kernels do not take.
#include <cmath>

#include <torch/csrc/stable/library.h>

#include "torch/checks.h"
#include "sampling/scalar_sampling.h"
#include "splatting/scatter.h"
#include "splatting/tensor_planes.h"
#include "ops/warp_blend/warp_blend.h"
#include "ops/warp_blend/warp_blend_checks.h"

namespace vfi {
namespace {

// Writes the gradients of one pixel: flow's four, then the mask's.
template <class A>
void write_gradients(const BlendArgs& a, int64_t b, int64_t at, const A* flow, A mask) {
  const int64_t plane = int64_t{a.sampling[0].out_H} * a.sampling[0].out_W;
  for (int k = 0; k < 4; ++k) write_as(a.grad_flow, a.sampling[0].flow_type, (b * 4 + k) * plane + at, flow[k]);
  write_as(a.grad_mask, a.mask_type, b * plane + at, mask);
}

// One row of the output, or of the gradients. A is the type of the arithmetic, T the frames'.
template <class A, class T, bool kGrad>
void row_scalar(const BlendArgs& a, int64_t b, int32_t y) {
  const Sampling& s = a.sampling[0];
  const int64_t plane = int64_t{s.H} * s.W, out_plane = int64_t{s.out_H} * s.out_W;
  const int64_t step = a.channels_last ? a.C : 1, channel = a.channels_last ? 1 : plane;
  const int64_t out_channel = a.channels_last ? 1 : out_plane;
  const T* frame[2];
  for (int n = 0; n < 2; ++n) frame[n] = static_cast<const T*>(a.frame[n]) + b * a.C * plane;
  for (int32_t x = 0; x < s.out_W; ++x) {
    const int64_t at = int64_t{y} * s.out_W + x, first = b * a.C * out_plane + at * step;
    const A logit = read_as<A>(a.mask, a.mask_type, b * out_plane + at);
    const A share[2] = {A(1) / (A(1) + std::exp(-logit)), A(1) / (A(1) + std::exp(logit))};
    const PixelPosition<A> position[2] = {{a.sampling[0], b, y, x, step}, {a.sampling[1], b, y, x, step}};
    const PixelReads<A> value[2] = {position[0].value(), position[1].value()};
    if constexpr (kGrad) {
      const PixelReads<A> slope[4] = {position[0].dx(), position[0].dy(), position[1].dx(), position[1].dy()};
      A flow[4] = {}, change = 0;
      for (int64_t c = 0; c < a.C; ++c) {
        const A g = static_cast<A>(to_float(static_cast<const T*>(a.grad_out)[first + c * out_channel]));
        for (int k = 0; k < 4; ++k) {
          if (slope[k].count > 0) flow[k] += share[k / 2] * g * slope[k].sum(frame[k / 2] + c * channel);
        }
        change += g * (value[0].sum(frame[0] + c * channel) - value[1].sum(frame[1] + c * channel));
      }
      write_gradients(a, b, at, flow, change * share[0] * share[1]);
    } else {
      for (int64_t c = 0; c < a.C; ++c) {
        const A w0 = value[0].sum(frame[0] + c * channel), w1 = value[1].sum(frame[1] + c * channel);
        static_cast<T*>(a.out)[first + c * out_channel] = Element<T>::from(share[0] * w0 + share[1] * w1);
      }
    }
  }
}

bool is_wide(const BlendArgs& a) {
  return a.type == Dtype::kFloat64 || a.sampling[0].flow_type == Dtype::kFloat64 || a.mask_type == Dtype::kFloat64;
}

template <bool kGrad>
void rows_scalar(const BlendArgs& a, int64_t begin, int64_t end) {
  with_element_type(a.type, [&]<class T>(T) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t b = row / a.sampling[0].out_H;
      const int32_t y = static_cast<int32_t>(row % a.sampling[0].out_H);
      is_wide(a) ? row_scalar<double, T, kGrad>(a, b, y) : row_scalar<float, T, kGrad>(a, b, y);
    }
  });
}

using RowKernel = void(const BlendArgs&, int64_t, int64_t);

void for_all_rows(const BlendArgs& a, RowKernel* vectors, RowKernel* scalar) {
  const Sampling& s = a.sampling[0];
  RowKernel* const rows = fits_vectors(s) && !is_wide(a) ? vectors : scalar;
  const int64_t grain = 1 + 16384 / (1 + a.C * s.out_W);  // enough work to be worth a thread
  parallel_for(0, s.B * s.out_H, grain, [&](int64_t begin, int64_t end) { rows(a, begin, end); });
}

// The arguments in one layout, frame0's; kept alive as long as the pointers in `args` are used.
struct Dense {
  Tensor frame0, frame1, flow, mask;
  BlendArgs args;
};

Dense make_dense(const Tensor& frame0, const Tensor& frame1, const Tensor& flow, const Tensor& mask_logits) {
  check_warp_blend(frame0, frame1, flow, mask_logits);
  const MemoryFormat layout = layout_of(frame0);
  Dense d{with_layout(frame0, layout),
          with_layout(frame1, layout),
          with_layout(flow, MemoryFormat::Contiguous),
          with_layout(mask_logits, MemoryFormat::Contiguous),
          {}};
  Sampling s{};
  s.flow_type = check_dtype("warp_blend", "flow", flow);
  s.B = frame0.size(0);
  s.H = static_cast<int32_t>(frame0.size(2)), s.W = static_cast<int32_t>(frame0.size(3));
  s.out_H = static_cast<int32_t>(flow.size(2)), s.out_W = static_cast<int32_t>(flow.size(3));
  s.padding = Padding::kBorder;
  const int64_t plane = int64_t{s.out_H} * s.out_W;
  s.flow_batch = 4 * plane;
  s.flow = d.flow.const_data_ptr();
  d.args.sampling[0] = s;
  s.flow = static_cast<const char*>(s.flow) + 2 * plane * static_cast<int64_t>(d.flow.element_size());
  d.args.sampling[1] = s;
  d.args.frame[0] = d.frame0.const_data_ptr(), d.args.frame[1] = d.frame1.const_data_ptr();
  d.args.mask = d.mask.const_data_ptr();
  d.args.C = frame0.size(1);
  d.args.type = check_dtype("warp_blend", "frame0", frame0);
  d.args.mask_type = check_dtype("warp_blend", "mask_logits", mask_logits);
  d.args.channels_last = layout == MemoryFormat::ChannelsLast;
  return d;
}

Tensor warp_blend(const Tensor& frame0, const Tensor& frame1, const Tensor& flow, const Tensor& mask_logits) {
  Dense d = make_dense(frame0, frame1, flow, mask_logits);
  const Tensor out = result(frame0, {frame0.size(0), frame0.size(1), flow.size(2), flow.size(3)}, frame0.scalar_type(),
                           layout_of(frame0));
  if (out.numel() == 0) return out;
  d.args.out = out.mutable_data_ptr();
  for_all_rows(d.args, VFI_CPU_KERNEL(blend_rows), &rows_scalar<false>);
  return out;
}

// The scatter-add of share_n grad_out by the flow into frame n.
Tensor grad_of_frame(int n, const Tensor& grad_out, const Tensor& frame, const Dense& d) {
  Tensor grad = empty_like_layout(frame);
  if (grad.numel() == 0) return grad;
  if (grad_out.numel() == 0) return torch::stable::zero_(grad);
  const Sampling& sampling = d.args.sampling[n];
  ScatterArgs s{};
  s.values = planes_of(grad_out), s.target = planes_of(grad);
  s.flow = planes_of(d.flow), s.metric = planes_of(d.mask);
  s.flow.data = const_cast<void*>(sampling.flow);
  s.B = sampling.B, s.C = d.args.C, s.H = sampling.out_H, s.W = sampling.out_W;
  s.target_H = sampling.H, s.target_W = sampling.W;
  s.padding = Padding::kBorder;
  s.factor = n == 0 ? Factor::kSigmoid : Factor::kOneMinusSigmoid;
  s.float64 = is_wide(d.args);
  scatter(s);
  return grad;
}

std::tuple<Tensor, Tensor, Tensor, Tensor> warp_blend_grad(const Tensor& grad_out, const Tensor& frame0,
                                                           const Tensor& frame1, const Tensor& flow,
                                                           const Tensor& mask_logits, bool /*deterministic: always*/,
                                                           bool need_frame0, bool need_frame1, bool need_flow,
                                                           bool need_mask) {
  Dense d = make_dense(frame0, frame1, flow, mask_logits);
  check_grad_out("warp_blend_grad", grad_out, frame0, flow);
  const Tensor g = with_layout(grad_out, layout_of(frame0));
  const auto frame_gradient = [&](bool need, int n, const Tensor& frame) {
    return need ? grad_of_frame(n, g, frame, d) : nothing(frame, frame.scalar_type());
  };
  const Tensor grad0 = frame_gradient(need_frame0, 0, frame0), grad1 = frame_gradient(need_frame1, 1, frame1);
  if (!need_flow && !need_mask) {
    return {grad0, grad1, nothing(flow, flow.scalar_type()), nothing(mask_logits, mask_logits.scalar_type())};
  }
  // One pass gives both; the mask's gradient has one channel, for which contiguous is every layout.
  const Tensor grad_flow = empty(flow, {flow.size(0), 4, flow.size(2), flow.size(3)}, flow.scalar_type());
  const Tensor grad_mask = empty_like_layout(mask_logits);
  d.args.grad_out = g.const_data_ptr();
  d.args.grad_flow = grad_flow.mutable_data_ptr(), d.args.grad_mask = grad_mask.mutable_data_ptr();
  if (flow.numel() > 0) for_all_rows(d.args, VFI_CPU_KERNEL(blend_grad_rows), &rows_scalar<true>);
  return {grad0, grad1, need_flow ? with_layout(grad_flow, layout_of(flow)) : nothing(flow, flow.scalar_type()),
          need_mask ? grad_mask : nothing(mask_logits, mask_logits.scalar_type())};
}

}  // namespace
}  // namespace vfi

STABLE_TORCH_LIBRARY_IMPL(vfi_kernels, CPU, m) {
  m.impl("warp_blend", TORCH_BOX(&vfi::warp_blend));
  m.impl("warp_blend_grad", TORCH_BOX(&vfi::warp_blend_grad));
}
