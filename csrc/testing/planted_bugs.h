#pragma once

namespace vfi::testing {

// Arrays of 64 elements.
void reverse(const float* in, float* out, bool with_barrier);  // needs its barrier
void divergent_block(float* out);                              // not every thread reaches the barrier
void divergent_warp(float* out);                               // a shuffle reads lanes that have returned
void out_of_bounds(float* out, int offset);                    // writes 64 elements from `offset` on
void ordered_sum(const float* in, float* out);                 // depends on the order of the threads

}  // namespace vfi::testing
