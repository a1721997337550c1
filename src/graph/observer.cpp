#include "observer.h"

#include <algorithm>
#include <cmath>

namespace octavo {
namespace {

struct Range {
  float lo = std::numeric_limits<float>::infinity(), hi = -std::numeric_limits<float>::infinity();
  uint64_t ignored = 0;
};

Range finite_range(const float* data, size_t count) noexcept {
  Range r;
  for (size_t i = 0; i < count; ++i) {
    const float x = data[i];
    if (!std::isfinite(x)) {
      ++r.ignored;
      continue;
    }
    r.lo = std::min(r.lo, x);
    r.hi = std::max(r.hi, x);
  }
  return r;
}

Status nothing_seen(uint64_t ignored) noexcept {
  if (ignored)
    return Status::error(Code::invalid_argument, "all %llu values seen are NaN or infinite", (unsigned long long)ignored);
  return Status::error(Code::invalid_argument, "no value was seen");
}

Status cannot_merge() noexcept { return Status::error(Code::invalid_argument, "observers of different kinds cannot be merged"); }

// The smallest e for which the bins of [lo, hi] fit, and for which a bin index is exact in a float's 24 bits.
int exponent_for(float lo, float hi) noexcept {
  const double magnitude = std::max(std::fabs(double(lo)), std::fabs(double(hi)));
  const double span = double(hi) - double(lo);
  int e = std::ilogb(magnitude) - 23;
  if (span > 0) e = std::max(e, std::ilogb(span) - 13);
  const auto bins = [&](int exp) { return std::floor(std::ldexp(hi, -exp)) - std::floor(std::ldexp(double(lo), -exp)) + 1; };
  while (bins(e) > HistogramObserver::kBins) ++e;
  return e;
}

// The squared error of quantizing a value distributed as the histogram says, uniform within each bin, as a function of the
// quantization parameters. With u = x / scale and n = clamp(rne(u)) to the representable integers,
//   integral of (u - n)^2 from 0 to u  =  G(u)  =  n / 12 + (u - n)^3 / 3,
// inside the range and, because n stops there, beyond both of its ends.
class ErrorOf {
 public:
  ErrorOf(const std::vector<uint64_t>& bins, int64_t first, double width) : width_(width) {
    for (size_t i = 0; i < bins.size(); ++i)
      if (bins[i]) bins_.push_back({double(first + int64_t(i)), double(bins[i])});
  }

  double operator()(const QParams& q, QRange range) const noexcept {
    const double lo = range.lo - q.zero_point, hi = range.hi - q.zero_point, step = width_ / q.scale;
    double sum = 0, end = -std::numeric_limits<double>::infinity(), at_end = 0;  // of the bin before
    for (const Bin& bin : bins_) {
      const double at_begin = bin.index == end ? at_end : integral(bin.index * step, lo, hi);
      end = bin.index + 1;
      at_end = integral(end * step, lo, hi);
      sum += bin.count * (at_end - at_begin);
    }
    return sum * q.scale * q.scale / step;  // G counts in units of scale; 1 / step is the density in a bin
  }

 private:
  struct Bin {
    double index, count;
  };
  static double integral(double u, double lo, double hi) noexcept {
    const double clamped = std::min(std::max(u, lo), hi);
    const double n = double(int64_t(clamped + (clamped < 0 ? -0.5 : 0.5)));
    const double d = u - n;
    return n / 12 + d * d * d / 3;
  }

