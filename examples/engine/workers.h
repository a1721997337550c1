// The engine's own thread pool: nothing of Octavo but the hook that it plugs into.
#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "octavo/threads.h"

class Workers {
 public:
  explicit Workers(int threads) : threads_(threads) {
    for (int i = 1; i < threads; ++i) pool_.emplace_back([this, i] { work(i); });
  }
  ~Workers() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
    for (std::thread& t : pool_) t.join();
  }
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  // What Octavo's plans take.
  octavo::Parallel parallel() { return {threads_, this, run}; }

 private:
  // Covers [0, count) exactly once, one range for each thread, and returns when all is done.
  static void run(void* self, int64_t count, octavo::Parallel::Body body, void* arg) {
    Workers& w = *static_cast<Workers*>(self);
    {
      const std::lock_guard lock(w.mutex_);
      w.body_ = body;
      w.arg_ = arg;
      w.count_ = count;
      w.pending_ = w.threads_ - 1;
      ++w.job_;
    }
    w.wake_.notify_all();
    w.share(0);
    std::unique_lock lock(w.mutex_);
    w.done_.wait(lock, [&] { return w.pending_ == 0; });
  }
  void share(int thread) const {
    const int64_t begin = count_ * thread / threads_, end = count_ * (thread + 1) / threads_;
    if (begin < end) body_(arg_, begin, end, thread);
  }
  void work(int thread) {
    for (int seen = 0;;) {
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [&] { return stop_ || job_ != seen; });
        if (stop_) return;
        seen = job_;
      }
      share(thread);
      const std::lock_guard lock(mutex_);
      if (--pending_ == 0) done_.notify_one();
    }
  }

  int threads_;
  std::vector<std::thread> pool_;
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  octavo::Parallel::Body body_ = nullptr;
  void* arg_ = nullptr;
  int64_t count_ = 0;
  int pending_ = 0, job_ = 0;
  bool stop_ = false;
};
