// What tests share: memory whose neighbours trap, and reproducible noise.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <type_traits>

namespace octavo::test {

// Sweeps of many cases take one of this many: OCTAVO_TEST_THIN in the environment, which tests/CMakeLists.txt sets; else 1.
inline size_t thinning() {
  static const size_t factor = [] {
    const char* text = std::getenv("OCTAVO_TEST_THIN");
    const int value = text ? std::atoi(text) : 1;
    if (value < 1) {
      std::fprintf(stderr, "OCTAVO_TEST_THIN is '%s', not a number from 1 on\n", text);
      std::abort();
    }
    if (value > 1) std::printf("[ note     ] sweeps take one case of %d (OCTAVO_TEST_THIN)\n", value);
    return size_t(value);
  }();
  return factor;
}
// How many random cases to try where `n` are wanted; at least one.
inline int thinned(int n) { return int((size_t(n) + thinning() - 1) / thinning()); }
// Whether a systematic sweep takes its case number `turn`.
inline bool taken(size_t turn) { return turn % thinning() == 0; }

// Memory between two pages that trap on any access. Ask for `right(n)` to have n bytes end at the upper trap, and for
// `left(n)` to have them begin at the lower one. Both may be asked for again and again: the place is reused.
class GuardedBuffer {
 public:
  explicit GuardedBuffer(size_t capacity) {
    const size_t page = size_t(sysconf(_SC_PAGESIZE));
    capacity_ = (capacity + page - 1) / page * page;
    mapped_ = capacity_ + 2 * page;
    void* p = mmap(nullptr, mapped_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) throw std::bad_alloc();
    base_ = static_cast<char*>(p);
    data_ = base_ + page;
    if (mprotect(data_, capacity_, PROT_READ | PROT_WRITE) != 0) {
      munmap(base_, mapped_);
      throw std::bad_alloc();
    }
  }
  ~GuardedBuffer() { munmap(base_, mapped_); }
  GuardedBuffer(const GuardedBuffer&) = delete;
  GuardedBuffer& operator=(const GuardedBuffer&) = delete;

  // The highest address that is a multiple of `align` with `bytes` bytes before the trap. Exact if align divides bytes.
  char* right(size_t bytes, size_t align = 1) {
    check(bytes + align - 1);
    return data_ + (capacity_ - bytes) / align * align;
  }
  char* left(size_t bytes) {
    check(bytes);
    return data_;
  }
  size_t capacity() const { return capacity_; }

 private:
  void check(size_t bytes) const {
    if (bytes <= capacity_) return;
    std::fprintf(stderr, "GuardedBuffer: %zu bytes asked for, %zu there\n", bytes, capacity_);
    std::abort();
  }
  char* base_ = nullptr;
  char* data_ = nullptr;
  size_t capacity_ = 0, mapped_ = 0;
};

// xorshift64*: the same numbers on every machine and library.
class Noise {
 public:
  explicit Noise(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 1) {}
  uint64_t next() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return state_ * 0x2545f4914f6cdd1du;
  }
  int64_t integer(int64_t lo, int64_t hi) { return lo + int64_t((next() >> 11) % uint64_t(hi - lo + 1)); }  // inclusive
  float real(float lo, float hi) { return lo + (hi - lo) * float(double(next() >> 11) * 0x1p-53); }
  // Fills integers with all their values, floats with [-1, 1).
  template <class T>
  void fill(T* p, size_t n) {
    for (size_t i = 0; i < n; ++i) {
      T v;
      if constexpr (std::is_floating_point_v<T>) {
        v = T(real(-1, 1));
      } else {
        v = T(next() >> 32);
      }
      std::memcpy(reinterpret_cast<char*>(p) + i * sizeof(T), &v, sizeof v);
    }
  }

 private:
  uint64_t state_;
};

}  // namespace octavo::test
