// adacof on the CPU, compiled once per instruction set; formulas in adacof.h.
//
// Work: a thread owns output rows. A vector of pixels goes through the taps; the position of a tap is found once and serves
// every channel, whose sums are kept in cache. Every sum has the order of the taps, so it does not depend on the threads.
#include "cpu/scratch.h"
#include "ops/adacof/adacof_simd.h"

namespace vfi {
namespace VFI_LEVEL {
namespace {

struct AdacofMemory {
  float* sums;  // [C][kLanes]

  VFI_INLINE int64_t lay_out(const AdacofArgs& a, void* memory) {
    Layout layout(memory);
    sums = layout.take<float>(a.C * kLanes);
    return layout.bytes();
  }
};

template <class T>
VFI_INLINE void add_tap(const AdacofArgs& a, const T* image, const TapPosition& t, float* sums) {
  const Block block = make_block(t.x, t.y, a.in_W);
  for (int64_t c = 0; c < a.C; ++c, image += a.in_plane(), sums += kLanes) {
    const F32 value = sample(image, block, a.in_W);
    const F32 sum = load<F32>(sums);
    store(sums, block.careful ? fma_where(t.live, t.weight, value, sum) : fma(t.weight, value, sum));
  }
}

template <class T>
void rows(const AdacofArgs& a, int64_t begin, int64_t end) {
  const WithScratch<AdacofMemory> memory(a);
  for (int64_t row = begin; row < end; ++row) {
    const int64_t b = row / a.H;
    const int32_t y = static_cast<int32_t>(row % a.H);
    const T* image = static_cast<const T*>(a.image) + b * a.C * a.in_plane();
    T* out = static_cast<T*>(a.out) + (b * a.C * a.H + y) * a.W;
    for (int32_t x = 0; x < a.W; x += kLanes) {
      for (int64_t c = 0; c < a.C; ++c) store(memory.sums + c * kLanes, F32{});
      for (int32_t n = 0; n < a.taps(); ++n) add_tap(a, image, tap_position(a, b, n, y, x), memory.sums);
      for (int64_t c = 0; c < a.C; ++c) store(out + c * a.plane() + x, load<F32>(memory.sums + c * kLanes), a.W - x);
    }
  }
}

// The gradients of a tap's weight and offsets: sums over the channels of g I_c and of g times the corners' differences.
struct AdacofTapGradient {
  F32 weight, vertical, horizontal;
};

template <bool kCareful, class T>
VFI_INLINE AdacofTapGradient tap_gradient(const AdacofArgs& a, const T* image, const T* grad_out, int64_t n,
                                    const TapPosition& t, const Block& block) {
  const Slopes slopes{t.x.d0, t.x.d1, t.y.d0, t.y.d1};
  Differences sums{};
  F32 values = {};
  for (int64_t c = 0; c < a.C; ++c, image += a.in_plane(), grad_out += a.plane()) {
    const CornerValues v = read_corners(image, block, a.in_W);
    const F32 g = load<F32>(grad_out, n);
    const F32 upper = pair_sum<kCareful>(block.x0, v.v00, block.x1, v.v01);
    const F32 lower = pair_sum<kCareful>(block.x0, v.v10, block.x1, v.v11);
    values = fma(g, pair_sum<kCareful>(block.y0, upper, block.y1, lower), values);
    add_corners<kCareful>(sums, slopes, v, g);
  }
  return {kCareful ? select(t.live, values, F32{}) : values,
          where_moving(slopes.y0, slopes.y1, t.weight * gradient_y(block, slopes, sums)),
          where_moving(slopes.x0, slopes.x1, t.weight * gradient_x(block, slopes, sums))};
}

template <class T>
void grad_taps_rows(const AdacofArgs& a, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const int64_t b = row / a.H;
    const int32_t y = static_cast<int32_t>(row % a.H);
    const T* image = static_cast<const T*>(a.image) + b * a.C * a.in_plane();
    const T* upstream = static_cast<const T*>(a.grad_out) + (b * a.C * a.H + y) * a.W;
    for (int32_t x = 0; x < a.W; x += kLanes) {
      for (int32_t n = 0; n < a.taps(); ++n) {
        const TapPosition t = tap_position(a, b, n, y, x);
        const Block block = make_block(t.x, t.y, a.in_W);
        const int64_t at = a.tap_at(b, n, y, x), count = a.W - x;
        const AdacofTapGradient grad = block.careful ? tap_gradient<true>(a, image, upstream + x, count, t, block)
                                               : tap_gradient<false>(a, image, upstream + x, count, t, block);
        if (a.grad_weights != nullptr) store_as(a.grad_weights, a.weights_type, at, grad.weight, count);
        if (a.grad_vertical != nullptr) store_as(a.grad_vertical, a.vertical_type, at, grad.vertical, count);
        if (a.grad_horizontal != nullptr) store_as(a.grad_horizontal, a.horizontal_type, at, grad.horizontal, count);
      }
    }
  }
}

}  // namespace

void adacof_rows(const AdacofArgs& a, int64_t begin, int64_t end) {
  if (a.image_type == Dtype::kFloat32) return rows<float>(a, begin, end);
  if (a.image_type == Dtype::kFloat16) return rows<Half>(a, begin, end);
  rows<BFloat16>(a, begin, end);
}

void adacof_grad_taps_rows(const AdacofArgs& a, int64_t begin, int64_t end) {
  if (a.image_type == Dtype::kFloat32) return grad_taps_rows<float>(a, begin, end);
  if (a.image_type == Dtype::kFloat16) return grad_taps_rows<Half>(a, begin, end);
  grad_taps_rows<BFloat16>(a, begin, end);
}

}  // namespace VFI_LEVEL
}  // namespace vfi
