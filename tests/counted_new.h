// Replaces operator new of the one test program that includes this: counts allocations, for the promise that run() makes none, and
// lets one fail.
#pragma once

#include <cstdlib>
#include <new>

namespace {

size_t allocations = 0, failing = 0;  // the number of the one that fails; 0: none

void* allocate(size_t bytes) {
  if (++allocations == failing) throw std::bad_alloc();
  if (void* p = std::aligned_alloc(64, (bytes + 63) / 64 * 64 + 64)) return p;
  throw std::bad_alloc();
}

}  // namespace

void* operator new(size_t n) { return allocate(n); }
void* operator new[](size_t n) { return allocate(n); }
void* operator new[](size_t n, std::align_val_t) { return allocate(n); }
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, size_t) noexcept { std::free(p); }
void operator delete[](void* p) noexcept { std::free(p); }
void operator delete[](void* p, size_t) noexcept { std::free(p); }
void operator delete[](void* p, std::align_val_t) noexcept { std::free(p); }
