// Cutting text.
#pragma once

#include <sstream>
#include <string>
#include <vector>

namespace vfi::ptx {

constexpr char kOpen = '{', kClose = '}';

inline std::string stripped(const std::string& text) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  return begin == std::string::npos ? "" : text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1);
}

inline std::vector<std::string> words(const std::string& text) {
  std::istringstream in(text);
  std::vector<std::string> found;
  for (std::string word; in >> word;) found.push_back(word);
  return found;
}

inline std::vector<std::string> split(const std::string& text, char separator) {
  std::istringstream in(text);
  std::vector<std::string> found;
  for (std::string part; std::getline(in, part, separator);) found.push_back(part);
  return found;
}

// At the commas that are in no brackets.
inline std::vector<std::string> split_operands(const std::string& text) {
  std::vector<std::string> found;
  std::string part;
  int depth = 0;
  for (const char c : text) {
    depth += (c == kOpen || c == '[' || c == '(') - (c == kClose || c == ']' || c == ')');
    if (c == ',' && depth == 0) {
      found.push_back(stripped(part));
      part.clear();
    } else {
      part += c;
    }
  }
  if (!stripped(part).empty()) found.push_back(stripped(part));
  return found;
}

}  // namespace vfi::ptx
