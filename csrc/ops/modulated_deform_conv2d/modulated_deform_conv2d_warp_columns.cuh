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
    return static_cast<int32_t>(__umulhi(static_cast<uint32_t>(channel), reciprocal_));
  }
};

// In `at` of a place here, which counts packs of 16 bytes: set where a corner is not used, and the rest is from pixel
// (-1, -1) on; else from (0, 0).
constexpr uint32_t kSomeCorners = 0x80000000u;

__device__ __forceinline__ uint32_t packs_of_pixel(const DeformArgsGpu& a) { return static_cast<uint32_t>(a.pixel_bytes) / 16; }

template <class F>
__device__ __forceinline__ DeformPlaceGpu<F> marked(const DeformArgsGpu& a, DeformPlaceGpu<F> place) {
  const bool all = is_used(place, 0) && is_used(place, 1) && is_used(place, 2) && is_used(place, 3);
  place.at = all ? (place.at - (a.g.W + 1)) * packs_of_pixel(a) : place.at * packs_of_pixel(a) | kSomeCorners;
  return place;
}

// The same as half_place says, of half numbers, where a point has pixels all around: no corner needs a question of its own.
// False elsewhere.
__device__ __forceinline__ bool near_place(const DeformArgsGpu& a, Half move_y, Half move_x, Half mask, int32_t y, int32_t x,
                                           DeformPlaceGpu<Half>& place) {
  constexpr float kAll = 1.0f / kColumnUnit<Half>;
  const float down = widen<float>(move_y), across = widen<float>(move_x);
  const float l_y = (down - floorf(down)) * kAll, l_x = across - floorf(across);
  const uint32_t at_y = static_cast<uint32_t>(y) + static_cast<uint32_t>(__float2int_rd(down));
  const uint32_t at_x = static_cast<uint32_t>(x) + static_cast<uint32_t>(__float2int_rd(across));
  const float last = l_y * l_x, right = l_x * kAll - last;  // of an infinity or NaN: NaN
  const auto pair = [](float left, float right) {           // used, and therefore not 0
    return bits_as<uint32_t>(__hmax2(__floats2half2_rn(left, right), bits_as<__half2>(0x00010001u)));
  };
  place = {pair(kAll - l_y - right, right), pair(l_y - last, last), bits_as<uint32_t>(Pack<Half, 2>{{mask, mask}}),
           (at_y * static_cast<uint32_t>(a.g.W) + at_x) * packs_of_pixel(a)};
  const bool inside_y = at_y < static_cast<uint32_t>(a.g.H - 1), inside_x = at_x < static_cast<uint32_t>(a.g.W - 1);
  return inside_y & inside_x & (last > 0.0f);
}

// Half ones by one instruction.
template <class F>
__device__ __forceinline__ DeformPlaceGpu<F> load_place(const DeformPlaceGpu<F>* from) {
  return *from;
}
__device__ __forceinline__ DeformPlaceGpu<Half> load_place(const DeformPlaceGpu<Half>* from) {
  const Pack<uint32_t, 4> words = load_pack<uint32_t, 4>(&from->upper);
  return {words.at[0], words.at[1], words.at[2], words.at[3]};
}
template <class F>
__device__ __forceinline__ void store_place(DeformPlaceGpu<F>* to, const DeformPlaceGpu<F>& place) {
  *to = place;
}
__device__ __forceinline__ void store_place(DeformPlaceGpu<Half>* to, const DeformPlaceGpu<Half>& place) {
  store_pack<uint32_t, 4>(&to->upper, {{place.upper, place.lower, place.mask, place.at}});
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

  static __device__ __forceinline__ int pixel() { return threadIdx.x % 32 % kPixels; }
  static __device__ __forceinline__ int share() { return threadIdx.x % 32 / kPixels; }
  __device__ __forceinline__ Place* at(int slot) { return reinterpret_cast<Place*>(memory_ + slot * kLine); }

  __device__ __forceinline__ void begin() {
    Place nowhere{};
    nowhere.at = kSomeCorners;
    if (share() == 0) store_place(at(kNowhere) + pixel(), nowhere);
  }
  // Groups q, q - 1, ... of a tap in slots 0, 1, ...; `p` is the lane's pixel().
  __device__ __forceinline__ void find(const DeformArgsGpu& a, const PixelAt& p, const TapIndex& tap, int32_t q, int slots) {
    __syncwarp();
    unsigned rest = (1u << slots) - 1;  // slots still to be found, one by one
    if constexpr (std::is_same_v<F, Half>) {
      if (a.halves) {
        rest = 0;
        if (slots == kMost) {
          rest = find_near<kMost / kShares>(a, p, tap, q, share());
        } else {
#pragma unroll 1
          for (int slot = share(); slot < slots; slot += kShares) rest |= find_near<1>(a, p, tap, q, slot);
        }
      }
    }
#pragma unroll 1
    for (int slot = share(); rest >> slot != 0; slot += kShares) {
      if (rest >> slot & 1) at(slot)[pixel()] = marked(a, place_at<F>(a, p, q - slot, tap));
    }
    __syncwarp();
  }

 private:
  // Slots first, first + kShares, ..., kCount of them: those that are not near. All numbers are loaded before one is used.
  template <int kCount>
  __device__ __forceinline__ unsigned find_near(const DeformArgsGpu& a, const PixelAt& p, const TapIndex& tap, int32_t q,
                                                int first) {
    const int64_t channel = int64_t{q - first} * a.taps + tap.t, step = -int64_t{kShares} * a.taps;
    const int64_t offset_step = 2 * step * a.offset_bytes, mask_step = step * a.mask_bytes;
    const char *offset = p.offset + 2 * channel * a.offset_bytes, *mask = p.mask + channel * a.mask_bytes;
    Half y[kCount], x[kCount], m[kCount];
    const auto load = [](const char* from) { return *reinterpret_cast<const Half*>(from); };
#pragma unroll
    for (int i = 0; i < kCount; ++i, offset += offset_step, mask += mask_step) {
      y[i] = load(offset), x[i] = load(offset + a.offset_bytes), m[i] = load(mask);
    }
    const int32_t first_y = p.y + tap.u * a.g.dilation_y, first_x = p.x + tap.v * a.g.dilation_x;
    unsigned rest = 0;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const int slot = first + i * kShares;
      Place place;
      const bool near = near_place(a, y[i], x[i], m[i], first_y, first_x, place);
      store_place(at(slot) + pixel(), place);
      rest |= near ? 0u : 1u << slot;
    }
    return rest;
  }
};

