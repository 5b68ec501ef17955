// modulated_deform_conv2d on the CPU: tensors in, tensors out. The kernels, for every dtype, are in *_simd.cpp.
#include <algorithm>
#include <tuple>

#include <torch/csrc/stable/library.h>

#include "cpu/scratch.h"
#include "ops/modulated_deform_conv2d/modulated_deform_conv2d_checks.h"
#include "ops/modulated_deform_conv2d/modulated_deform_conv2d_cpu.h"

namespace vfi {
namespace {

using std::max;
using std::min;
using MaybeTensor = std::optional<Tensor>;
using Ints = std::vector<int64_t>;

constexpr int64_t kWindowBytes = int64_t{48} << 20;  // at most, of an input of planes

template <class Args>
void for_rows(int64_t first, int64_t last, int64_t grain, const Args& a, void (*kernel)(const Args&, int64_t, int64_t)) {
  parallel_for(first, last, grain, [&](int64_t begin, int64_t end) { kernel(a, begin, end); });
}

void forward(DeformArgs& a, int64_t element_size, int64_t sum_size) {
  const DeformGeometry& g = a.g;
  const int64_t tiles = deform_tiles(g);
  const Scratch packed(deform_packed_size(g) * sum_size);
  a.packed = packed.data();
  for_rows(0, g.taps(), 1, a, VFI_CPU_KERNEL(deform_pack_weights));
  const auto run_tiles = [&](int64_t first, int64_t last) {
    for_rows(first, last, 1, a, VFI_CPU_KERNEL(deform_forward_tiles));
  };
  if (a.direct) return run_tiles(0, g.B * tiles);
  const int64_t row_bytes = int64_t{g.W} * g.C * element_size;
  const int64_t rows = min(int64_t{g.H}, max(int64_t{2}, kWindowBytes / max(row_bytes, int64_t{1})));
  const Scratch window(rows * row_bytes);
  a.window = window.data();
  a.window_rows = static_cast<int32_t>(rows);
  const auto fill = [&](int64_t first) {
    a.window_first = static_cast<int32_t>(first);
    for_rows(0, rows, 1 + 16384 / max(int64_t{g.W} * g.C, int64_t{1}), a, VFI_CPU_KERNEL(deform_window_rows));
  };
  // A band of output rows moves down the input by half a window.
  const int64_t band = rows == g.H ? g.out_H : max(int64_t{1}, rows / 2 / g.stride_y);
  for (a.b = 0; a.b < g.B; ++a.b) {
    for (int64_t y = 0; y < g.out_H; y += band) {
      const int64_t middle = g.start_y(static_cast<int32_t>(y + band / 2), 0) + g.dilation_y * (g.KH - 1) / 2;
      fill(max(int64_t{0}, min(middle - rows / 2, g.H - rows)));
      const int64_t last = min(int64_t{g.out_H}, y + band) * g.out_W;
      run_tiles((y * g.out_W + kDeformTile - 1) / kDeformTile, (last + kDeformTile - 1) / kDeformTile);
    }
  }
}

// Channels of a block: fewer where an image is so large that two of them per thread would take too much memory.
int64_t block_size(const DeformGeometry& g) {
  constexpr int64_t kLargest = 32, kSmallest = 8, kBytes = int64_t{64} << 20;
  const int64_t channel = int64_t{g.H} * g.W * 4;
  return max(kSmallest, min(kLargest, kBytes / max(channel, int64_t{1}) / kSmallest * kSmallest));
}

// Whole segments, as many as fit into a block of the same convolution group; a longer one is cut.
std::vector<DeformBlock> blocks_of(const DeformGeometry& g, int64_t most) {
  std::vector<DeformBlock> blocks;
  for (int64_t c = 0; c < g.C;) {
    const int64_t group = c / g.group_in(), group_end = (group + 1) * g.group_in();
    int64_t end = deform_segment_end(g, c);
    while (end < group_end && deform_segment_end(g, end) <= c + most) end = deform_segment_end(g, end);
    end = min(end, c + most);
    blocks.push_back({c, end - c, group});
    c = end;
  }
  return blocks;
}

std::vector<DeformSpan> spans_of(const DeformGeometry& g, const std::vector<DeformBlock>& blocks) {
  std::vector<DeformSpan> spans(g.offset_groups, {-1, 0});
  for (size_t i = 0; i < blocks.size(); ++i) {
    for_each_segment(g, blocks[i].first, blocks[i].first + blocks[i].count, [&](const DeformSegment& segment) {
      DeformSpan& span = spans[segment.first / g.offset_group_channels()];
      const int64_t index = static_cast<int64_t>(i);
      if (span.first < 0) span.first = index;
      span.count = index - span.first + 1;
    });
  }
  return spans;
}

void backward(DeformGradArgs& a) {
  const DeformGeometry& g = a.g;
  const int64_t sum_size = a.float64 ? 8 : 4, taps = g.B * g.offset_groups * g.taps();
  a.block = block_size(g);
  const std::vector<DeformBlock> blocks = blocks_of(g, a.block);
  const std::vector<DeformSpan> spans = spans_of(g, blocks);
  a.blocks = blocks.data(), a.spans = spans.data(), a.block_count = static_cast<int64_t>(blocks.size());
  int64_t parts = 1;
  for (const DeformSpan& span : spans) parts = max(parts, span.count);
  const Scratch weights(a.grad_weight == nullptr ? 0 : g.B * a.block_count * deform_weight_part_size(a) * sum_size);
  if (a.grad_weight != nullptr) a.weight_parts = weights.data();
  const bool moves = a.grad_offset != nullptr || a.grad_mask != nullptr;
  const Scratch offsets(moves && parts > 1 ? parts * taps * 3 * g.pixels() * sum_size : 0);
  if (moves && parts > 1) a.offset_parts = offsets.data();
  for_rows(0, g.B * a.block_count, 1, a, VFI_CPU_KERNEL(deform_grad_units));
  if (a.offset_parts != nullptr) for_rows(0, taps, 1, a, VFI_CPU_KERNEL(deform_grad_offsets));
  if (a.weight_parts != nullptr) for_rows(0, a.block_count, 1, a, VFI_CPU_KERNEL(deform_grad_weights));
}

bool any_float64(const Tensor& input, const Tensor& offset, const MaybeTensor& mask) {
  const auto is = [](const Tensor& t) { return t.scalar_type() == ScalarType::Double; };
  return is(input) || is(offset) || (mask && is(*mask));
}

// Offsets or a mask of float64 beside images of another type are too rare for kernels of their own: what belongs to the
// images is widened, and the results are rounded once.
bool mixes_float64(const Tensor& input, const Tensor& offset, const MaybeTensor& mask) {
  return input.scalar_type() != ScalarType::Double && any_float64(input, offset, mask);
}
Tensor widened(const Tensor& t) { return torch::stable::to(t, ScalarType::Double); }
MaybeTensor widened(const MaybeTensor& t) { return t ? widened(*t) : MaybeTensor(); }

Tensor modulated_deform_conv2d(const Tensor& input, const Tensor& offset, const MaybeTensor& mask, const Tensor& weight,
                               const MaybeTensor& bias, const Ints& stride, const Ints& padding, const Ints& dilation,
                               int64_t groups, int64_t offset_groups, int64_t activation,
                               const MaybeTensor& activation_weight, int64_t edge, bool /*allow_tf32*/) {
  constexpr const char* kOp = "modulated_deform_conv2d";
  DeformArgs a{};
  a.g = check_modulated_deform_conv2d(input, offset, mask, weight,
                                      {stride, padding, dilation, groups, offset_groups, edge});
  if (bias) check_vector(kOp, "bias", *bias, a.g.C_out, false, input);
  if (activation_weight) check_vector(kOp, "activation_weight", *activation_weight, a.g.C_out, true, input);
  a.activation = check_activation(kOp, activation, activation_weight.has_value());
  if (mixes_float64(input, offset, mask)) {
    const Tensor sums = modulated_deform_conv2d(
        widened(input), offset, mask, widened(weight), widened(bias), stride, padding, dilation, groups, offset_groups,
        activation, widened(activation_weight), edge, false);
    return torch::stable::to(sums, input.scalar_type());
  }
  const MemoryFormat layout = layout_of(input);
  const Tensor out = result(input, {a.g.B, a.g.C_out, a.g.out_H, a.g.out_W}, input.scalar_type(), layout);
  if (out.numel() == 0) return out;

  const auto planes = [](const Tensor& t) { return with_layout(t, MemoryFormat::Contiguous); };
  const auto dense = [](const MaybeTensor& t) { return t ? torch::stable::contiguous(*t) : MaybeTensor(); };
  a.direct = layout == MemoryFormat::ChannelsLast && int64_t{a.g.H} * a.g.W < int64_t{1} << 31;
  const Tensor x = with_layout(input, a.direct ? layout : MemoryFormat::Contiguous), moves = planes(offset), w = planes(weight);
  const MaybeTensor factors = mask ? planes(*mask) : MaybeTensor(), b = dense(bias), slopes = dense(activation_weight);
  a.type = check_dtype(kOp, "input", input), a.offset_type = check_dtype(kOp, "offset", offset);
  a.float64 = any_float64(input, offset, mask);
  a.input = x.const_data_ptr(), a.offset = moves.const_data_ptr(), a.weight = w.const_data_ptr();
  if (factors) a.mask = factors->const_data_ptr(), a.mask_type = check_dtype(kOp, "mask", *mask);
  if (b) a.bias = b->const_data_ptr();
  if (slopes) a.slopes = slopes->const_data_ptr(), a.one_slope = slopes->size(0) == 1;
  a.out = out.mutable_data_ptr(), a.out_channels_last = layout == MemoryFormat::ChannelsLast;
  if (a.direct) a.window = a.input, a.window_rows = a.g.H;
  forward(a, x.element_size(), a.float64 ? 8 : 4);
  return out;
}

// Of input, offset, mask, weight and bias; empty where not needed. Contiguous but for the input's, until laid out as theirs.
using Gradients = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;

Gradients in_their_layout(const Gradients& grads, const Tensor& offset, const MaybeTensor& mask, const Tensor& weight) {
  const auto& [of_input, of_offset, of_mask, of_weight, of_bias] = grads;
  const auto as = [](const Tensor& grad, const Tensor& like) {
    return grad.dim() == like.dim() ? with_layout(grad, layout_of(like)) : grad;
  };
  return {of_input, as(of_offset, offset), mask ? as(of_mask, *mask) : of_mask, as(of_weight, weight), of_bias};
}

Gradients modulated_deform_conv2d_grad(const Tensor& grad_out, const Tensor& input, const Tensor& offset,
                                       const MaybeTensor& mask, const Tensor& weight, const Ints& stride,
                                       const Ints& padding, const Ints& dilation, int64_t groups, int64_t offset_groups,
                                       int64_t edge, bool /*allow_tf32*/, bool deterministic, bool need_input,
                                       bool need_offset, bool need_mask, bool need_weight, bool need_bias) {
  constexpr const char* kOp = "modulated_deform_conv2d_grad";
  DeformGradArgs a{};
  const DeformGeometry& g = a.g = check_modulated_deform_conv2d(
      input, offset, mask, weight, {stride, padding, dilation, groups, offset_groups, edge});
  check_deform_grad_out(grad_out, input, g);
  if (int64_t{g.H} * g.W >= int64_t{1} << 31) {
    fail(kOp, ": expected an input of fewer than 2^31 pixels, got ", shape_text(input));
  }
  const ScalarType type = input.scalar_type();
  if (mixes_float64(input, offset, mask)) {
    auto [of_input, of_offset, of_mask, of_weight, of_bias] = modulated_deform_conv2d_grad(
        widened(grad_out), widened(input), offset, mask, widened(weight), stride, padding, dilation, groups, offset_groups,
        edge, false, deterministic, need_input, need_offset, need_mask, need_weight, need_bias);
    const auto rounded = [&](const Tensor& t) { return torch::stable::to(t, type); };
    return {rounded(of_input), of_offset, need_mask && mask ? of_mask : rounded(of_mask), rounded(of_weight),
            rounded(of_bias)};
  }
  const auto planes_of = [](const Tensor& t) {
    return empty(t, {t.size(0), t.size(1), t.size(2), t.size(3)}, t.scalar_type());
  };
  const Tensor grad_input = need_input ? empty_like_layout(input) : nothing(input, type);
  const Tensor grad_offset = need_offset ? planes_of(offset) : nothing(offset, offset.scalar_type());
  const Tensor grad_mask = need_mask && mask ? planes_of(*mask) : nothing(input, type);
  const Tensor grad_weight = need_weight ? planes_of(weight) : nothing(input, type);
  const Tensor grad_bias = need_bias ? empty(weight, {g.C_out}, type) : nothing(input, type);
  const bool multiplies = grad_out.numel() > 0 && input.numel() > 0;
  if (!multiplies) {  // grad_bias may have terms
    for (Tensor t : {grad_input, grad_offset, grad_mask, grad_weight}) torch::stable::zero_(t);
  }

  const MemoryFormat layout = layout_of(input), grad_layout = layout_of(grad_out);
  const Tensor x = with_layout(input, layout), moves = with_layout(offset, MemoryFormat::Contiguous);
  const Tensor w = with_layout(weight, MemoryFormat::Contiguous), upstream = with_layout(grad_out, grad_layout);
  const MaybeTensor factors = mask ? with_layout(*mask, MemoryFormat::Contiguous) : MaybeTensor();
  a.type = check_dtype(kOp, "input", input), a.offset_type = check_dtype(kOp, "offset", offset);
  a.float64 = any_float64(input, offset, mask);
  a.input = x.const_data_ptr(), a.offset = moves.const_data_ptr(), a.weight = w.const_data_ptr();
  if (factors) a.mask = factors->const_data_ptr(), a.mask_type = check_dtype(kOp, "mask", *mask);
  a.direct = layout == MemoryFormat::ChannelsLast, a.window_rows = g.H;
  a.grad_out = upstream.const_data_ptr(), a.grad_out_channels_last = grad_layout == MemoryFormat::ChannelsLast;
  const auto pointer = [](bool needed, const Tensor& t) { return needed ? t.mutable_data_ptr() : nullptr; };
  a.grad_input = pointer(need_input, grad_input), a.grad_offset = pointer(need_offset, grad_offset);
  a.grad_mask = pointer(need_mask && mask, grad_mask), a.grad_weight = pointer(need_weight, grad_weight);
  a.grad_bias = pointer(need_bias, grad_bias);
  if (need_bias) for_rows(0, (g.C_out + kDeformSlack - 1) / kDeformSlack, 1, a, VFI_CPU_KERNEL(deform_grad_bias));
  if (multiplies) backward(a);
  return in_their_layout({grad_input, grad_offset, grad_mask, grad_weight, grad_bias}, offset, mask, weight);
}

}  // namespace
}  // namespace vfi

STABLE_TORCH_LIBRARY_IMPL(vfi_kernels, CPU, m) {
  m.impl("modulated_deform_conv2d", TORCH_BOX(&vfi::modulated_deform_conv2d));
  m.impl("modulated_deform_conv2d_grad", TORCH_BOX(&vfi::modulated_deform_conv2d_grad));
}
