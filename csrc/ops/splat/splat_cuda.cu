// Splat on CUDA: tensors in, tensors out: what softmax subtracts, the sums, their division. This is the scatter of
// splatting/scatter.cuh, for every op that adds pixels where a flow takes them.
#include <tuple>
#include <vector>

#include "ops/splat/splat_args_gpu.h"
#include "ops/splat/splat_finish_kernels.cuh"
#include "ops/splat/splat_kernels.cuh"
#include "ops/splat/splat_lists_kernels.cuh"
#include "ops/splat/splat_shift_kernels.cuh"

namespace vfi::cuda {
namespace {

using Tensors = std::vector<Tensor>;

// Spreads several inputs along one flow. With `deterministic` the order of all sums is fixed by the bounds of where
// its pixels land, which are found here, once; without, nothing is computed yet.
class Scatter {
 public:
  Scatter(const OnDevice& device, const Tensor& flow, const ScatterArgsGpu& s, bool deterministic);

  // The sums of `values`, which is dense with `layout`; and of the weight behind them.
  Tensor sums(const Tensor& values, MemoryFormat layout, bool with_weight) const;
  // The result itself, where a tile has all channels of `values` at once: false where it does not. `finish` divides.
  bool finish_at_once(const Tensor& values, MemoryFormat layout, const Finish& finish, const Tensor& result) const;
  // How sums are finished, without a division.
  Finish finish(const Tensor& values, MemoryFormat layout, bool with_weight, const Tensor& sums) const;

 private:
  SumLayout sum_layout(const Tensor& values, MemoryFormat layout, bool with_weight) const;

