// Memory for operands of kernels.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>

namespace octavo::bench {

struct FreeAligned {
  void operator()(char* p) const { std::free(p); }
};
using AlignedBuffer = std::unique_ptr<char[], FreeAligned>;

// Zeros, on a cache line of their own.
inline AlignedBuffer aligned(size_t bytes) {
  bytes = (bytes + 63) / 64 * 64;
  AlignedBuffer b(static_cast<char*>(std::aligned_alloc(64, bytes)));
  std::memset(b.get(), 0, bytes);
  return b;
}

}  // namespace octavo::bench