  double width_;
  std::vector<Bin> bins_;
};

}  // namespace

std::unique_ptr<Observer> Observer::create(ObserverKind kind) {
  if (kind == ObserverKind::min_max) return std::make_unique<MinMaxObserver>();
  return std::make_unique<HistogramObserver>();
}

void MinMaxObserver::observe(const float* data, size_t count) {
  const Range r = finite_range(data, count);
  lo_ = std::min(lo_, r.lo);
  hi_ = std::max(hi_, r.hi);
  ignored_ += r.ignored;
}

Status MinMaxObserver::merge(const Observer& other) {
  const auto* o = dynamic_cast<const MinMaxObserver*>(&other);
  if (!o) return cannot_merge();
  lo_ = std::min(lo_, o->lo_);
  hi_ = std::max(hi_, o->hi_);
  ignored_ += o->ignored_;
  return {};
}

Expected<QParams> MinMaxObserver::qparams(const TensorConfig& config) const {
  if (lo_ > hi_) return nothing_seen(ignored_);
  const QRange q = range_of(config);
  return choose_qparams(lo_, hi_, q.lo, q.hi, config.symmetric, config.eps);
}

// Makes the bins cover [lo, hi] as well; what was counted moves to the bins of its values.
void HistogramObserver::grow(float lo, float hi) {
  lo = std::min(lo, lo_);
  hi = std::max(hi, hi_);
  if (lo == lo_ && hi == hi_) return;
  lo_ = lo;
  hi_ = hi;
  if (lo == 0 && hi == 0) return;
  const int exponent = exponent_for(lo, hi);
  const int64_t first = int64_t(std::floor(std::ldexp(double(lo), -exponent)));
  std::vector<uint64_t> bins(kBins);
  const int shift = std::min(exponent - exponent_, 62);
  for (size_t i = 0; i < bins_.size(); ++i)
    if (bins_[i]) bins[size_t(((first_ + int64_t(i)) >> shift) - first)] += bins_[i];
  exponent_ = exponent;
  first_ = first;
  bins_ = std::move(bins);
}

void HistogramObserver::observe(const float* data, size_t count) {
  const Range r = finite_range(data, count);
  ignored_ += r.ignored;
  if (r.lo > r.hi) return;
  grow(r.lo, r.hi);
  if (bins_.empty()) return;
  const double per_width = std::ldexp(1.0, -exponent_);
  for (size_t i = 0; i < count; ++i) {
    const float x = data[i];
    if (x == 0 || !std::isfinite(x)) continue;
    const double exact = double(x) * per_width;
    const int64_t truncated = int64_t(exact);
    ++bins_[size_t(truncated - (exact < double(truncated)) - first_)];  // floor, without a call
  }
}

Status HistogramObserver::merge(const Observer& other) {
  const auto* o = dynamic_cast<const HistogramObserver*>(&other);
  if (!o) return cannot_merge();
  ignored_ += o->ignored_;
  if (o->lo_ > o->hi_) return {};
  grow(o->lo_, o->hi_);
  const int shift = std::min(exponent_ - o->exponent_, 62);
  for (size_t i = 0; i < o->bins_.size(); ++i)
    if (o->bins_[i]) bins_[size_t(((o->first_ + int64_t(i)) >> shift) - first_)] += o->bins_[i];
  return {};
}

// Shrinks the full range where that pays: first both ends alike, then each by itself in turn, on ever finer grids around the
// best so far. A wider range wins ties.
Expected<QParams> HistogramObserver::qparams(const TensorConfig& config) const {
  if (lo_ > hi_) return nothing_seen(ignored_);
  const QRange range = range_of(config);
  const double lo = std::min(lo_, 0.0f), hi = std::max(hi_, 0.0f);
  const auto at = [&](double lo_share, double hi_share) {
    return choose_qparams(float(lo * lo_share), float(hi * hi_share), range.lo, range.hi, config.symmetric, config.eps);
  };
  if (bins_.empty()) return at(1, 1);

  const ErrorOf error(bins_, first_, std::ldexp(1.0, exponent_));
  double best_lo = 1, best_hi = 1, best = error(at(1, 1), range);
  const auto consider = [&](double lo_share, double hi_share) {
    if (lo_share <= 0 || hi_share <= 0 || lo_share > 1 || hi_share > 1) return;
    const double e = error(at(lo_share, hi_share), range);
    if (e < best) best = e, best_lo = lo_share, best_hi = hi_share;
  };
  constexpr int kGrid = 64;
  for (int i = kGrid - 1; i > 0; --i) consider(double(i) / kGrid, double(i) / kGrid);
  for (int round = 0; round < 3; ++round) {
    const double previous = best;
    if (lo < 0)
      for (int i = kGrid; i > 0; --i) consider(double(i) / kGrid, best_hi);
    if (hi > 0)
      for (int i = kGrid; i > 0; --i) consider(best_lo, double(i) / kGrid);
    if (best == previous) break;
  }
  for (double step = 0.5 / kGrid; step > 1e-3; step /= 2) {
    const double l = best_lo, h = best_hi;
    for (int dl = lo < 0 ? 1 : 0; dl >= (lo < 0 ? -1 : 0); --dl)
      for (int dh = hi > 0 ? 1 : 0; dh >= (hi > 0 ? -1 : 0); --dh) consider(l + dl * step, h + dh * step);
  }
  return at(best_lo, best_hi);
}

}  // namespace octavo
