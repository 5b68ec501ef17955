#pragma once

#include "testing/ptx/cursor.h"
#include "testing/ptx/program.h"

namespace vfi::ptx {

// ".shared .align 16 .b8 name[128]"
struct Declaration {
  std::string name;
  int64_t align = 1, element = 1, count = 1;
};
Declaration declaration(const std::string& text);

// What is behind the { of an entry, up to its }.
void parse_body(Entry& entry, Cursor& in);

}  // namespace vfi::ptx
