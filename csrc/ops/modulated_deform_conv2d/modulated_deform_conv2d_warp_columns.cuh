// Modulated deformable convolution on CUDA: columns that a warp samples by itself, for products on tensor cores. The warp has
// some neighbouring pixels and goes through the taps and, 64 bytes at a time, the channels. A lane works out where one pixel
// points, for each offset group of the piece; then every lane samples 16 bytes of channels of some pixels. What the lanes tell
// each other passes through shared memory of the warp's own. Formulas: modulated_deform_conv2d.h.
#pragma once

#include "cuda/held_rows.cuh"
#include "ops/modulated_deform_conv2d/modulated_deform_conv2d_sampling.cuh"

namespace vfi::cuda {

constexpr int kWarps = kThreads / 32;

// Which offset group a channel, up to 65535, is in: without a division.
class OffsetGroups {
  uint32_t reciprocal_;

 public:
  explicit OffsetGroups(int32_t channels) : reciprocal_(static_cast<uint32_t>((uint64_t{1} << 32) / channels + 1)) {}
  __device__ __forceinline__ int32_t of(int32_t channel) const {
    return static_cast<int32_t>(uint64_t{static_cast<uint32_t>(channel)} * reciprocal_ >> 32);
  }
};

// In `at` of a place here: set where a corner is not used, and the rest are pixels from (-1, -1); else from (0, 0).
constexpr uint32_t kSomeCorners = 0x80000000u;

template <class F>
__device__ __forceinline__ DeformPlaceGpu<F> marked(const DeformArgsGpu& a, DeformPlaceGpu<F> place) {
  const bool all = is_used(place, 0) && is_used(place, 1) && is_used(place, 2) && is_used(place, 3);
  place.at = all ? place.at - (a.g.W + 1) : place.at | kSomeCorners;
  return place;
}

// The same as half_place says, of half numbers. Where a point has pixels all around, no corner needs a question of its own.
__device__ __forceinline__ DeformPlaceGpu<Half> halves_place(const DeformArgsGpu& a, Half move_y, Half move_x, Half mask,
                                                             int32_t y, int32_t x) {
  const float down = widen<float>(move_y), across = widen<float>(move_x);
  const float l_y = (down - floorf(down)) / kColumnUnit<Half>, l_x = across - floorf(across);
  const uint32_t at_y = static_cast<uint32_t>(y) + static_cast<uint32_t>(__float2int_rd(down));
  const uint32_t at_x = static_cast<uint32_t>(x) + static_cast<uint32_t>(__float2int_rd(across));
  const float last = l_y * l_x;  // of an infinity or NaN: NaN
  if (last > 0.0f && at_y < static_cast<uint32_t>(a.g.H - 1) && at_x < static_cast<uint32_t>(a.g.W - 1)) {
    constexpr float kAll = 1.0f / kColumnUnit<Half>;
    const float right = l_x * kAll - last;
    const auto pair = [](float left, float right) {  // used, and therefore not 0
      return bits_as<uint32_t>(__hmax2(__floats2half2_rn(left, right), bits_as<__half2>(0x00010001u)));
    };
    return {pair(kAll - l_y - right, right), pair(l_y - last, last), bits_as<uint32_t>(Pack<Half, 2>{{mask, mask}}),
            at_y * static_cast<uint32_t>(a.g.W) + at_x};
  }
  return marked(a, half_place(a, HalfAxis(down, y, a.g.H), HalfAxis(across, x, a.g.W), widen<float>(mask), true));
}

// The places of kPixels pixels in the offset groups of 64 bytes of channels: four at most, for 16 bytes have one.
template <class F, int kPixels>
class WarpPlaces {
  using Place = DeformPlaceGpu<F>;
  // The padding spreads the slots over the banks.
  static constexpr int kMost = 4, kLine = kPixels * static_cast<int>(sizeof(Place)) + 16, kShares = 32 / kPixels;
  alignas(16) unsigned char memory_[(kMost + 1) * kLine];

 public:
  static constexpr int kNowhere = kMost;  // a slot without corners

  static __device__ __forceinline__ int pixel() { return static_cast<int>(threadIdx.x) % 32 % kPixels; }
  static __device__ __forceinline__ int share() { return static_cast<int>(threadIdx.x) % 32 / kPixels; }
  __device__ __forceinline__ Place* at(int slot) { return reinterpret_cast<Place*>(memory_ + slot * kLine); }

  __device__ __forceinline__ void begin() {
    Place nowhere{};
    nowhere.at = kSomeCorners;
    at(kNowhere)[pixel()] = nowhere;
  }
  // Groups q ... q + slots - 1 of a tap; `p` is the lane's pixel().
  __device__ __forceinline__ void find(const DeformArgsGpu& a, const PixelAt& p, const TapIndex& tap, int32_t q, int slots) {
    __syncwarp();
    find_all(a, p, tap, q, slots);
    __syncwarp();
  }

