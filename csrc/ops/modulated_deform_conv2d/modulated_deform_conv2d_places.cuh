// Modulated deformable convolution on CUDA: where the taps of output pixels point. Formulas: modulated_deform_conv2d.h. All
// kernels read channels_last images.
#pragma once

#include "cuda/products.cuh"
#include "sampling/gather.cuh"
#include "ops/modulated_deform_conv2d/modulated_deform_conv2d.h"

namespace vfi::cuda {

struct DeformArgsGpu {
  DeformGeometry g;
  DenseShape in, out;  // of the input, and of the output or its gradient
  ConstView offset, mask;  // mask.data is null where there is none
  const void* zeros;       // 16 bytes: what a corner that is not used reads
  int64_t pixel_bytes, row_bytes, offset_bytes, mask_bytes;  // of the input, and from one channel to the next
  // Those of g, worked out once: a device divides slowly.
  int32_t taps, group_in, group_out, offset_channels;
  bool half_mask;               // the mask, if any, is half
  bool halves;                  // there is a mask, and it and the offsets are half
  bool wide_out;                // 16 bytes of channels of the output, or its gradient, lie in one group and are aligned

  VFI_HOST_DEVICE int64_t tiles(int pixels) const { return (g.pixels() + pixels - 1) / pixels; }  // of one sample
};

// Some neighbouring output pixels of one sample, in row-major order.
struct PixelTile {
  int64_t b, first;
  int32_t count;
};

__device__ __forceinline__ PixelTile pixel_tile(const DeformGeometry& g, unsigned index, unsigned tiles, int pixels) {
  const int64_t b = index / tiles, first = int64_t{index % tiles} * pixels, left = g.pixels() - first;
  return {b, first, static_cast<int32_t>(left < pixels ? left : pixels)};
}

// An output pixel: where its tap (0, 0) points without offset, and where its channels of offset and mask are.
struct PixelAt {
  int32_t i, j, y, x;
  const char *offset, *mask;
  bool inside;
};

VFI_HOST_DEVICE int64_t bytes_of(Dtype type) {
  return type == Dtype::kFloat64 ? 8 : type == Dtype::kFloat32 ? 4 : 2;
}

__device__ __forceinline__ int64_t pixel_element(const Strides& s, int64_t b, int32_t i, int32_t j) {
  return b * s.batch + i * s.row + j * s.column;
}

__device__ __forceinline__ PixelAt pixel_at(const DeformArgsGpu& a, const PixelTile& tile, int pixel) {
  const bool inside = pixel < tile.count;
  const int64_t index = tile.first + (inside ? pixel : 0);
  const int32_t i = static_cast<int32_t>(index / a.g.out_W), j = static_cast<int32_t>(index - int64_t{i} * a.g.out_W);
  constexpr int32_t kNowhere = -0x50000000;  // outside, whatever the offset
  return {i, j, inside ? a.g.start_y(i, 0) : kNowhere, a.g.start_x(j, 0),
          static_cast<const char*>(a.offset.data) + pixel_element(a.offset.strides, tile.b, i, j) * bytes_of(a.offset.dtype),
          static_cast<const char*>(a.mask.data) + pixel_element(a.mask.strides, tile.b, i, j) * bytes_of(a.mask.dtype), inside};
}

// Tap t = u KW + v.
struct TapIndex {
  int32_t t, u, v;

