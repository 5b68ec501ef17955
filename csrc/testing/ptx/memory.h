// Accesses of a warp to memory: where they lead, whether they may, and what they cost.
#pragma once

#include "testing/ptx/block.h"

namespace vfi::ptx {

struct Request {
  uint64_t address[kLanes];   // as the program has it
  unsigned char* at[kLanes];  // the host's
};

// Fills `request` for the active lanes, `bytes` each at the address of `op`; faults where an access is wrong.
void locate(Warp& w, const Op& op, int bytes, Access access, Request& request);

// The same for addresses that are given (of whole rows of a matrix, say), in these lanes.
void locate_given(Warp& w, const Op& op, uint32_t lanes, int bytes, Access access, Request& request, Space space);

void read_addresses(Warp& w, const Op& op, Request& request);

}  // namespace vfi::ptx
