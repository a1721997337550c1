// The data caches that one core has for itself: what blockings are measured against.
#pragma once

#include <cstdint>

namespace octavo::detail {

struct Caches {
  int64_t l1 = 32 << 10, l2 = 512 << 10;  // bytes; these are taken where the machine does not tell
};

// Of the core that asks first. No result depends on them, nor do packed weights.
const Caches& caches() noexcept;

}  // namespace octavo::detail
