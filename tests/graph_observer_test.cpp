// Observers: known distributions, outliers, degenerate inputs, and that merging parts equals seeing the whole.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "octavo/quantize.h"

namespace octavo {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<float> normal(size_t count, float mean, float deviation, unsigned seed = 1) {
  std::mt19937 rng(seed);
  std::vector<float> values(count);
  // A sum of uniforms rather than std::normal_distribution, whose values differ between standard libraries.
  for (float& v : values) {
    double sum = 0;
    for (int i = 0; i < 12; ++i) sum += rng() / 4294967296.0;
    v = mean + deviation * float(sum - 6);
  }
  return values;
}

QParams observed(ObserverKind kind, const std::vector<float>& values, TensorConfig config = {}) {
  config.observer = kind;
  auto observer = Observer::create(kind);
  observer->observe(values.data(), values.size());
  Expected<QParams> q = observer->qparams(config);
  EXPECT_TRUE(q) << q.status().text();
  return q ? *q : QParams{};
}

double squared_error(const std::vector<float>& values, const QParams& q, int lo = 0, int hi = 255) {
  double sum = 0;
  for (float v : values) {
    const double n = std::clamp<double>(std::nearbyint(v / q.scale) + q.zero_point, lo, hi);
    const double d = v - (n - q.zero_point) * q.scale;
    sum += d * d;
  }
  return sum;
}

class EveryObserver : public testing::TestWithParam<ObserverKind> {};
constexpr ObserverKind kKinds[] = {ObserverKind::min_max,    ObserverKind::moving_average, ObserverKind::histogram,
                                   ObserverKind::percentile, ObserverKind::mse,            ObserverKind::kl};
INSTANTIATE_TEST_SUITE_P(Kind, EveryObserver, testing::ValuesIn(kKinds), [](const auto& p) { return name_of(p.param); });

TEST_P(EveryObserver, NothingSeenIsAnError) {
  auto observer = Observer::create(GetParam());
  TensorConfig config;
  config.observer = GetParam();
  EXPECT_STREQ(observer->qparams(config).status().text(), "no value was seen");
  const float bad[] = {kNan, kInf, -kInf};
  observer->observe(bad, 3);
  EXPECT_STREQ(observer->qparams(config).status().text(), "all 3 values seen are NaN or infinite");
}

TEST_P(EveryObserver, AllZeroGivesEps) {
  EXPECT_EQ(observed(GetParam(), std::vector<float>(100, 0.0f)), (QParams{1.0f / 4096, 0}));
}

TEST_P(EveryObserver, SingleValueIsRepresentedClosely) {
  for (float value : {5.0f, -3.0f, 1e30f, -1e-2f}) {
    const QParams q = observed(GetParam(), {value});
    const double n = std::clamp<double>(std::nearbyint(value / q.scale) + q.zero_point, 0, 255);
    // Half a step is what quantization loses; a histogram also knows the value to one of its 1024 or more bins only.
    EXPECT_NEAR((n - q.zero_point) * q.scale, value, std::max(std::fabs(value) * 1e-3f, q.scale / 2)) << value;
  }
}

TEST_P(EveryObserver, NegativeOnlyPutsZeroAtTheTop) {
  const QParams q = observed(GetParam(), {-4, -2, -1, -3.5f});
  EXPECT_EQ(q.zero_point, 255);
  EXPECT_NEAR(q.scale, 4.0 / 255, 4.0 / 255 * 0.03);  // the search may clip the ends where that loses less in between
}

TEST_P(EveryObserver, NanAndInfinityAreIgnored) {
  const std::vector<float> clean = normal(1000, 1, 2);
  std::vector<float> dirty = clean;
  dirty.insert(dirty.begin() + 500, {kNan, kInf, -kInf});
  EXPECT_EQ(observed(GetParam(), dirty), observed(GetParam(), clean));
}

TEST_P(EveryObserver, MergeEqualsTheWholeBitForBitInAnyOrder) {
  // Parts of very different ranges, so that bins are regrown on both sides of a merge.
  std::vector<std::vector<float>> parts = {
      normal(999, 0, 1e-3f), normal(501, 3, 1), {0}, {}, {-1e-30f}, normal(700, -50, 5), {kNan}};
  TensorConfig config;
  config.observer = GetParam();
  const auto whole = Observer::create(GetParam());  // each part is a sample
  for (size_t i = 0; i < parts.size(); ++i) whole->observe(parts[i].data(), parts[i].size(), i);
  std::string whole_state;
  whole->save(whole_state);
  std::vector<size_t> order = {0, 1, 2, 3, 4, 5, 6};
  for (int n = 0; n < 20; ++n) {
    auto total = Observer::create(GetParam());
    for (const size_t i : order) {
      auto observer = Observer::create(GetParam()), loaded = Observer::create(GetParam());
      observer->observe(parts[i].data(), parts[i].size(), i);
      std::string state;
      observer->save(state);
      std::string_view rest = state;
      ASSERT_TRUE(loaded->load(rest).ok());
      EXPECT_TRUE(rest.empty());
      ASSERT_TRUE(total->merge(*loaded).ok());
    }
    EXPECT_EQ(*total->qparams(config), *whole->qparams(config)) << "order " << n;
    std::string state;
    total->save(state);
    EXPECT_EQ(state, whole_state);
    std::next_permutation(order.begin(), order.end());
  }
}

TEST_P(EveryObserver, SplitIntoCallsDoesNotMatter) {
  const std::vector<float> values = normal(3000, 0.5f, 1);
  auto observer = Observer::create(GetParam());
  for (const float& v : values) observer->observe(&v, 1);
  TensorConfig config;
  config.observer = GetParam();
  EXPECT_EQ(*observer->qparams(config), observed(GetParam(), values));
}

TEST_P(EveryObserver, OtherKindCannotBeMerged) {
  auto other = Observer::create(GetParam() == ObserverKind::min_max ? ObserverKind::histogram : ObserverKind::min_max);
  EXPECT_EQ(Observer::create(GetParam())->merge(*other).code(), Code::invalid_argument);
}

TEST_P(EveryObserver, ExtremesOfFloatDoNotOverflow) {
  const float max = std::numeric_limits<float>::max(), tiny = std::numeric_limits<float>::denorm_min();
  EXPECT_TRUE(std::isfinite(observed(GetParam(), {max, -max, tiny, -tiny, 0}).scale));
  EXPECT_EQ(observed(GetParam(), {tiny, -tiny}).scale, 1.0f / 4096);
}

TEST_P(EveryObserver, StatesCutShortOrDamagedAreErrors) {
  auto observer = Observer::create(GetParam());
  const std::vector<float> values = normal(300, 0.5f, 1);
  observer->observe(values.data(), values.size());
  std::string state;
  observer->save(state);
  for (size_t n = 0; n < state.size(); n += 1 + n / 64) {
    std::string_view cut = std::string_view(state).substr(0, n);
    EXPECT_FALSE(Observer::create(GetParam())->load(cut).ok()) << n;
  }
  for (size_t i = 0; i < state.size(); i += 1 + i / 64) {  // whatever it then is, it is no crash
    std::string other = state;
    other[i] = char(other[i] ^ 0xff);
    std::string_view in = other;
    auto loaded = Observer::create(GetParam());
    if (loaded->load(in).ok()) (void)loaded->qparams({});
  }
}

TEST(MovingAverageObserver, AveragesInTheOrderOfTheSamples) {
  TensorConfig config;
  config.observer = ObserverKind::moving_average;
  config.averaging = 0.25f;
  const auto observer = Observer::create(config.observer);
  const float samples[][2] = {{-1, 4}, {0, 8}, {-3, 0}};
  for (const size_t i : {2, 0, 1}) observer->observe(samples[i], 2, i);
  // lo: -1 -> -0.75 -> -1.3125; hi: 4 -> 5 -> 3.75
  EXPECT_EQ(*observer->qparams(config), choose_qparams(-1.3125f, 3.75f, 0, 255, false));
}

TEST(PercentileObserver, LeavesOutTheTails) {
  std::vector<float> values(100000);
  for (size_t i = 0; i < values.size(); ++i) values[i] = float(i) / 50000 - 1;
  values[500] = 1000;
  TensorConfig config;
  config.percentile = 99;
  const QParams q = observed(ObserverKind::percentile, values, config);
  EXPECT_NEAR(q.scale, 1.96 / 255, 0.5 / 255);  // a bin is a 2048th of the whole range
  config.percentile = 100;
  EXPECT_EQ(observed(ObserverKind::percentile, values, config), observed(ObserverKind::min_max, values));
  // Zeros count.
  std::vector<float> sparse(10000, 0.0f);
  for (size_t i = 0; i < 100; ++i) sparse[i] = i < 50 ? 1.0f : 10.0f;
  config.percentile = 99.4f;
  EXPECT_NEAR(observed(ObserverKind::percentile, sparse, config).scale, 1.0 / 255, 0.02 / 255);
}

TEST(KlAndMseObservers, ClipRareOutliersAndKeepEvenlySpreadValues) {
  std::vector<float> values = normal(100000, 0, 1);
  values.push_back(60);
  for (const ObserverKind kind : {ObserverKind::kl, ObserverKind::mse}) {
    const QParams q = observed(kind, values), whole = observed(ObserverKind::min_max, values);
    EXPECT_LT(q.scale, 0.9 * whole.scale) << name_of(kind);  // further in, the one outlier costs more than it saves
    if (kind == ObserverKind::mse) {
      EXPECT_LT(squared_error(values, q), squared_error(values, whole));
    }
    std::vector<float> even(100001);
    for (size_t i = 0; i < even.size(); ++i) even[i] = float(i) / 100000.0f * 6 - 2;
    EXPECT_NEAR(observed(kind, even).scale, 6.0 / 255, 0.1 / 255) << name_of(kind);
  }
}

TEST(MinMaxObserver, UsesTheWholeRange) {
  EXPECT_EQ(observed(ObserverKind::min_max, {-1, 0.5f, 4.1f}), choose_qparams(-1, 4.1f, 0, 255, false));
}

TEST(MinMaxObserver, RangesOfTheConfig) {
  TensorConfig config;
  config.dtype = DType::s8;
  config.symmetric = true;
  config.narrow = true;
  EXPECT_EQ(observed(ObserverKind::min_max, {-12.7f, 3}, config), (QParams{0.1f, 0}));
  config = {};
  config.reduce_range = true;
  EXPECT_EQ(observed(ObserverKind::min_max, {0, 12.7f}, config), (QParams{0.1f, 0}));
}

TEST(HistogramObserver, UniformKeepsTheWholeRange) {
  std::vector<float> values(100001);
  for (size_t i = 0; i < values.size(); ++i) values[i] = float(i) / 100000.0f * 6 - 2;
  const QParams q = observed(ObserverKind::histogram, values), whole = choose_qparams(-2, 4, 0, 255, false);
  // Evenly spread values gain nothing from clipping, but for what the finest grid of the search does not resolve.
  EXPECT_NEAR(q.scale, whole.scale, whole.scale * 0.01);
  EXPECT_NEAR(q.zero_point, whole.zero_point, 1);
}

TEST(HistogramObserver, OutlierIsClipped) {
  std::vector<float> values = normal(1000000, 0, 1);
  values.push_back(12);  // clipping it costs (12 - hi)^2 once; representing it costs scale^2 / 12 a million times
  const QParams q = observed(ObserverKind::histogram, values), whole = observed(ObserverKind::min_max, values);
  EXPECT_LT(squared_error(values, q), 0.7 * squared_error(values, whole));
}

TEST(HistogramObserver, IsNearTheBestRangeOfAnExhaustiveSearch) {
  std::vector<std::vector<float>> samples = {normal(20000, 0, 1), normal(20000, 2, 1), normal(20000, 0, 1)};
  for (float& v : samples[1]) v = std::max(v - 2, 0.0f);  // after a ReLU: half are zeros
  for (float& v : samples[2]) v = v * v * v;              // heavy tails
  for (const auto& values : samples) {
    const auto [lo, hi] = std::minmax_element(values.begin(), values.end());
    double best = squared_error(values, choose_qparams(*lo, *hi, 0, 255, false));
    for (int i = 1; i <= 40; ++i)
      for (int j = 1; j <= 40; ++j)
        best = std::min(best, squared_error(values, choose_qparams(*lo * i / 40, *hi * j / 40, 0, 255, false)));
    const double found = squared_error(values, observed(ObserverKind::histogram, values));
    EXPECT_LE(found, best * 1.02);  // bins take their values as uniform, and the search is greedy
  }
}

TEST(HistogramObserver, SymmetricRange) {
  TensorConfig config;
  config.dtype = DType::s8;
  config.symmetric = true;
  const std::vector<float> values = normal(50000, 0.3f, 1);
  const QParams q = observed(ObserverKind::histogram, values, config), whole = observed(ObserverKind::min_max, values, config);
  EXPECT_EQ(q.zero_point, 0);
  EXPECT_LE(squared_error(values, q, -128, 127), squared_error(values, whole, -128, 127));
}

}  // namespace
}  // namespace octavo