// Where the corners of a place are, for channels that begin at `from` in pixel (0, 0).
struct CornerSteps {
  int64_t pixel, row;  // bytes
  const char* zeros;

  __device__ __forceinline__ explicit CornerSteps(const DeformArgsGpu& a)
      : pixel(a.pixel_bytes), row(a.row_bytes), zeros(static_cast<const char*>(a.zeros)) {}

  template <class F>
  __device__ __forceinline__ void of(const DeformPlaceGpu<F>& place, const char* from, const char* (&corner)[4]) const {
    corner[0] = from + uint64_t{place.at & ~kSomeCorners} * 16;
    const bool all = static_cast<int32_t>(place.at) >= 0;
    if (!all) corner[0] -= row + pixel;
    corner[1] = corner[0] + pixel, corner[2] = corner[0] + row, corner[3] = corner[2] + pixel;
    if (all) return;
#pragma unroll
    for (int k = 0; k < 4; ++k) corner[k] = is_used(place, k) ? corner[k] : zeros;
  }
};

// 16 bytes of a column.
template <bool kHalfMask, class T, class F>
__device__ __forceinline__ auto sampled(const char* from, const CornerSteps& steps, const DeformPlaceGpu<F>& place) {
  constexpr int N = 16 / static_cast<int>(sizeof(T));
  const char* corner[4];
  steps.of(place, from, corner);
  Pack<T, N> v[4];
#pragma unroll
  for (int k = 0; k < 4; ++k) v[k] = load_pack<T, N>(reinterpret_cast<const T*>(corner[k]));
  return column_of<kHalfMask>(place, v);
}

// What a warp samples with: its places, in the groups up to `last` of the same tap.
template <class F, int kPixels>
struct WarpSampler {
  static constexpr int kPack = 16 / static_cast<int>(sizeof(F)), kDepth = 4 * kPack;  // channels of a lane, of the warp
  WarpPlaces<F, kPixels>& places;
  const PixelAt& pixel;
  OffsetGroups groups;
  int32_t last = -1;

  __device__ __forceinline__ void forget() { last = -1; }
  // For channels `channel` ... of which `count` belong to the convolution's group, and which follow those before: the slot
  // that the lane samples with.
  __device__ __forceinline__ int slot(const DeformArgsGpu& a, const TapIndex& tap, int32_t channel, int32_t count) {
    const int32_t end = groups.of(channel + min(count, kDepth) - 1);
    if (end != last) {
      last = end;
      places.find(a, pixel, tap, end, end - groups.of(channel) + 1);
    }
    const int32_t own = threadIdx.x % 4 * kPack;
    return own < count ? end - groups.of(channel + own) : WarpPlaces<F, kPixels>::kNowhere;
  }
};

// Whether a launch can sample so. Places count packs of 16 bytes in 31 bits.
template <class T, class F>
bool by_warps(const DeformArgsGpu& a, const void* input) {
  constexpr int N = 16 / static_cast<int>(sizeof(T));
  constexpr int64_t kMost = int64_t{1} << 30, kMostChannels = 65535;
  return kTensorCores<F> && packs(a, input, N) && a.g.C > 0 && a.g.C <= kMostChannels && a.in.plane > 0 &&
         (a.in.plane + a.g.W + 1) * (a.g.C / N) <= kMost && a.g.pixels() <= kMost;
}

}  // namespace vfi::cuda
