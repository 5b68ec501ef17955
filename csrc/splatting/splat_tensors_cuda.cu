// The splat of every mode on tensors: what softmax subtracts, the sums, their division.
#include "splatting/softmax_shift.cuh"
#include "splatting/splat_cuda_tensors.h"

namespace vfi::cuda {
namespace {

using Tensors = std::vector<Tensor>;

// The input whose last group of four channels has room for the weight; the first one if none has.
size_t carrier_of(const Tensors& inputs) {
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i].size(1) % 4 != 0) return i;
  }
  return 0;
}

// Where in its sums the weight of channel C starts, and the distance from sample to sample.
void find_weight(Finish& f, const Tensor& sums, const SumLayout& l, const Spreading& s) {
  const int64_t plane = s.target_plane(), channel = l.values.channels;
  const int64_t offset = 4 * (channel / 4) * plane + channel % 4;
  f.weights = static_cast<const char*>(sums.const_data_ptr()) + offset * (s.float64 ? sizeof(double) : sizeof(float));
  f.weight_batch = 4 * l.groups * plane;
}

}  // namespace

Splatted splat_tensors(const OnDevice& device, Spreading s, const Tensors& inputs, Division division, bool keep_weight,
                       bool deterministic) {
  const Tensor& like = inputs[0];
  const ScalarType type = s.float64 ? ScalarType::Double : ScalarType::Float;
  const bool divides = division != Division::kNone, keep = keep_weight && divides;
  const bool softmax = s.factor == Factor::kSoftmax;
  Tensor weight = nothing(like, type), shift = nothing(like, type), range = nothing(like, type);
  if (keep) weight = empty(like, {s.batch, 1, s.height, s.width}, type);
  if (softmax) {
    shift = empty(like, {s.batch, 1, s.height, s.width}, type);
    range = empty(like, {s.batch, 2}, type);
    s.target_max = shift.mutable_data_ptr();
    s.range = range.const_data_ptr();
    launch_softmax_shift(s, range.mutable_data_ptr(), device.stream);
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
    Finish f{};
    f.sums = scatter.sum_layout(values, layout, with_weight);
    f.sums.sums = sums[i].mutable_data_ptr();
    f.division = division;
    finishes.push_back(f);
  }
  // The shift is decoded in place, so that every scatter comes before the first finish.
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (divides) find_weight(finishes[i], sums[carrier], finishes[carrier].sums, s);
    if (i == carrier && keep) finishes[i].weight_out = weight.mutable_data_ptr();
    if (i == carrier && keep && softmax) finishes[i].shift_out = shift.mutable_data_ptr();
    const Tensor& x = inputs[i];
    outs.push_back(empty(x, {s.batch, x.size(1), x.size(2), x.size(3)}, x.scalar_type(), layout_of(x)));
    launch_finish(outs[i].mutable_data_ptr(), dtype_of(inputs[i]), dense_shape_of(outs[i], layout_of(inputs[i])), s,
                  finishes[i], device.stream);
  }
  device.check_launches();
  return {outs, weight, keep && softmax ? shift : nothing(like, type)};
}

}  // namespace vfi::cuda
