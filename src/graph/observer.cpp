#include "observer.h"

#include <algorithm>
#include <cmath>

#include "bytes.h"

namespace octavo {

FiniteRange finite_range(const float* data, size_t count) noexcept {
  FiniteRange r;
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

Status bad_state(const char* what) noexcept { return Status::error(Code::invalid_argument, "observer state: %s", what); }

bool is_range(float lo, float hi) noexcept {
  const bool nothing = std::isinf(lo) && lo > 0 && std::isinf(hi) && hi < 0;
  return nothing || (std::isfinite(lo) && std::isfinite(hi) && lo <= hi);
}

std::unique_ptr<Observer> Observer::create(ObserverKind kind) {
  if (kind == ObserverKind::min_max) return std::make_unique<MinMaxObserver>();
  if (kind == ObserverKind::moving_average) return std::make_unique<MovingAverageObserver>();
  return std::make_unique<HistogramObserver>();
}

void MinMaxObserver::observe(const float* data, size_t count, uint64_t) {
  const FiniteRange r = finite_range(data, count);
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

void MinMaxObserver::save(std::string& out) const {
  put(out, lo_);
  put(out, hi_);
  put(out, ignored_);
}

Status MinMaxObserver::load(std::string_view& in) {
  if (!take(in, lo_) || !take(in, hi_) || !take(in, ignored_)) return bad_state("cut short");
  if (!is_range(lo_, hi_)) return bad_state("no range");
  return {};
}

void MovingAverageObserver::widen(uint64_t sample, Range range) {
  const auto [it, added] = samples_.try_emplace(sample, range);
  if (added) return;
  it->second.lo = std::min(it->second.lo, range.lo);
  it->second.hi = std::max(it->second.hi, range.hi);
}

void MovingAverageObserver::observe(const float* data, size_t count, uint64_t sample) {
  const FiniteRange r = finite_range(data, count);
  ignored_ += r.ignored;
  if (r.lo <= r.hi) widen(sample, {r.lo, r.hi});
}

Status MovingAverageObserver::merge(const Observer& other) {
  const auto* o = dynamic_cast<const MovingAverageObserver*>(&other);
  if (!o) return cannot_merge();
  ignored_ += o->ignored_;
  for (const auto& [sample, range] : o->samples_) widen(sample, range);
  return {};
}

Expected<QParams> MovingAverageObserver::qparams(const TensorConfig& config) const {
  if (samples_.empty()) return nothing_seen(ignored_);
  double lo = samples_.begin()->second.lo, hi = samples_.begin()->second.hi;
  for (const auto& [sample, range] : samples_) {
    lo += double(config.averaging) * (double(range.lo) - lo);
    hi += double(config.averaging) * (double(range.hi) - hi);
  }
  const QRange q = range_of(config);
  return choose_qparams(float(lo), float(hi), q.lo, q.hi, config.symmetric, config.eps);
}

void MovingAverageObserver::save(std::string& out) const {
  put(out, ignored_);
  put(out, uint64_t(samples_.size()));
  for (const auto& [sample, range] : samples_) {
    put(out, sample);
    put(out, range.lo);
    put(out, range.hi);
  }
}

Status MovingAverageObserver::load(std::string_view& in) {
  uint64_t count = 0;
  if (!take(in, ignored_) || !take(in, count) || count > in.size() / 16) return bad_state("cut short");
  for (uint64_t i = 0; i < count; ++i) {
    uint64_t sample = 0;
    Range range{};
    if (!take(in, sample) || !take(in, range.lo) || !take(in, range.hi)) return bad_state("cut short");
    if (!is_range(range.lo, range.hi) || range.lo > range.hi) return bad_state("no range");
    if (!samples_.empty() && sample <= samples_.rbegin()->first) return bad_state("samples are not in order");
    samples_.emplace_hint(samples_.end(), sample, range);
  }
  return {};
}

}  // namespace octavo
