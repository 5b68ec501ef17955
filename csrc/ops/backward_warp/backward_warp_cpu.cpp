// Backward warp on the CPU: tensors in, tensors out. The float32 kernels are in *_simd.cpp; here are the scalar ones,
// for float64 and for images that the vector kernels do not take.
#include <torch/csrc/stable/library.h>

#include "ops/backward_warp/backward_warp.h"
#include "ops/backward_warp/backward_warp_checks.h"
#include "torch/checks.h"
#include "sampling/scalar_sampling.h"
#include "splatting/scatter.h"
#include "splatting/tensor_planes.h"

namespace vfi {
namespace {

// One row of the output or of grad_flow. A is the type of the arithmetic, T the image's.
template <class A, class T, bool kGrad>
void row_scalar(const WarpArgs& a, int64_t b, int32_t y) {
  const Sampling& s = a.sampling;
  const int64_t plane = int64_t{s.H} * s.W, out_plane = int64_t{s.out_H} * s.out_W;
  const int64_t step = a.channels_last ? a.C : 1, channel = a.channels_last ? 1 : plane;
  const int64_t out_channel = a.channels_last ? 1 : out_plane;
  const T* image = static_cast<const T*>(a.image) + b * a.C * plane;
  for (int32_t x = 0; x < s.out_W; ++x) {
    const PixelPosition<A> position(s, b, y, x, step);
    const int64_t at = int64_t{y} * s.out_W + x, to = b * a.C * out_plane + at * step;
    if constexpr (kGrad) {
      const PixelReads<A> dx = position.dx(), dy = position.dy();
      A gx = 0, gy = 0;
      for (int64_t c = 0; c < a.C; ++c) {
        const A g = static_cast<A>(to_float(static_cast<const T*>(a.grad_out)[to + c * out_channel]));
        if (dx.count > 0) gx += g * dx.sum(image + c * channel);
        if (dy.count > 0) gy += g * dy.sum(image + c * channel);
      }
      write_as(a.out, s.flow_type, b * 2 * out_plane + at, gx);
      write_as(a.out, s.flow_type, b * 2 * out_plane + at + out_plane, gy);
    } else {
      const PixelReads<A> reads = position.value();
      T* out = static_cast<T*>(a.out) + to;
      for (int64_t c = 0; c < a.C; ++c) out[c * out_channel] = Element<T>::from(reads.sum(image + c * channel));
    }
  }
}

bool is_wide(const WarpArgs& a) { return a.type == Dtype::kFloat64 || a.sampling.flow_type == Dtype::kFloat64; }

template <bool kGrad>
void rows_scalar(const WarpArgs& a, int64_t begin, int64_t end) {
  with_element_type(a.type, [&]<class T>(T) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t b = row / a.sampling.out_H;
      const int32_t y = static_cast<int32_t>(row % a.sampling.out_H);
      is_wide(a) ? row_scalar<double, T, kGrad>(a, b, y) : row_scalar<float, T, kGrad>(a, b, y);
    }
  });
}

WarpArgs make_args(const Tensor& image, const Tensor& flow, Padding padding) {
  WarpArgs a{};
  Sampling& s = a.sampling;
  s.flow = flow.const_data_ptr();
  s.flow_type = check_dtype("backward_warp", "flow", flow);
  s.B = image.size(0);
  s.H = static_cast<int32_t>(image.size(2)), s.W = static_cast<int32_t>(image.size(3));
  s.out_H = static_cast<int32_t>(flow.size(2)), s.out_W = static_cast<int32_t>(flow.size(3));
  s.flow_batch = 2 * int64_t{s.out_H} * s.out_W;
  s.padding = padding;
  a.image = image.const_data_ptr();
  a.C = image.size(1);
  a.type = check_dtype("backward_warp", "image", image);
  a.channels_last = layout_of(image) == MemoryFormat::ChannelsLast;
  return a;
}

