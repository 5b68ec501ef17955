// Tensors as the CPU kernels' Trajectory. For registration files.
#pragma once

#include <vector>

#include "base/elements.h"
#include "trajectories/trajectory_checks.h"

namespace vfi {

// Keyframes and taus that are dense, and the weights of every tau where all pixels share it.
class TrajectoryTensors {
 public:
  TrajectoryTensors(const char* op, const Tensor& keyframes, const Tensor& taus, int64_t height, int64_t width,
                    const Curve& curve, int order, bool wide)
      : keyframes_(with_layout(keyframes, MemoryFormat::Contiguous)), taus_(with_layout(taus, MemoryFormat::Contiguous)) {
    const bool per_pixel = taus_per_pixel(taus, height, width);
    path_.keyframes = keyframes_.const_data_ptr(), path_.type = check_dtype(op, "keyframe_flows", keyframes);
    path_.taus = taus_.const_data_ptr(), path_.tau_type = check_dtype(op, "taus", taus);
    path_.T = taus.size(1), path_.size = resize_of(keyframes, height, width);
    path_.curve = curve, path_.order = order;
    if (!per_pixel) path_.table = wide ? fill(wide_table_, order) : fill(table_, order);
  }
  TrajectoryTensors(const TrajectoryTensors&) = delete;

  const Trajectory& path() const { return path_; }

 private:
  template <class A>
  const void* fill(std::vector<Taps<A>>& table, int order) {
    table.resize(taus_.numel() + 1);  // never null
    for (int64_t i = 0; i < taus_.numel(); ++i) {
      table[i] = taps_at(path_.curve, read_as<A>(path_.taus, path_.tau_type, i), order);
    }
    return table.data();
  }

  Tensor keyframes_, taus_;
  std::vector<Taps<float>> table_;
  std::vector<Taps<double>> wide_table_;
  Trajectory path_{};
};

}  // namespace vfi
