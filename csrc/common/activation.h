// What follows a convolution in the same kernel.
#pragma once

namespace vfi {

// max(x, 0); x or slope x where x <= 0, with one slope or one for each channel; x (1 + erf(x / sqrt 2)) / 2.
enum class Activation { kNone, kRelu, kPrelu, kGelu };

}  // namespace vfi
