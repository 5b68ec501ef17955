// The first step of the splat's gradients on the CPU, compiled once per instruction set: at every target, the sum of g out over
// inputs and channels, and what is rounding in it (splat_rules.h). The second is in splat_grad_simd.cpp.
#include "simd/simd_elements.h"
#include "sampling/simd_gradient.h"
#include "ops/splat/splat.h"
#include "ops/splat/splat_rules_simd.h"

namespace vfi {
namespace VFI_LEVEL {
namespace {

template <int kStep = kLanes / 2>
VFI_INLINE float lane_max(F32 v) {
  const F32 most = max(v, shuffle(v, v, [](int k) { return k ^ kStep; }));
  if constexpr (kStep > 1) return lane_max<kStep / 2>(most);
  return most[0];
}

// Of the products g out at one target: their sum, and what is rounding in it.
struct Dots {
  F32 sum, noise;
};

template <class T>
VFI_INLINE void add_product(const T* g, const T* out, int64_t n, Dots& d) {
  const F32 upstream = load<F32>(g, n), result = load<F32>(out, n);
  d.sum = fma(upstream, result, d.sum);
  const F32 noise = magnitude(upstream * result * static_cast<float>(kNoise<T>));
  d.noise = kRounded<T> ? max(noise, d.noise) : d.noise + noise;
}

// Adds sum_c g out for n targets from number `pixel` on.
template <class T>
void add_dots(const Sampling& s, const SplatGradInput& in, int64_t pixel, int64_t n, Dots* dots) {
  const T *g = static_cast<const T*>(in.grad_out), *out = static_cast<const T*>(in.out);
  const int64_t plane = int64_t{s.H} * s.W;
  if (in.channels_last) {
    for (int64_t i = 0; i < n; ++i) {
      const T *p = g + (pixel + i) * in.C, *q = out + (pixel + i) * in.C;
      Dots all = {}, &at = dots[i / kLanes];
      for (int64_t c = 0; c < in.C; c += kLanes) add_product(p + c, q + c, in.C - c, all);
      at.sum[i % kLanes] += lane_sum(all.sum);
      const float noise = at.noise[i % kLanes];
      at.noise[i % kLanes] = kRounded<T> ? std::max(noise, lane_max(all.noise)) : noise + lane_sum(all.noise);
    }
    return;
  }
  const int64_t first = pixel + pixel / plane * (in.C - 1) * plane;
  for (int64_t c = 0; c < in.C; ++c) {
    const T *p = g + first + c * plane, *q = out + first + c * plane;
    for (int64_t i = 0; i < n; i += kLanes) {
      prefetch(p + plane + i), prefetch(q + plane + i);
      add_product(p + i, q + i, n - i, dots[i / kLanes]);
    }
  }
}

}  // namespace

void splat_grad_dots(const SplatGradArgs& a, int64_t begin, int64_t end) {
  const Sampling& s = a.sampling;
  const int64_t plane = int64_t{s.H} * s.W, last = end * s.W;
  for (int64_t pixel = begin * s.W; pixel < last;) {
    const int64_t n = min(min(int64_t{kTilePixels}, last - pixel), plane - pixel % plane);  // of one sample
    Dots dots[kTileBlocks] = {};
    for (int64_t k = 0; k < a.input_count; ++k) {
      const SplatGradInput& in = a.inputs[k];
      if (in.type == Dtype::kFloat32) add_dots<float>(s, in, pixel, n, dots);
      if (in.type == Dtype::kFloat16) add_dots<Half>(s, in, pixel, n, dots);
      if (in.type == Dtype::kBFloat16) add_dots<BFloat16>(s, in, pixel, n, dots);
    }
    for (int64_t i = 0; i < n; i += kLanes) {
      Dots& d = dots[i / kLanes];
      if (a.division == Division::kClip) {
        const Mask moves = clip_moves(load<F32>(static_cast<const float*>(a.weight) + pixel + i, n - i));
        d.sum = select(moves, d.sum, F32{}), d.noise = select(moves, d.noise, F32{});
      }
      store(static_cast<float*>(a.dots) + pixel + i, d.sum, n - i);
      store(static_cast<float*>(a.noise) + pixel + i, d.noise, n - i);
    }
    pixel += n;
  }
}

}  // namespace VFI_LEVEL
}  // namespace vfi
