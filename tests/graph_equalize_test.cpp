// Rewrites against quantization loss: the float function stays, and the INT8 model comes closer to it.
#include "octavo/equalize.h"

#include <gtest/gtest.h>

#include <cmath>

#include "octavo/quantize.h"
#include "graph_test_util.h"

namespace octavo {
namespace {

using Sample = std::map<std::string, Tensor>;

// Channel c along `axis` times 10^(c % 4 - 2), or divided by it.
Tensor uneven(Tensor t, size_t axis, bool inverse = false) {
  float* v = static_cast<float*>(t.mutable_data());
  int64_t inner = 1;
  for (size_t d = axis + 1; d < t.shape().size(); ++d) inner *= t.shape()[d];
  for (int64_t i = 0; i < t.count(); ++i) {
    const float f = std::pow(10.0f, float(i / inner % t.shape()[axis] % 4) - 2);
    v[i] = inverse ? v[i] / f : v[i] * f;
  }
  return t;
}

std::vector<float> run(const Graph& graph, const Sample& sample) {
  Expected<Session> session = Session::create(graph);
  EXPECT_TRUE(session) << session.status().text();
  if (!session) return {};
  const auto y = session->run(sample);
  EXPECT_TRUE(y) << y.status().text();
  if (!y) return {};
  return {(*y)[0].as<float>(), (*y)[0].as<float>() + (*y)[0].count()};
}

Graph int8(const Graph& graph, const std::vector<Sample>& samples, const Recipe& recipe) {
  Expected<Prepared> p = prepare(graph, recipe);
  EXPECT_TRUE(p) << p.status().text();
  EXPECT_TRUE(calibrate(*p, samples).ok());
  return *convert(*p);
}

Recipe per_tensor() {
  QuantConfig config = *Recipe::preset("x86_static")->match(Node());
  config.weight.per_channel = false;
  return Recipe().set_global(config);
}

double sqnr(const Graph& a, const Graph& b, const std::vector<Sample>& samples) {
  double signal = 0, error = 0;
  for (const Sample& s : samples) {
    const std::vector<float> x = run(a, s), y = run(b, s);
    for (size_t i = 0; i < x.size(); ++i) {
      signal += double(x[i]) * double(x[i]);
      error += (double(x[i]) - double(y[i])) * (double(x[i]) - double(y[i]));
    }
  }
  return 10 * std::log10(signal / error);
}

void expect_same_function(const Graph& a, const Graph& b, const Sample& sample) {
  const std::vector<float> x = run(a, sample), y = run(b, sample);
  float largest = 0;
  for (float v : x) largest = std::max(largest, std::fabs(v));
  for (size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(x[i], y[i], 1e-5f * largest);
}

TEST(EqualizeLayers, KeepsTheFunctionAndHelpsPerTensorWeights) {
  Graph g;
  g.inputs = {{"x", DType::f32, {{1, ""}, {4, ""}, {8, ""}, {8, ""}}, true}};
  g.add_initializer("w1", uneven(noise({8, 4, 3, 3}, 1), 0));
  g.add_initializer("b1", uneven(noise({8}, 2), 0));
  g.add_initializer("w2", uneven(noise({8, 1, 3, 3}, 3), 0));  // depthwise
  g.add_initializer("b2", uneven(uneven(noise({8}, 4), 0), 0));
  g.add_initializer("w3", uneven(uneven(noise({5, 8, 1, 1}, 5), 1, true), 1, true));
  const std::vector<int64_t> pads = {1, 1, 1, 1};
  g.add_node("Conv", "conv1", {"x", "w1", "b1"}, {{"pads", pads}});
  g.add_node("Relu", "relu1", {"conv1"});
  g.add_node("Conv", "conv2", {"relu1", "w2", "b2"}, {{"pads", pads}, {"group", int64_t(8)}});
  g.add_node("Conv", "conv3", {"conv2", "w3"});
  g.outputs = {{"conv3", DType::f32, {}, false}};
  std::vector<Sample> samples;
  for (uint64_t i = 0; i < 4; ++i) samples.push_back({{"x", noise({1, 4, 8, 8}, 30 + i)}});

  Graph even = g;
  const Expected<int> pairs = equalize_layers(even);
  ASSERT_TRUE(pairs) << pairs.status().text();
  EXPECT_EQ(*pairs, 2);
  expect_same_function(g, even, samples[0]);
  EXPECT_GT(sqnr(g, int8(even, samples, per_tensor()), samples), sqnr(g, int8(g, samples, per_tensor()), samples) + 6);

  // Where somebody else reads what lies between, nothing changes.
  Graph read = g;
  read.outputs.push_back({"relu1", DType::f32, {}, false});
  EXPECT_EQ(*equalize_layers(read), 1);
}

// One normalization is found, the function stays, and 6 dB are won in int8.
void expect_smoothed(const Graph& g, const std::vector<Sample>& samples) {
  Graph smooth = g;
  const Expected<int> sites = smooth_activations(smooth, samples);
  ASSERT_TRUE(sites) << sites.status().text();
  EXPECT_EQ(*sites, 1);
  expect_same_function(g, smooth, samples[0]);
  const Recipe recipe = *Recipe::preset("x86_static");
  EXPECT_GT(sqnr(g, int8(smooth, samples, recipe), samples), sqnr(g, int8(g, samples, recipe), samples) + 6);
}

TEST(SmoothActivations, KeepsTheFunctionAndHelpsAgainstOutliers) {
  Graph g;
  g.opset = 17;
  g.inputs = {{"x", DType::f32, {{6, ""}, {32, ""}}, true}};
  g.add_initializer("gamma", uneven(noise({32}, 1), 0));  // a few channels a hundred times as large
  g.add_initializer("beta", uneven(noise({32}, 2), 0));
  g.add_initializer("w1", uneven(noise({32, 16}, 3), 0, true));
  g.add_initializer("w2", uneven(noise({16, 32}, 4), 1, true));
  g.add_node("LayerNormalization", "norm", {"x", "gamma", "beta"});
  g.add_node("MatMul", "q", {"norm", "w1"});
  g.add_node("Gemm", "k", {"norm", "w2"}, {{"transB", int64_t(1)}});
  g.add_node("Add", "sum", {"q", "k"});
  g.outputs = {{"sum", DType::f32, {}, false}};
  std::vector<Sample> samples;
  for (uint64_t i = 0; i < 4; ++i) samples.push_back({{"x", noise({6, 32}, 30 + i)}});
  expect_smoothed(g, samples);
  EXPECT_EQ(smooth_activations(g, samples, 2).status().code(), Code::invalid_argument);
}

// The same by the Mul and Add that a normalization which is spelled out ends in.
TEST(SmoothActivations, ThroughConstantsOfMulAndAdd) {
  std::vector<Sample> samples;
  for (uint64_t i = 0; i < 4; ++i) samples.push_back({{"x", noise({6, 32}, 30 + i)}});
  const auto graph_with = [](bool bias, const char* also_read) {
    Graph g;
    g.opset = 17;
    g.inputs = {{"x", DType::f32, {{6, ""}, {32, ""}}, true}};
    g.add_initializer("gamma", uneven(noise({1, 32}, 1), 1));
    g.add_initializer("beta", uneven(noise({32}, 2), 0));
    g.add_initializer("w", uneven(noise({32, 16}, 3), 0, true));
    std::string y = g.add_node("Mul", "scaled", {"gamma", "x"});
    if (bias) y = g.add_node("Add", "shifted", {y, "beta"});
    g.outputs = {{g.add_node("MatMul", "y", {y, "w"}), DType::f32, {}, false}};
    if (also_read) g.outputs.push_back({also_read, DType::f32, {}, false});
    return g;
  };
  for (const bool bias : {false, true}) {
    const Graph g = graph_with(bias, nullptr);
    expect_smoothed(g, samples);
    Graph read = graph_with(bias, "scaled");
    EXPECT_EQ(*smooth_activations(read, samples), 0);
  }
}

TEST(CorrectBiases, TakesTheMeanErrorOff) {
  // Inputs far from zero, so that rounded weights shift the outputs by much more than they scatter them.
  Graph g;
  g.inputs = {{"x", DType::f32, {{1, ""}, {6, ""}, {8, ""}, {8, ""}}, true}};
  g.add_initializer("w", noise({4, 6, 1, 1}, 1));
  g.add_initializer("b", noise({4}, 2));
  g.add_node("Conv", "conv", {"x", "w", "b"});
  g.add_node("Flatten", "flat", {"conv"});
  g.add_initializer("w2", noise({256, 3}, 3, 0.1f));
  g.add_initializer("b2", noise({3}, 4));
  g.add_node("Gemm", "fc", {"flat", "w2", "b2"});
  g.outputs = {{"conv", DType::f32, {}, false}, {"fc", DType::f32, {}, false}};
  std::vector<Sample> samples;
  for (uint64_t i = 0; i < 4; ++i) {
    Tensor x = noise({1, 6, 8, 8}, 30 + i, 0.2f);
    for (int64_t k = 0; k < x.count(); ++k) static_cast<float*>(x.mutable_data())[k] += 5 + float(k / 64);
    samples.push_back({{"x", x}});
  }
  const Prepared p = *prepare(g, *Recipe::preset("x86_static"));
  const Graph before = int8(g, samples, *Recipe::preset("x86_static"));
  Graph after = before;
  const Expected<int> nodes = correct_biases(p.graph(), after, samples);
  ASSERT_TRUE(nodes) << nodes.status().text();
  EXPECT_EQ(*nodes, 2);
  const auto mean_error = [&](const Graph& q) {  // of the conv, by channel
    double sum[4] = {};
    for (const Sample& s : samples) {
      const std::vector<float> x = run(g, s), y = run(q, s);
      for (size_t i = 0; i < x.size(); ++i) sum[i / 64] += double(y[i] - x[i]) / double(64 * samples.size());
    }
    double worst = 0;
    for (double e : sum) worst = std::max(worst, std::fabs(e));
    return worst;
  };
  EXPECT_LT(mean_error(after), 0.5 * mean_error(before));
}

}  // namespace
}  // namespace octavo
