// The splat's gradients on the CPU, compiled once per instruction set; formulas in splat.h.
//
// For a source pixel with corners k, a_k = exp(m - shift[t_k]) in mode softmax, else 1, and o = m in mode linear, else 1:
//
//   t_k = sum over inputs and channels of g[t_k, c] (x[c] - dq/dD out[t_k, c])     p_k = w_k a_k / q_k
//   grad_x[c] = o sum_k p_k g[t_k, c]
//   grad_flow = o sum_k dw_k a_k (t_k / q_k + h[t_k])
//   grad_metric = sum_k p_k t_k + w_k a_k h[t_k]
//
// A t_k that is only rounding counts as 0, and so does a gradient that may be (splat_rules.h).
//
// Work: a gather, after splat_grad_dots_simd.cpp has summed g out at every target. The kernel takes tiles of source pixels,
// computes their positions and factors once and goes through the channels of all inputs. Each result is one
// sum in a fixed order, so it does not depend on how rows are distributed over threads.
#include "ops/splat/splat_grad_tile.h"
#include "ops/splat/splat_tile.h"

namespace vfi {
namespace VFI_LEVEL {
namespace {

// sum_k p_k v_k without the corners whose share is 0.
template <bool kCareful>
VFI_INLINE F32 weighted_sum(const F32* p, const F32* v) {
  const F32 zero = {};
  F32 total = kCareful ? select(equal(p[0], zero), zero, p[0] * v[0]) : p[0] * v[0];
  for (int k = 1; k < 4; ++k) {
    total = kCareful ? fma_where(not_equal(p[k], zero), p[k], v[k], total) : fma(p[k], v[k], total);
  }
  return total;
}

// One channel of a contiguous input: g is its plane, x and grad_x point to the tile's first pixel. What is `ahead` elements
// on is read next.
template <class T>
void add_plane(const Sampling& s, const Tile& tile, SplatGradTile& t, const T* g, const T* x, T* grad_x, int64_t ahead,
               bool streams) {
  for (int32_t y = 0, i = 0; y < tile.rows; ++y, x += s.W) {
    for (int64_t column = 0; column < tile.columns; column += kLanes, ++i) {
      const Block& b = t.blocks[i];
      prefetch(x + ahead + column);
      prefetch_window(g + ahead, b, s.W);
      const CornerValues c = read_corners(g, b, s.W);
      const F32 v[4] = {c.v00, c.v01, c.v10, c.v11}, value = load<F32>(x + column, tile.columns - column);
      for (int k = 0; k < 4; ++k) t.dot[i][k] = fma(v[k], value, t.dot[i][k]);
      if (grad_x == nullptr) continue;
      const F32 sum = b.careful ? weighted_sum<true>(t.share[i], v) : weighted_sum<false>(t.share[i], v);
      put(grad_x + int64_t{y} * s.W + column, t.outer[i] * sum, tile.columns - column, streams);
    }
  }
}

template <class T>
void add_planes(const Sampling& s, const SplatGradInput& in, const Tile& tile, SplatGradTile& t) {
  const int64_t plane = int64_t{s.H} * s.W, next_tile = tile.columns - (in.C - 1) * plane;
  const int64_t first = tile.b * in.C * plane, here = first + int64_t{tile.y} * s.W + tile.x;
  T* const grad_x = static_cast<T*>(in.grad_x);
  const bool streams = can_stream(grad_x, s.B * in.C * plane, s.W);
  for (int64_t c = 0; c < in.C; ++c) {
    add_plane(s, tile, t, static_cast<const T*>(in.grad_out) + first + c * plane,
              static_cast<const T*>(in.x) + here + c * plane, grad_x == nullptr ? nullptr : grad_x + here + c * plane,
              c + 1 < in.C ? plane : next_tile, streams);
  }
}

// Channels c.. c + n of one pixel of a channels_last input. V is F32, or Quad for at most four channels.
template <class V, class T>
VFI_INLINE void add_channels(const T* const* g, const T* x, T* grad_x, const float* share, float outer, int64_t n, V* dot) {
  const V value = load_cell<V>(x, n);
  V total = {};
  for (int k = 0; k < 4; ++k) {
    const V v = load_cell<V>(g[k], n);
    dot[k] = fma(v, value, dot[k]);
    if (share[k] != 0) total = fma(v, broadcast_cell<V>(share[k]), total);
  }
  if (grad_x != nullptr) store_cell(grad_x, total * outer, n);
}

template <class V>
VFI_INLINE float sum_of_lanes(V v) {
  float lane[sizeof(V) / sizeof(float)], total = 0;
  store_accumulator(lane, v);
  for (const float x : lane) total += x;
  return total;
}

template <class V, class T>
void add_pixels(const Sampling& s, const SplatGradInput& in, const Tile& tile, SplatGradTile& t) {
  constexpr int kStep = sizeof(V) / sizeof(float);
  const int64_t C = in.C, plane = int64_t{s.H} * s.W;
  const T* const targets = static_cast<const T*>(in.grad_out) + tile.b * plane * C;
  for (int32_t y = 0; y < tile.rows; ++y) {
    const int64_t row = (tile.b * plane + int64_t{tile.y + y} * s.W + tile.x) * C;
    for (int32_t column = 0; column < tile.columns; ++column) {
      const int block = y * tile.blocks_per_row() + column / kLanes, lane = column % kLanes;
      const T* g[4];
      float share[4];
      V dot[4] = {};
      for (int k = 0; k < 4; ++k) {
        g[k] = targets + (t.at[block * kLanes + lane] + (k >> 1) * int64_t{s.W} + (k & 1)) * C;
        share[k] = t.share[block][k][lane];
      }
      const float outer = t.outer[block][lane];
      const T* x = static_cast<const T*>(in.x) + row + column * C;
      T* grad_x = in.grad_x == nullptr ? nullptr : static_cast<T*>(in.grad_x) + row + column * C;
      for (int64_t c = 0; c < C; c += kStep) {
        add_channels<V>(g, x + c, grad_x == nullptr ? nullptr : grad_x + c, share, outer, C - c, dot);
        for (const T*& p : g) p += kStep;
      }
      for (int k = 0; k < 4; ++k) t.dot[block][k][lane] += sum_of_lanes(dot[k]);
    }
  }
}

// What may be rounding in the sums over corners, from that in each s_k.
struct Doubt {
  F32 x, y;
};

VFI_INLINE Doubt doubt_of(const Block& b, const F32* s) {
  return {fma(b.y1, s[2] + s[3], b.y0 * (s[0] + s[1])), fma(b.x1, s[1] + s[3], b.x0 * (s[0] + s[2]))};
}

// 0 where it may be for the most part, and where doubt is 0 times infinity.
VFI_INLINE F32 without_doubt(F32 sum, F32 doubt) {
  return select(less(magnitude(sum), doubt) | not_equal(doubt, doubt), F32{}, sum);
}

// The gradients of flow and metric, from the sums over all channels.
void finish(const SplatGradArgs& a, const SplatGradTile& t, int i, int64_t b, int64_t pixel, int64_t n) {
  const F32 zero = {};
  const Block& at = t.blocks[i];
  const Slopes& e = t.slopes[i];
  const F32 dx[4] = {e.x0 * at.y0, e.x1 * at.y0, e.x0 * at.y1, e.x1 * at.y1};
  const F32 dy[4] = {e.y0 * at.x0, e.y0 * at.x1, e.y1 * at.x0, e.y1 * at.x1};
  const F32 most = broadcast<F32>(std::numeric_limits<float>::max());
  const F32 inf = broadcast<F32>(std::numeric_limits<float>::infinity());
  F32 w[4], s[4], noise[4] = {}, doubts[4], along_metric = zero;
  Mask dim = less(zero, zero);
  corner_weights(at, w);
  if (a.division != Division::kNone) read_plane(a.noise, a.sampling, b, at, noise);
  for (int k = 0; k < 4; ++k) {
    const F32 p = magnitude(t.outer[i] * t.share[i][k]);
    const Mask is_dim = equal(t.ratio[i][k], most);
    const F32 dot = select(rounding_mask(t.dot[i][k], noise[k], p, a.most) | is_dim, zero, t.dot[i][k]);
    s[k] = fma(t.ratio[i][k], dot, t.extra[i][k]);
    const F32 term = fma(t.share[i][k], dot, w[k] * t.extra[i][k]);
    along_metric = along_metric + select(equal(w[k], zero), zero, term);
    const F32 doubt = min(magnitude(t.ratio[i][k]) * (noise[k] * static_cast<float>(a.doubt)), most);
    doubts[k] = select(is_dim, inf, select(doubtful_mask(p, w[k]), doubt, zero));
    dim = dim | is_dim;
  }
  const Doubt doubt = doubt_of(at, doubts);
  const int64_t plane = int64_t{a.sampling.H} * a.sampling.W, to = pixel + b * plane;  // two planes per sample
  if (a.grad_flow != nullptr) {
    const F32 along_x = without_doubt(weighted_sum<true>(dx, s), doubt.x);
    const F32 along_y = without_doubt(weighted_sum<true>(dy, s), doubt.y);
    store_as(a.grad_flow, a.sampling.flow_type, to, t.outer[i] * along_x, n);
    store_as(a.grad_flow, a.sampling.flow_type, to + plane, t.outer[i] * along_y, n);
  }
  if (a.grad_metric != nullptr) {
    store_as(a.grad_metric, a.metric_type, pixel, select(dim, zero, along_metric), n);
  }
}

template <class T>
void add_input(const Sampling& s, const SplatGradInput& in, const Tile& tile, SplatGradTile& t) {
  if (!in.channels_last) return add_planes<T>(s, in, tile, t);
  if (in.C <= kNarrowCell) return add_pixels<Quad, T>(s, in, tile, t);
  add_pixels<F32, T>(s, in, tile, t);
}

void add_input(const Sampling& s, const SplatGradInput& in, const Tile& tile, SplatGradTile& t) {
  if (in.type == Dtype::kFloat32) return add_input<float>(s, in, tile, t);
  if (in.type == Dtype::kFloat16) return add_input<Half>(s, in, tile, t);
  add_input<BFloat16>(s, in, tile, t);
}

}  // namespace

void splat_grad_rows(const SplatGradArgs& a, int64_t begin, int64_t end) {
  const Sampling& s = a.sampling;
  SplatGradTile t;
  for_each_tile<kGradBlocks>(s, begin, end, [&](const Tile& tile) {
    const auto for_each_position = [&](auto&& use) {  // use(block, its first pixel, how many pixels exist)
      for (int32_t y = 0, i = 0; y < tile.rows; ++y) {
        const int64_t row = (tile.b * s.H + tile.y + y) * s.W + tile.x;
        for (int32_t x = 0; x < tile.columns; x += kLanes, ++i) use(i, row + x, tile.columns - x);
      }
    };
    int64_t pixels[kGradBlocks], counts[kGradBlocks];
    for_each_position([&](int i, int64_t pixel, int64_t n) { pixels[i] = pixel, counts[i] = n; });
    for_each_block(s, tile, [&](int i, const PairAxis& x, const PairAxis& y) {
      place(a, tile, t, i, x, y, pixels[i], counts[i]);
    });
    for_each_position([&](int i, int64_t, int64_t) { weigh(a, tile, t, i); });
    for (int64_t k = 0; k < a.input_count; ++k) add_input(s, a.inputs[k], tile, t);
    for_each_position([&](int i, int64_t pixel, int64_t n) { finish(a, t, i, tile.b, pixel, n); });
  });
  stream_fence();
}

}  // namespace VFI_LEVEL
}  // namespace vfi