  __device__ __forceinline__ TapIndex(const DeformGeometry& g, int32_t t) : t(t), u(t / g.KW), v(t - t / g.KW * g.KW) {}
  __device__ __forceinline__ void advance(const DeformGeometry& g) {
    ++t;
    if (++v == g.KW) v = 0, ++u;
  }
};

template <class F>
constexpr Dtype kUsual = std::is_same_v<F, double>     ? Dtype::kFloat64
                         : std::is_same_v<F, Half>     ? Dtype::kFloat16
                         : std::is_same_v<F, BFloat16> ? Dtype::kBFloat16
                                                       : Dtype::kFloat32;

// The element at an address, and the one `step` bytes further. The usual type, that of the factors, is asked for first.
template <class F, class A>
__device__ __forceinline__ void load_two(Dtype type, const char* at, int64_t step, A (&values)[2]) {
  using Usual = std::conditional_t<std::is_same_v<F, Tf32>, float, F>;
  const auto load = [&](auto element) {
    values[0] = widen<A>(*reinterpret_cast<const decltype(element)*>(at));
    values[1] = widen<A>(*reinterpret_cast<const decltype(element)*>(at + step));
  };
  if (type == kUsual<F>) return load(Usual{});
  switch (type) {
    case Dtype::kFloat64: return load(double{});
    case Dtype::kFloat32: return load(float{});
    case Dtype::kFloat16: return load(Half{});
    default: return load(BFloat16{});
  }
}

// Where one tap of an output pixel points.
template <class A>
struct Tap {
  Axis<A> x, y;
  A mask;        // 0 where no corner is inside, whatever the mask holds
  bool reads;    // some corner is inside
};

template <class F, class A = Sum<F>>
__device__ __forceinline__ A load_tap(const DeformArgsGpu& a, const PixelAt& p, int32_t q, const TapIndex& t, A (&move)[2]) {
  const int64_t channel = q * a.taps + t.t;
  A mask[2] = {A(1), A(1)};
  load_two<F>(a.offset.dtype, p.offset + 2 * channel * a.offset_bytes, a.offset_bytes, move);
  if (a.mask.data != nullptr) load_two<F>(a.mask.dtype, p.mask + channel * a.mask_bytes, 0, mask);
  return mask[0];
}

// Nothing is inside for a pixel that is not `active`: its offset is as good as any, but no branch is needed.
template <class F, class A = Sum<F>>
__device__ __forceinline__ Tap<A> tap_at(const DeformArgsGpu& a, const PixelAt& p, int32_t q, const TapIndex& t, bool active) {
  Tap<A> tap;
  A move[2];
  const A mask = load_tap<F>(a, p, q, t, move);
  tap.y = zeros_axis(active ? move[0] : A(0), active ? p.y + t.u * a.g.dilation_y : -2, a.g.H);
  tap.x = zeros_axis(move[1], p.x + t.v * a.g.dilation_x, a.g.W);
  tap.reads = (tap.x.in0 || tap.x.in1) && (tap.y.in0 || tap.y.in1);
  tap.mask = tap.reads ? mask : A(0);
  return tap;
}

// What a column of 1 stands for. Rounded weights may be more than 1 together, and a mask be more than 1: half columns are kept
// halved, so that those of the largest numbers, with masks below 2, are no infinities. The sums are doubled.
template <class F>
constexpr float kColumnUnit = std::is_same_v<F, Half> ? 2.0f : 1.0f;

// What sampling needs of a tap, for all channels of an offset group. The weight of a corner is 0 where it is not used, and
// only there. Half values are interpolated in pairs, in half precision: then it holds pairs.
template <class F>
struct alignas(2 * sizeof(Sum<F>)) DeformPlaceGpu {
  Sum<F> weight[4], mask;
  uint32_t at;  // pixels from (-1, -1) to corner 0
};
template <>
struct alignas(16) DeformPlaceGpu<Half> {
  // Pairs: corners 0 and 1, 2 and 3, halved; the mask twice. A mask that may be no half number is kept as a float.
  uint32_t upper, lower, mask, at;
};

template <class F>
__device__ __forceinline__ DeformPlaceGpu<F> place_of(const DeformArgsGpu& a, const Tap<Sum<F>>& tap) {
  using A = Sum<F>;
  constexpr A kLeast = std::numeric_limits<A>::denorm_min();
  const uint32_t at = static_cast<uint32_t>(tap.y.at + 1) * static_cast<uint32_t>(a.g.W) + static_cast<uint32_t>(tap.x.at + 1);
  DeformPlaceGpu<F> place{{A(0), A(0), A(0), A(0)}, tap.mask, at};
  for_each_corner(tap.x, tap.y, [&](int j, int i, A w) { place.weight[2 * j + i] = w > kLeast ? w : kLeast; });
  return place;
}

// An axis of a place in half precision, where 1 - l has all bits that are kept: of a fraction that rounds up to 1 the first
// weight is 0 and the second 1, which is the next pixel.
struct HalfAxis {
  int32_t at;
  float weight[2];
  bool used[2], reads;

