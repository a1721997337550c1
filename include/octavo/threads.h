// Threads come through a hook: Octavo starts none unless asked for its default pool.
#pragma once

#include <cstdint>
#include <memory>

#include "octavo/types.h"

namespace octavo {

// The caller's threads. `run` must call body(arg, begin, end, thread) so that the ranges cover [0, count) exactly once,
// with thread in [0, threads), each value in use by one thread at a time; it returns when all is done.
struct Parallel {
  int threads = 1;
  void* context = nullptr;
  using Body = void (*)(void* arg, int64_t begin, int64_t end, int thread);
  void (*run)(void* context, int64_t count, Body body, void* arg) = nullptr;
};

// Everything on the calling thread.
Parallel single_thread() noexcept;

// Default pool for those who have none: `threads` workers including the caller; most of the work is split into equal
// ranges, the rest goes in small ones to whoever is done first; workers spin briefly and then sleep. One run() at a time per pool
// (callers are serialized). Movable, not copyable.
class ThreadPool {
 public:
  static Expected<ThreadPool> create(int threads) noexcept;
  ThreadPool(ThreadPool&&) noexcept;
  ThreadPool& operator=(ThreadPool&&) noexcept;
  ~ThreadPool();
  Parallel parallel() noexcept;  // valid as long as the pool lives

 private:
  struct Impl;
  explicit ThreadPool(std::unique_ptr<Impl>) noexcept;
  std::unique_ptr<Impl> impl_;
};

}  // namespace octavo
