// The memory plan: offsets in one arena for buffers with lifetimes.
#pragma once

#include <cstddef>
#include <vector>

#include "octavo/types.h"

namespace octavo {

struct Buffer {
  size_t bytes = 0;
  int first = 0, last = 0;  // steps at which it is written first and used last
  size_t offset = 0;        // the result; a multiple of 64
};

// Greedy by size: the largest buffer first, each at the lowest offset that is free throughout its life. Returns the size of
// the arena; `overflow` above the limit.
Expected<size_t> plan_memory(std::vector<Buffer>& buffers, size_t limit = size_t(1) << 36);

}  // namespace octavo
