// Normalizations spelled out by elementwise operators are one step, in every form that exporters write; what only looks like one,
// or has a value inside that others see, stays.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "graph_test_util.h"
#include "octavo/quantize.h"
#include "octavo/session.h"

namespace octavo {
namespace {

constexpr int64_t kRows = 5, kChannels = 24;
constexpr float kEpsilon = 1e-3f;

// The operators between x [1, 5, 24] and the result.
using Body = std::function<std::string(Graph&)>;

std::string scalar(Graph& g, const std::string& name, float v) { return g.add_initializer(name, f32({}, {v})); }
std::string epsilon(Graph& g) { return scalar(g, "epsilon", kEpsilon); }
std::string two(Graph& g) { return scalar(g, "two", 2); }
std::string mean(Graph& g, const std::string& name, const std::string& x, int64_t axis = -1) {
  return g.add_node("ReduceMean", name, {x}, {{"axes", std::vector<int64_t>{axis}}});
}
Tensor scales() { return noise({kChannels}, 11, 2); }
Tensor biases() { return noise({kChannels}, 12, 2); }
std::string scaled(Graph& g, const std::string& x) {
  return g.add_node("Mul", "scaled", {x, g.add_initializer("gamma", scales())});
}
std::string shifted(Graph& g, const std::string& x) {
  return g.add_node("Add", "shifted", {g.add_initializer("beta", biases()), x});
}

std::string centred(Graph& g) { return g.add_node("Sub", "centred", {"x", mean(g, "mean", "x")}); }
std::string deviation(Graph& g, const std::string& square) {
  return g.add_node("Sqrt", "deviation", {g.add_node("Add", "variance", {mean(g, "mean_square", square), epsilon(g)})});
}

Graph graph_of(const Body& body) {
  Graph g;
  g.opset = 13;
  g.inputs = {{"x", DType::f32, {{1, ""}, {kRows, ""}, {kChannels, ""}}}};
  g.outputs = {{body(g), DType::f32, {}, false}};
  return g;
}

Tensor input() { return noise({1, kRows, kChannels}, 3, 4); }

// The definition, in double.
std::vector<float> reference(bool layer, bool scale, bool bias) {
  const Tensor in = input(), gamma = scales(), beta = biases();
  const float *x = in.as<float>(), *a = gamma.as<float>(), *b = beta.as<float>();
  std::vector<float> y;
  for (int64_t r = 0; r < kRows; ++r, x += kChannels) {
    double mean = 0, square = 0;
    for (int64_t c = 0; c < kChannels && layer; ++c) mean += double(x[c]) / kChannels;
    for (int64_t c = 0; c < kChannels; ++c) square += (double(x[c]) - mean) * (double(x[c]) - mean) / kChannels;
    for (int64_t c = 0; c < kChannels; ++c)
      y.push_back(float((double(x[c]) - mean) / std::sqrt(square + double(kEpsilon)) * (scale ? double(a[c]) : 1) +
                        (bias ? double(b[c]) : 0)));
  }
  return y;
}

std::vector<NodeReport> report_of(const Graph& g) {
  const Expected<Program> p = Program::compile(g);
  EXPECT_TRUE(p) << p.status().text();
  return p ? std::vector<NodeReport>(p->report().begin(), p->report().end()) : std::vector<NodeReport>();
}

// One step of `nodes` nodes which gives what is expected: sums in another order, and a reciprocal, cost some last bits.
void expect_norm(const std::string& type, const Graph& g, size_t nodes, const std::vector<float>& want) {
  const std::vector<NodeReport> report = report_of(g);
  ASSERT_EQ(report.size(), 1u);
  EXPECT_EQ(report[0].op_type, type);
  EXPECT_EQ(report[0].fused.size(), nodes - 1);
  EXPECT_EQ(report[0].name, g.outputs[0].name);
  Expected<Session> session = Session::create(g);
  ASSERT_TRUE(session);
  const Expected<std::vector<Tensor>> y = session->run({{"x", input()}});
  ASSERT_TRUE(y) << y.status().text();
  const std::vector<float> got = values_of<float>((*y)[0]);
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i], want[i], 4e-6f * (1 + std::abs(want[i]))) << i;
}

void expect_none(const Graph& g) {
  for (const NodeReport& r : report_of(g)) {
    EXPECT_NE(r.op_type, "LayerNormalization");
    EXPECT_NE(r.op_type, "RMSNormalization");
  }
}

TEST(Norms, LayerNormalization) {
  const std::vector<float> want = reference(true, true, true);
  const auto whole = [](Graph& g, const std::string& quotient) { return shifted(g, scaled(g, quotient)); };
  expect_norm("LayerNormalization", graph_of([&](Graph& g) {
                const std::string d = centred(g);
                return whole(g, g.add_node("Div", "y", {d, deviation(g, g.add_node("Pow", "square", {d, two(g)}))}));
              }), 9, want);
  expect_norm("LayerNormalization", graph_of([&](Graph& g) {  // x - mean twice, as old exporters of PyTorch have it
                const std::string d = g.add_node("Sub", "d", {"x", mean(g, "m", "x")}), e = g.add_node("Sub", "e", {"x", "m"});
                return whole(g, g.add_node("Div", "y", {e, deviation(g, g.add_node("Mul", "square", {d, d}))}));
              }), 10, want);
  expect_norm("LayerNormalization", graph_of([&](Graph& g) {
                const std::string d = centred(g), s = deviation(g, g.add_node("Mul", "square", {d, d}));
                return whole(g, g.add_node("Mul", "y", {g.add_node("Reciprocal", "inverse", {s}), d}));
              }), 10, want);
}

