#include "src/buffer.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace octavo::detail {

void* allocate_huge(size_t bytes) {
  void* p = ::operator new(bytes, std::align_val_t(alignment_of(bytes)));
#if defined(__linux__)
  // Advice: where it is not taken, pages are small ones. The last, partial page stays small.
  if (bytes >= kHugePage) (void)madvise(p, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
#endif
  return p;
}

}  // namespace octavo::detail
