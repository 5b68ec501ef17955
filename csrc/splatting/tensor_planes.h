// A dense tensor as the kernels' Planes. For registration files.
#pragma once

#include "torch/checks.h"
#include "splatting/scatter.h"

namespace vfi {

// t is contiguous or channels_last. The pointer is const in spirit for tensors that are only read.
inline Planes planes_of(const Tensor& t) {
  const int64_t channels = t.size(1), pixels = t.size(2) * t.size(3);
  const bool last = layout_of(t) == MemoryFormat::ChannelsLast;
  void* data = const_cast<void*>(t.const_data_ptr());
  return {data, check_dtype("planes_of", "tensor", t), channels * pixels, last ? 1 : pixels, last ? channels : 1};
}

}  // namespace vfi
