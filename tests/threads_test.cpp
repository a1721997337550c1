#include "octavo/threads.h"

#include <atomic>
#include <thread>
#include <vector>

#include "plan_test_util.h"

namespace octavo {
namespace {
using namespace test;

struct Cover {
  std::vector<std::atomic<int>> hits;
  std::vector<std::atomic<int>> in_use;
  std::atomic<bool> bad{false};
  Cover(int64_t count, int threads) : hits(size_t(count)), in_use(size_t(threads)) {}
  static void body(void* arg, int64_t begin, int64_t end, int thread) {
    Cover& c = *static_cast<Cover*>(arg);
    if (thread < 0 || size_t(thread) >= c.in_use.size() || c.in_use[size_t(thread)].fetch_add(1) != 0) {
      c.bad = true;
      return;
    }
    for (int64_t i = begin; i < end; ++i) c.hits[size_t(i)].fetch_add(1);
    c.in_use[size_t(thread)].fetch_sub(1);
  }
};

void expect_covers(Parallel p, int64_t count) {
  Cover cover(count, p.threads);
  p.run(p.context, count, Cover::body, &cover);
  EXPECT_FALSE(cover.bad) << p.threads << " threads, " << count;
  for (const auto& h : cover.hits) EXPECT_EQ(h.load(), 1) << p.threads << " threads, " << count;
}

TEST(Threads, EveryIndexOnce) {
  for (int64_t count : {0, 1, 2, 3, 7, 100}) expect_covers(single_thread(), count);
  for (int threads : {1, 2, 3, 5}) {
    ThreadPool pool = *ThreadPool::create(threads);
    EXPECT_EQ(pool.parallel().threads, threads);
    for (int64_t count : {0, 1, 2, 3, 7, 100}) expect_covers(pool.parallel(), count);
  }
}

TEST(Threads, ManyShortJobs) {
  ThreadPool pool = *ThreadPool::create(3);
  const Parallel p = pool.parallel();
  int64_t totals[3] = {};
  for (int i = 0; i < 2000; ++i)
    p.run(
        p.context, 3,
        [](void* arg, int64_t begin, int64_t end, int thread) { static_cast<int64_t*>(arg)[thread] += end - begin; }, totals);
  EXPECT_EQ(totals[0] + totals[1] + totals[2], 6000);
}

TEST(Threads, WorkersSleepAndWake) {
  ThreadPool pool = *ThreadPool::create(2);
  for (int i = 0; i < 3; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    expect_covers(pool.parallel(), 10);
  }
}

TEST(Threads, CallersAreSerialized) {
  ThreadPool pool = *ThreadPool::create(2);
  const Parallel p = pool.parallel();
  std::vector<std::thread> callers;
  for (int i = 0; i < 3; ++i)
    callers.emplace_back([p] {
      for (int j = 0; j < 50; ++j) expect_covers(p, 9);
    });
  for (std::thread& t : callers) t.join();
}

TEST(Threads, MovesAndErrors) {
  ThreadPool a = *ThreadPool::create(2);
  ThreadPool b = std::move(a);
  expect_covers(b.parallel(), 5);
  b = *ThreadPool::create(3);
  expect_covers(b.parallel(), 5);
  expect_error(ThreadPool::create(0).status(), Code::invalid_argument, "threads is 0");
  expect_error(ThreadPool::create(1 << 20).status(), Code::invalid_argument, "threads is 1048576");
}

// One plan, run at once by several threads, each with its own workspace.
TEST(Threads, PlansAreShared) {
  Noise noise(8);
  std::vector<int8_t> w(32 * 32 * 9);
  std::vector<uint8_t> a(32 * 400);
  noise.fill(w.data(), w.size());
  noise.fill(a.data(), a.size());
  const float scale = 0.01f;
  ConvDesc d;
  d.window = {20, 20, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1}, d.ic = d.oc = 32, d.w = w.data();
  d.numerics.w_scale = &scale, d.numerics.w_scale_count = 1;
  const ConvPlan plan = *ConvPlan::create(d);
  std::vector<float> expected(32 * 400);
  ConvArgs v;
  v.batch = 1, v.a = a.data(), v.c = expected.data();
  reference::conv(d, v);
  std::vector<std::thread> users;
  for (int i = 0; i < 3; ++i)
    users.emplace_back([&, copy = plan] {
      std::vector<float> c(32 * 400);
      std::vector<char> memory(copy.workspace_bytes() + 64);
      ConvArgs mine = v;
      mine.c = c.data();
      void* workspace = memory.data() + (64 - reinterpret_cast<uintptr_t>(memory.data()) % 64);
      EXPECT_TRUE(copy.run(mine, workspace, single_thread()).ok());
      EXPECT_EQ(c, expected);
    });
  for (std::thread& t : users) t.join();
}

}  // namespace
}  // namespace octavo
