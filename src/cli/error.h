// How a command fails: it throws Failure, and main() prints one line and exits with its code.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

#include "octavo/types.h"

namespace octavo::cli {

// The exit codes of every command.
enum Exit : int { kDone = 0, kCheckFailed = 1, kBadInput = 2 };

// Bad input: what() is the line for stderr, without the leading "octavo: error: ".
struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Throws `context: text` for an error; the context (a file, an array) is left out where the text names it already.
inline void check(const Status& status, const std::string& context) {
  if (status.ok()) return;
  const std::string text = status.text();
  throw Failure(context.empty() || text.find(context) != std::string::npos ? text : context + ": " + text);
}

template <class T>
T value(Expected<T> expected, const std::string& context) {
  check(expected.status(), context);
  return *std::move(expected);
}

}  // namespace octavo::cli
