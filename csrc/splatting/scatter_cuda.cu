// The scatter-add on tensors: memory, the deterministic plan, the choice between the two kernels.
#include "splatting/scatter_tensors.h"

#include "splatting/ordered_gather.cuh"
#include "splatting/scatter.cuh"

namespace vfi::cuda {
namespace {

struct Sorted {
  Tensor values, indices;
};

// Equal values keep their order.
Sorted stable_sort(const Tensor& values) {
  using torch::stable::detail::from;
  using torch::stable::detail::to;
  StableIValue stack[4] = {from(values), from(std::optional<bool>(true)), from(int64_t{0}), from(false)};
  STABLE_TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::sort", "stable", stack, TORCH_ABI_VERSION));
  return {to<Tensor>(stack[0]), to<Tensor>(stack[1])};
}

int64_t* integers(const Tensor& t) { return static_cast<int64_t*>(t.mutable_data_ptr()); }

}  // namespace

Scatter::Scatter(const OnDevice& device, const Tensor& flow, const Spreading& s, bool deterministic)
    : spreading(s), device_(device), deterministic_(deterministic) {
  if (!deterministic) return;
  const int64_t cells = cells_of(s.batch, s.target_height, s.target_width);
  const Tensor keys = empty(flow, {s.pixels()}, ScalarType::Long);
  launch_cell_keys(integers(keys), s, device.stream);
  const Sorted sorted = stable_sort(keys);
  starts_ = empty(flow, {cells + 1}, ScalarType::Long);
  launch_cell_starts(integers(sorted.values), integers(*starts_), s.pixels(), cells, device.stream);
  order_ = sorted.indices;
}

SumLayout Scatter::sum_layout(const Tensor& values, MemoryFormat layout, bool with_weight) const {
  const bool aligned = reinterpret_cast<uintptr_t>(values.const_data_ptr()) % (4 * values.element_size()) == 0;
  const bool packed = layout == MemoryFormat::ChannelsLast && values.size(1) % 4 == 0 && aligned;
  return {dense_shape_of(values, layout), with_weight, groups_of(values.size(1), with_weight), packed, nullptr};
}

Tensor Scatter::sums(const Tensor& values, MemoryFormat layout, bool with_weight) const {
  SumLayout l = sum_layout(values, layout, with_weight);
  const ScalarType type = spreading.float64 ? ScalarType::Double : ScalarType::Float;
  Tensor result = empty(values, {spreading.batch, l.groups, spreading.target_height, spreading.target_width, 4}, type);
  l.sums = result.mutable_data_ptr();
  const Dtype dtype = dtype_of(values);
  if (deterministic_) {
    const Plan plan{integers(*order_), integers(*starts_)};
    launch_ordered_gather(values.const_data_ptr(), dtype, spreading, l, plan, device_.stream);
  } else {
    clear(l.sums, result.numel() * result.element_size(), device_.stream);
    launch_scatter(values.const_data_ptr(), dtype, spreading, l, device_.stream);
  }
  return result;
}

Tensor scatter_gradient(const OnDevice& device, const Tensor& grad_out, const Tensor& image, const Tensor& flow,
                        const Spreading& spreading, bool deterministic) {
  const MemoryFormat layout = layout_of(image);
  const Scatter scatter(device, flow, spreading, deterministic);
  const Tensor sums = scatter.sums(grad_out, layout, false);
  Tensor result = empty_for(image);
  Finish finish{};
  finish.sums = scatter.sum_layout(grad_out, layout, false);
  finish.sums.sums = sums.mutable_data_ptr();
  finish.division = Division::kNone;
  launch_finish(result.mutable_data_ptr(), dtype_of(image), dense_shape_of(image, layout), spreading, finish,
                device.stream);
  return result;
}

}  // namespace vfi::cuda