  const ScatterArgsGpu s_;
  const OnDevice& device_;
  bool deterministic_;
  BoundsTree tree_{};
  CellLists lists_{};
  std::vector<Tensor> memory_;  // of both
};

Scatter::Scatter(const OnDevice& device, const Tensor& flow, const ScatterArgsGpu& s, bool deterministic)
    : s_(s), device_(device), deterministic_(deterministic) {
  if (!deterministic) return;
  tree_ = bounds_tree(s);
  const auto allocate = [&](auto element, int64_t count) {
    memory_.push_back(scratch<decltype(element)>(flow, count));
    return elements<decltype(element)>(memory_.back());
  };
  tree_.of_rows = allocate(Bounds(), s.B * tree_.blocks() * kBlockRows);
  tree_.of_blocks = allocate(Bounds(), s.B * tree_.blocks());
  tree_.of_groups = allocate(Bounds(), s.B * tree_.groups());
  lists_.pixels = s.pixels(), lists_.cells = cells_of(s.B, s.target_H, s.target_W);
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  const bool lists = lists_.pixels < kMost && lists_.cells < kMost;
  if (lists) {
    using Count = unsigned long long;
    tree_.visits = allocate(Count(), 1);
    lists_.ends = allocate(int32_t(), lists_.cells);
    lists_.order = allocate(int32_t(), lists_.pixels);
    clear(tree_.visits, sizeof(Count), device.stream);
  }
  launch_bounds_tree(s, tree_, device.stream);
  if (lists) launch_lists(s, tree_, lists_, device.stream);
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
    launch_ordered(values.const_data_ptr(), dtype, s_, l, tree_, lists_, Direct{}, device_.stream);
  } else {
    clear(l.sums.data, result.numel() * result.element_size(), device_.stream);
    launch_scatter(values.const_data_ptr(), dtype, s_, l, device_.stream);
  }
  return result;
}

bool Scatter::finish_at_once(const Tensor& values, MemoryFormat layout, const Finish& finish, const Tensor& result) const {
  const SumLayout l = sum_layout(values, layout, finish.division != Division::kNone);
  if (!deterministic_ || l.groups > groups_of_tile(s_, l)) return false;
  const Direct d{true, result.mutable_data_ptr(), dense_shape_of(result, layout), finish};
  launch_ordered(values.const_data_ptr(), dtype_of(values), s_, l, tree_, lists_, d, device_.stream);
  return true;
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

// Where in its sums the weight starts, and the distance from sample to sample.
void find_weight(Finish& f, const SumLayout& l, const ScatterArgsGpu& s) {
  const int64_t plane = s.target_plane();
  f.weights = {l.sums.data};
  f.weight_first = 4 * (l.groups - 1) * plane + 3;
  f.weight_batch = 4 * l.groups * plane;
}

// Inputs of any number and channels: their sums, then their division by those of the weight, which one of them carries.
void finish_each(const Scatter& scatter, const ScatterArgsGpu& s, const Tensors& values, const Finish& carried,
                 const Tensors& outs, cudaStream_t stream) {
  const size_t carrier = carrier_of(values);
  const bool divides = carried.division != Division::kNone;
  Tensors sums;
  std::vector<Finish> finishes;
  for (size_t i = 0; i < values.size(); ++i) {
    const bool with_weight = divides && i == carrier;
    sums.push_back(scatter.sums(values[i], layout_of(values[i]), with_weight));
    finishes.push_back(scatter.finish(values[i], layout_of(values[i]), with_weight, sums[i]));
  }
  for (size_t i = 0; i < values.size(); ++i) {
    Finish f = finishes[i];
    f.division = carried.division;
    if (divides) find_weight(f, finishes[carrier].sums, s);
    if (i == carrier) f.weight_out = carried.weight_out, f.shift_out = carried.shift_out;
    launch_finish(outs[i].mutable_data_ptr(), dtype_of(outs[i]), dense_shape_of(outs[i], layout_of(values[i])), s, f, stream);
  }
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
  Tensor result = empty_for(image);
  if (scatter.finish_at_once(grad_out, layout, Finish{}, result)) return result;
  const Tensor sums = scatter.sums(grad_out, layout, false);
  finish_sums(device, sums, result, layout, s.float64);
  return result;
}

Splatted splat_tensors_gpu(const OnDevice& device, ScatterArgsGpu s, const Tensors& inputs, Division division,
                       bool keep_weight, bool deterministic) {
  const Tensor& like = inputs[0];
  const ScalarType type = s.float64 ? ScalarType::Double : ScalarType::Float;
  const bool divides = division != Division::kNone, keep = keep_weight && divides;
  const bool softmax = s.factor == Factor::kSoftmax;
  const Tensor range = softmax ? empty(like, {s.B, 2}, type) : nothing(like, type);
  const Tensor target_max = softmax ? empty(like, {s.B, 1, s.H, s.W}, type) : nothing(like, type);
  const Tensor weight = keep ? empty(like, {s.B, 1, s.H, s.W}, type) : nothing(like, type);
  const Tensor shift = keep && softmax ? empty(like, {s.B, 1, s.H, s.W}, type) : nothing(like, type);
  if (softmax) {
    s.range = {range.mutable_data_ptr()};
    s.target_max = {target_max.mutable_data_ptr()};
    launch_softmax_shift(s, device.stream);
  }
  Finish carried{};  // of the input that has the weight
  carried.division = division;
  if (keep) carried.weight_out = {weight.mutable_data_ptr()};
  if (keep && softmax) carried.shift_out = {shift.mutable_data_ptr()};
  Splatted splatted{{}, weight, shift};
  const Scatter scatter(device, like, s, deterministic);
  std::vector<Tensor> values;
  for (const Tensor& x : inputs) {
    splatted.outs.push_back(result(x, {s.B, x.size(1), x.size(2), x.size(3)}, x.scalar_type(), layout_of(x)));
    values.push_back(with_layout(x, layout_of(x)));
  }
  if (inputs.size() > 1 || !scatter.finish_at_once(values[0], layout_of(like), carried, splatted.outs[0])) {
    finish_each(scatter, s, values, carried, splatted.outs, device.stream);
  }
  device.check_launches();
  return splatted;
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
