// The splat's gradients pixel by pixel, for float64 and for images that the vector kernels do not take; formulas and names
// as in splat_grad_simd.cpp. Compiled once.
#pragma once

#include <algorithm>

#include "base/elements.h"
#include "ops/splat/splat.h"

namespace vfi {
namespace VFI_LEVEL {

// One of a source pixel's corners that some weight or derivative makes use of.
template <class A>
struct ScalarCorner {
  int64_t target;  // number of the target pixel in the batch
  A w, dx, dy;     // bilinear weight and its derivatives
  A factor, share, ratio, extra, dot, noise;
  bool dim;  // everything may be rounding
};

template <class A>
A plane_value(const void* planes, int64_t pixel) {
  return static_cast<const A*>(planes)[pixel];
}

// a_k, and what follows from it and from q_k; a ratio of 0 where the pixel is alone.
template <class A>
void set_factors(const SplatGradArgs& a, A m, ScalarCorner<A>& k) {
  k.factor = a.factor == Factor::kSoftmax ? std::exp(std::min(m - plane_value<A>(a.shift, k.target), A(0))) : A(1);
  k.share = k.w * k.factor, k.ratio = k.factor, k.extra = k.dot = k.noise = 0, k.dim = false;
  if (a.division == Division::kNone) return;
  constexpr A kMost = std::numeric_limits<A>::max();
  const A d = plane_value<A>(a.weight, k.target), q = divisor(a.division, d);
  const bool hole = a.division == Division::kZero && q == 0;
  const bool alone = has_alone(a.division, d, a.factor == Factor::kLinear ? k.share * m : k.share);
  k.dim = !alone && is_dim(a.division, d);
  k.share = hole || k.w == 0 ? 0 : std::clamp(k.share / q, -kMost, kMost);
  k.ratio = hole || alone ? 0 : std::clamp(k.factor / q, -kMost, kMost);
  k.dot = -plane_value<A>(a.dots, k.target), k.noise = plane_value<A>(a.noise, k.target);
  if (a.grad_weight != nullptr) k.extra = k.factor * plane_value<A>(a.grad_weight, k.target);
}

// The corners of source pixel (y, x) of sample b; returns how many there are, 0 for a skipped pixel.
template <class A>
int find_corners(const SplatGradArgs& a, int64_t b, int32_t y, int32_t x, A m, ScalarCorner<A>* corners) {
  const Sampling& s = a.sampling;
  const int64_t plane = int64_t{s.H} * s.W, at = b * s.flow_batch + int64_t{y} * s.W + x;
  const Axis<A> ax = zeros_axis(read_as<A>(s.flow, s.flow_type, at), x, s.W);
  const Axis<A> ay = zeros_axis(read_as<A>(s.flow, s.flow_type, at + plane), y, s.H);
  int count = 0;
  if (!std::isfinite(m)) return count;
  for (int j = 0; j < 2; ++j) {
    for (int i = 0; i < 2; ++i) {
      if (!(i ? ax.in1 : ax.in0) || !(j ? ay.in1 : ay.in0)) continue;
      const A wx = i ? ax.l : ax.r, wy = j ? ay.l : ay.r;
      ScalarCorner<A>& k = corners[count];
      k.target = b * plane + (int64_t{ay.at} + j) * s.W + ax.at + i;
      k.w = wx * wy, k.dx = i ? wy : -wy, k.dy = j ? wx : -wx;
      if (k.w == 0 && k.dx == 0 && k.dy == 0) continue;
      set_factors(a, m, k);
      ++count;
    }
  }
  return count;
}

// Offset of channel 0 of a pixel, and the step to the next channel.
struct ChannelOffsets {
  int64_t first, step;
  ChannelOffsets(const SplatGradInput& in, int64_t pixel, int64_t plane)
      : first(in.channels_last ? pixel * in.C : pixel + pixel / plane * (in.C - 1) * plane),
        step(in.channels_last ? 1 : plane) {}
};

// `noise` with another product g out of that type.
template <class A>
A add_noise(A noise, A product, Dtype type) {
  if (type == Dtype::kFloat16) return joined_noise<Half>(noise, noise_of<Half>(product));
  if (type == Dtype::kBFloat16) return joined_noise<BFloat16>(noise, noise_of<BFloat16>(product));
  if (type == Dtype::kFloat32) return joined_noise<float>(noise, noise_of<float>(product));
  return joined_noise<double>(noise, noise_of<double>(product));
}

template <class A>
void splat_grad_dots_scalar(const SplatGradArgs& a, int64_t begin, int64_t end) {
  const int64_t plane = int64_t{a.sampling.H} * a.sampling.W;
  for (int64_t pixel = begin * a.sampling.W; pixel < end * a.sampling.W; ++pixel) {
    A sum = 0, noise = 0;
    for (int64_t n = 0; n < a.input_count; ++n) {
      const SplatGradInput& in = a.inputs[n];
      const ChannelOffsets at(in, pixel, plane);
      for (int64_t c = 0; c < in.C; ++c) {
        const int64_t i = at.first + c * at.step;
        const A product = read_as<A>(in.grad_out, in.type, i) * read_as<A>(in.out, in.type, i);
        sum += product;
        noise = add_noise(noise, product, in.type);
      }
    }
    const bool moves = divisor_moves(a.division, plane_value<A>(a.weight, pixel));
    static_cast<A*>(a.dots)[pixel] = moves ? sum : 0;
    static_cast<A*>(a.noise)[pixel] = moves ? noise : 0;
  }
}

template <class A>
void splat_grad_pixel(const SplatGradArgs& a, int64_t b, int32_t y, int32_t x) {
  const int64_t plane = int64_t{a.sampling.H} * a.sampling.W, pixel = b * plane + int64_t{y} * a.sampling.W + x;
  const A m = a.metric == nullptr ? A(0) : read_as<A>(a.metric, a.metric_type, pixel);
  ScalarCorner<A> corners[4];
  const int count = find_corners(a, b, y, x, m, corners);
  const A outer = a.factor == Factor::kLinear && count > 0 ? m : A(1);
  for (int64_t n = 0; n < a.input_count; ++n) {
    const SplatGradInput& in = a.inputs[n];
    const ChannelOffsets here(in, pixel, plane);
    for (int64_t c = 0; c < in.C; ++c) {
      const A value = read_as<A>(in.x, in.type, here.first + c * here.step);
      A grad_x = 0;
      for (ScalarCorner<A>* k = corners; k < corners + count; ++k) {
        const ChannelOffsets there(in, k->target, plane);
        const A g = read_as<A>(in.grad_out, in.type, there.first + c * there.step);
        k->dot += g * value;
        if (k->share != 0) grad_x += k->share * g;
      }
      if (in.grad_x != nullptr) write_as(in.grad_x, in.type, here.first + c * here.step, outer * grad_x);
    }
  }
  A along_x = 0, along_y = 0, along_metric = 0, doubt_x = 0, doubt_y = 0;
  bool dim = false;
  for (ScalarCorner<A>* k = corners; k < corners + count; ++k) {
    const A p = outer * k->share;
    if (k->dim || is_rounding(k->dot, k->noise, p, a.most)) k->dot = 0;
    const A s = k->ratio * k->dot + k->extra;
    if (k->dx != 0) along_x += k->dx * s;
    if (k->dy != 0) along_y += k->dy * s;
    if (k->w != 0) along_metric += k->share * k->dot + k->w * k->extra;
    dim = dim || k->dim;
    const A doubt = std::min(std::abs(k->ratio) * k->noise * a.doubt, std::numeric_limits<A>::max());
    if (is_doubtful(p, k->w)) {
      doubt_x += std::abs(k->dx) * doubt, doubt_y += std::abs(k->dy) * doubt;
    }
  }
  if (dim || std::abs(along_x) < doubt_x) along_x = 0;
  if (dim || std::abs(along_y) < doubt_y) along_y = 0;
  if (dim) along_metric = 0;
  if (a.grad_flow != nullptr) {
    const int64_t to = pixel + b * plane;  // two planes per sample
    write_as(a.grad_flow, a.sampling.flow_type, to, outer * along_x);
    write_as(a.grad_flow, a.sampling.flow_type, to + plane, outer * along_y);
  }
  if (a.grad_metric != nullptr) write_as(a.grad_metric, a.metric_type, pixel, along_metric);
}

template <class A>
void splat_grad_rows_scalar(const SplatGradArgs& a, int64_t begin, int64_t end) {
  const Sampling& s = a.sampling;
  for (int64_t row = begin; row < end; ++row) {
    for (int32_t x = 0; x < s.W; ++x) splat_grad_pixel<A>(a, row / s.H, static_cast<int32_t>(row % s.H), x);
  }
}

}  // namespace VFI_LEVEL
}  // namespace vfi
