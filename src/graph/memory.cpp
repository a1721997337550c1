#include "memory.h"

#include <algorithm>

namespace octavo {

Expected<size_t> plan_memory(std::vector<Buffer>& buffers, size_t limit) {
  constexpr size_t kAlign = 64;
  std::vector<Buffer*> by_size;
  for (Buffer& b : buffers) {
    if (b.bytes > limit)
      return Status::error(Code::overflow, "a tensor of %zu bytes exceeds the arena limit of %zu bytes", b.bytes, limit);
    b.bytes = (b.bytes + kAlign - 1) / kAlign * kAlign;
    by_size.push_back(&b);
  }
  // Equal sizes stay in order. (Not stable_sort: in libstdc++ 12 it calls what is deprecated, and Clang says so.)
  std::sort(by_size.begin(), by_size.end(),
            [](const Buffer* a, const Buffer* b) { return a->bytes != b->bytes ? a->bytes > b->bytes : a < b; });
  std::vector<const Buffer*> placed;  // by offset
  size_t arena = 0;
  for (Buffer* b : by_size) {
    size_t offset = 0;
    for (const Buffer* p : placed) {
      if (p->last < b->first || b->last < p->first) continue;
      if (offset + b->bytes <= p->offset) break;
      offset = std::max(offset, p->offset + p->bytes);
    }
    b->offset = offset;
    if (b->bytes > limit - offset) return Status::error(Code::overflow, "the arena exceeds %zu bytes", limit);
    arena = std::max(arena, offset + b->bytes);
    placed.insert(
        std::upper_bound(placed.begin(), placed.end(), b, [](const Buffer* x, const Buffer* y) { return x->offset < y->offset; }),
        b);
  }
  return arena;
}

}  // namespace octavo
