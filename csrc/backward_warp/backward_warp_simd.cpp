// Backward warp on the CPU, compiled once per instruction set; formulas in backward_warp.h.
//
// Work: a thread owns output rows and cuts them into tiles. The positions of a tile are computed once into an array that
// stays in cache and serves every channel. Each output value is one sum in a fixed order, so the result does not depend
// on how rows are distributed over threads.
#include "backward_warp/backward_warp.h"
#include "common/simd_quad.h"
#include "common/simd_sampling.h"

namespace vfi {
namespace VFI_LEVEL {
namespace {

constexpr int kTileBlocks = 64;
constexpr int kTilePixels = kTileBlocks * kLanes;

// A rectangle of output pixels of one sample, row by row in blocks of kLanes.
struct Tile {
  int64_t b;
  int32_t y, x, rows, columns;
};

// Calls use(block number, x axis, y axis) for every block of the tile.
template <class T, Padding kPadding, class Use>
VFI_INLINE void for_each_block(const WarpArgs& a, const Tile& tile, Use&& use) {
  constexpr int64_t kAhead = 512;  // each row of a flow plane is a new page for the hardware's prefetcher
  const int64_t plane = int64_t{a.out_H} * a.out_W;
  const T* flow = static_cast<const T*>(a.flow) + tile.b * 2 * plane;  // [2, out_H, out_W]
  const I32 lanes = to_int(lane_numbers<F32>());
  int block = 0;
  for (int32_t y = tile.y; y < tile.y + tile.rows; ++y) {
    for (int32_t x = tile.x; x < tile.x + tile.columns; x += kLanes) {
      const T* f = flow + int64_t{y} * a.out_W + x;
      const int64_t n = tile.x + tile.columns - x;
      prefetch(f + kAhead);
      prefetch(f + plane + kAhead);
      const PairAxis ax = pair_axis<kPadding>(load<F32>(f, n), lanes + x, a.W);
      const PairAxis ay = pair_axis<kPadding>(load<F32>(f + plane, n), I32{} + y, a.H);
      use(block++, ax, ay);
    }
  }
}

template <class Use>
VFI_INLINE void for_each_block(const WarpArgs& a, const Tile& tile, Use&& use) {
  const auto with_padding = [&]<class T>(T) {
    if (a.padding == Padding::kBorder) return for_each_block<T, Padding::kBorder>(a, tile, use);
    for_each_block<T, Padding::kZeros>(a, tile, use);
  };
  if (a.flow_type == Dtype::kFloat32) return with_padding(float{});
  if (a.flow_type == Dtype::kFloat16) return with_padding(Half{});
  with_padding(BFloat16{});
}

// Cuts the rows into tiles of at most kTilePixels pixels: use(tile).
template <class Use>
VFI_INLINE void for_each_tile(const WarpArgs& a, int64_t begin, int64_t end, Use&& use) {
  const int32_t columns = a.out_W < kTilePixels ? a.out_W : kTilePixels;
  const int64_t rows = kTileBlocks / ((columns + kLanes - 1) / kLanes);
  for (int64_t row = begin; row < end;) {
    const int64_t y = row % a.out_H;
    const int64_t count = min(min(rows, end - row), a.out_H - y);
    for (int32_t x = 0; x < a.out_W; x += columns) {
      const int32_t width = a.out_W - x < columns ? a.out_W - x : columns;
      use(Tile{row / a.out_H, static_cast<int32_t>(y), x, static_cast<int32_t>(count), width});
    }
    row += count;
  }
}

// Stores that bypass the cache pay off for results that it cannot hold, and need aligned groups of kLanes elements.
template <class T>
bool can_stream(const WarpArgs& a, int64_t row_length) {
  constexpr int64_t kLarge = int64_t{4} << 20;
  const int64_t bytes = a.B * a.C * a.out_H * a.out_W * static_cast<int64_t>(sizeof(T));
  return bytes >= kLarge && row_length % kLanes == 0 && reinterpret_cast<uintptr_t>(a.out) % (kLanes * sizeof(T)) == 0;
}

template <class T>
VFI_INLINE void put(T* out, F32 value, int64_t n, bool streams) {
  if (streams && n >= kLanes) return stream(out, value);
  store(out, value, n);
}

// One row of a tile in one plane. `next` is the same plane of the next channel, fetched ahead; null after the last.
template <class T>
VFI_INLINE void warp_row(const T* image, const T* next, T* out, const Block* block, int64_t width, int64_t n, bool streams) {
  for (int64_t x = 0; x < n; x += kLanes, ++block) {
    if (next != nullptr && block->rows != 0) prefetch(next + block->base + width);
    put(out + x, sample(image, *block, width), n - x, streams);
  }
}

template <class T>
void warp_planes(const WarpArgs& a, int64_t begin, int64_t end) {
  const int64_t plane = int64_t{a.H} * a.W, out_plane = int64_t{a.out_H} * a.out_W;
  const bool streams = can_stream<T>(a, a.out_W);
  Block blocks[kTileBlocks];
  for_each_tile(a, begin, end, [&](const Tile& tile) {
    for_each_block(a, tile, [&](int i, const PairAxis& x, const PairAxis& y) { blocks[i] = make_block(x, y, a.W); });
    const T* image = static_cast<const T*>(a.image) + tile.b * a.C * plane;
    T* out = static_cast<T*>(a.out) + tile.b * a.C * out_plane + int64_t{tile.y} * a.out_W + tile.x;
    for (int64_t c = 0; c < a.C; ++c, image += plane, out += out_plane) {
      const T* next = c + 1 < a.C ? image + plane : nullptr;
      const Block* block = blocks;
      for (int32_t y = 0; y < tile.rows; ++y, block += (tile.columns + kLanes - 1) / kLanes) {
        warp_row(image, next, out + int64_t{y} * a.out_W, block, a.W, tile.columns, streams);
      }
    }
  });
  if (streams) stream_fence();
}

// Weights and upper left corners of a tile's pixels.
struct Positions {
  alignas(64) float x0[kTilePixels], x1[kTilePixels], y0[kTilePixels], y1[kTilePixels];
  alignas(64) int32_t at[kTilePixels];  // pixel of the upper left corner in the image
};

// The corners of one pixel that are used.
template <class T>
struct PixelCorners {
  const T* p[4];
  float w[4];
  int count;
};

template <class T>
VFI_INLINE PixelCorners<T> pixel_corners(const T* image, const Positions& from, int i, int64_t C, int64_t width) {
  PixelCorners<T> k;
  k.count = 0;
  const T* p = image + from.at[i] * C;
  const float wx[2] = {from.x0[i], from.x1[i]}, wy[2] = {from.y0[i], from.y1[i]};
  for (int corner = 0; corner < 4; ++corner) {
    const float u = wx[corner & 1], v = wy[corner >> 1];
    k.p[k.count] = p + (corner & 1) * C + (corner >> 1) * width * C;
    k.w[k.count] = u * v;
    k.count += u != 0.0f && v != 0.0f;
  }
  return k;
}

// At most four channels: a pixel is one vector, of which the last lanes may belong to the next pixel. `end` is where the
// image ends.
template <class T>
VFI_INLINE Quad warp_quad(const PixelCorners<T>& k, int64_t C, const T* end) {
  Quad sum = {};
  for (int n = 0; n < k.count; ++n) {
    const Quad v = k.p[n] + 4 <= end ? load_quad(k.p[n]) : load_quad(k.p[n], C);
    sum = n == 0 ? k.w[0] * v : sum + k.w[n] * v;
  }
  return sum;
}

template <class T>
VFI_INLINE void warp_channels(const PixelCorners<T>& k, T* out, int64_t C, bool streams) {
  for (int64_t c = 0; c < C; c += kLanes) {
    F32 sum = {};
    if (k.count == 4) {
      sum = k.w[0] * load<F32>(k.p[0] + c, C - c);
      for (int n = 1; n < 4; ++n) sum = fma(broadcast<F32>(k.w[n]), load<F32>(k.p[n] + c, C - c), sum);
    } else if (k.count > 0) {
      sum = k.w[0] * load<F32>(k.p[0] + c, C - c);
      for (int n = 1; n < k.count; ++n) sum = fma(broadcast<F32>(k.w[n]), load<F32>(k.p[n] + c, C - c), sum);
    }
    put(out + c, sum, C - c, streams);
  }
}

template <class T>
void warp_pixels(const WarpArgs& a, int64_t begin, int64_t end) {
  const int64_t size = int64_t{a.H} * a.W * a.C;
  const bool streams = can_stream<T>(a, a.C);
  Positions from;
  for_each_tile(a, begin, end, [&](const Tile& tile) {
    for_each_block(a, tile, [&](int i, const PairAxis& x, const PairAxis& y) {
      i *= kLanes;
      store(from.x0 + i, x.w0), store(from.x1 + i, x.w1), store(from.y0 + i, y.w0), store(from.y1 + i, y.w1);
      const I32 at = y.at * a.W + x.at;
      std::memcpy(from.at + i, &at, sizeof at);
    });
    const T* image = static_cast<const T*>(a.image) + tile.b * size;
    const int row_pixels = (tile.columns + kLanes - 1) / kLanes * kLanes;
    for (int32_t y = 0; y < tile.rows; ++y) {
      T* out = static_cast<T*>(a.out) + (tile.b * a.out_H + tile.y + y) * a.out_W * a.C + tile.x * a.C;
      for (int32_t x = 0; x < tile.columns; ++x, out += a.C) {
        const auto corners = pixel_corners(image, from, y * row_pixels + x, a.C, a.W);
        if (a.C > 4) {
          warp_channels(corners, out, a.C, streams);
        } else if (x + 4 <= tile.columns) {  // the next pixels are written after this one
          store_quad(out, warp_quad(corners, a.C, image + size));
        } else {
          store_quad(out, warp_quad(corners, a.C, image + size), a.C);
        }
      }
    }
  });
  if (streams) stream_fence();
}

template <class T>
void warp(const WarpArgs& a, int64_t begin, int64_t end) {
  if (a.channels_last) return warp_pixels<T>(a, begin, end);
  warp_planes<T>(a, begin, end);
}

}  // namespace

void warp_rows(const WarpArgs& a, int64_t begin, int64_t end) {
  if (a.type == Dtype::kFloat32) return warp<float>(a, begin, end);
  if (a.type == Dtype::kFloat16) return warp<Half>(a, begin, end);
  warp<BFloat16>(a, begin, end);
}

}  // namespace VFI_LEVEL
}  // namespace vfi
