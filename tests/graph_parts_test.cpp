// Concat and Split without a copy: results are those of programs that copy, and report() has no step for them.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "graph_test_util.h"
#include "octavo/quantize.h"
#include "octavo/session.h"

namespace octavo {
namespace {

using Ints = std::vector<int64_t>;

Graph with_input(Shape shape) {
  Graph g;
  g.opset = 18;
  ValueInfo x{"x", DType::f32, {}};
  for (int64_t d : shape) x.dims.push_back({d, ""});
  g.inputs = {x};
  return g;
}

std::string conv(Graph& g, const std::string& name, const std::string& x, int64_t ic, int64_t oc, int64_t k = 1) {
  g.add_initializer(name + "_w", noise({oc, ic, k, k}, name.size() + uint64_t(oc) * 7, 1.5f / std::sqrt(float(ic * k * k))));
  return g.add_node("Conv", name, {x, name + "_w"}, {{"pads", std::vector<int64_t>(4, k / 2)}});
}

std::string concat(Graph& g, const std::string& name, const std::vector<std::string>& parts, int64_t axis = 1) {
  return g.add_node("Concat", name, parts, {{"axis", axis}});
}

Tensor sample_of(const Graph& g) {
  Shape shape;
  for (const Dim& d : g.inputs[0].dims) shape.push_back(d.size);
  return noise(shape, 3);
}

Graph quantized(const Graph& g) {
  Expected<Prepared> prepared = prepare(g, *Recipe::preset("x86_static"));
  EXPECT_TRUE(prepared) << prepared.status().text();
  EXPECT_TRUE(calibrate(*prepared, {{{"x", sample_of(g)}}}).ok());
  Expected<Graph> q = convert(*prepared);
  EXPECT_TRUE(q) << q.status().text();
  return *q;
}

std::vector<Tensor> run(const Graph& g, int threads = 1, const CompileOptions& options = {}) {
  Expected<Session> s = Session::create(g, threads, options);
  Expected<std::vector<Tensor>> y = s->run({{"x", sample_of(g)}});
  EXPECT_TRUE(y) << y.status().text();
  return y ? *y : std::vector<Tensor>();
}

double sqnr(const Tensor& got, const Tensor& want) {
  double signal = 0, error = 0;
  for (int64_t i = 0; i < want.count(); ++i) {
    const double x = double(want.as<float>()[i]), e = double(got.as<float>()[i]) - x;
    signal += x * x, error += e * e;
  }
  return 10 * std::log10(signal / std::max(error, 1e-30));
}

int64_t steps_of(const Graph& g, const std::string& op_type) {
  const Expected<Program> p = Program::compile(g);
  EXPECT_TRUE(p) << p.status().text();
  return std::count_if(p->report().begin(), p->report().end(), [&](const NodeReport& r) { return r.op_type == op_type; });
}

void expect_close(const Graph& q, const Graph& g, double db) {
  const std::vector<Tensor> got = run(q), want = run(g), threads = run(q, 3);
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_GT(sqnr(got[i], want[i]), db);
    EXPECT_EQ(values_of<float>(got[i]), values_of<float>(threads[i]));
  }
}

// The same bits as a program in which every value can be seen, and therefore has bytes of its own.
void expect_same_as_copies(const Graph& g) {
  CompileOptions all;
  for (const Node& node : g.nodes) all.keep.insert(all.keep.end(), node.outputs.begin(), node.outputs.end());
  const std::vector<Tensor> parts = run(g), copies = run(g, 1, all), threads = run(g, 3);
  ASSERT_EQ(parts.size(), copies.size());
  for (size_t i = 0; i < parts.size(); ++i) {
    EXPECT_EQ(values_of<float>(parts[i]), values_of<float>(copies[i])) << g.outputs[i].name;
    EXPECT_EQ(values_of<float>(parts[i]), values_of<float>(threads[i])) << g.outputs[i].name;
  }
}

TEST(Parts, ConcatOfBytesIsNoStep) {
  Graph g = with_input({2, 8, 5, 7});
  const std::string a = g.add_node("Relu", "relu", {conv(g, "a", "x", 8, 12, 3)});
  const std::string b = g.add_node("MaxPool", "pool", {a}, {{"kernel_shape", Ints{3, 3}}, {"pads", Ints{1, 1, 1, 1}}});
  const std::string c = g.add_node("Sigmoid", "table", {conv(g, "c", a, 12, 5)});
  const std::string d = g.add_node("Add", "sum", {conv(g, "d", b, 12, 9), conv(g, "e", a, 12, 9)});
  g.outputs = {{conv(g, "last", concat(g, "whole", {a, b, c, d}), 38, 6, 3), DType::f32, {}, false}};
  const Graph q = quantized(g);
  EXPECT_EQ(steps_of(q, "Concat"), 0);
  expect_close(q, g, 25);
  expect_same_as_copies(g);
}

// A block of DenseNet: every layer reads all before it, through a batch norm of its own.
TEST(Parts, GrowingConcatsLieInTheLast) {
  Graph g = with_input({1, 8, 6, 5});
  std::vector<std::string> features = {conv(g, "stem", "x", 8, 16)};
  int64_t channels = 16;
  for (int layer = 0; layer < 5; ++layer) {
    const std::string n = std::to_string(layer);
    for (const char* name : {"gamma", "beta", "mean"}) g.add_initializer(name + n, noise({channels}, uint64_t(name[0]) + uint64_t(layer)));
    g.add_initializer("var" + n, f32({channels}, std::vector<float>(size_t(channels), 0.7f)));
    const std::string whole = features.size() > 1 ? concat(g, "cat" + n, features) : features[0];
    const std::string norm = g.add_node("BatchNormalization", "norm" + n, {whole, "gamma" + n, "beta" + n, "mean" + n, "var" + n});
    if (layer == 4) {
      g.outputs = {{conv(g, "last", g.add_node("Relu", "relu" + n, {norm}), channels, 10), DType::f32, {}, false}};
      break;
    }
    features.push_back(conv(g, "conv" + n, g.add_node("Relu", "relu" + n, {norm}), channels, 11, 3));
    channels += 11;
  }
  const Graph q = quantized(g);
  EXPECT_EQ(steps_of(q, "Concat"), 0);
  const Expected<Program> p = Program::compile(q);
  ASSERT_TRUE(p);
  for (const NodeReport& r : p->report()) EXPECT_NE(r.precision, "float") << r.name << ": " << r.why_not_int8;
  EXPECT_EQ(std::count_if(p->report().begin(), p->report().end(), [](const auto& r) { return r.op_type == "BatchNormalization"; }), 5);
  expect_close(q, g, 22);
}

// ShuffleNet: one half of the channels passes.
TEST(Parts, SplitIsReadInPlace) {
  Graph g = with_input({2, 8, 4, 6});
  std::string y = conv(g, "stem", "x", 8, 16);
  for (int i = 0; i < 3; ++i) {
    const std::string n = std::to_string(i);
    Node split{"split" + n, "Split", "", {y}, {"left" + n, "right" + n}, {{"axis", int64_t(1)}, {"num_outputs", int64_t(2)}}};
    g.nodes.push_back(split);
    const std::string whole = concat(g, "cat" + n, {"left" + n, g.add_node("Relu", "relu" + n, {conv(g, "conv" + n, "right" + n, 8, 8, 3)})});
    g.add_initializer("to", s64({2, 2, 8, 4, 6}));
    g.add_initializer("back", s64({2, 16, 4, 6}));
    const std::string groups = g.add_node("Reshape", "groups" + n, {whole, "to"});
    y = g.add_node("Reshape", "shuffled" + n, {g.add_node("Transpose", "swap" + n, {groups}, {{"perm", Ints{0, 2, 1, 3, 4}}}), "back"});
  }
  g.outputs = {{conv(g, "last", y, 16, 6), DType::f32, {}, false}};
  const Graph q = quantized(g);
  EXPECT_EQ(steps_of(q, "Split"), 0);
  expect_close(q, g, 22);
  expect_same_as_copies(g);
}

TEST(Parts, SlicesOfAnyAxis) {
  for (int64_t axis : {1, 2, 3})
    for (int64_t batch : {1, 2}) {
      Graph g = with_input({batch, 8, 8, 8});
      const std::string y = conv(g, "stem", "x", 8, 8);
      g.add_initializer("axis", s64({axis}));
      g.add_initializer("zero", s64({0}));
      g.add_initializer("three", s64({3}));
      g.add_initializer("back", s64({-5}));
      g.add_initializer("far", s64({1000}));
      const std::string a = g.add_node("Slice", "a", {y, "zero", "three", "axis"}), b = g.add_node("Slice", "b", {y, "back", "far", "axis"});
      const std::string whole = concat(g, "whole", {b, a}, axis);
      g.outputs = {{conv(g, "last", whole, 8, 6), DType::f32, {}, false}, {g.add_node("Neg", "negative", {a}), DType::f32, {}, false}};
      expect_same_as_copies(g);
      expect_close(quantized(g), g, 25);
    }
}

// What cannot be computed in place is copied, and only that.
TEST(Parts, InputsConstantsAndSecondUsesAreCopied) {
  Graph g = with_input({2, 4, 3, 5});
  g.add_initializer("constant", noise({2, 3, 3, 5}, 5));
  const std::string a = conv(g, "a", "x", 4, 6);
  const std::string whole = concat(g, "whole", {"x", a, "constant", a});
  g.outputs = {{whole, DType::f32, {}, false}, {concat(g, "second", {a, "x"}), DType::f32, {}, false}, {a, DType::f32, {}, false}};
  expect_same_as_copies(g);
  EXPECT_EQ(steps_of(g, "Concat"), 2);
}

// Graphs of convolutions, pools, slices and Concats at random, in float: the same bits as with copies.
TEST(Parts, RandomGraphs) {
  for (uint64_t seed = 0; seed < 60; ++seed) {
    test::Noise random(seed);
    const auto below = [&](size_t n) { return std::min(n - 1, size_t(random.real(0, float(n)))); };
    const int64_t batch = int64_t(1 + below(2));
    Graph g = with_input({batch, 6, 4, 3});
    std::vector<std::pair<std::string, int64_t>> values = {{"x", 6}};  // and channels
    for (int i = 0; i < 12; ++i) {
      const std::string name = "n" + std::to_string(i);
      const auto [x, c] = values[below(values.size())];
      switch (below(5)) {
        case 0: {
          const int64_t oc = int64_t(1 + below(9));
          values.emplace_back(conv(g, name, x, c, oc, 3), oc);
          break;
        }
        case 1:
          values.emplace_back(g.add_node("MaxPool", name, {x}, {{"kernel_shape", Ints{3, 3}}, {"pads", Ints{1, 1, 1, 1}}}), c);
          break;
        case 2: {
          const int64_t at = int64_t(below(size_t(c)));
          g.add_initializer(name + "at", s64({at}));
          g.add_initializer(name + "end", s64({c}));
          g.add_initializer("one", s64({1}));
          values.emplace_back(g.add_node("Slice", name, {x, name + "at", name + "end", "one"}), c - at);
          break;
        }
        default: {
          std::vector<std::string> parts;
          int64_t channels = 0;
          for (size_t k = 2 + below(3); k > 0; --k) {
            const auto& [part, width] = values[below(values.size())];
            parts.push_back(part);
            channels += width;
          }
          if (channels < 60) values.emplace_back(concat(g, name, parts), channels);
        }
      }
    }
    for (size_t v = values.size() > 3 ? values.size() - 3 : 1; v < values.size(); ++v)
      g.outputs.push_back({values[v].first, DType::f32, {}, false});
    SCOPED_TRACE(seed);
    expect_same_as_copies(g);
  }
}

}  // namespace
}  // namespace octavo
