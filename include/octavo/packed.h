// Packed weights by themselves: held once, however many plans use them, and as bytes that outlive a process.
//
//   const PackedWeights w = plan->packed();             // shared, not copied
//   desc.b = nullptr, desc.packed = &w;                 // another plan on the same weights, with an epilogue of its own
//   file.write(w.data(), w.bytes());                    // ... and later, from mapped memory, without packing or copying:
//   const auto again = PackedWeights::view(mapped, size);
//
// The bytes are those of one kernel layout (PackFormat) on a little-endian machine. Plans whose kernel has another one refuse them.
#pragma once

#include <cstddef>
#include <memory>

#include "octavo/types.h"

namespace octavo {

namespace detail {
struct PackedAccess;
}

// Immutable; copies share the bytes.
class PackedWeights {
 public:
  PackedWeights() noexcept = default;  // none: bytes() is 0, and plans refuse it
  // Weights in a caller's buffer, aligned to 64 bytes, that holds what data() and bytes() gave. It is neither copied nor changed, and
  // must stay as it is while this object, a copy of it or a plan made from it lives. invalid_argument if the buffer is null, not
  // aligned or too short, or if its header is not one of this version or not whole. The weights themselves are not checked:
  // whatever they hold, nothing outside the buffer is read.
  static Expected<PackedWeights> view(const void* data, size_t bytes) noexcept;

  const void* data() const noexcept { return data_; }  // aligned to 64 bytes
  size_t bytes() const noexcept { return bytes_; }

 private:
  friend struct detail::PackedAccess;
  std::shared_ptr<const void> owner_;  // null for a view
  const void* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace octavo
