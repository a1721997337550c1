// libFuzzer target: any bytes as an .npz and as an .npy. Whatever they are, the readers return tensors or throw Failure.
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "error.h"
#include "npy.h"
#include "npz.h"

namespace {

// The readers take paths; a file in memory has one.
class MemoryFile {
 public:
  MemoryFile(const uint8_t* data, size_t size) : fd_(memfd_create("fuzz", 0)) {
    if (fd_ < 0 || write(fd_, data, size) != ssize_t(size)) std::abort();
  }
  ~MemoryFile() { close(fd_); }
  std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }

 private:
  int fd_;
};

// Touches every byte, so that a sanitizer sees one that is not there.
uint64_t sum(const octavo::Tensor& tensor) {
  uint64_t total = 0;
  for (size_t i = 0; i < tensor.bytes(); ++i) total += tensor.as<uint8_t>()[i];
  return total;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const MemoryFile file(data, size);
  volatile uint64_t sink = 0;
  try {
    sink = sink + sum(octavo::cli::load_npy(file.path()));
  } catch (const octavo::cli::Failure&) {
  }
  try {
    for (const auto& [name, tensor] : octavo::cli::load_npz(file.path(), {"x", "labels"}, {size_t(1) << 24, 64}))
      sink = sink + sum(tensor);
  } catch (const octavo::cli::Failure&) {
  }
  return 0;
}
