// simd_neon.h compiled for processors with FEAT_BF16, which round to bfloat16 and multiply it.
#pragma once

#include "simd/simd_neon.h"

#define VFI_PAIRS_HEADER "simd/simd_pairs_neon.h"
