// Backward warp on the CPU: tensors in, tensors out. The float32 kernels are in backward_warp_simd.cpp; here are the
// scalar ones, for float64 and for images without pairs of pixels (height or width 1) or with 2^31 pixels.
#include <torch/csrc/stable/library.h>

#include "backward_warp/backward_warp.h"
#include "backward_warp/backward_warp_checks.h"
#include "common/checks.h"
#include "common/elements.h"
#include "common/fresh_memory.h"

namespace vfi {
namespace {

// A is the type of the arithmetic, T the image's.
template <class A, class T>
void warp_row(const WarpArgs& a, int64_t b, int32_t y) {
  const int64_t plane = int64_t{a.H} * a.W, out_plane = int64_t{a.out_H} * a.out_W;
  const int64_t pixel_step = a.channels_last ? a.C : 1;
  const T* image = static_cast<const T*>(a.image) + b * a.C * plane;
  T* out = static_cast<T*>(a.out) + b * a.C * out_plane;
  for (int32_t x = 0; x < a.out_W; ++x) {
    const int64_t at = int64_t{y} * a.out_W + x, flow_at = b * 2 * out_plane + at;
    const auto ax = padded_axis(a.padding, read_as<A>(a.flow, a.flow_type, flow_at), x, a.W);
    const auto ay = padded_axis(a.padding, read_as<A>(a.flow, a.flow_type, flow_at + out_plane), y, a.H);
    int64_t offset[4];
    A weight[4];
    int corners = 0;
    for_each_corner(ax, ay, [&](int j, int i, A w) {
      offset[corners] = (int64_t{ay.at + j} * a.W + ax.at + i) * pixel_step;
      weight[corners++] = w;
    });
    for (int64_t c = 0; c < a.C; ++c) {
      const T* p = image + c * (a.channels_last ? 1 : plane);
      A sum = 0;
      for (int k = 0; k < corners; ++k) {
        const A term = weight[k] * static_cast<A>(to_float(p[offset[k]]));
        sum = k == 0 ? term : sum + term;  // 0 + -0 would lose the sign
      }
      out[at * pixel_step + c * (a.channels_last ? 1 : out_plane)] = Element<T>::from(sum);
    }
  }
}

void warp_rows_scalar(const WarpArgs& a, int64_t begin, int64_t end) {
  const bool wide = a.type == Dtype::kFloat64 || a.flow_type == Dtype::kFloat64;
  with_element_type(a.type, [&]<class T>(T) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t b = row / a.out_H;
      const int32_t y = static_cast<int32_t>(row % a.out_H);
      wide ? warp_row<double, T>(a, b, y) : warp_row<float, T>(a, b, y);
    }
  });
}

bool fits_vectors(const WarpArgs& a) {
  const bool narrow = a.type != Dtype::kFloat64 && a.flow_type != Dtype::kFloat64;
  return narrow && a.H > 1 && a.W > 1 && int64_t{a.H} * a.W < int64_t{1} << 31;
}

WarpArgs make_args(const Tensor& image, const Tensor& flow, Padding padding, MemoryFormat layout) {
  WarpArgs a{};
  a.image = image.const_data_ptr();
  a.flow = flow.const_data_ptr();
  a.B = image.size(0), a.C = image.size(1);
  a.H = static_cast<int32_t>(image.size(2)), a.W = static_cast<int32_t>(image.size(3));
  a.out_H = static_cast<int32_t>(flow.size(2)), a.out_W = static_cast<int32_t>(flow.size(3));
  a.type = check_dtype("backward_warp", "image", image);
  a.flow_type = check_dtype("backward_warp", "flow", flow);
  a.padding = padding;
  a.channels_last = layout == MemoryFormat::ChannelsLast;
  return a;
}

// Rows per task: enough work to be worth a thread.
int64_t grain(const WarpArgs& a) { return 1 + 32768 / (1 + a.C * a.out_W); }

Tensor backward_warp(const Tensor& image, const Tensor& flow, const std::string& padding) {
  const Padding pad = check_backward_warp(image, flow, padding);
  const MemoryFormat layout = layout_of(image);
  const Tensor dense_image = with_layout(image, layout), dense_flow = with_layout(flow, MemoryFormat::Contiguous);
  const Tensor out =
      empty(image, {image.size(0), image.size(1), flow.size(2), flow.size(3)}, image.scalar_type(), layout);
  if (out.numel() == 0) return out;
  WarpArgs a = make_args(dense_image, dense_flow, pad, layout);
  a.out = out.mutable_data_ptr();
  use_huge_pages(a.out, out.numel() * out.element_size());
  const auto rows = fits_vectors(a) ? VFI_CPU_KERNEL(warp_rows) : &warp_rows_scalar;
  torch::stable::parallel_for(0, a.B * a.out_H, grain(a), [&](int64_t begin, int64_t end) { rows(a, begin, end); });
  return out;
}

}  // namespace
}  // namespace vfi

STABLE_TORCH_LIBRARY_IMPL(vfi_kernels, CPU, m) {
  m.impl("backward_warp", TORCH_BOX(&vfi::backward_warp));
}
