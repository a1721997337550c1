#include "eltwise_bound.h"

#include <algorithm>
#include <cstring>
#include <ctime>

#include "peak.h"

namespace octavo::bench {
namespace {

double seconds_of(long calls, const std::function<void()>& fn) {
  timespec start, end;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start);
  for (long i = 0; i < calls; ++i) fn();
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
  return (double(end.tv_sec - start.tv_sec) + 1e-9 * double(end.tv_nsec - start.tv_nsec)) / double(calls);
}

}  // namespace

double mix_seconds(Isa isa, const Mix& mix, double floats) {
  static const double load_bytes = read_gbytes(size_t(16) << 10) * 1e9;
  const auto seconds = [&](const PeakLoop* loop, double instructions) {
    return loop ? instructions / 32 * 8 * floats / (peak_gmacs(*loop) * 1e9) : 0.0;
  };
  const PeakLoop* products = peak_loop_of(isa, DType::f32);
  const double places = std::max(0.0, seconds(vector_loop(isa, "div_mul"), mix.div) - seconds(products, 12 * mix.div));
  return std::max({seconds(products, mix.fma) + places, seconds(vector_loop(isa, "div"), mix.div),
                   seconds(vector_loop(isa, "mix"), mix.all), seconds(vector_loop(isa, "chain"), mix.chain),
                   mix.loads * floats / load_bytes});
}

Beside time_beside(const std::function<void()>& routine, size_t bytes_read, size_t bytes_written) {
  constexpr double kRound = 2e-4;
  const size_t total = (bytes_read + bytes_written + kReadBlock - 1) / kReadBlock * kReadBlock, half = total / 2;
  static Buffer from, to;
  if (from.size < total) from = Buffer(total, 0), to = Buffer(total, 1);
  const std::function<void()> bytes = [&] {
    if (bytes_written > bytes_read)
      write_blocks(to.data(), bytes_written / kReadBlock);
    else if (bytes_written > 0)
      std::memcpy(to.data(), from.data(), half);
    else
      read_blocks(from.data(), total / kReadBlock);
  };
  routine(), bytes();
  const long calls = std::max(1L, long(kRound / std::max(1e-9, seconds_of(1, routine))));
  const long copies = std::max(1L, long(kRound / std::max(1e-9, seconds_of(1, bytes))));
  const int rounds = calls > 1 ? 40 : 10;
  Beside best{1e30, 1e30};
  for (int i = 0; i < rounds; ++i) {
    best.routine = std::min(best.routine, seconds_of(calls, routine));
    best.bytes = std::min(best.bytes, seconds_of(copies, bytes));
  }
  return best;
}

}  // namespace octavo::bench
