// Backward warp along a trajectory on the CPU: tensors in, tensors out. The float32 kernels are in *_simd.cpp; here are the
// scalar ones, for float64 and for images that the vector kernels do not take.
#include <torch/csrc/stable/library.h>

#include "sampling/scalar_sampling.h"
#include "cpu/scratch.h"
#include "trajectories/trajectory_tensors.h"
#include "ops/trajectory_warp/trajectory_warp.h"
#include "ops/trajectory_warp/trajectory_warp_checks.h"

namespace vfi {
namespace {

constexpr const char* kOp = "trajectory_warp";

template <class A>
void scalar_flow(const Trajectory& p, int64_t b, int64_t t, int32_t y, int32_t x, A (&flow)[2]) {
  const int64_t plane = int64_t{p.size.h} * p.size.w, pixel = int64_t{y} * p.size.W + x, tau = b * p.T + t;
  const Taps<A> taps = p.table != nullptr
                           ? static_cast<const Taps<A>*>(p.table)[tau]
                           : taps_at(p.curve, read_as<A>(p.taus, p.tau_type, tau * p.size.H * p.size.W + pixel), p.order);
  const auto read = [&](int64_t k, int32_t row, int32_t column, A(&value)[2]) {
    const int64_t at = (b * p.curve.count + k) * 2 * plane + int64_t{row} * p.size.w + column;
    for (int c = 0; c < 2; ++c) value[c] = read_as<A>(p.keyframes, p.type, at + c * plane);
  };
  trajectory_flow(taps, p.size, y, x, read, flow);
}

// One output row of one tau. A is the type of the arithmetic, T the image's.
template <class A, class T>
void row_scalar(const TrajectoryWarpArgs& a, int64_t b, int64_t t, int32_t y) {
  const Sampling& s = a.sampling;
  const int64_t plane = int64_t{s.H} * s.W, step = a.channels_last ? a.C : 1, channel = a.channels_last ? 1 : plane;
  const T* image = static_cast<const T*>(a.image) + b * a.C * plane;
  for (int32_t x = 0; x < s.W; ++x) {
    A flow[2];
    scalar_flow(a.path, b, t, y, x, flow);
    const PixelReads<A> reads = PixelPosition<A>(s, flow[0], flow[1], y, x, step).value();
    T* out = static_cast<T*>(a.out) + (b * a.path.T + t) * a.C * plane + (int64_t{y} * s.W + x) * step;
    for (int64_t c = 0; c < a.C; ++c) out[c * channel] = Element<T>::from(reads.sum(image + c * channel));
  }
}

template <class A>
void rows_scalar(const TrajectoryWarpArgs& a, int64_t begin, int64_t end) {
  with_element_type(a.type, [&]<class T>(T) {
    for (int64_t row = begin; row < end; ++row) {
      const int32_t y = static_cast<int32_t>(row % a.sampling.H);
      for (int64_t t = 0; t < a.path.T; ++t) row_scalar<A, T>(a, row / a.sampling.H, t, y);
    }
  });
}

void warp_all(const TrajectoryWarpArgs& a, bool wide) {
  const Sampling& s = a.sampling;
  const int64_t grain = 1 + 32768 / (1 + a.path.T * (a.C + 2) * s.W);  // enough work to be worth a thread
  parallel_for(0, s.B * s.H, grain, [&](int64_t begin, int64_t end) {
    if (wide) return rows_scalar<double>(a, begin, end);
    if (!fits_vectors(s)) return rows_scalar<float>(a, begin, end);
    const Scratch memory(run_memory_bytes(a.path.curve, false));
    VFI_CPU_KERNEL(trajectory_warp_rows)(a, begin, end, memory.data());
  });
}

Tensor trajectory_warp(const Tensor& image, const Tensor& keyframes, const Tensor& taus, double first, double step,
                       double a, int64_t boundary, bool extrapolate, int64_t padding) {
  const auto [curve, pad] =
      check_trajectory_warp(image, keyframes, taus, first, step, a, boundary, extrapolate, padding);
  const int64_t height = image.size(2), width = image.size(3), count = taus.size(1);
  bool wide = false;
  for (const Tensor* t : {&image, &keyframes, &taus}) wide = wide || t->scalar_type() == ScalarType::Double;
  const TrajectoryTensors tensors(kOp, keyframes, taus, height, width, curve, 0, wide);
  const MemoryFormat layout = layout_of(image);
  const Tensor dense = with_layout(image, layout);
  const Tensor out =
      result(image, {image.size(0) * count, image.size(1), height, width}, image.scalar_type(), layout);
  if (out.numel() == 0) return out;
  TrajectoryWarpArgs args{};
  args.path = tensors.path();
  args.sampling.B = image.size(0);
  args.sampling.H = args.sampling.out_H = static_cast<int32_t>(height);
  args.sampling.W = args.sampling.out_W = static_cast<int32_t>(width);
  args.sampling.padding = pad;
  args.image = dense.const_data_ptr(), args.out = out.mutable_data_ptr();
  args.C = image.size(1), args.type = check_dtype(kOp, "image", image);
  args.channels_last = layout == MemoryFormat::ChannelsLast;
  warp_all(args, wide);
  return out;
}

}  // namespace
}  // namespace vfi

STABLE_TORCH_LIBRARY_IMPL(vfi_kernels, CPU, m) { m.impl("trajectory_warp", TORCH_BOX(&vfi::trajectory_warp)); }
