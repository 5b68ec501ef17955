// Backward warp along a trajectory on the CPU, compiled once per instruction set; formulas in trajectory_warp.h.
//
// Work: a thread owns output rows and cuts them into runs of pixels. The keyframes of a run are read (and resized) once;
// then for each tau its flow and positions are computed into a buffer in the first-level cache and serve every channel.
// Each output value is one sum in a fixed order: the result does not depend on how rows are distributed over threads.
#include "sampling/simd_warp.h"
#include "trajectories/trajectory_simd.h"
#include "ops/trajectory_warp/trajectory_warp.h"

namespace vfi {
namespace VFI_LEVEL {
namespace {

constexpr int kRunBlocks = kChunk / kLanes;
static_assert(kChunk <= kTilePixels);  // of Positions

// Calls use(block number, x axis, y axis) for the blocks of a run.
template <class Use>
VFI_INLINE void for_blocks(const Sampling& s, int32_t y, int32_t x, int64_t n, const float* flow_x, const float* flow_y,
                           Use&& use) {
  const I32 lanes = to_int(lane_numbers<F32>());
  for (int i = 0; i * kLanes < n; ++i) {
    const PairAxis ax = padded_pair(s.padding, load<F32>(flow_x + i * kLanes), lanes + (x + i * kLanes), s.W);
    const PairAxis ay = padded_pair(s.padding, load<F32>(flow_y + i * kLanes), I32{} + y, s.H);
    use(i, ax, ay);
  }
}

// Calls use(b, y, x, n, t, flow_x, flow_y) for every tau of every run of the rows begin ... end.
template <class Use>
VFI_INLINE void for_each_flow(const TrajectoryWarpArgs& a, int64_t begin, int64_t end, void* memory, Use&& use) {
  const Sampling& s = a.sampling;
  alignas(64) float flow_x[kChunk], flow_y[kChunk];
  for (int64_t row = begin; row < end; ++row) {
    const int64_t b = row / s.H;
    const int32_t y = static_cast<int32_t>(row % s.H);
    for (int32_t x = 0; x < s.W; x += kChunk) {
      const int64_t n = min(int64_t{kChunk}, int64_t{s.W} - x);
      const FlowsOfRun<float> run(a.path, b, y, x, n, memory);
      for (int64_t t = 0; t < a.path.T; ++t) {
        run.flow(t, flow_x, flow_y);
        use(b, y, x, n, t, flow_x, flow_y);
      }
    }
  }
}

template <class T>
void warp_planes(const TrajectoryWarpArgs& a, int64_t begin, int64_t end, void* memory) {
  const Sampling& s = a.sampling;
  const int64_t plane = int64_t{s.H} * s.W;
  const bool streams = can_stream(static_cast<T*>(a.out), s.B * a.path.T * a.C * plane, s.W);
  Block blocks[kRunBlocks];
  for_each_flow(a, begin, end, memory, [&](int64_t b, int32_t y, int32_t x, int64_t n, int64_t t, const float* flow_x,
                                           const float* flow_y) VFI_INLINE_LAMBDA {
    for_blocks(s, y, x, n, flow_x, flow_y, [&](int i, const PairAxis& ax, const PairAxis& ay) VFI_INLINE_LAMBDA {
      blocks[i] = make_block(ax, ay, s.W);
    });
    const T* image = static_cast<const T*>(a.image) + b * a.C * plane;
    T* out = static_cast<T*>(a.out) + (b * a.path.T + t) * a.C * plane + int64_t{y} * s.W + x;
    for (int64_t c = 0; c < a.C; ++c, image += plane, out += plane) {
      warp_row(image, c + 1 < a.C ? image + plane : nullptr, out, blocks, s.W, n, streams);
    }
  });
  if (streams) stream_fence();
}

template <class T>
void warp_pixels(const TrajectoryWarpArgs& a, int64_t begin, int64_t end, void* memory) {
  const Sampling& s = a.sampling;
  const int64_t size = int64_t{s.H} * s.W * a.C;
  const bool streams = can_stream(static_cast<T*>(a.out), s.B * a.path.T * size, a.C);
  Positions at;
  for_each_flow(a, begin, end, memory, [&](int64_t b, int32_t y, int32_t x, int64_t n, int64_t t, const float* flow_x,
                                           const float* flow_y) VFI_INLINE_LAMBDA {
    for_blocks(s, y, x, n, flow_x, flow_y, [&](int i, const PairAxis& ax, const PairAxis& ay) VFI_INLINE_LAMBDA {
      at.set(i, ax, ay, s.W);
    });
    const T* image = static_cast<const T*>(a.image) + b * size;
    T* out = static_cast<T*>(a.out) + (b * a.path.T + t) * size + (int64_t{y} * s.W + x) * a.C;
    warp_pixel_row(image, image + size, out, at, 0, s.W, a.C, n, streams);
  });
  if (streams) stream_fence();
}

template <class T>
void warp(const TrajectoryWarpArgs& a, int64_t begin, int64_t end, void* memory) {
  a.channels_last ? warp_pixels<T>(a, begin, end, memory) : warp_planes<T>(a, begin, end, memory);
}

}  // namespace

void trajectory_warp_rows(const TrajectoryWarpArgs& a, int64_t begin, int64_t end, void* memory) {
  if (a.type == Dtype::kFloat32) return warp<float>(a, begin, end, memory);
  if (a.type == Dtype::kFloat16) return warp<Half>(a, begin, end, memory);
  warp<BFloat16>(a, begin, end, memory);
}

}  // namespace VFI_LEVEL
}  // namespace vfi
