#include <algorithm>
#include <cmath>
#include <utility>

#include "bytes.h"
#include "observer.h"

namespace octavo {
namespace {

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

// Ranges keep a share of the full one. They shrink where that pays: first both ends alike, then each by itself in turn, on ever
// finer grids around the best so far. A wider range wins ties.
constexpr int kGrid = 64;

template <class Loss>
std::pair<double, double> best_ends(bool has_lo, bool has_hi, Loss loss) {
  double best_lo = 1, best_hi = 1, best = loss(1, 1);
  const auto consider = [&](double lo_share, double hi_share) {
    if (lo_share <= 0 || hi_share <= 0 || lo_share > 1 || hi_share > 1) return;
    const double e = loss(lo_share, hi_share);
    if (e < best) best = e, best_lo = lo_share, best_hi = hi_share;
  };
  for (int i = kGrid - 1; i > 0; --i) consider(double(i) / kGrid, double(i) / kGrid);
  for (int round = 0; round < 3; ++round) {
    const double previous = best;
    if (has_lo)
      for (int i = kGrid; i > 0; --i) consider(double(i) / kGrid, best_hi);
    if (has_hi)
      for (int i = kGrid; i > 0; --i) consider(best_lo, double(i) / kGrid);
    if (best == previous) break;
  }
  for (double step = 0.5 / kGrid; step > 1e-3; step /= 2) {
    const double l = best_lo, h = best_hi;
    for (int dl = has_lo ? 1 : 0; dl >= (has_lo ? -1 : 0); --dl)
      for (int dh = has_hi ? 1 : 0; dh >= (has_hi ? -1 : 0); --dh) consider(l + dl * step, h + dh * step);
  }
  return {best_lo, best_hi};
}

// Both ends alike.
template <class Loss>
double best_share(Loss loss) {
  double share = 1, best = loss(1.0);
  const auto consider = [&](double s) {
    if (s <= 0 || s > 1) return;
    if (const double e = loss(s); e < best) best = e, share = s;
  };
  for (int i = 2 * kGrid - 1; i > 0; --i) consider(double(i) / (2 * kGrid));
  for (double step = 0.25 / kGrid; step > 1e-3; step /= 2)
    for (const double s : {share + step, share - step}) consider(s);
  return share;
}

// Kullback-Leibler divergence of the quantized distribution Q from the clipped one P, in nats. P: the bins inside the range, those
// beyond counted at its ends. Q: the counts inside of the range, spread evenly over the bins of each quantized value that are
// not empty in P; a bin that is empty in Q only counts as one observation. A range that clips more than a hundredth of the values is
// not considered: P would end in one bin, which quantizes without divergence.
class DivergenceOf {
 public:
  DivergenceOf(const std::vector<uint64_t>& bins, int64_t first, double width) : bins_(bins), first_(first), width_(width) {}

  double operator()(const QParams& q, QRange range) const {
    const double lo = range.lo - q.zero_point, hi = range.hi - q.zero_point;
    struct Level {
      double inside = 0;
      size_t bins = 0;
    };
    std::vector<Level> levels(size_t(range.hi - range.lo) + 1);
    std::vector<double> p(bins_.size());
    const auto value_of = [&](size_t i) { return (double(first_ + int64_t(i)) + 0.5) * width_ / double(q.scale); };
    size_t begin = bins_.size(), end = 0;  // the bins inside of the range
    for (size_t i = 0; i < bins_.size(); ++i)
      if (const double u = value_of(i); u >= lo - 0.5 && u <= hi + 0.5) begin = std::min(begin, i), end = i + 1;
    if (begin >= end) return std::numeric_limits<double>::infinity();
    double all = 0, inside = 0;
    for (size_t i = 0; i < bins_.size(); ++i) {
      p[std::clamp(i, begin, end - 1)] += double(bins_[i]);
      all += double(bins_[i]);
      if (i >= begin && i < end) inside += double(bins_[i]);
    }
    if (inside < 0.99 * all) return std::numeric_limits<double>::infinity();
    const auto level_of = [&](size_t i) -> Level& {
      return levels[size_t(std::nearbyint(std::clamp(value_of(i), lo, hi)) - lo)];
    };
    for (size_t i = begin; i < end; ++i) {
      level_of(i).inside += double(bins_[i]);
      level_of(i).bins += p[i] > 0;
    }
    double sum = 0;
    for (size_t i = begin; i < end; ++i) {
      if (p[i] == 0) continue;
      const Level& level = level_of(i);
      const double quantized = std::max(level.inside / double(level.bins), 1.0) / inside;
      sum += p[i] / all * std::log(p[i] / all / quantized);
    }
    return sum;
  }

