// Mixing float and int8 nodes, choosing the faster, and finding what costs accuracy; fake quantization against the INT8 model.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "octavo/analyze.h"
#include "octavo/onnx.h"
#include "octavo/quantize.h"
#include "octavo/tune.h"
#include "graph_test_util.h"

namespace octavo {
namespace {

using Sample = std::map<std::string, Tensor>;

// conv1 -> relu1 -> conv2 (+ residual of relu1) -> pool -> flat -> fc
Graph net() {
  Graph g;
  g.inputs = {{"x", DType::f32, {{1, ""}, {8, ""}, {12, ""}, {12, ""}}, true}};
  g.add_initializer("w1", noise({16, 8, 3, 3}, 1, 0.3f));
  g.add_initializer("b1", noise({16}, 2));
  g.add_initializer("w2", noise({16, 16, 3, 3}, 3, 0.2f));
  g.add_initializer("w3", noise({16, 5}, 4, 0.5f));
  g.add_initializer("b3", noise({5}, 5));
  const std::vector<int64_t> pads = {1, 1, 1, 1};
  g.add_node("Conv", "conv1", {"x", "w1", "b1"}, {{"pads", pads}});
  g.add_node("Relu", "relu1", {"conv1"});
  g.add_node("Conv", "conv2", {"relu1", "w2"}, {{"pads", pads}});
  g.add_node("Add", "sum", {"conv2", "relu1"});
  g.add_node("Relu", "relu2", {"sum"});
  g.add_node("GlobalAveragePool", "pool", {"relu2"});
  g.add_node("Flatten", "flat", {"pool"});
  g.add_node("Gemm", "fc", {"flat", "w3", "b3"});
  g.outputs = {{"fc", DType::f32, {}, false}};
  return g;
}

std::vector<Sample> samples(size_t count) {
  std::vector<Sample> s;
  for (size_t i = 0; i < count; ++i) s.push_back({{"x", noise({1, 8, 12, 12}, 50 + i)}});
  return s;
}

struct Twins {
  Prepared prepared;
  Graph int8;
  explicit Twins(const char* recipe = "x86_static") : prepared(*prepare(net(), *Recipe::preset(recipe))) {
    EXPECT_TRUE(calibrate(prepared, samples(4)).ok());
    const Expected<Graph> q = convert(prepared);
    EXPECT_TRUE(q) << q.status().text();
    if (q) int8 = *q;
  }
  const Graph& plain() const { return prepared.graph(); }
};

std::vector<float> run(const Graph& graph, const Sample& sample, const CompileOptions& options = {}) {
  Expected<Session> session = Session::create(graph, 1, options);
  EXPECT_TRUE(session) << session.status().text();
  if (!session) return {};
  const auto y = session->run(sample);
  EXPECT_TRUE(y) << y.status().text();
  if (!y) return {};
  return {(*y)[0].as<float>(), (*y)[0].as<float>() + (*y)[0].count()};
}

std::map<std::string, std::string> precisions(const Graph& graph) {
  std::map<std::string, std::string> result;
  const Expected<Program> program = Program::compile(graph);
  EXPECT_TRUE(program) << program.status().text();
  if (program)
    for (const NodeReport& node : program->report()) result[node.name] = node.precision;
  return result;
}

size_t count(const Graph& graph, const char* op_type) {
  return size_t(std::count_if(graph.nodes.begin(), graph.nodes.end(), [&](const Node& n) { return n.op_type == op_type; }));
}

TEST(Mixed, NothingInFloatIsTheInt8ModelAndAllIsTheFloatOne) {
  const Twins t;
  const Sample x = samples(1)[0];
  EXPECT_EQ(run(*mixed(t.plain(), t.int8, {}), x), run(t.int8, x));
  std::set<std::string> all;
  for (const Node& node : t.plain().nodes) all.insert(node.name);
  const Expected<Graph> plain = mixed(t.plain(), t.int8, all);
  ASSERT_TRUE(plain) << plain.status().text();
  EXPECT_EQ(run(*plain, x), run(t.plain(), x));
  EXPECT_EQ(count(*plain, "QuantizeLinear") + count(*plain, "DequantizeLinear"), 0u);
}

TEST(Mixed, OneNodeInFloatHasNoQuantizationAround) {
  for (const char* recipe : {"x86_static", "arm_static"}) {
    const Twins t(recipe);
    const Expected<Graph> m = mixed(t.plain(), t.int8, {"fc"});
    ASSERT_TRUE(m) << m.status().text();
    EXPECT_EQ(precisions(*m).at("fc"), "float");
    EXPECT_EQ(precisions(*m).at("conv1"), "int8");
    for (const Node& node : m->nodes)
      if (node.name == "fc") {
        EXPECT_EQ(node.inputs, (std::vector<std::string>{"flat", "w3", "b3"}));
      }
    EXPECT_EQ(m->initializers.count("w3_quantized"), 0u);
  }
  const Twins t;
  EXPECT_STREQ(mixed(t.plain(), t.int8, {"fd"}).status().text(), "node 'fd' is not in both graphs");
}

TEST(Mixed, DynamicNodesGoBackToFloatToo) {
  Recipe recipe = *Recipe::preset("dynamic");
  const Prepared p = *prepare(net(), recipe);
  const Graph q = *convert(p);
  ASSERT_EQ(count(q, "MatMulInteger"), 1u);
  ASSERT_EQ(count(q, "ConvInteger"), count(p.graph(), "Conv"));
  std::set<std::string> products;
  for (const Node& node : p.graph().nodes)
    if (node.op_type == "Conv" || node.op_type == "Gemm") products.insert(node.name);
  const Expected<Graph> m = mixed(p.graph(), q, products);
  ASSERT_TRUE(m) << m.status().text();
  EXPECT_EQ(count(*m, "MatMulInteger") + count(*m, "ConvInteger") + count(*m, "DynamicQuantizeLinear"), 0u);
  EXPECT_EQ(run(*m, samples(1)[0]), run(p.graph(), samples(1)[0]));
}

TEST(Dequantized, HasNoQuantizationAndNearlyTheValues) {
  const Twins t;
  const Expected<Graph> d = dequantized(t.int8);
  ASSERT_TRUE(d) << d.status().text();
  EXPECT_EQ(count(*d, "QuantizeLinear") + count(*d, "DequantizeLinear"), 0u);
  const std::vector<float> a = run(t.plain(), samples(1)[0]), b = run(*d, samples(1)[0]);
  for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 0.05);  // weights are rounded to a 254th of their range
  EXPECT_EQ(run(*mixed(*d, t.int8, {}), samples(1)[0]), run(t.int8, samples(1)[0]));
  const Expected<Graph> m = mixed(*d, t.int8, {"conv1", "relu1"});
  ASSERT_TRUE(m) << m.status().text();
  EXPECT_EQ(precisions(*m).at("conv1"), "float");
  EXPECT_EQ(precisions(*m).at("conv2"), "int8");
}

TEST(KeepFaster, MeasuresBothAndWritesTheDecision) {
  const Twins t;
  const Sample x = samples(1)[0];
  const Expected<Tuned> tuned = keep_faster(t.plain(), t.int8, x, {1, 5});
  ASSERT_TRUE(tuned) << tuned.status().text();
  ASSERT_FALSE(tuned->timings.empty());
  std::set<std::string> in_float;
  const Expected<std::string> bytes = serialize_onnx(tuned->graph);
  ASSERT_TRUE(bytes) << bytes.status().text();
  const Expected<Graph> file = parse_onnx(std::as_bytes(std::span(*bytes)));
  ASSERT_TRUE(file) << file.status().text();
  const Expected<Program> program = Program::compile(*file);
  ASSERT_TRUE(program) << program.status().text();
  for (const NodeTiming& n : tuned->timings) {
    EXPECT_GT(n.int8_ms, 0) << n.node;
    EXPECT_GT(n.float_ms, 0) << n.node;
    const auto step = std::find_if(program->report().begin(), program->report().end(), [&](const auto& r) { return r.name == n.node; });
    if (step == program->report().end()) continue;  // now part of another step
    EXPECT_EQ(step->precision, n.int8 ? "int8" : "float") << n.node;
    EXPECT_NEAR(step->int8_ms, n.int8_ms, 1e-5 * n.int8_ms) << n.node;  // written with six digits
    EXPECT_NEAR(step->float_ms, n.float_ms, 1e-5 * n.float_ms) << n.node;
  }
  EXPECT_EQ(run(*file, x), run(tuned->graph, x));
}

// The file may say anything.
TEST(KeepFaster, TimesThatAreNoneAreNotShown) {
  Graph g = net();
  g.metadata["octavo.ms/conv1"] = "0.5 1.5";
  for (const char* text : {"", "1", "1 2 3", "-1 2", "nan 1", "1 inf", "one two", "1e999 2", "1,2", "0 1"}) {
    g.metadata["octavo.ms/fc"] = text;
    const Expected<Program> program = Program::compile(g);
    ASSERT_TRUE(program) << program.status().text();
    for (const NodeReport& r : program->report()) {
      EXPECT_EQ(r.int8_ms, r.name == "conv1" ? 0.5 : 0) << text;
      EXPECT_EQ(r.float_ms, r.name == "conv1" ? 1.5 : 0) << text;
    }
  }
}

TEST(Analyze, FindsTheNodeThatDoesTheDamage) {
  // conv2 with parameters that clip nearly everything it reads.
  Recipe recipe = *Recipe::preset("x86_static");
  recipe.set_value("pool", FixedParams{{1e-4f, 0}});
  Prepared p = *prepare(net(), recipe);
  ASSERT_TRUE(calibrate(p, samples(4)).ok());
  const Graph int8 = *convert(p);
  const Expected<Analysis> a = analyze(p.graph(), int8, samples(3));
  ASSERT_TRUE(a) << a.status().text();
  ASSERT_GE(a->steps.size(), 3u);
  EXPECT_LT(a->sqnr_db, 10);
  // The pool that writes the clipped value, or the layer that reads it.
  EXPECT_TRUE(a->steps[0].nodes[0] == "fc" || a->steps[0].nodes[0] == "pool") << a->steps[0].nodes[0];
  EXPECT_LT(a->steps[0].alone_db, 10);
  for (const StepDamage& s : a->steps)
    if (s.nodes[0] == "conv1") {
      EXPECT_GT(s.alone_db, 25);
    }

  const auto good = [&](const Graph& graph) -> Expected<bool> {
    const Expected<Analysis> whole = analyze(p.graph(), graph, samples(3));
    if (!whole) return whole.status();
    return whole->sqnr_db > 25;
  };
  const Expected<std::set<std::string>> nodes = least_float_nodes(p.graph(), int8, *a, good);
  ASSERT_TRUE(nodes) << nodes.status().text();
  EXPECT_EQ(nodes->count("conv1") + nodes->count("conv2"), 0u);
  EXPECT_GT(nodes->count("fc") + nodes->count("pool"), 0u);
  EXPECT_TRUE(*good(*mixed(p.graph(), int8, *nodes)));
  EXPECT_TRUE(least_float_nodes(p.graph(), int8, *a, [](const Graph&) -> Expected<bool> { return true; })->empty());
  EXPECT_EQ(least_float_nodes(p.graph(), int8, *a, [](const Graph&) -> Expected<bool> { return false; }).status().code(),
            Code::invalid_argument);
}

TEST(Qat, FakeQuantForwardEqualsTheInt8ModelWithinOneStep) {
  for (const char* preset : {"x86_static_qat", "arm_static_qat"}) {
    const Twins t(preset);
    const Expected<Graph> trainable = prepare_qat(t.prepared);
    ASSERT_TRUE(trainable) << trainable.status().text();
    for (const char* weight : {"w1", "w2", "w3"}) {
      ASSERT_TRUE(trainable->initializers.count(weight)) << weight;
      EXPECT_EQ(trainable->initializers.at(weight).dtype(), DType::f32);
    }
    // Up to the last quantized activation, whose step is known: 'flat', which shares the pool's parameters.
    Graph fake = *trainable, int8 = t.int8;
    const std::string last = "pool_quantized";
    for (Graph* g : {&fake, &int8}) {
      g->outputs = {{last, t.int8.initializers.at("pool_zero_point").dtype(), {}, false}};
      remove_dead(*g);
    }
    CompileOptions simulate;
    simulate.simulate = true;
    EXPECT_EQ(Program::compile(fake, simulate)->int8_mac_share(), 0);
    EXPECT_EQ(Program::compile(int8)->int8_mac_share(), 1);
    for (const Sample& sample : samples(5)) {
      const auto a = Session::create(fake, 1, simulate)->run(sample), b = Session::create(int8)->run(sample);
      ASSERT_TRUE(a) << a.status().text();
      ASSERT_TRUE(b) << b.status().text();
      ASSERT_EQ((*a)[0].dtype(), (*b)[0].dtype());
      for (int64_t i = 0; i < (*a)[0].count(); ++i) {
        const auto at = [&](const Tensor& q) { return q.dtype() == DType::u8 ? int(q.as<uint8_t>()[i]) : int(q.as<int8_t>()[i]); };
        EXPECT_NEAR(at((*a)[0]), at((*b)[0]), 1);
      }
    }
    // Not simulated, the trainable form is an INT8 model itself.
    EXPECT_EQ(Program::compile(*trainable)->int8_mac_share(), 1);
  }
}

TEST(Qat, TrainedWeightsAndScalesImportAsTheyAre) {
  // What a trainer may change: weights, scales, zero points. Nothing is calibrated again.
  const Twins t("x86_static_qat");
  Graph trained = *prepare_qat(t.prepared);
  trained.add_initializer("w3", noise({16, 5}, 77, 0.5f));
  trained.add_initializer("x_scale", Tensor::from(DType::f32, {}, std::vector<float>{0.01f}));
  trained.add_initializer("x_zero_point", Tensor::from(DType::u8, {}, std::vector<uint8_t>{99}));
  const Expected<std::string> bytes = serialize_onnx(trained);
  ASSERT_TRUE(bytes) << bytes.status().text();
  const Expected<Graph> file = parse_onnx(std::as_bytes(std::span(*bytes)));
  ASSERT_TRUE(file) << file.status().text();
  EXPECT_EQ(Program::compile(*file)->int8_mac_share(), 1);
  CompileOptions simulate;
  simulate.simulate = true;
  const std::vector<float> a = run(*file, samples(1)[0], simulate), b = run(*file, samples(1)[0]);
  for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 0.02);  // a few steps of 1/255 of the range, through one layer
}

}  // namespace
}  // namespace octavo
