// Where an element of a tensor lies. Every product is formed in 64 bits: (8, 33, 2160, 3840) has more than 2^31
// elements.
#pragma once

#include "base/host_device.h"

namespace vfi {

// A dense tensor [batch, channels, height, width], contiguous or channels_last.
struct DenseShape {
  int64_t batch;
  int32_t channels, height, width;
  bool channels_last;
  int64_t plane, sample;  // elements of a channel, and of all channels of a sample

  VFI_HOST_DEVICE int64_t pixels() const { return batch * plane; }
  VFI_HOST_DEVICE int64_t elements() const { return batch * sample; }
  // From one pixel to its right neighbour, to the one below, and from one channel to the next.
  VFI_HOST_DEVICE int64_t pixel_stride() const { return channels_last ? channels : 1; }
  VFI_HOST_DEVICE int64_t row_stride() const { return channels_last ? static_cast<int64_t>(channels) * width : width; }
  VFI_HOST_DEVICE int64_t channel_stride() const { return channels_last ? 1 : plane; }
  // Of channel 0. y and x may lie outside the image by one, where the caller adds a row or a pixel before it reads.
  VFI_HOST_DEVICE int64_t offset(int64_t b, int32_t y, int32_t x) const {
    return b * sample + y * row_stride() + x * pixel_stride();
  }
  // The same shape, for a kernel that is compiled for one layout.
  VFI_HOST_DEVICE DenseShape laid_out(bool last) const { return {batch, channels, height, width, last, plane, sample}; }
};

VFI_HOST_DEVICE DenseShape dense_shape(int64_t batch, int64_t channels, int64_t height, int64_t width,
                                       bool channels_last) {
  return {batch,
          static_cast<int32_t>(channels),
          static_cast<int32_t>(height),
          static_cast<int32_t>(width),
          channels_last,
          height * width,
          channels * height * width};
}

// Any strides, in elements.
struct Strides {
  int64_t batch, channel, row, column;

  VFI_HOST_DEVICE int64_t offset(int64_t b, int64_t c, int32_t y, int32_t x) const {
    return b * batch + c * channel + y * row + x * column;
  }
};

}  // namespace vfi
