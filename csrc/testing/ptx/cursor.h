// A place in a text, that moves on word by word. Comments are blanks.
#pragma once

#include <cctype>
#include <string>

#include "testing/ptx/program.h"
#include "testing/ptx/words.h"

namespace vfi::ptx {

class Cursor {
 public:
  explicit Cursor(std::string text) : text_(std::move(text)) {}

  bool done() {
    skip_blanks();
    return at_ >= text_.size();
  }
  int line() const { return line_; }
  char peek(size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }
  char next() {
    const char c = peek();
    if (c == '\n') ++line_;
    ++at_;
    return c;
  }
  bool take(char c) {
    skip_blanks();
    if (peek() != c) return false;
    next();
    return true;
  }
  void expect(char c) {
    if (!take(c)) fail("line " + std::to_string(line_) + ": expected " + c + ", got " + peek());
  }
  void skip_blanks() {
    while (std::isspace(static_cast<unsigned char>(peek()))) next();
  }
  // Up to the first of `stops`, which is left.
  std::string until(const char* stops) {
    std::string found;
    const std::string ends = stops;
    while (at_ < text_.size() && ends.find(peek()) == std::string::npos) found += next();
    return found;
  }
  // A label here, with its colon; empty where there is none. "L1::no_allocate" has none.
  std::string take_label() {
    size_t ahead = 0;
    while (is_name(peek(ahead))) ++ahead;
    size_t colon = ahead;
    while (std::isspace(static_cast<unsigned char>(peek(colon)))) ++colon;
    if (ahead == 0 || peek(colon) != ':' || peek(colon + 1) == ':') return "";
    const std::string name = text_.substr(at_, ahead);
    for (size_t i = 0; i <= colon; ++i) next();
    return name;
  }
  // What stands between here, behind an opening bracket, and its closing one.
  std::string inside(char open, char close) {
    std::string found;
    for (int depth = 1; at_ < text_.size();) {
      const char c = next();
      depth += (c == open) - (c == close);
      if (depth == 0) return found;
      found += c;
    }
    fail(std::string("expected ") + close + ", got the end of the file");
  }

 private:
  static bool is_name(char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '$' || c == '.';
  }

  std::string text_;
  size_t at_ = 0;
  int line_ = 1;
};

}  // namespace vfi::ptx