 private:
  __device__ __forceinline__ void find_all(const DeformArgsGpu& a, const PixelAt& p, const TapIndex& tap, int32_t q, int slots) {
    if constexpr (std::is_same_v<F, Half>) {
      if (a.halves) return find_halves(a, p, tap, q, slots);
    }
#pragma unroll 1
    for (int slot = share(); slot < slots; slot += kShares) at(slot)[pixel()] = marked(a, place_at<F>(a, p, q + slot, tap));
  }
  // Numbers of all slots are loaded before one is used.
  __device__ __forceinline__ void find_halves(const DeformArgsGpu& a, const PixelAt& p, const TapIndex& tap, int32_t q,
                                              int slots) {
    constexpr int kEach = kMost / kShares;
    const int64_t channel = int64_t{q + share()} * a.taps + tap.t, step = int64_t{kShares} * a.taps;
    const char *offset = p.offset + 2 * channel * a.offset_bytes, *mask = p.mask + channel * a.mask_bytes;
    Half y[kEach], x[kEach], m[kEach];
    const auto for_each = [&](auto&& run) {
#pragma unroll
      for (int i = 0; i < kEach; ++i) {
        if (share() + i * kShares < slots) run(i);
      }
    };
    const auto load = [](const char* from) { return *reinterpret_cast<const Half*>(from); };
    for_each([&](int i) {
      y[i] = load(offset), x[i] = load(offset + a.offset_bytes), m[i] = load(mask);
      offset += 2 * step * a.offset_bytes, mask += step * a.mask_bytes;
    });
    const int32_t first_y = p.y + tap.u * a.g.dilation_y, first_x = p.x + tap.v * a.g.dilation_x;
    Place* const to = at(share()) + pixel();
    for_each([&](int i) { to[i * kShares * (kLine / sizeof(Place))] = halves_place(a, y[i], x[i], m[i], first_y, first_x); });
  }
};

// 16 bytes of a column; `from` is where its channels of pixel (0, 0) are.
template <bool kHalfMask, class T, class F>
__device__ __forceinline__ auto sampled(const char* from, const DeformArgsGpu& a, const DeformPlaceGpu<F>& place) {
  constexpr int N = 16 / static_cast<int>(sizeof(T));
  const uint32_t pixel_bytes = static_cast<uint32_t>(a.pixel_bytes);
  const char* corner[4];
  const auto corners = [&](const char* first) {
#pragma unroll
    for (int k = 0; k < 4; ++k) corner[k] = first + (k & 2 ? a.row_bytes : 0) + (k & 1 ? a.pixel_bytes : 0);
  };
  if (static_cast<int32_t>(place.at) >= 0) {
    corners(from + uint64_t{place.at} * pixel_bytes);
  } else {
    corners(from - (a.row_bytes + a.pixel_bytes) + uint64_t{place.at & ~kSomeCorners} * pixel_bytes);
#pragma unroll
    for (int k = 0; k < 4; ++k) corner[k] = is_used(place, k) ? corner[k] : static_cast<const char*>(a.zeros);
  }
  Pack<T, N> v[4];
#pragma unroll
  for (int k = 0; k < 4; ++k) v[k] = load_pack<T, N>(reinterpret_cast<const T*>(corner[k]));
  return column_of<kHalfMask>(place, v);
}

// What a warp samples with: its places, and for which groups of which tap it has them.
template <class F, int kPixels>
struct WarpSampler {
  static constexpr int kPack = 16 / static_cast<int>(sizeof(F)), kDepth = 4 * kPack;  // channels of a lane, of the warp
  WarpPlaces<F, kPixels>& places;
  PixelAt pixel;
  OffsetGroups groups;
  int32_t tap = -1, first = -1, last = -1;

  // For channels `channel` ... of which `count` belong to the convolution's group: the slot that the lane samples with.
  __device__ __forceinline__ int slot(const DeformArgsGpu& a, const TapIndex& t, int32_t channel, int32_t count) {
    const int32_t q = groups.of(channel), end = groups.of(channel + min(count, kDepth) - 1);
    if (t.t != tap || q != first || end != last) {
      tap = t.t, first = q, last = end;
      places.find(a, pixel, t, q, end - q + 1);
    }
    const int32_t own = static_cast<int32_t>(threadIdx.x) % 4 * kPack;
    return own < count ? groups.of(channel + own) - q : WarpPlaces<F, kPixels>::kNowhere;
  }
};

// Whether a launch can sample so. Addresses in a sample are a pixel times its bytes, in 32 bits each.
template <class T, class F>
bool by_warps(const DeformArgsGpu& a, const void* input) {
  constexpr int N = 16 / static_cast<int>(sizeof(T));
  constexpr int64_t kMostPixels = int64_t{1} << 30, kMostChannels = 65535;
  return kTensorCores<F> && packs(a, input, N) && a.g.C > 0 && a.g.C <= kMostChannels && a.in.plane > 0 &&
         a.in.plane <= kMostPixels && a.g.pixels() <= kMostPixels;
}

}  // namespace vfi::cuda