using RowKernel = void(const WarpArgs&, int64_t, int64_t);

void for_all_rows(const WarpArgs& a, RowKernel* vectors, RowKernel* scalar) {
  RowKernel* const rows = fits_vectors(a.sampling) && !is_wide(a) ? vectors : scalar;
  const int64_t grain = 1 + 32768 / (1 + a.C * a.sampling.out_W);  // enough work to be worth a thread
  parallel_for(0, a.sampling.B * a.sampling.out_H, grain,
                              [&](int64_t begin, int64_t end) { rows(a, begin, end); });
}

Tensor backward_warp(const Tensor& image, const Tensor& flow, int64_t padding) {
  const Padding pad = check_backward_warp(image, flow, padding);
  const MemoryFormat layout = layout_of(image);
  const Tensor dense_image = with_layout(image, layout), dense_flow = with_layout(flow, MemoryFormat::Contiguous);
  const Tensor out =
      result(image, {image.size(0), image.size(1), flow.size(2), flow.size(3)}, image.scalar_type(), layout);
  if (out.numel() == 0) return out;
  WarpArgs a = make_args(dense_image, dense_flow, pad);
  a.out = out.mutable_data_ptr();
  for_all_rows(a, VFI_CPU_KERNEL(warp_rows), &rows_scalar<false>);
  return out;
}

// grad_image: the bilinear scatter-add of grad_out.
Tensor grad_of_image(const Tensor& grad_out, const Tensor& image, const Tensor& flow, Padding padding, bool wide) {
  Tensor grad_image = empty_like_layout(image);
  if (grad_image.numel() == 0) return grad_image;
  if (grad_out.numel() == 0) return torch::stable::zero_(grad_image);
  ScatterArgs s{};
  s.values = planes_of(grad_out), s.flow = planes_of(flow), s.target = planes_of(grad_image);
  s.B = image.size(0), s.C = image.size(1), s.H = flow.size(2), s.W = flow.size(3);
  s.target_H = image.size(2), s.target_W = image.size(3);
  s.padding = padding;
  s.factor = Factor::kOne;
  s.float64 = wide;
  scatter(s);
  return grad_image;
}

std::tuple<Tensor, Tensor> backward_warp_grad(const Tensor& grad_out, const Tensor& image, const Tensor& flow,
                                              int64_t padding, bool /*deterministic: always*/,
                                              bool need_image, bool need_flow) {
  const Padding pad = check_backward_warp(image, flow, padding);
  check_grad_out("backward_warp_grad", grad_out, image, flow);
  const MemoryFormat layout = layout_of(image);
  const Tensor dense_image = with_layout(image, layout), dense_grad = with_layout(grad_out, layout);
  const Tensor dense_flow = with_layout(flow, MemoryFormat::Contiguous);
  WarpArgs a = make_args(dense_image, dense_flow, pad);
  Tensor grad_image = nothing(image, image.scalar_type()), grad_flow = nothing(flow, flow.scalar_type());
  if (need_image) grad_image = grad_of_image(dense_grad, dense_image, dense_flow, pad, is_wide(a));
  if (need_flow) {
    grad_flow = empty(flow, {flow.size(0), 2, flow.size(2), flow.size(3)}, flow.scalar_type());
    a.grad_out = dense_grad.const_data_ptr();
    a.out = grad_flow.mutable_data_ptr();
    if (flow.numel() > 0) for_all_rows(a, VFI_CPU_KERNEL(warp_grad_flow_rows), &rows_scalar<true>);
    grad_flow = with_layout(grad_flow, layout_of(flow));
  }
  return {grad_image, grad_flow};
}

}  // namespace
}  // namespace vfi

STABLE_TORCH_LIBRARY_IMPL(vfi_kernels, CPU, m) {
  m.impl("backward_warp", TORCH_BOX(&vfi::backward_warp));
  m.impl("backward_warp_grad", TORCH_BOX(&vfi::backward_warp_grad));
}