TEST(Norms, WithoutScaleOrBias) {
  const auto quotient = [](Graph& g) {
    const std::string d = centred(g);
    return g.add_node("Div", "y", {d, deviation(g, g.add_node("Mul", "square", {d, d}))});
  };
  expect_norm("LayerNormalization", graph_of(quotient), 7, reference(true, false, false));
  expect_norm("LayerNormalization", graph_of([&](Graph& g) { return scaled(g, quotient(g)); }), 8, reference(true, true, false));
  expect_norm("LayerNormalization", graph_of([&](Graph& g) { return shifted(g, quotient(g)); }), 8, reference(true, false, true));
}

TEST(Norms, RmsNormalization) {
  const std::vector<float> want = reference(false, true, false);
  const auto deviation_of_x = [](Graph& g) { return deviation(g, g.add_node("Pow", "square", {"x", two(g)})); };
  expect_norm("RMSNormalization", graph_of([&](Graph& g) {  // T5
                const std::string inverse = g.add_node("Div", "inverse", {scalar(g, "one", 1), deviation_of_x(g)});
                return scaled(g, g.add_node("Mul", "y", {"x", inverse}));
              }), 7, want);
  expect_norm("RMSNormalization", graph_of([&](Graph& g) {
                return scaled(g, g.add_node("Mul", "y", {"x", g.add_node("Reciprocal", "inverse", {deviation_of_x(g)})}));
              }), 7, want);
  expect_norm("RMSNormalization", graph_of([&](Graph& g) { return g.add_node("Div", "y", {"x", deviation_of_x(g)}); }), 5,
              reference(false, false, false));
}

TEST(Norms, WhatOnlyLooksLikeOne) {
  const auto of = [](const char* quotient, const char* numerator, float exponent, int64_t axis) {
    return graph_of([=](Graph& g) {
      const std::string square = g.add_node("Pow", "square", {"x", scalar(g, "exponent", exponent)});
      const std::string sum = g.add_node("Add", "variance", {mean(g, "mean_square", square, axis), epsilon(g)});
      const std::string z = g.add_node("Abs", "z", {"x"}), s = g.add_node("Sqrt", "s", {sum});
      return g.add_node(quotient, "y", {numerator, s});
    });
  };
  ASSERT_EQ(report_of(of("Div", "x", 2, -1)).size(), 1u);  // else nothing below shows anything
  expect_none(of("Mul", "x", 2, -1));
  expect_none(of("Div", "z", 2, -1));
  expect_none(of("Div", "x", 3, -1));
  expect_none(of("Div", "x", 2, 1));
  expect_none(graph_of([](Graph& g) {  // s / x
    return g.add_node("Div", "y", {deviation(g, g.add_node("Mul", "square", {"x", "x"})), "x"});
  }));
  expect_none(graph_of([](Graph& g) {  // the epsilon is no constant
    const std::string square = g.add_node("Mul", "square", {"x", "x"}), e = mean(g, "e", "x");
    const std::string s = g.add_node("Sqrt", "s", {g.add_node("Add", "variance", {mean(g, "mean_square", square), e})});
    return g.add_node("Div", "y", {"x", s});
  }));
}

TEST(Norms, AValueInsideThatOthersSee) {
  Graph g = graph_of([](Graph& graph) {
    const std::string d = centred(graph);
    return scaled(graph, graph.add_node("Div", "y", {d, deviation(graph, graph.add_node("Mul", "square", {d, d}))}));
  });
  g.outputs.push_back({"deviation", DType::f32, {}, false});
  expect_none(g);
  g.outputs.pop_back();
  CompileOptions options;
  options.keep = {"variance"};
  const Expected<Program> p = Program::compile(g, options);
  ASSERT_TRUE(p);
  EXPECT_GT(p->report().size(), 1u);
  // What is behind the quotient may be seen: the normalization ends before.
  g.outputs.push_back({"y", DType::f32, {}, false});
  const std::vector<NodeReport> report = report_of(g);
  ASSERT_GE(report.size(), 2u);
  EXPECT_EQ(report[0].op_type, "LayerNormalization");
}

TEST(Norms, BytesInAndOut) {
  Graph g = graph_of([](Graph& graph) {
    for (const char* name : {"w0", "w1"}) graph.add_initializer(name, noise({kChannels, kChannels}, uint32_t(name[1]), 0.3f));
    const std::string x = graph.add_node("MatMul", "first", {"x", "w0"});
    const std::string square = graph.add_node("Mul", "square", {x, x});
    const std::string y = graph.add_node("Div", "y", {x, deviation(graph, square)});
    return graph.add_node("MatMul", "last", {scaled(graph, y), "w1"});
  });
  Expected<Prepared> prepared = prepare(g, *Recipe::preset("x86_static"));
  ASSERT_TRUE(prepared);
  ASSERT_TRUE(calibrate(*prepared, {{{"x", input()}}}).ok());
  const Expected<Graph> q = convert(*prepared);
  ASSERT_TRUE(q);
  for (const NodeReport& r : report_of(*q))
    if (r.op_type == "RMSNormalization") {
      EXPECT_EQ(r.name, "scaled");
      EXPECT_EQ(r.fused.size(), 6u) << "and the QuantizeLinear";
      return;
    }
  FAIL() << "no RMSNormalization";
}

}  // namespace
}  // namespace octavo
