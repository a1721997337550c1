// The observers behind Observer::create, and the ranges of quantized values that a TensorConfig asks for.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <vector>

#include "octavo/quantize.h"

namespace octavo {

struct QRange {
  int32_t lo, hi;
};
// u8 [0,255], s8 [-128,127]; reduce_range halves it; narrow leaves out the lowest value of s8.
constexpr QRange range_of(const TensorConfig& config) noexcept {
  const int shift = config.reduce_range ? 1 : 0;
  return {(qmin_of(config.dtype) >> shift) + (config.narrow ? 1 : 0), qmax_of(config.dtype) >> shift};
}

// What the observers share.
struct FiniteRange {
  float lo = std::numeric_limits<float>::infinity(), hi = -std::numeric_limits<float>::infinity();
  uint64_t ignored = 0;
};
FiniteRange finite_range(const float* data, size_t count) noexcept;
bool is_range(float lo, float hi) noexcept;  // finite and in order, or the empty one: infinity, -infinity
Status nothing_seen(uint64_t ignored) noexcept;
Status cannot_merge() noexcept;
Status bad_state(const char* what) noexcept;

// The smallest and largest finite value. NaN and infinities are counted, not used: one bad sample shall not void a calibration.
class MinMaxObserver final : public Observer {
 public:
  void observe(const float* data, size_t count, uint64_t sample) override;
  Status merge(const Observer& other) override;
  Expected<QParams> qparams(const TensorConfig& config) const override;
  void save(std::string& out) const override;
  Status load(std::string_view& in) override;

 private:
  float lo_ = std::numeric_limits<float>::infinity(), hi_ = -std::numeric_limits<float>::infinity();
  uint64_t ignored_ = 0;
};

// The smallest and largest finite value of each sample, so that parts can be averaged in the order of the samples after all.
class MovingAverageObserver final : public Observer {
 public:
  void observe(const float* data, size_t count, uint64_t sample) override;
  Status merge(const Observer& other) override;
  Expected<QParams> qparams(const TensorConfig& config) const override;
  void save(std::string& out) const override;
  Status load(std::string_view& in) override;

 private:
  struct Range {
    float lo, hi;
  };
  void widen(uint64_t sample, Range range);

  std::map<uint64_t, Range> samples_;
  uint64_t ignored_ = 0;
};

// Counts values in bins of width 2^e that begin at multiples of 2^e, and doubles the width when the range outgrows the bins.
// Bins of one width are unions of bins of the next narrower one, and e is a function of the range alone; so the histogram
// depends on the set of values only: not on their order, the split into calls, or the merging of parts.
// qparams() picks a range as config.observer says.
class HistogramObserver final : public Observer {
 public:
  static constexpr int kBins = 4096;  // of which a range uses at least half: PyTorch's 2048

  void observe(const float* data, size_t count, uint64_t sample) override;
  Status merge(const Observer& other) override;
  Expected<QParams> qparams(const TensorConfig& config) const override;
  void save(std::string& out) const override;
  Status load(std::string_view& in) override;

 private:
  void grow(float lo, float hi);
  float quantile(double share) const;

  float lo_ = std::numeric_limits<float>::infinity(), hi_ = -std::numeric_limits<float>::infinity();
  int exponent_ = 0;  // bin i holds [first_ + i, first_ + i + 1) * 2^exponent_
  int64_t first_ = 0;
  std::vector<uint64_t> bins_;  // empty until a value other than zero is seen
  uint64_t zeros_ = 0;          // exact in any range, so in no bin
  uint64_t ignored_ = 0;
};

}  // namespace octavo
