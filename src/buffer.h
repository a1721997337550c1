// Aligned array of plain data that owns its memory. Throws std::bad_alloc; plans catch it in create().
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <new>

namespace octavo::detail {

constexpr size_t kAlign = 64;
constexpr size_t align_up(size_t n) { return (n + kAlign - 1) / kAlign * kAlign; }

// Memory of which as much as possible lies in huge pages, where the system grants them on request: weights that are streamed
// through take fewer page translations then, and fresh memory fewer page faults. At least kAlign.
constexpr size_t kHugePage = size_t(2) << 20;
constexpr size_t alignment_of(size_t bytes) { return bytes >= kHugePage ? kHugePage : kAlign; }
void* allocate_huge(size_t bytes);

template <class T>
class Buffer {
 public:
  Buffer() = default;
  // Zeroed.
  explicit Buffer(size_t count) : Buffer(uninitialized(count)) {
    std::memset(static_cast<void*>(data_.get()), 0, count * sizeof(T));
  }
  static Buffer uninitialized(size_t count) {
    Buffer b;
    b.data_ = {static_cast<T*>(allocate_huge(count * sizeof(T))), Free{alignment_of(count * sizeof(T))}};
    b.size_ = count;
    return b;
  }
  T* get() noexcept { return data_.get(); }
  const T* get() const noexcept { return data_.get(); }
  size_t size() const noexcept { return size_; }
  size_t bytes() const noexcept { return size_ * sizeof(T); }
  T& operator[](size_t i) noexcept { return data_.get()[i]; }
  const T& operator[](size_t i) const noexcept { return data_.get()[i]; }

 private:
  struct Free {
    size_t align = kAlign;
    void operator()(T* p) const noexcept { ::operator delete(static_cast<void*>(p), std::align_val_t(align)); }
  };
  std::unique_ptr<T, Free> data_;
  size_t size_ = 0;
};

}  // namespace octavo::detail
