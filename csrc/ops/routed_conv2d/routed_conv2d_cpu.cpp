// routed_conv2d on the CPU: tensors in, tensors out. The kernels, for every dtype, are in *_simd.cpp.
#include <algorithm>
#include <array>
#include <numeric>
#include <tuple>

#include <torch/csrc/stable/library.h>

#include "cpu/scratch.h"
#include "ops/routed_conv2d/routed_conv2d_checks.h"
#include "ops/routed_conv2d/routed_conv2d_cpu.h"

namespace vfi {
namespace {

using MaybeTensor = std::optional<Tensor>;

constexpr int64_t kTileBytes = int64_t{256} << 10;  // of a strip's input: the second level of the cache holds it
constexpr int64_t kParts = 64;                      // of the list, for the gradient of the weights

RoutedPlace place_of(const Tensor& t, bool in_image) {
  return {const_cast<void*>(t.const_data_ptr()), strides_of(t), in_image, t.size(2), t.size(3)};
}

// Of a tensor that is written: memory that it shares with another one until then (copy on write) becomes its own.
RoutedPlace target_of(const Tensor& t, bool in_image) {
  t.mutable_data_ptr();
  return place_of(t, in_image);
}

int64_t sum_bytes(const RoutedArgs& a) { return a.type == Dtype::kFloat64 ? 8 : 4; }

// As many rows as a tile has room for.
int64_t strip_of(const RoutedArgs& a) {
  int64_t rows = a.axis.out_count();
  while (rows > 1 && routed_tile_size(a.axis, a.depth, rows) * sum_bytes(a) > kTileBytes) rows = (rows + 1) / 2;
  return rows;
}

// What all directions share: the forward one's geometry.
RoutedArgs forward_args(const RoutedGeometry& g, const Tensor& x, const Tensor& weight, const Tensor& list) {
  RoutedArgs a{};
  a.axis = {g.K, g.stride, g.padding, g.transposed, g.patch, g.out_patch, 0};
  a.grid = g.grid;
  a.indices = static_cast<const int32_t*>(list.const_data_ptr());
  a.depth = g.C, a.columns = g.C_out;
  a.from = place_of(x, true);
  a.reads_neighbours = g.image_border;
  a.weight = weight.const_data_ptr();
  const int64_t taps = g.K * g.K;
  a.depth_step = g.transposed ? g.C_out * taps : taps, a.column_step = g.transposed ? taps : g.C * taps;
  a.type = check_dtype(routed::kOp, "input", x);
  a.strip = strip_of(a);
  return a;
}

// The gradient of the input: the other form of the convolution, from output patches to input patches.
RoutedArgs backward_args(const RoutedGeometry& g, const RoutedArgs& forward, const Tensor& grad_out) {
  RoutedArgs a = forward;
  a.axis = {g.K, g.stride, g.padding, !g.transposed, g.out_patch, g.patch, g.reach()};
  std::swap(a.depth, a.columns);
  std::swap(a.depth_step, a.column_step);
  a.from = place_of(grad_out, false);
  a.reads_neighbours = false;
  a.strip = strip_of(a);
  return a;
}

std::vector<int64_t> all_rows(int64_t count) {
  std::vector<int64_t> rows(count);
  std::iota(rows.begin(), rows.end(), int64_t{0});
  return rows;
}

// Packed weights stay for as long as the result is used.
Scratch pack(RoutedArgs& a) {
  Scratch packed(routed_packed_size(a) * sum_bytes(a));
  a.packed = packed.data();
  VFI_CPU_KERNEL(routed_pack_weights)(a, 0, a.axis.K);
  return packed;
}

void run(RoutedArgs& a, const std::vector<int64_t>& chosen) {
  a.chosen = chosen.data(), a.count = chosen.size();
  parallel_for(0, a.count * a.strips(), 1, [&](int64_t begin, int64_t end) {
    VFI_CPU_KERNEL(routed_strips)(a, begin, end);
  });
}

Tensor dense(const Tensor& t) { return torch::stable::contiguous(t); }

Tensor routed_conv2d(const Tensor& x, const Tensor& weight, const MaybeTensor& bias, const Tensor& indices, int64_t patch,
                     int64_t stride, bool transposed, int64_t border, bool /*allow_tf32*/) {
  const RoutedGeometry g = check_routed_conv2d(x, weight, bias, indices, {patch, stride, transposed, border});
  const Tensor list = dense(indices), w = dense(weight), b = bias ? dense(*bias) : weight;
  const Tensor out = empty(x, {list.size(0), g.C_out, g.out_patch, g.out_patch}, x.scalar_type(), layout_of(x));
  if (out.numel() == 0) return out;
  RoutedArgs a = forward_args(g, x, w, list);
  a.to = target_of(out, false);
  if (bias) a.bias = b.const_data_ptr();
  const Scratch packed = pack(a);
  run(a, all_rows(list.size(0)));
  return out;
}

void routed_conv2d_(const Tensor& x, const Tensor& weight, const MaybeTensor& bias, const Tensor& indices, int64_t patch,
                    int64_t stride, bool transposed, int64_t border, int64_t activation,
                    const MaybeTensor& activation_weight, double negative_slope, bool /*allow_tf32*/, Tensor base) {
  const RoutedGeometry g = check_routed_conv2d(x, weight, bias, indices, {patch, stride, transposed, border});
  check_routed_base(base, x, g);
  const Activation kind = check_routed_activation(activation, activation_weight, x, g);
  const Tensor list = dense(indices), w = dense(weight), b = bias ? dense(*bias) : weight;
  const Tensor slopes = activation_weight ? dense(*activation_weight) : weight;
  if (base.numel() == 0 || list.size(0) == 0) return;
  RoutedArgs a = forward_args(g, x, w, list);
  a.to = target_of(base, true);
  if (bias) a.bias = b.const_data_ptr();
  if (activation_weight) a.slopes = slopes.const_data_ptr(), a.one_slope = slopes.size(0) == 1;
  a.activation = kind, a.slope = negative_slope;
  const Scratch packed = pack(a);
  run(a, all_rows(list.size(0)));
}

// Patches of one colour do not meet, however far they reach: every n-th along both axes.
std::vector<std::vector<int64_t>> colours(const RoutedArgs& a, int64_t patches, int64_t reach) {
  const int64_t n = reach == 0 ? 1 : (a.axis.out_side + 2 * reach - 1) / a.axis.out_side + 1;
  std::vector<std::vector<int64_t>> patches_by_colour(n * n);
  for (int64_t k = 0; k < patches; ++k) {
    const Patch p = patch_at(a.indices, k, a.grid);
    if (p.used) patches_by_colour[p.row % n * n + p.column % n].push_back(k);
  }
  return patches_by_colour;
}

void weight_gradient(RoutedWeightArgs& a, int64_t patches) {
  a.count = patches, a.part_count = std::clamp(patches, int64_t{1}, kParts);
  const Scratch parts(a.part_count * routed_part_size(a) * sum_bytes(a));
  a.parts = parts.data();
  parallel_for(0, a.part_count, 1, [&](int64_t begin, int64_t end) {
    VFI_CPU_KERNEL(routed_weight_parts)(a, begin, end);
  });
  parallel_for(0, a.axis.K, 1, [&](int64_t begin, int64_t end) {
    VFI_CPU_KERNEL(routed_weight_sum)(a, begin, end);
  });
}

std::tuple<Tensor, Tensor, Tensor> routed_conv2d_grad(const Tensor& grad_out, const Tensor& x, const Tensor& weight,
                                                      const Tensor& indices, int64_t patch, int64_t stride, bool transposed,
                                                      int64_t border, bool /*allow_tf32*/, bool need_x,
                                                      bool need_weight, bool need_bias) {
  const RoutedGeometry g = check_routed_conv2d(x, weight, {}, indices, {patch, stride, transposed, border});
  check_routed_grad_out(grad_out, x, indices, g);
  const ScalarType type = x.scalar_type();
  const Tensor list = dense(indices), w = dense(weight);
  Tensor grad_x = need_x ? empty_like_layout(x) : nothing(x, type);
  Tensor grad_weight = empty(x, {weight.size(0), weight.size(1), need_weight ? g.K : 0, g.K}, type);
  Tensor grad_bias = need_bias ? empty(x, {g.C_out}, type) : nothing(x, type);
  const RoutedArgs forward = forward_args(g, x, w, list);
  if (need_x) torch::stable::zero_(grad_x);
  if (need_x && grad_x.numel() > 0 && grad_out.numel() > 0) {
    RoutedArgs a = backward_args(g, forward, grad_out);
    a.to = target_of(grad_x, true);
    a.adds = g.reach() > 0;
    const Scratch packed = pack(a);
    for (const auto& chosen : colours(a, list.size(0), g.reach())) run(a, chosen);
  }
  if (need_weight || need_bias) {
    RoutedWeightArgs a{forward};
    a.grad = place_of(grad_out, false);
    if (need_weight && grad_weight.numel() > 0) a.grad_weight = grad_weight.mutable_data_ptr();
    if (need_bias) a.grad_bias = grad_bias.mutable_data_ptr();
    weight_gradient(a, list.size(0));
  }
  return {grad_x, need_weight ? with_layout(grad_weight, layout_of(weight)) : nothing(weight, type), grad_bias};
}

}  // namespace
}  // namespace vfi

STABLE_TORCH_LIBRARY_IMPL(vfi_kernels, CPU, m) {
  m.impl("routed_conv2d", TORCH_BOX(&vfi::routed_conv2d));
  m.impl("routed_conv2d_", TORCH_BOX(&vfi::routed_conv2d_));
  m.impl("routed_conv2d_grad", TORCH_BOX(&vfi::routed_conv2d_grad));
}
