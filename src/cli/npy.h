// NumPy's .npy format, versions 1 to 3. Files are untrusted: the header is parsed strictly and its sizes are checked
// against the bytes that are there before anything is allocated.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "octavo/graph.h"

namespace octavo::cli {

// A stream of `size` bytes; read fills up to n bytes and returns how many, 0 at the end, or throws Failure.
struct ByteSource {
  std::function<size_t(void* out, size_t n)> read;
  uint64_t size = 0;
};

// Dense row-major tensor (Fortran order is converted). `what` names the array in errors. Throws Failure: malformed or
// truncated data, trailing bytes, big-endian or unsupported element types, more than 8 dimensions.
Tensor read_npy(const ByteSource& source, const std::string& what);
Tensor load_npy(const std::string& path);

// Version 1, little-endian, C order; to a temporary file, then renamed.
void save_npy(const std::string& path, const Tensor& tensor);

}  // namespace octavo::cli
