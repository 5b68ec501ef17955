// How many pixels of one row the CPU kernels take at a time: what they keep of them fits the first-level cache.
#pragma once

namespace vfi {

constexpr int kChunk = 128;

}  // namespace vfi
