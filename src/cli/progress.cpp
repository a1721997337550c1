#include "progress.h"

#include <fmt/format.h>
#include <unistd.h>

namespace octavo::cli {

Progress::Progress(std::string what) : what_(std::move(what)), terminal_(isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() {
  if (percent_ >= 0) fmt::print(stderr, "\r\x1b[K");
}

void Progress::update(size_t done, size_t total) {
  const int percent = total == 0 ? 100 : int(done * 100 / total);
  if (!terminal_ || percent == percent_) return;
  percent_ = percent;
  constexpr int kWidth = 40;
  const int filled = percent * kWidth / 100;
  fmt::print(stderr, "\r{} [{:=<{}}{:<{}}] {}/{}", what_, "", filled, "", kWidth - filled, done, total);
}

}  // namespace octavo::cli