 private:
  const std::vector<uint64_t>& bins_;
  int64_t first_;
  double width_;
};

}  // namespace

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

void HistogramObserver::observe(const float* data, size_t count, uint64_t) {
  const FiniteRange r = finite_range(data, count);
  ignored_ += r.ignored;
  if (r.lo > r.hi) return;
  grow(r.lo, r.hi);
  if (bins_.empty()) {
    zeros_ += count - r.ignored;
    return;
  }
  const double per_width = std::ldexp(1.0, -exponent_);
  for (size_t i = 0; i < count; ++i) {
    const float x = data[i];
    zeros_ += x == 0;
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
  zeros_ += o->zeros_;
  if (o->lo_ > o->hi_) return {};
  grow(o->lo_, o->hi_);
  const int shift = std::min(exponent_ - o->exponent_, 62);
  for (size_t i = 0; i < o->bins_.size(); ++i)
    if (o->bins_[i]) bins_[size_t(((o->first_ + int64_t(i)) >> shift) - first_)] += o->bins_[i];
  return {};
}

// The value below which `share` of all values lie, taken as uniform within each bin.
float HistogramObserver::quantile(double share) const {
  uint64_t total = zeros_;
  for (const uint64_t count : bins_) total += count;
  const double rank = share * double(total), width = std::ldexp(1.0, exponent_);
  double below = 0;
  const auto within = [&](double begin, double end, uint64_t count) {
    const double x = count ? begin + (end - begin) * std::clamp((rank - below) / double(count), 0.0, 1.0) : end;
    below += double(count);
    return float(std::clamp(x, double(lo_), double(hi_)));
  };
  for (size_t i = 0; i <= bins_.size(); ++i) {
    const int64_t index = first_ + int64_t(i);
    const bool last = i == bins_.size();
    if (index == 0 || (last && index < 0)) {  // zeros lie before the bin that begins with them
      const float zero = within(0, 0, zeros_);
      if (zeros_ && below >= rank) return zero;
    }
    if (last) break;
    const float x = within(double(index) * width, double(index + 1) * width, bins_[i]);
    if (bins_[i] && below >= rank) return x;
  }
  return hi_;
}

Expected<QParams> HistogramObserver::qparams(const TensorConfig& config) const {
  if (lo_ > hi_) return nothing_seen(ignored_);
  if (config.observer == ObserverKind::moving_average)
    return Status::error(Code::invalid_argument, "a histogram does not know the samples that moving_average wants");
  const QRange range = range_of(config);
  const double lo = std::min(lo_, 0.0f), hi = std::max(hi_, 0.0f);
  const auto at = [&](double lo_share, double hi_share) {
    return choose_qparams(float(lo * lo_share), float(hi * hi_share), range.lo, range.hi, config.symmetric, config.eps);
  };
  if (bins_.empty() || config.observer == ObserverKind::min_max) return at(1, 1);
  if (config.observer == ObserverKind::percentile) {
    const double share = double(config.percentile) / 100;
    return choose_qparams(quantile(1 - share), quantile(share), range.lo, range.hi, config.symmetric, config.eps);
  }
  const double width = std::ldexp(1.0, exponent_);
  if (config.observer == ObserverKind::kl) {
    const DivergenceOf divergence(bins_, first_, width);
    const double share = best_share([&](double s) { return divergence(at(s, s), range); });
    return at(share, share);
  }
  const ErrorOf error(bins_, first_, width);
  if (config.observer == ObserverKind::mse) {
    const double share = best_share([&](double s) { return error(at(s, s), range); });
    return at(share, share);
  }
  const auto [lo_share, hi_share] = best_ends(lo < 0, hi > 0, [&](double l, double h) { return error(at(l, h), range); });
  return at(lo_share, hi_share);
}

void HistogramObserver::save(std::string& out) const {
  put(out, lo_);
  put(out, hi_);
  put(out, zeros_);
  put(out, ignored_);
  size_t used = bins_.size();
  while (used > 0 && bins_[used - 1] == 0) --used;
  put(out, uint32_t(used));
  for (size_t i = 0; i < used; ++i) put(out, bins_[i]);
}

// Exponent and first bin follow from the range.
Status HistogramObserver::load(std::string_view& in) {
  float lo = 0, hi = 0;
  uint32_t used = 0;
  if (!take(in, lo) || !take(in, hi) || !take(in, zeros_) || !take(in, ignored_) || !take(in, used)) return bad_state("cut short");
  if (!is_range(lo, hi)) return bad_state("no range");
  constexpr uint64_t kMost = uint64_t(1) << 62;  // so that merging a few states does not overflow
  if (zeros_ > kMost || ignored_ > kMost) return bad_state("counts are too large");
  if (lo <= hi) grow(lo, hi);
  if (used > bins_.size()) return bad_state("counts outside of the range");
  if (in.size() / sizeof(uint64_t) < used) return bad_state("cut short");
  uint64_t total = 0;
  for (uint32_t i = 0; i < used; ++i) {
    take(in, bins_[i]);
    if (bins_[i] > kMost - total) return bad_state("counts are too large");
    total += bins_[i];
    if (bins_[i] && double(first_ + int64_t(i)) > std::ldexp(double(hi_), -exponent_)) return bad_state("counts outside of the range");
  }
  return {};
}

}  // namespace octavo