  __device__ __forceinline__ HalfAxis(float f, int32_t x, int32_t size) {
    const float whole = floorf(f), l = f - whole;
    const int32_t moved = static_cast<int32_t>(fminf(fmaxf(whole, -kFar), kFar));
    at = static_cast<int32_t>(static_cast<uint32_t>(x) + static_cast<uint32_t>(moved));
    const bool in0 = static_cast<uint32_t>(at) < static_cast<uint32_t>(size);
    const bool in1 = static_cast<uint32_t>(at + 1) < static_cast<uint32_t>(size);
    weight[0] = in0 ? 1.0f - l : 0.0f;
    weight[1] = in1 ? l : 0.0f;
    used[0] = weight[0] != 0.0f;
    used[1] = weight[1] != 0.0f;
    reads = used[0] || in1;
  }
};

__device__ __forceinline__ DeformPlaceGpu<Half> half_place(const DeformArgsGpu& a, const HalfAxis& y, const HalfAxis& x,
                                                           float m, bool half_mask) {
  const uint32_t least = (x.used[0] ? 1u : 0u) | (x.used[1] ? 0x10000u : 0u);  // of half numbers above 0
  const auto pair = [&](int j) {
    const float down = y.weight[j] / kColumnUnit<Half>;
    const __half2 w = __floats2half2_rn(down * x.weight[0], down * x.weight[1]);
    return bits_as<uint32_t>(__hmax2(w, bits_as<__half2>(y.used[j] ? least : 0u)));
  };
  const float mask = y.reads && x.reads ? m : 0.0f;
  const uint32_t at = static_cast<uint32_t>(y.at + 1) * static_cast<uint32_t>(a.g.W) + static_cast<uint32_t>(x.at + 1);
  return {pair(0), pair(1), half_mask ? bits_as<uint32_t>(__float2half2_rn(mask)) : __float_as_uint(mask), at};
}

template <class F, int kPixels>
constexpr int kSlots = sizeof(F) == 8 ? 5 : std::is_same_v<F, Half> && kPixels <= 64 ? 16 : 8;

// Where a tap of an output pixel points, in offset group q.
template <class F>
__device__ __forceinline__ DeformPlaceGpu<F> place_at(const DeformArgsGpu& a, const PixelAt& p, int32_t q, const TapIndex& tap) {
  if constexpr (std::is_same_v<F, Half>) {
    float move[2];
    const float mask = load_tap<F>(a, p, q, tap, move);
    const HalfAxis down(move[0], p.y + tap.u * a.g.dilation_y, a.g.H), across(move[1], p.x + tap.v * a.g.dilation_x, a.g.W);
    return half_place(a, down, across, mask, a.half_mask);
  } else {
    return place_of<F>(a, tap_at<F>(a, p, q, tap, p.inside));
  }
}

// Where the pixels of a tile point, for some taps and offset groups: for every tap from `t` on, `slots` groups from `q` on.
template <class F, int kPixels>
class DeformPlaces {
  static constexpr int kLanes = kThreads / kPixels;
  alignas(16) unsigned char memory[kSlots<F, kPixels> * kPixels * sizeof(DeformPlaceGpu<F>)];

 public:
  __device__ __forceinline__ DeformPlaceGpu<F>* at(int index) {
    return reinterpret_cast<DeformPlaceGpu<F>*>(memory) + index * kPixels;
  }

  // A thread has one pixel, and every kLanes-th slot.
  __device__ __forceinline__ void find(const DeformArgsGpu& a, const PixelAt& p, int32_t t, int taps, int32_t q, int slots) {
    const int lane = threadIdx.x / kPixels, all = taps * slots;
    DeformPlaceGpu<F>* to = at(lane) + threadIdx.x % kPixels;
    TapIndex tap(a.g, t);
#pragma unroll 1
    for (int index = lane, slot = lane; index < all; index += kLanes, slot += kLanes, to += kLanes * kPixels) {
      while (slot >= slots) slot -= slots, tap.advance(a.g);
      *to = place_at<F>(a, p, q + slot, tap);
    }
  }
};

// Which taps and offset groups a block has the places of.
struct Held {
  int32_t t = 0, q = 0;
  int taps = 0, slots = 0;

  // Whether groups q ... q + count - 1 of tap t are to be found first. `all` from `first` on are those of the convolution's
  // group: if they fit, so do those of some taps.
  __device__ __forceinline__ bool replace(const DeformArgsGpu& a, int most, int32_t tap, int32_t first, int all, int32_t group,
                                          int count) {
    if (tap >= t && tap < t + taps && group >= q && group + count <= q + slots) return false;
    const bool fits = all <= most;
    t = tap;
    q = fits ? first : group;
    slots = fits ? all : count;
    taps = fits ? min(most / all, a.taps - tap) : 1;
    return true;
  }
  __device__ __forceinline__ int index(int32_t tap, int32_t group) const { return (tap - t) * slots + group - q; }
};

// Channels of a piece of the columns: at most `most`, in at most `slots` offset groups wherever it starts.
inline int piece_of(const DeformGeometry& g, int most, int slots) {
  const int64_t each = g.offset_group_channels();
  const bool even = each > 0 && g.group_in() % each == 0 && (most % each == 0 || each % most == 0);
  const int64_t fits = (even ? slots : slots - 1) * each;
  return static_cast<int>(fits > 0 && fits < most ? fits : most);
}

// Whether N neighbouring channels can be loaded at once.
inline bool packs(const DeformArgsGpu& a, const void* input, int n) {
  return a.g.group_in() % n == 0 && a.g.offset_group_channels() % n == 0 && reinterpret_cast<uintptr_t>(input) % 16 == 0;
}

}  // namespace vfi::cuda
