// A progress bar on stderr where that is a terminal; silence elsewhere.
#pragma once

#include <cstddef>
#include <string>

namespace octavo::cli {

class Progress {
 public:
  explicit Progress(std::string what);
  ~Progress();  // wipes the bar
  void update(size_t done, size_t total);

 private:
  std::string what_;
  bool terminal_;
  int percent_ = -1;
};

}  // namespace octavo::cli
