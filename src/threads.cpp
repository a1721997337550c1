#include "octavo/threads.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "src/plan.h"

namespace octavo {
namespace {

void run_here(void*, int64_t count, Parallel::Body body, void* arg) {
  if (count > 0) body(arg, 0, count, 0);
}

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

Parallel single_thread() noexcept { return {1, nullptr, run_here}; }

struct ThreadPool::Impl {
  int threads = 1;
  std::mutex callers;
  // The job: written before `generation` goes up, read by the workers after they see that.
  Parallel::Body body = nullptr;
  void* arg = nullptr;
  int64_t count = 0;
  std::atomic<int64_t> rest{0};         // how much of what is not shared out equally has been taken
  std::atomic<uint32_t> generation{0};  // goes up with every job, and once more with stop
  std::atomic<int32_t> pending{0};      // workers that have not finished the job
  std::atomic<bool> stop{false};
  std::vector<std::thread> workers;

  // Pieces of the rest for each thread; and how many tiles for each thread there must be for a rest.
  static constexpr int64_t kPieces = 4, kMinPieces = 16;

  // Twice as long as a wake-up through the kernel takes, so that threads of unequal shares meet without one: on Zen 4 50 us, where a
  // virtual machine's wake-up takes 22.
  static constexpr int kSpins = 2000;

  template <class T>
  static void wait_while(const std::atomic<T>& value, T old) {
    for (int i = 0; i < kSpins; ++i) {
      if (value.load(std::memory_order_acquire) != old) return;
      pause();
    }
    value.wait(old, std::memory_order_acquire);
  }

  // Most of the work in equal shares, one piece for each thread; the rest in small pieces to whoever comes first, so that nobody
  // waits long for a thread that was disturbed, or for a smaller core.
  void run_share(int thread) {
    const int64_t shared = count >= kMinPieces * threads ? count - count / 4 : count;
    const int64_t begin = detail::part_begin(shared, threads, thread), end = detail::part_begin(shared, threads, thread + 1);
    if (begin < end) body(arg, begin, end, thread);
    if (shared == count) return;
    const int64_t piece = std::max<int64_t>(1, (count - shared) / (kPieces * threads));
    for (int64_t at; (at = rest.fetch_add(piece, std::memory_order_relaxed)) < count - shared;)
      body(arg, shared + at, shared + at + std::min(piece, count - shared - at), thread);
  }

  void work(int thread) {
    for (uint32_t seen = 0;;) {
      wait_while(generation, seen);
      seen = generation.load(std::memory_order_acquire);
      if (stop.load(std::memory_order_relaxed)) return;
      run_share(thread);
      if (pending.fetch_sub(1, std::memory_order_acq_rel) == 1) pending.notify_one();
    }
  }

  void run(int64_t n, Parallel::Body b, void* a) {
    const std::lock_guard<std::mutex> lock(callers);
    body = b;
    arg = a;
    count = n;
    rest.store(0, std::memory_order_relaxed);
    pending.store(int32_t(workers.size()), std::memory_order_relaxed);
    generation.fetch_add(1, std::memory_order_release);
    generation.notify_all();
    run_share(0);
    for (int32_t left; (left = pending.load(std::memory_order_acquire)) != 0;) wait_while(pending, left);
  }

  ~Impl() {
    stop.store(true, std::memory_order_relaxed);
    generation.fetch_add(1, std::memory_order_release);
    generation.notify_all();
    for (std::thread& t : workers) t.join();
  }
};

Expected<ThreadPool> ThreadPool::create(int threads) noexcept try {
  if (threads < 1 || threads > 1024) return Status::error(Code::invalid_argument, "threads is %d: must be in [1, 1024]", threads);
  auto impl = std::make_unique<Impl>();
  impl->threads = threads;
  impl->workers.reserve(size_t(threads) - 1);
  for (int i = 1; i < threads; ++i) impl->workers.emplace_back(&Impl::work, impl.get(), i);
  return ThreadPool(std::move(impl));
} catch (const std::exception& e) {
  return Status::error(Code::out_of_memory, "threads is %d: cannot start them (%s)", threads, e.what());
}

ThreadPool::ThreadPool(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
ThreadPool::ThreadPool(ThreadPool&&) noexcept = default;
ThreadPool& ThreadPool::operator=(ThreadPool&&) noexcept = default;
ThreadPool::~ThreadPool() = default;

Parallel ThreadPool::parallel() noexcept {
  return {impl_->threads, impl_.get(), [](void* context, int64_t count, Parallel::Body body, void* arg) {
            static_cast<Impl*>(context)->run(count, body, arg);
          }};
}

}  // namespace octavo
