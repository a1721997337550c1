// 64-byte aligned array of plain data that owns its memory. Throws std::bad_alloc; plans catch it in create().
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <new>

namespace octavo::detail {

constexpr size_t kAlign = 64;
constexpr size_t align_up(size_t n) { return (n + kAlign - 1) / kAlign * kAlign; }

template <class T>
class Buffer {
 public:
  Buffer() = default;
  // Zeroed.
  explicit Buffer(size_t count)
      : data_(static_cast<T*>(::operator new(count * sizeof(T), std::align_val_t(kAlign)))), size_(count) {
    std::memset(static_cast<void*>(data_.get()), 0, count * sizeof(T));
  }
  T* get() noexcept { return data_.get(); }
  const T* get() const noexcept { return data_.get(); }
  size_t size() const noexcept { return size_; }
  size_t bytes() const noexcept { return size_ * sizeof(T); }
  T& operator[](size_t i) noexcept { return data_.get()[i]; }
  const T& operator[](size_t i) const noexcept { return data_.get()[i]; }

 private:
  struct Free {
    void operator()(T* p) const noexcept { ::operator delete(static_cast<void*>(p), std::align_val_t(kAlign)); }
  };
  std::unique_ptr<T, Free> data_;
  size_t size_ = 0;
};

}  // namespace octavo::detail
