// Splat on CUDA: tensors in, tensors out: what softmax subtracts, the sums, their division. This is the scatter of
// splatting/scatter.cuh, for every op that adds pixels where a flow takes them.
#include <tuple>
#include <vector>

#include "ops/splat/splat_args_gpu.h"
#include "ops/splat/splat_kernels.cuh"
#include "ops/splat/splat_ordered_kernels.cuh"
#include "ops/splat/splat_shift_kernels.cuh"

namespace vfi::cuda {
namespace {

using Tensors = std::vector<Tensor>;

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

// Spreads several inputs along one flow. With `deterministic` the order of all sums is fixed by a plan that is made
// here, once; without, nothing is computed yet.
class Scatter {
 public:
  Scatter(const OnDevice& device, const Tensor& flow, const ScatterArgsGpu& s, bool deterministic);

  // The sums of `values`, which is dense with `layout`; and of the weight as channel C.
  Tensor sums(const Tensor& values, MemoryFormat layout, bool with_weight) const;
  // How those are finished, without a division.
  Finish finish(const Tensor& values, MemoryFormat layout, bool with_weight, const Tensor& sums) const;

 private:
  SumLayout sum_layout(const Tensor& values, MemoryFormat layout, bool with_weight) const;

  const ScatterArgsGpu s_;
  const OnDevice& device_;
  bool deterministic_;
  std::optional<Tensor> order_, starts_;
};

Scatter::Scatter(const OnDevice& device, const Tensor& flow, const ScatterArgsGpu& s, bool deterministic)
    : s_(s), device_(device), deterministic_(deterministic) {
  if (!deterministic) return;
  const int64_t cells = cells_of(s.B, s.target_H, s.target_W);
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
  return {dense_shape_of(values, layout), with_weight, groups_of(values.size(1), with_weight), packed, {}};
}

Tensor Scatter::sums(const Tensor& values, MemoryFormat layout, bool with_weight) const {
  SumLayout l = sum_layout(values, layout, with_weight);
  const ScalarType type = s_.float64 ? ScalarType::Double : ScalarType::Float;
  Tensor result = empty(values, {s_.B, l.groups, s_.target_H, s_.target_W, 4}, type);
  l.sums = {result.mutable_data_ptr()};
  const Dtype dtype = dtype_of(values);
  if (deterministic_) {
    const Plan plan{integers(*order_), integers(*starts_)};
    launch_ordered_gather(values.const_data_ptr(), dtype, s_, l, plan, device_.stream);
  } else {
    clear(l.sums.data, result.numel() * result.element_size(), device_.stream);
    launch_scatter(values.const_data_ptr(), dtype, s_, l, device_.stream);
  }
  return result;
}

Finish Scatter::finish(const Tensor& values, MemoryFormat layout, bool with_weight, const Tensor& sums) const {
  Finish f{};
  f.sums = sum_layout(values, layout, with_weight);
  f.sums.sums = {sums.mutable_data_ptr()};
  return f;
}

// The input whose last group of four channels has room for the weight; the first one if none has.
size_t carrier_of(const Tensors& inputs) {
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i].size(1) % 4 != 0) return i;
  }
  return 0;
}

// Where in its sums the weight of channel C starts, and the distance from sample to sample.
void find_weight(Finish& f, const SumLayout& l, const ScatterArgsGpu& s) {
  const int64_t plane = s.target_plane(), channel = l.values.channels;
  f.weights = {l.sums.data};
  f.weight_first = 4 * (channel / 4) * plane + channel % 4;
  f.weight_batch = 4 * l.groups * plane;
}

}  // namespace

void finish_sums(const OnDevice& device, const Tensor& sums, const Tensor& result, MemoryFormat layout, bool float64) {
  const DenseShape shape = dense_shape_of(result, layout);
  ScatterArgsGpu s{};
  s.B = shape.batch, s.target_H = shape.height, s.target_W = shape.width, s.float64 = float64;
  Finish f{};
  f.sums.groups = groups_of(shape.channels, false);
  f.sums.sums = {sums.mutable_data_ptr()};
  launch_finish(result.mutable_data_ptr(), dtype_of(result), shape, s, f, device.stream);
}

Tensor scatter_gradient(const OnDevice& device, const Tensor& grad_out, const Tensor& image, const Tensor& flow,
                        const ScatterArgsGpu& s, bool deterministic) {
  const MemoryFormat layout = layout_of(image);
  const Scatter scatter(device, flow, s, deterministic);
  const Tensor sums = scatter.sums(grad_out, layout, false);
  Tensor result = empty_for(image);
  finish_sums(device, sums, result, layout, s.float64);
  return result;
}

Splatted splat_tensors_gpu(const OnDevice& device, ScatterArgsGpu s, const Tensors& inputs, Division division,
                       bool keep_weight, bool deterministic) {
  const Tensor& like = inputs[0];
  const ScalarType type = s.float64 ? ScalarType::Double : ScalarType::Float;
  const bool divides = division != Division::kNone, keep = keep_weight && divides;
  const bool softmax = s.factor == Factor::kSoftmax;
  Tensor weight = nothing(like, type), shift = nothing(like, type), range = nothing(like, type);
  if (keep) weight = empty(like, {s.B, 1, s.H, s.W}, type);
  if (softmax) {
    shift = empty(like, {s.B, 1, s.H, s.W}, type);
    range = empty(like, {s.B, 2}, type);
    s.range = {range.mutable_data_ptr()};
    s.target_max = {shift.mutable_data_ptr()};
    launch_softmax_shift(s, device.stream);
  }
  const Scatter scatter(device, like, s, deterministic);
  const size_t carrier = carrier_of(inputs);
  Tensors sums, outs;
  std::vector<Finish> finishes;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const MemoryFormat layout = layout_of(inputs[i]);
    const bool with_weight = divides && i == carrier;
    const Tensor values = with_layout(inputs[i], layout);
    sums.push_back(scatter.sums(values, layout, with_weight));
    finishes.push_back(scatter.finish(values, layout, with_weight, sums[i]));
    finishes[i].division = division;
  }
  // The shift is decoded in place, so that every scatter comes before the first finish.
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (divides) find_weight(finishes[i], finishes[carrier].sums, s);
    if (i == carrier && keep) finishes[i].weight_out = {weight.mutable_data_ptr()};
    if (i == carrier && keep && softmax) finishes[i].shift_out = {shift.mutable_data_ptr()};
    const Tensor& x = inputs[i];
    outs.push_back(result(x, {s.B, x.size(1), x.size(2), x.size(3)}, x.scalar_type(), layout_of(x)));
    launch_finish(outs[i].mutable_data_ptr(), dtype_of(inputs[i]), dense_shape_of(outs[i], layout_of(inputs[i])), s,
                  finishes[i], device.stream);
  }
  device.check_launches();
  return {outs, weight, keep && softmax ? shift : nothing(like, type)};
}

namespace {

std::tuple<Tensors, Tensor, Tensor> splat(Tensors inputs, Tensor flow, MaybeTensor metric, int64_t mode, int64_t holes,
                                          bool keep_weight, bool deterministic) {
  const SplatRules m = check_splat(inputs, flow, metric, mode, holes);
  const OnDevice device(flow);
  const ScatterArgsGpu s = splat_args(inputs, flow, metric, m.factor);
  const Splatted result = splat_tensors_gpu(device, s, inputs, m.division, keep_weight, deterministic);
  return {result.outs, result.weight, result.shift};
}

}  // namespace
}  // namespace vfi::cuda

VFI_CUDA_LIBRARY_IMPL(m) { m.impl("splat", TORCH_BOX(&vfi::cuda::splat)); }
