// NumPy's .npz archives: a zip file of .npy arrays, stored or deflated.
#pragma once

#include <map>
#include <set>
#include <string>

#include "octavo/graph.h"

namespace octavo::cli {

struct NpzLimits {
  uint64_t max_bytes = uint64_t(8) << 30;  // of all arrays read, uncompressed
  int64_t max_entries = 1024;
};

// The arrays of those names that the archive has; the others stay unread. Throws Failure: not a zip file, a duplicate name,
// an entry that claims more than its compressed bytes can hold or more than the limit, a wrong checksum, malformed arrays.
std::map<std::string, Tensor> load_npz(const std::string& path, const std::set<std::string>& names, const NpzLimits& limits = {});

}  // namespace octavo::cli
