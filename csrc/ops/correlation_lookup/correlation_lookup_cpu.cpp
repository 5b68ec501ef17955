// correlation_lookup on the CPU: tensors in, tensors out. The kernels, for every dtype, are in *_simd.cpp.
#include <tuple>
#include <vector>

#include <torch/csrc/stable/library.h>

#include "torch/checks.h"
#include "ops/correlation_lookup/correlation_lookup.h"
#include "ops/correlation_lookup/correlation_lookup_checks.h"

namespace vfi {
namespace {

constexpr int64_t kEnoughWork = int64_t{1} << 20;  // to be worth a thread

// The arguments, and the tensors that they point into.
struct Lookup {
  LookupArgs args{};
  std::vector<Tensor> tensors;
  ScalarType sums = ScalarType::Float;

  const void* keep(const Tensor& t) {
    tensors.push_back(t);
    return t.const_data_ptr();
  }
  Tensor empty_level(const Tensor& like, int64_t level) const {
    return empty(like, {args.B, args.levels[level].height, args.levels[level].width, args.C}, sums);
  }
  int64_t rows(int64_t level) const { return args.B * args.levels[level].height; }
  int64_t row_grain(int64_t level) const { return 1 + kEnoughWork / (args.levels[level].width * args.C * 4 + 1); }

  Lookup(const Tensor& first, const Tensor& second, const Tensor& positions, int64_t radius, int64_t levels) {
    LookupArgs& a = args;
    a.B = first.size(0), a.C = first.size(1), a.H = first.size(2), a.W = first.size(3);
    a.radius = radius, a.count = levels;
    a.type = check_dtype("correlation_lookup", "first", first);
    a.positions_type = check_dtype("correlation_lookup", "positions", positions);
    a.wide = lookup_is_wide(first, positions);
    sums = a.wide ? ScalarType::Double : ScalarType::Float;
    a.first = keep(with_layout(first, MemoryFormat::ChannelsLast));
    a.positions = keep(with_layout(positions, MemoryFormat::Contiguous));
    a.levels[0] = {keep(with_layout(second, MemoryFormat::ChannelsLast)), a.type, second.size(2), second.size(3), 1.0};
    const Dtype pooled = a.wide ? Dtype::kFloat64 : Dtype::kFloat32;
    for (int64_t l = 1; l < levels; ++l) {
      a.levels[l] = {nullptr, pooled, a.levels[l - 1].height / 2, a.levels[l - 1].width / 2, a.levels[l - 1].unit / 2};
      const Tensor to = empty_level(first, l);
      a.levels[l].data = keep(to);
      void* const data = to.mutable_data_ptr();
      parallel_for(0, rows(l), row_grain(l), [&](int64_t begin, int64_t end) {
        VFI_CPU_KERNEL(lookup_pool_rows)(a, l, data, begin, end);
      });
    }
  }

  int64_t tile_grain() const {
    const int64_t side = args.side() + 1;
    return 1 + kEnoughWork / (LookupTiles::kRows * LookupTiles::kColumns * side * side * args.count * (args.C + 1));
  }
};

Tensor correlation_lookup(const Tensor& first, const Tensor& second, const Tensor& positions, int64_t radius,
                          int64_t levels) {
  check_lookup(first, second, positions, radius, levels);
  Lookup lookup(first, second, positions, radius, levels);
  LookupArgs& a = lookup.args;
  const MemoryFormat layout = layout_of(first);
  const Tensor out = result(first, {a.B, a.planes(), a.H, a.W}, first.scalar_type(), layout);
  a.out = out.mutable_data_ptr();
  a.out_channels_last = layout == MemoryFormat::ChannelsLast;
  parallel_for(0, LookupTiles(a).count, lookup.tile_grain(), [&](int64_t begin, int64_t end) {
    VFI_CPU_KERNEL(lookup_tiles)(a, begin, end);
  });
  return out;
}

Tensor channels_last_like(const Tensor& t) {
  return empty(t, {t.size(0), t.size(1), t.size(2), t.size(3)}, t.scalar_type(), MemoryFormat::ChannelsLast);
}

Tensor grad_second(Lookup& lookup, const Tensor& second) {
  LookupArgs& a = lookup.args;
  for (int64_t l = 0; l < a.count; ++l) {
    const Tensor level = lookup.empty_level(second, l);
    lookup.keep(level);
    a.grad_levels[l] = level.mutable_data_ptr();
  }
  parallel_for(0, LookupParts(a).count, 1, [&](int64_t begin, int64_t end) {
    VFI_CPU_KERNEL(lookup_grad_parts)(a, begin, end);
  });
  const Tensor grad = channels_last_like(second);
  for (int64_t l = a.count - 1; l >= 0; --l) {
    void* const to = l == 0 ? grad.mutable_data_ptr() : a.grad_levels[l];
    const Dtype type = l == 0 ? a.type : a.levels[l].type;
    parallel_for(0, lookup.rows(l), lookup.row_grain(l), [&](int64_t begin, int64_t end) {
      VFI_CPU_KERNEL(lookup_unpool_rows)(a, l, to, type, begin, end);
    });
  }
  return with_layout(grad, layout_of(second));
}

std::tuple<Tensor, Tensor, Tensor> correlation_lookup_grad(const Tensor& grad_out, const Tensor& first,
                                                           const Tensor& second, const Tensor& positions,
                                                           int64_t radius, int64_t levels, bool need_first,
                                                           bool need_second, bool need_positions) {
  check_lookup(first, second, positions, radius, levels);
  check_lookup_grad(grad_out, first, radius, levels);
  Lookup lookup(first, second, positions, radius, levels);
  LookupArgs& a = lookup.args;
  a.grad_out = lookup.keep(with_layout(grad_out, MemoryFormat::ChannelsLast));
  a.need_first = need_first, a.need_positions = need_positions;
  Tensor grad_first = nothing(first, first.scalar_type()), grad_positions = nothing(first, positions.scalar_type());
  if (need_first) grad_first = channels_last_like(first);
  if (need_positions) grad_positions = empty(first, {a.B, 2, a.H, a.W}, positions.scalar_type());
  a.out = grad_first.mutable_data_ptr(), a.grad_positions = grad_positions.mutable_data_ptr();
  if (need_first || need_positions) {
    parallel_for(0, LookupTiles(a).count, lookup.tile_grain(), [&](int64_t begin, int64_t end) {
      VFI_CPU_KERNEL(lookup_grad_tiles)(a, begin, end);
    });
  }
  const Tensor of_second = need_second ? grad_second(lookup, second) : nothing(second, second.scalar_type());
  return {need_first ? with_layout(grad_first, layout_of(first)) : grad_first, of_second,
          need_positions ? with_layout(grad_positions, layout_of(positions)) : grad_positions};
}

}  // namespace
}  // namespace vfi

STABLE_TORCH_LIBRARY_IMPL(vfi_kernels, CPU, m) {
  m.impl("correlation_lookup", TORCH_BOX(&vfi::correlation_lookup));
  m.impl("correlation_lookup_grad", TORCH_BOX(&vfi::correlation_lookup_grad));
}
