// If and Loop: what is known becomes plain nodes, the rest runs; as files have them, with values captured from the graphs around.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string_view>

#include "counted_new.h"
#include "graph_test_util.h"
#include "octavo/onnx.h"
#include "octavo/quantize.h"
#include "octavo/session.h"
#include "onnx_message.h"

namespace octavo {
namespace {

constexpr int kFloat = 1, kInt64 = 7, kBool = 9;
constexpr int64_t kOpen = -1;

template <class T>
std::string raw(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}
Message floats(const std::string& name, const std::vector<int64_t>& dims, const std::vector<float>& v) {
  return tensor(name, dims, kFloat, raw(v));
}
Message ints(const std::string& name, const std::vector<int64_t>& dims, const std::vector<int64_t>& v) {
  return tensor(name, dims, kInt64, raw(v));
}
Message boolean(const std::string& name, bool v) { return tensor(name, {}, kBool, std::string(1, char(v))); }

// A GraphProto under construction.
struct Proto {
  Message m;
  Proto& op(const std::string& type, const std::vector<std::string>& in, const std::string& out, const std::vector<Message>& attributes = {}) {
    Message n = node(type, in, out, out);
    for (const Message& a : attributes) n.message(kAttribute, a);
    m.message(kNode, n);
    return *this;
  }
  Proto& ops(const std::string& type, const std::vector<std::string>& in, const std::vector<std::string>& out,
             const std::vector<Message>& attributes) {
    Message n = node(type, in, out[0], out[0]);
    for (size_t i = 1; i < out.size(); ++i) n.bytes(kNodeOutput, out[i]);
    for (const Message& a : attributes) n.message(kAttribute, a);
    m.message(kNode, n);
    return *this;
  }
  Proto& constant(const Message& t) {
    m.message(kInitializer, t);
    return *this;
  }
  Proto& in(const std::string& name, const std::vector<int64_t>& dims, int type = kFloat) {
    m.message(kInput, value_info(name, dims, type));
    return *this;
  }
  Proto& out(const std::string& name, const std::vector<int64_t>& dims = {}, int type = kFloat) {
    m.message(kOutput, value_info(name, dims, type));
    return *this;
  }
  // Without a type, as some exporters write subgraphs.
  Proto& bare_out(const std::string& name) {
    m.message(kOutput, Message().bytes(1, name));
    return *this;
  }
  Proto& choose(const std::string& condition, const std::string& out, const Proto& yes, const Proto& no) {
    return op("If", {condition}, out, {graph_attribute("then_branch", yes.m), graph_attribute("else_branch", no.m)});
  }
  Proto& loop(const std::vector<std::string>& in, const std::vector<std::string>& out, const Proto& body) {
    return ops("Loop", in, out, {graph_attribute("body", body.m)});
  }
  std::string file(uint64_t opset = 13) const { return model(m, opset); }
};

Graph parsed(const std::string& file) {
  Expected<Graph> graph = parse(file);
  EXPECT_TRUE(graph) << graph.status().text();
  return graph ? *std::move(graph) : Graph();
}
Graph parsed(const Proto& proto, uint64_t opset = 13) { return parsed(proto.file(opset)); }

std::string error_of(const std::string& file) {
  const Expected<Graph> graph = parse(file);
  EXPECT_FALSE(graph);
  return graph.status().text();
}

Tensor flag_of(bool v) { return Tensor::from(DType::boolean, {1}, std::vector<uint8_t>{v}); }

using Inputs = std::map<std::string, Tensor>;

// The first output, after the file was written and read again as well.
Tensor run(const Graph& graph, const Inputs& inputs, int threads = 1) {
  std::vector<Tensor> results;
  const Expected<std::string> file = serialize_onnx(graph);
  EXPECT_TRUE(file) << file.status().text();
  for (const Graph& g : {graph, parsed(*file)}) {
    Expected<Session> session = Session::create(g, threads);
    EXPECT_TRUE(session) << session.status().text();
    Expected<std::vector<Tensor>> out = session->run(inputs);
    EXPECT_TRUE(out) << out.status().text();
    if (!out) return {};
    results.push_back((*out)[0]);
  }
  EXPECT_EQ(results[0].shape(), results[1].shape());
  const auto bytes = [](const Tensor& t) { return std::string_view(static_cast<const char*>(t.data()), t.bytes()); };
  EXPECT_TRUE(bytes(results[0]) == bytes(results[1]));
  return results[0];
}

std::string failure(const Graph& graph, const Inputs& inputs) {
  Expected<Session> session = Session::create(graph);
  EXPECT_TRUE(session);
  const Expected<std::vector<Tensor>> out = session->run(inputs);
  EXPECT_FALSE(out);
  return out.status().text();
}

Expected<Program> compiled(const Graph& graph, const std::map<std::string, Shape>& shapes = {}) {
  CompileOptions options;
  options.input_shapes = shapes;
  return Program::compile(graph, options);
}

bool has_op(const Graph& graph, const std::string& type) {
  return std::any_of(graph.nodes.begin(), graph.nodes.end(), [&](const Node& n) { return n.op_type == type; });
}

// y = x > 0 on the whole ? x * w : x - w, decided by the sum of x.
Proto by_sum() {
  Proto yes, no, p;
  yes.op("Mul", {"x", "w"}, "scaled").out("scaled", {3});
  no.op("Sub", {"x", "w"}, "less").out("less", {3});
  p.in("x", {3}).constant(floats("w", {3}, {1, 2, 3})).constant(floats("zero", {}, {0}));
  p.op("ReduceSum", {"x"}, "sum", {flag("keepdims", 0)}).op("Greater", {"sum", "zero"}, "positive");
  return p.choose("positive", "y", yes, no).out("y", {3});
}

TEST(If, ComputedConditionRunsOneBranch) {
  const Graph graph = parsed(by_sum());
  EXPECT_EQ(values_of<float>(run(graph, {{"x", f32({3}, {1, 2, 3})}})), (std::vector<float>{1, 4, 9}));
  EXPECT_EQ(values_of<float>(run(graph, {{"x", f32({3}, {-1, -2, -3})}})), (std::vector<float>{-2, -4, -6}));
  EXPECT_EQ(values_of<float>(run(graph, {{"x", f32({3}, {NAN, 2, 3})}}))[1], 0);  // no comparison with NaN is true
  const Expected<Program> program = Program::compile(graph);
  ASSERT_TRUE(program) << program.status().text();
  const auto line = std::find_if(program->report().begin(), program->report().end(), [](const NodeReport& r) { return r.op_type == "If"; });
  ASSERT_NE(line, program->report().end());
  EXPECT_EQ(line->name, "y");
  EXPECT_EQ(line->fused, (std::vector<std::string>{"scaled", "less"}));
  EXPECT_EQ(line->precision, "float");
  EXPECT_FALSE(line->why_not_int8.empty());
}

TEST(If, KnownConditionBecomesItsBranch) {
  for (const bool which : {true, false}) {
    Proto yes, no, p;
    yes.constant(floats("w", {2}, {10, 20})).op("Add", {"x", "w"}, "a").bare_out("a");
    no.op("Neg", {"x"}, "b").out("b", {2});
    p.in("x", {2}).constant(boolean("c", which)).choose("c", "y", yes, no).out("y", {2});
    Graph graph = parsed(p);
    EXPECT_EQ(values_of<float>(run(graph, {{"x", f32({2}, {1, 2})}})), which ? (std::vector<float>{11, 22}) : (std::vector<float>{-1, -2}));
    ASSERT_TRUE(fold_constants(graph).ok());
    EXPECT_EQ(graph.nodes.size(), 1u);
    EXPECT_EQ(graph.nodes[0].op_type, which ? "Add" : "Neg");
    EXPECT_EQ(graph.nodes[0].outputs[0], "y");
  }
}

// PyTorch's squeeze: an If on the size of a dimension, whose branches have different ranks.
TEST(If, ConditionOnAShapeIsKnownWithTheShape) {
  Proto yes, no, p;
  yes.op("Squeeze", {"x", "axis"}, "squeezed").bare_out("squeezed");
  no.op("Identity", {"x"}, "same").bare_out("same");
  p.in("x", {kOpen, kOpen}).constant(ints("axis", {1}, {1})).constant(ints("one", {}, {1})).constant(ints("index", {}, {1}));
  p.op("Shape", {"x"}, "shape").op("Gather", {"shape", "index"}, "size").op("Equal", {"size", "one"}, "c");
  p.choose("c", "y", yes, no).out("y", {kOpen});
  const Graph graph = parsed(p);
  EXPECT_TRUE(shape_inputs(graph).empty());
  EXPECT_EQ(run(graph, {{"x", f32({3, 1}, {1, 2, 3})}}).shape(), (Shape{3}));
  EXPECT_EQ(run(graph, {{"x", f32({1, 3}, {1, 2, 3})}}).shape(), (Shape{1, 3}));
}

// As Optimum merges decoders: the branches are whole models, share weights, and give caches of different shapes.
TEST(If, FlagChoosesThePartOfAMergedModel) {
  Proto yes, no, p;
  yes.op("Concat", {"past", "x"}, "all", {flag("axis", 0)}).op("MatMul", {"x", "w"}, "y1").out("y1", {kOpen, 2}).out("all", {kOpen, 2});
  no.op("Identity", {"x"}, "first").op("MatMul", {"x", "w"}, "y2").out("y2", {kOpen, 2}).out("first", {kOpen, 2});
  p.in("x", {kOpen, 2}).in("past", {kOpen, 2}).in("use_cache_branch", {1}, kBool).constant(floats("w", {2, 2}, {1, 2, 3, 4}));
  p.ops("If", {"use_cache_branch"}, {"y", "present"}, {graph_attribute("then_branch", yes.m), graph_attribute("else_branch", no.m)});
  p.out("y", {kOpen, 2}).out("present", {kOpen, 2});
  const Graph graph = parsed(p);
  EXPECT_EQ(shape_inputs(graph), std::vector<std::string>{"use_cache_branch"});
  Expected<Session> session = Session::create(graph);
  ASSERT_TRUE(session);
  const Tensor x = f32({1, 2}, {1, 1});
  Inputs inputs = {{"x", x}, {"past", f32({0, 2}, {})}, {"use_cache_branch", flag_of(false)}};
  Expected<std::vector<Tensor>> out = session->run(inputs);
  ASSERT_TRUE(out) << out.status().text();
  EXPECT_EQ(values_of<float>((*out)[0]), (std::vector<float>{4, 6}));
  EXPECT_EQ((*out)[1].shape(), (Shape{1, 2}));
  inputs["past"] = (*out)[1];
  inputs["use_cache_branch"] = flag_of(true);
  out = session->run(inputs);
  ASSERT_TRUE(out) << out.status().text();
  EXPECT_EQ(values_of<float>((*out)[0]), (std::vector<float>{4, 6}));
  EXPECT_EQ(values_of<float>((*out)[1]), (std::vector<float>{1, 1, 1, 1}));
  // Nothing of the If is left in the Program, so that all of it may run in int8.
  const Expected<const Program*> program = session->program(inputs);
  ASSERT_TRUE(program);
  for (const NodeReport& r : (*program)->report()) EXPECT_NE(r.op_type, "If");
  const std::string text = compiled(graph, {{"past", {3, 2}}}).status().text();
  EXPECT_NE(text.find("If 'y'"), std::string::npos) << text;
  EXPECT_NE(text.find("must be known"), std::string::npos) << text;
}

// What a branch gives may be a value of the graph around it, a constant, or one value twice.
TEST(If, BranchesMayComputeNothing) {
  Proto yes, no, p;
  yes.bare_out("x").bare_out("x");
  no.constant(floats("k", {2}, {7, 8})).op("Add", {"k", "x"}, "s").bare_out("k").bare_out("s");
  p.in("x", {2}).constant(floats("zero", {}, {0})).op("ReduceMax", {"x"}, "largest", {flag("keepdims", 0)});
  p.op("Less", {"largest", "zero"}, "c");
  p.ops("If", {"c"}, {"a", "b"}, {graph_attribute("then_branch", yes.m), graph_attribute("else_branch", no.m)});
  p.op("Sub", {"a", "b"}, "y").out("y", {2});
  const Graph graph = parsed(p);
  EXPECT_EQ(values_of<float>(run(graph, {{"x", f32({2}, {-1, -2})}})), (std::vector<float>{0, 0}));
  EXPECT_EQ(values_of<float>(run(graph, {{"x", f32({2}, {1, 2})}})), (std::vector<float>{-1, -2}));
}

// sums[i] = sum of x over the first i + 1 rows; total = the last.
Proto running_sums(const std::vector<std::string>& loop_inputs) {
  Proto body, p;
  body.in("i", {}, kInt64).in("go", {}, kBool).in("before", {2});
  body.op("Gather", {"x", "i"}, "row", {flag("axis", 0)}).op("Add", {"before", "row"}, "after").op("Identity", {"go"}, "on");
  body.op("Identity", {"after"}, "scanned").out("on", {}, kBool).out("after", {2}).out("scanned", {2});
  p.in("x", {kOpen, 2}).constant(floats("start", {2}, {0, 0})).constant(ints("index", {}, {0}));
  p.op("Shape", {"x"}, "shape").op("Gather", {"shape", "index"}, "rows");
  return p.loop(loop_inputs, {"total", "sums"}, body).out("sums", {kOpen, 2}).out("total", {2});
}

TEST(Loop, TripCountOfAShapeIsUnrolled) {
  for (const uint64_t opset : {11, 13, 21}) {
    const Graph graph = parsed(running_sums({"rows", "", "start"}), opset);
    EXPECT_TRUE(shape_inputs(graph).empty());
    const Tensor sums = run(graph, {{"x", f32({3, 2}, {1, 2, 3, 4, 5, 6})}});
    EXPECT_EQ(sums.shape(), (Shape{3, 2}));
    EXPECT_EQ(values_of<float>(sums), (std::vector<float>{1, 2, 4, 6, 9, 12}));
    const Tensor none = run(graph, {{"x", f32({0, 2}, {})}});
    EXPECT_EQ(none.shape(), (Shape{0, 2}));
    const Expected<Program> program = compiled(graph, {{"x", {3, 2}}});
    ASSERT_TRUE(program) << program.status().text();
    for (const NodeReport& r : program->report()) EXPECT_NE(r.op_type, "Loop");
  }
}

// More iterations than are unrolled: the body is a Program, the results the same.
TEST(Loop, ManyIterationsRun) {
  const Graph graph = parsed(running_sums({"rows", "", "start"}));
  std::vector<float> x(20000, 1.f);
  const Tensor sums = run(graph, {{"x", f32({10000, 2}, x)}}, 2);
  ASSERT_EQ(sums.shape(), (Shape{10000, 2}));
  for (int64_t i = 0; i < 10000; ++i) ASSERT_EQ(sums.as<float>()[2 * i + 1], float(i + 1));
  const Expected<Program> program = compiled(graph, {{"x", {10000, 2}}});
  ASSERT_TRUE(program) << program.status().text();
  EXPECT_TRUE(std::any_of(program->report().begin(), program->report().end(), [](const NodeReport& r) { return r.op_type == "Loop"; }));
}

// y = x doubled `times` times, but no longer than `limit` says: a loop that only the run decides.
Proto doubling(bool with_limit) {
  Proto body, p;
  body.in("i", {}, kInt64).in("go", {}, kBool).in("before", {2});
  body.op("Add", {"before", "before"}, "after").op("ReduceMax", {"after"}, "largest", {flag("keepdims", 0)});
  body.op("Less", {"largest", "limit"}, "on").out("on", {}, kBool).out("after", {2});
  p.in("x", {2}).in("times", {}, kInt64).constant(floats("limit", {}, {100}));
  return p.loop({with_limit ? "times" : "", "", "x"}, {"y"}, body).out("y", {2});
}

TEST(Loop, RunDecidesHowOften) {
  const auto times = [](int64_t n) { return s64({}, {n}); };
  const Graph graph = parsed(doubling(true));
  EXPECT_TRUE(shape_inputs(graph).empty());
  const Tensor x = f32({2}, {1, 3});
  EXPECT_EQ(values_of<float>(run(graph, {{"x", x}, {"times", times(2)}})), (std::vector<float>{4, 12}));
  EXPECT_EQ(values_of<float>(run(graph, {{"x", x}, {"times", times(0)}})), (std::vector<float>{1, 3}));
  EXPECT_EQ(values_of<float>(run(graph, {{"x", x}, {"times", times(-5)}})), (std::vector<float>{1, 3}));
  EXPECT_EQ(values_of<float>(run(graph, {{"x", x}, {"times", times(INT64_MAX)}})), (std::vector<float>{64, 192}));
  EXPECT_EQ(values_of<float>(run(parsed(doubling(false)), {{"x", x}, {"times", times(0)}})), (std::vector<float>{64, 192}));
}

TEST(Loop, ThatNeverEndsIsAnError) {
  const Inputs inputs = {{"x", f32({2}, {0, 0})}, {"times", s64({}, {INT64_MAX})}};
  EXPECT_EQ(failure(parsed(doubling(true)), inputs), "node 'y': more than 1048576 iterations, and no trip count");
  Proto body, p;
  body.in("i", {}, kInt64).in("go", {}, kBool).in("before", {2}).op("Neg", {"before"}, "after");
  body.op("Identity", {"go"}, "on").out("on", {}, kBool).out("after", {2});
  p.in("x", {2}).loop({"", "", "x"}, {"y"}, body).out("y", {2});
  EXPECT_EQ(failure(parsed(p), {{"x", f32({2}, {1, 2})}}), "Loop 'y': it never ends: no trip count, and its condition stays true");
}

// while (i < 3): known step by step.
TEST(Loop, KnownConditionIsUnrolled) {
  Proto body, p;
  body.in("i", {}, kInt64).in("go", {}, kBool).in("before", {2});
  body.op("Add", {"before", "step"}, "after").op("Less", {"i", "two"}, "on").out("on", {}, kBool).out("after", {2});
  p.in("x", {2}).constant(ints("two", {}, {2})).constant(floats("step", {}, {10})).constant(ints("most", {}, {INT64_MAX}));
  p.constant(boolean("yes", true)).loop({"most", "yes", "x"}, {"y"}, body).out("y", {2});
  Graph graph = parsed(p);
  EXPECT_EQ(values_of<float>(run(graph, {{"x", f32({2}, {1, 2})}})), (std::vector<float>{31, 32}));
  ASSERT_TRUE(fold_constants(graph).ok());
  EXPECT_EQ(graph.nodes.size(), 3u);
  for (const Node& n : graph.nodes) EXPECT_EQ(n.op_type, "Add");
}

// A list that grows: each iteration has a shape of its own. The trip count is an input.
TEST(Loop, GrowingValuesNeedAKnownTripCount) {
  Proto body, p;
  body.in("i", {}, kInt64).in("go", {}, kBool).in("before", {kOpen});
  body.op("Concat", {"before", "x"}, "after", {flag("axis", 0)}).op("Identity", {"go"}, "on").out("on", {}, kBool).out("after", {kOpen});
  p.in("x", {2}).in("times", {}, kInt64).loop({"times", "", "x"}, {"y"}, body).out("y", {kOpen});
  const Graph graph = parsed(p);
  EXPECT_EQ(shape_inputs(graph), std::vector<std::string>{"times"});
  EXPECT_EQ(values_of<float>(run(graph, {{"x", f32({2}, {1, 2})}, {"times", s64({}, {2})}})), (std::vector<float>{1, 2, 1, 2, 1, 2}));
  const std::string text = Program::compile(graph).status().text();
  EXPECT_NE(text.find("Loop 'y': its carried value 'before' is f32[2], then f32[4]"), std::string::npos) << text;
  const std::string much = failure(graph, {{"x", f32({2}, {1, 2})}, {"times", s64({}, {1 << 20})}});
  EXPECT_NE(much.find("it is not unrolled"), std::string::npos) << much;
}

// How often it stacks depends on the values of x: then these are what the Program is for.
TEST(Loop, StackedValuesOfAComputedNumber) {
  Proto body, p;
  body.in("i", {}, kInt64).in("go", {}, kBool).in("before", {1});
  body.op("Add", {"before", "before"}, "after").op("Less", {"after", "limit"}, "on").op("Identity", {"after"}, "scanned");
  body.out("on", {1}, kBool).out("after", {1}).out("scanned", {1});
  p.in("x", {1}).constant(floats("limit", {}, {9})).loop({"", "", "x"}, {"last", "all"}, body).out("all", {kOpen, 1});
  const Graph graph = parsed(p);
  EXPECT_EQ(shape_inputs(graph), std::vector<std::string>{"x"});
  EXPECT_EQ(values_of<float>(run(graph, {{"x", f32({1}, {1})}})), (std::vector<float>{2, 4, 8, 16}));
  EXPECT_EQ(values_of<float>(run(graph, {{"x", f32({1}, {4})}})), (std::vector<float>{8, 16}));
  const std::string text = Program::compile(graph).status().text();
  EXPECT_NE(text.find("Loop 'last'"), std::string::npos) << text;
}

// If in Loop in If, each with values of all graphs around it.
TEST(Control, GraphsInGraphsInGraphs) {
  Proto add, subtract, body, yes, no, p;
  add.op("Add", {"before", "outer"}, "more").out("more", {2});
  subtract.op("Sub", {"before", "middle"}, "fewer").out("fewer", {2});
  body.in("i", {}, kInt64).in("go", {}, kBool).in("before", {2}).op("Less", {"i", "two"}, "early");
  body.choose("early", "after", add, subtract).op("Identity", {"go"}, "on").out("on", {}, kBool).out("after", {2});
  yes.op("Mul", {"x", "x"}, "middle").loop({"times", "", "x"}, {"looped"}, body).out("looped", {2});
  no.op("Neg", {"x"}, "negative").out("negative", {2});
  p.in("x", {2}).in("times", {}, kInt64).in("x2", {2}).constant(floats("zero", {}, {0})).constant(ints("two", {}, {2}));
  p.op("Neg", {"x2"}, "outer").op("ReduceSum", {"x"}, "sum", {flag("keepdims", 0)}).op("Greater", {"sum", "zero"}, "c");
  p.choose("c", "y", yes, no).out("y", {2});
  const Graph graph = parsed(p);
  const auto result = [&](float x, int64_t times) {
    return values_of<float>(run(graph, {{"x", f32({2}, {x, x})}, {"x2", f32({2}, {-10, -20})}, {"times", s64({}, {times})}}));
  };
  EXPECT_EQ(result(2, 1), (std::vector<float>{12, 22}));
  EXPECT_EQ(result(2, 4), (std::vector<float>{14, 34}));  // twice + outer, twice - middle
  EXPECT_EQ(result(-2, 4), (std::vector<float>{2, 2}));
}

TEST(Control, ThreadsDoNotMatterAndRunAllocatesNothing) {
  Proto yes, no, body, p;
  yes.op("MatMul", {"x", "w"}, "product").out("product", {64, 64});
  no.op("Relu", {"x"}, "relu").out("relu", {64, 64});
  body.in("i", {}, kInt64).in("go", {}, kBool).in("before", {64, 64}).op("MatMul", {"before", "w"}, "after");
  body.op("ReduceMax", {"after"}, "largest", {flag("keepdims", 0)}).op("Less", {"largest", "limit"}, "on");
  body.op("ReduceSum", {"after"}, "scan").out("on", {}, kBool).out("after", {64, 64});
  const Tensor w = noise({64, 64}, 1), x = noise({64, 64}, 2);
  p.in("x", {64, 64}).constant(floats("w", {64, 64}, values_of<float>(w))).constant(floats("limit", {}, {1e6f}));
  p.constant(floats("zero", {}, {0})).op("ReduceMax", {"x"}, "top", {flag("keepdims", 0)}).op("Greater", {"top", "zero"}, "c");
  p.choose("c", "chosen", yes, no).loop({"", "c", "chosen"}, {"y"}, body).out("y", {64, 64});
  const Graph graph = parsed(p);
  const Tensor one = run(graph, {{"x", x}}, 1);
  for (const int threads : {2, 3}) EXPECT_EQ(values_of<float>(run(graph, {{"x", x}}, threads)), values_of<float>(one));

  const Expected<Program> program = Program::compile(graph);
  ASSERT_TRUE(program) << program.status().text();
  void* workspace = std::aligned_alloc(64, (program->workspace_bytes(1) + 63) / 64 * 64);
  std::vector<float> y(64 * 64);
  const TensorView in[] = {{DType::f32, {64, 64}, const_cast<void*>(x.data())}}, out[] = {{DType::f32, {64, 64}, y.data()}};
  const size_t before = allocations;
  const Status status = program->run(in, out, workspace, single_thread());
  EXPECT_EQ(allocations, before);
  EXPECT_TRUE(status.ok()) << status.text();
  EXPECT_EQ(y, values_of<float>(one));
  std::free(workspace);
}

// ---- quantization -------------------------------------------------------------------------------------------------------------

Recipe static_recipe() { return *Recipe::preset("x86_static"); }

Expected<Graph> quantized(const Graph& graph, const std::vector<Inputs>& samples) {
  Expected<Prepared> prepared = prepare(graph, static_recipe());
  if (!prepared) return prepared.status();
  if (Status s = calibrate(*prepared, samples); !s.ok()) return s;
  return convert(*prepared);
}

double share_of_noise(const Tensor& want, const Tensor& got) {
  double noise_power = 0, power = 0;
  for (int64_t i = 0; i < want.count(); ++i) {
    const double a = want.as<float>()[i], b = got.as<float>()[i];
    noise_power += (a - b) * (a - b), power += a * a;
  }
  return noise_power / power;
}

const NodeReport* line_of(const Program& program, const std::string& op_type) {
  for (const NodeReport& r : program.report())
    if (r.op_type == op_type) return &r;
  return nullptr;
}

// h = tanh(h * w + x[t]) over constant time steps: as good as written out.
TEST(Quantize, UnrolledNodesAreQuantized) {
  Proto body, p;
  body.in("i", {}, kInt64).in("go", {}, kBool).in("h", {4, 16});
  body.op("Gather", {"x", "i"}, "row", {flag("axis", 0)}).op("MatMul", {"h", "w"}, "product").op("Add", {"product", "row"}, "sum");
  body.op("Relu", {"sum"}, "after").op("Identity", {"go"}, "on").out("on", {}, kBool).out("after", {4, 16});
  p.in("x", {3, 4, 16}).in("h0", {4, 16}).constant(floats("w", {16, 16}, values_of<float>(noise({16, 16}, 3, 0.3f))));
  p.constant(ints("steps", {}, {3})).loop({"steps", "", "h0"}, {"h3"}, body);
  p.constant(floats("w2", {16, 16}, values_of<float>(noise({16, 16}, 4, 0.3f)))).op("MatMul", {"h3", "w2"}, "y").out("y", {4, 16});
  const Graph graph = parsed(p);
  std::vector<Inputs> samples;
  for (uint64_t i = 0; i < 4; ++i) samples.push_back({{"x", noise({3, 4, 16}, 10 + i)}, {"h0", noise({4, 16}, 20 + i)}});
  const Expected<Graph> q = quantized(graph, samples);
  ASSERT_TRUE(q) << q.status().text();
  EXPECT_FALSE(has_op(*q, "Loop"));
  const Expected<Program> program = Program::compile(*q);
  ASSERT_TRUE(program) << program.status().text();
  EXPECT_EQ(program->int8_mac_share(), 1);
  EXPECT_LT(share_of_noise(run(graph, samples[0]), run(*q, samples[0])), 0.001);  // 8 bits through four layers: 30 dB and more
}

// What stays an If stays float, is told so, and reads what it read, although the nodes around it were changed and renamed.
TEST(Quantize, ComputedControlFlowStays) {
  Proto yes, no, p;
  yes.op("Mul", {"normed", "half"}, "a").out("a", {1, 4, 8, 8});
  no.op("Sub", {"normed", "x"}, "b").out("b", {1, 4, 8, 8});
  p.in("x", {1, 4, 8, 8}).constant(floats("w", {4, 4, 1, 1}, values_of<float>(noise({4, 4, 1, 1}, 5))));
  p.constant(floats("scale", {4}, {1, 2, 3, 4})).constant(floats("bias", {4}, {0, 1, 0, 1})).constant(floats("mean", {4}, {0, 0, 0, 0}));
  p.constant(floats("var", {4}, {1, 1, 1, 1})).constant(floats("half", {}, {0.5f})).constant(floats("zero", {}, {0}));
  p.op("Conv", {"x", "w"}, "c").op("BatchNormalization", {"c", "scale", "bias", "mean", "var"}, "n").op("Identity", {"n"}, "normed");
  p.op("ReduceMean", {"x"}, "level", {flag("keepdims", 0)}).op("Greater", {"level", "zero"}, "bright").choose("bright", "chosen", yes, no);
  p.op("Conv", {"chosen", "w"}, "y").out("y", {1, 4, 8, 8});
  const Graph graph = parsed(p);
  std::vector<Inputs> samples;
  for (uint64_t i = 0; i < 6; ++i) samples.push_back({{"x", noise({1, 4, 8, 8}, 30 + i)}});
  Expected<Prepared> prepared = prepare(graph, static_recipe());
  ASSERT_TRUE(prepared) << prepared.status().text();
  const auto note = std::find_if(prepared->annotations().begin(), prepared->annotations().end(), [](const Annotation& a) { return a.op_type == "If"; });
  ASSERT_NE(note, prepared->annotations().end());
  EXPECT_FALSE(note->quantized);
  EXPECT_EQ(note->reason, "its branches are graphs of their own");
  const Expected<Graph> q = quantized(graph, samples);
  ASSERT_TRUE(q) << q.status().text();
  EXPECT_TRUE(has_op(*q, "If"));
  const Expected<Program> program = Program::compile(*q);
  ASSERT_TRUE(program) << program.status().text();
  EXPECT_EQ(program->int8_mac_share(), 1);
  ASSERT_TRUE(line_of(*program, "If"));
  EXPECT_EQ(line_of(*program, "If")->precision, "float");
  // 8 bits through two layers; the wrong branch would be as large as the result.
  for (const Inputs& sample : samples) EXPECT_LT(share_of_noise(run(graph, sample), run(*q, sample)), 0.003);
}

// Two layers in each branch of an If that the run decides, or a flag: both are quantized, each by the samples that take it.
Proto two_layers(bool by_flag) {
  Proto yes, no, p;
  yes.op("Conv", {"c", "w"}, "a1").op("Relu", {"a1"}, "a2").op("Conv", {"a2", "w"}, "a").out("a", {1, 8, 8, 8});
  const Message same = Message().bytes(1, "pads").varint(8, 1).varint(8, 1).varint(8, 1).varint(8, 1).varint(20, 7);
  no.op("Conv", {"c", "v"}, "b1", {same}).op("Add", {"b1", "c"}, "b2").op("Conv", {"b2", "w"}, "b").out("b", {1, 8, 8, 8});
  p.in("x", {1, 8, 8, 8}).constant(floats("w", {8, 8, 1, 1}, values_of<float>(noise({8, 8, 1, 1}, 6, 0.5f))));
  p.constant(floats("v", {8, 8, 3, 3}, values_of<float>(noise({8, 8, 3, 3}, 7, 0.2f)))).constant(floats("zero", {}, {0}));
  if (by_flag) p.in("flag", {1}, kBool).op("Identity", {"flag"}, "bright");
  else p.op("ReduceMean", {"x"}, "level", {flag("keepdims", 0)}).op("Greater", {"level", "zero"}, "bright");
  p.op("Identity", {"x"}, "c");
  return p.choose("bright", "y", yes, no).out("y", {1, 8, 8, 8});
}

Inputs bright(uint64_t seed, bool flag, bool by_flag) {
  Tensor x = noise({1, 8, 8, 8}, seed);
  for (int64_t i = 0; i < x.count(); ++i) static_cast<float*>(x.mutable_data())[i] += flag ? 0.5f : -0.5f;
  Inputs inputs = {{"x", x}};
  if (by_flag) inputs["flag"] = flag_of(flag);
  return inputs;
}

TEST(Quantize, BranchesAreQuantizedAsGraphsOfTheirOwn) {
  for (const bool by_flag : {false, true}) {
    const Graph graph = parsed(two_layers(by_flag));
    std::vector<Inputs> samples;
    for (uint64_t i = 0; i < 6; ++i) samples.push_back(bright(40 + i, i % 2 == 0, by_flag));
    Expected<Prepared> prepared = prepare(graph, static_recipe());
    ASSERT_TRUE(prepared) << prepared.status().text();
    ASSERT_TRUE(calibrate(*prepared, samples, 2).ok());
    for (const Annotation& a : prepared->annotations()) EXPECT_TRUE(a.quantized || a.op_type != "Conv") << a.node << ": " << a.reason;
    const Expected<Graph> q = convert(*prepared);
    ASSERT_TRUE(q) << q.status().text();
    // The float weights are nowhere any more; what both branches read in float is there once.
    EXPECT_EQ(q->initializers.count("w"), 0u);
    Expected<Session> session = Session::create(*q);
    ASSERT_TRUE(session);
    for (const Inputs& sample : samples) {
      EXPECT_LT(share_of_noise(run(graph, sample), run(*q, sample)), 0.003);  // two layers of 8 bits: 30 dB each, 27 together
      const Expected<const Program*> program = session->program(sample);
      ASSERT_TRUE(program) << program.status().text();
      EXPECT_EQ((*program)->int8_mac_share(), 1);
    }
    // Parts of the samples, in other processes: the same bytes.
    Expected<Prepared> whole = prepare(graph, static_recipe());
    for (const size_t first : {size_t(0), size_t(3)}) {
      Expected<Prepared> part = prepare(graph, static_recipe());
      ASSERT_TRUE(part);
      ASSERT_TRUE(calibrate(*part, {samples.begin() + int64_t(first), samples.begin() + int64_t(first) + 3}, 1, {}, int64_t(first)).ok());
      const Expected<std::string> state = save_calibration(*part);
      ASSERT_TRUE(state) << state.status().text();
      ASSERT_TRUE(add_calibration(*whole, *state).ok());
      EXPECT_FALSE(add_calibration(*whole, state->substr(0, state->size() - 9)).ok());
    }
    const Expected<Graph> again = convert(*whole);
    ASSERT_TRUE(again) << again.status().text();
    EXPECT_EQ(*serialize_onnx(*again), *serialize_onnx(*q));
  }
}

TEST(Quantize, ABranchThatNoSampleTookStaysFloat) {
  const Graph graph = parsed(two_layers(false));
  Expected<Prepared> prepared = prepare(graph, static_recipe());
  ASSERT_TRUE(prepared) << prepared.status().text();
  ASSERT_TRUE(calibrate(*prepared, {bright(50, true, false), bright(51, true, false)}).ok());
  int quantized = 0, left = 0;
  for (const Annotation& a : prepared->annotations()) {
    if (a.op_type != "Conv") continue;
    ++(a.quantized ? quantized : left);
    EXPECT_TRUE(a.quantized || a.reason == "no sample took its branch") << a.reason;
  }
  EXPECT_EQ(quantized, 2);
  EXPECT_EQ(left, 2);
  const Expected<Graph> q = convert(*prepared);
  ASSERT_TRUE(q) << q.status().text();
  const Inputs dark = bright(52, false, false);
  EXPECT_EQ(values_of<float>(run(*q, dark)), values_of<float>(run(graph, dark)));
  EXPECT_LT(share_of_noise(run(graph, bright(53, true, false)), run(*q, bright(53, true, false))), 0.003);
}

TEST(Quantize, DynamicRangesInBranchesNeedNoSamples) {
  Proto yes, no, p;
  yes.op("MatMul", {"x", "w"}, "a").out("a", {4, 16});
  no.op("Neg", {"x"}, "b").out("b", {4, 16});
  p.in("x", {4, 16}).in("flag", {1}, kBool).constant(floats("w", {16, 16}, values_of<float>(noise({16, 16}, 8))));
  p.choose("flag", "y", yes, no).out("y", {4, 16});
  const Graph graph = parsed(p);
  Expected<Prepared> prepared = prepare(graph, *Recipe::preset("dynamic"));
  ASSERT_TRUE(prepared) << prepared.status().text();
  const Expected<Graph> q = convert(*prepared);
  ASSERT_TRUE(q) << q.status().text();
  const Inputs inputs = {{"x", noise({4, 16}, 9)}, {"flag", flag_of(true)}};
  EXPECT_LT(share_of_noise(run(graph, inputs), run(*q, inputs)), 0.001);
  Expected<Session> session = Session::create(*q);
  ASSERT_TRUE(session);
  EXPECT_EQ((*session->program(inputs))->int8_mac_share(), 1);
}

// A quantized model whose branches hold QDQ: these run in int8.
TEST(Quantize, QuantizedBranchesRunInInt8) {
  Proto yes, no, p;
  yes.op("DequantizeLinear", {"xq", "s", "z"}, "xf").op("DequantizeLinear", {"wq", "s", "wz"}, "wf").op("MatMul", {"xf", "wf"}, "a");
  yes.op("QuantizeLinear", {"a", "s", "z"}, "aq").op("DequantizeLinear", {"aq", "s", "z"}, "ay").out("ay", {2, 2});
  no.op("DequantizeLinear", {"xq", "s", "z"}, "b").out("b", {2, 2});
  p.in("x", {2, 2}).constant(floats("s", {}, {0.5f})).constant(tensor("z", {}, 2, std::string(1, char(128))));
  p.constant(tensor("wz", {}, 3, std::string(1, '\0'))).constant(tensor("wq", {2, 2}, 3, std::string("\2\4\6\10", 4)));
  p.constant(floats("zero", {}, {0})).op("ReduceMax", {"x"}, "top", {flag("keepdims", 0)}).op("Greater", {"top", "zero"}, "c");
  p.op("QuantizeLinear", {"x", "s", "z"}, "xq").choose("c", "y", yes, no).out("y", {2, 2});
  const Graph graph = parsed(p);
  EXPECT_EQ(values_of<float>(run(graph, {{"x", f32({2, 2}, {1, 2, 3, 4})}})), (std::vector<float>{7, 10, 15, 22}));
  EXPECT_EQ(values_of<float>(run(graph, {{"x", f32({2, 2}, {-1, -2, -3, -4})}})), (std::vector<float>{-1, -2, -3, -4}));
  const Expected<Program> program = Program::compile(graph);
  ASSERT_TRUE(program) << program.status().text();
  ASSERT_TRUE(line_of(*program, "If"));
  EXPECT_EQ(line_of(*program, "If")->precision, "int8");
}

// ---- files ---------------------------------------------------------------------------------------------------------------------

// A value of the graph around may take a name that the subgraph has: the file then has another one inside.
TEST(Files, NamesInsideStayApart) {
  Graph graph = parsed(by_sum());
  for (Node& n : graph.nodes)
    for (auto* names : {&n.inputs, &n.outputs})
      for (std::string& name : *names)
        if (name == "sum") name = "scaled";
  const Expected<std::string> file = serialize_onnx(graph);
  ASSERT_TRUE(file);
  EXPECT_EQ(values_of<float>(run(parsed(*file), {{"x", f32({3}, {1, 2, 3})}})), (std::vector<float>{1, 4, 9}));
}

// Renaming what is captured renames it in the file.
TEST(Files, CapturedNamesFollow) {
  Graph graph = parsed(by_sum());
  graph.initializers["less"] = graph.initializers.at("w");  // a name that the other branch has
  graph.initializers.erase("w");
  for (Node& n : graph.nodes) std::replace(n.inputs.begin(), n.inputs.end(), std::string("w"), std::string("less"));
  EXPECT_EQ(values_of<float>(run(graph, {{"x", f32({3}, {-1, -2, -3})}})), (std::vector<float>{-2, -4, -6}));
}

TEST(Files, OldOperatorsInsideAreRaised) {
  // QLinearAdd of ONNX Runtime, whose constants are those of the graph around: raised from opset 11, and taken apart.
  Proto yes, no, p;
  Message add = node("QLinearAdd", {"xq", "s", "z", "xq", "s", "z", "s", "z"}, "twice", "twice");
  add.bytes(kDomain, "com.microsoft");
  yes.m.message(kNode, add);
  yes.out("twice", {2}, 2);
  no.op("Squeeze", {"wide"}, "q", {Message().bytes(1, "axes").varint(8, 0).varint(20, 7)}).out("q", {2}, 2);
  p.in("x", {2}).constant(floats("s", {}, {0.5f})).constant(tensor("z", {}, 2, std::string(1, char(10)))).constant(floats("zero", {}, {0}));
  p.op("QuantizeLinear", {"x", "s", "z"}, "xq").op("ReduceMax", {"x"}, "top", {flag("keepdims", 0)}).op("Greater", {"top", "zero"}, "c");
  p.op("Unsqueeze", {"xq"}, "wide", {Message().bytes(1, "axes").varint(8, 0).varint(20, 7)});
  p.choose("c", "chosen", yes, no).op("DequantizeLinear", {"chosen", "s", "z"}, "y").out("y", {2});
  const std::string file = Message().varint(kIrVersion, 8).message(kGraph, p.m).message(kOpsetImport, Message().varint(2, 11))
                               .message(kOpsetImport, Message().bytes(1, "com.microsoft").varint(2, 1)).text();
  const Graph graph = parsed(file);
  EXPECT_EQ(graph.opset, 13);
  EXPECT_EQ(values_of<float>(run(graph, {{"x", f32({2}, {1, 2})}})), (std::vector<float>{2, 4}));
  EXPECT_EQ(values_of<float>(run(graph, {{"x", f32({2}, {-1, -2})}})), (std::vector<float>{-1, -2}));
}

TEST(Files, BadGraphsInsideAreNamed) {
  Proto good;
  good.op("Neg", {"x"}, "b").out("b", {2});
  const auto with_branch = [&](const Proto& branch) {
    Proto p;
    p.in("x", {2}).in("c", {}, kBool).choose("c", "y", branch, good).out("y", {2});
    return p.file();
  };
  EXPECT_EQ(error_of(with_branch(Proto().op("Neg", {"nowhere"}, "a").out("a"))),
            "If 'y': nothing produces its input 'nowhere'");
  EXPECT_EQ(error_of(with_branch(Proto().op("Neg", {"y"}, "a").out("a"))), "If 'y' is on a cycle or behind one");
  EXPECT_EQ(error_of(with_branch(Proto().op("Neg", {"a2"}, "a").op("Neg", {"a"}, "a2").out("a"))),
            "If 'y': then_branch: Neg 'a' is on a cycle or behind one");
  EXPECT_EQ(error_of(with_branch(Proto().op("Neg", {"x"}, "a").op("Abs", {"x"}, "a").out("a"))),
            "If 'y': then_branch: Abs 'Abs_1': value 'a' is produced twice");
  EXPECT_EQ(error_of(with_branch(Proto().op("Neg", {"x"}, "x").out("x"))), "If 'y': then_branch: value 'x' hides one of the graph around it");
  EXPECT_EQ(error_of(with_branch(Proto().op("Neg", {"x"}, "y").out("y"))), "If 'y': then_branch: value 'y' hides one of the graph around it");
  EXPECT_EQ(error_of(with_branch(Proto().op("Neg", {"x"}, "a").out("a").out("a"))), "If 'y': 2 outputs of a branch, expected 1");
  EXPECT_EQ(error_of(with_branch(Proto())), "If 'y': 0 outputs of a branch, expected 1");
  EXPECT_EQ(error_of(with_branch(Proto().in("i", {2}).op("Neg", {"i"}, "a").out("a"))), "If 'y': a branch has inputs");
  EXPECT_EQ(error_of(with_branch(Proto().op("Neg", {"x"}, "a").out("a", {2}, kInt64))), "If 'y': its branches give s64 and f32 as output 0");
  EXPECT_EQ(error_of(with_branch(Proto().op("Conv", {"x"}, "a", {graph_attribute("body", good.m)}).out("a"))),
            "If 'y': then_branch: Conv 'a': subgraphs (attribute 'body') are not supported");
  Proto sequence;
  sequence.op("SequenceEmpty", {}, "a").m.message(kOutput, Message().bytes(1, "a").message(2, Message().message(4, Message())));
  EXPECT_NE(error_of(with_branch(sequence)).find("If 'y': then_branch: 'a' is not a tensor: sequences"), std::string::npos);

  Proto one;
  one.in("x", {2}).in("c", {}, kBool).op("If", {"c"}, "y", {graph_attribute("then_branch", good.m)}).out("y");
  EXPECT_EQ(error_of(one.file()), "If 'y': it lacks a then_branch or an else_branch");
  Proto two;
  two.in("x", {2}).op("If", {"x", "x"}, "y", {graph_attribute("then_branch", good.m), graph_attribute("else_branch", good.m)}).out("y");
  EXPECT_EQ(error_of(two.file()), "If 'y': 2 inputs, expected 1");

  const auto with_body = [&](const Proto& body, const std::vector<std::string>& out = {"y"}) {
    Proto p;
    p.in("x", {2}).in("n", {}, kInt64).loop({"n", "", "x"}, out, body).out("y", {2});
    return p.file();
  };
  Proto body;
  body.in("i", {}, kInt64);
  EXPECT_EQ(error_of(with_body(body)), "Loop 'y': its body lacks the inputs for iteration and condition");
  body.in("go", {}, kBool);
  EXPECT_EQ(error_of(with_body(body)), "Loop 'y': 3 inputs, expected 2");
  body.in("v", {2}).op("Identity", {"go"}, "on").out("on", {}, kBool);
  EXPECT_EQ(error_of(with_body(body)), "Loop 'y': its body gives fewer values than it takes");
  body.out("v", {2});
  EXPECT_TRUE(parse(with_body(body)));
  EXPECT_EQ(error_of(with_body(body, {"y", "z"})), "Loop 'y': 2 outputs, expected 1");
  Proto none;
  none.in("n", {}, kInt64).op("Loop", {"n"}, "y").out("y");
  EXPECT_EQ(error_of(none.file()), "Loop 'y': it has no body");
}

TEST(Files, WrongTypesAreNamedWhenCompiled) {
  Proto yes, no, p;
  yes.op("Cast", {"x"}, "a", {flag("to", 7)}).bare_out("a");
  no.op("Neg", {"x"}, "b").bare_out("b");
  p.in("x", {2}).in("c", {2}, kBool).choose("c", "y", yes, no).out("y");
  EXPECT_STREQ(Program::compile(parsed(p)).status().text(), "If 'y': its condition is bool[2], not one bool");
  Proto q;
  q.in("x", {2}).in("c", {}, kBool).choose("c", "y", yes, no).out("y");
  EXPECT_STREQ(Program::compile(parsed(q)).status().text(),
               "If 'y': its branches give s64[2] and f32[2] as output 0: the condition must be known when the graph is compiled");
  const auto loop = [](int type, const char* cast) {
    Proto body, l;
    body.in("i", {}, kInt64).in("go", {}, kBool).in("v", {2}, type).op("Cast", {"v"}, "w", {flag("to", cast[0] == 'i' ? 7 : 1)});
    body.op("Identity", {"go"}, "on").out("on", {}, kBool).bare_out("w");
    l.in("x", {2}).in("n", {}, kInt64).loop({"n", "", "x"}, {"y"}, body).out("y");
    return std::string(Program::compile(parsed(l)).status().text());
  };
  EXPECT_EQ(loop(kFloat, "float"), "");
  EXPECT_EQ(loop(kInt64, "float"), "Loop 'y': 'v' is s64 in its graph, but given as f32");
  EXPECT_NE(loop(kFloat, "int").find("Loop 'y': its carried value 'v' is f32[2], then s64[2]"), std::string::npos);
}

TEST(Files, NodesAndDepthAreLimitedOverAllGraphs) {
  Proto inner;
  inner.op("Neg", {"x"}, "a0").out("a0", {2});
  for (int depth = 1; depth <= 17; ++depth) {
    Proto other, outer;
    const std::string name = "a" + std::to_string(depth);
    other.op("Abs", {"x"}, "b" + std::to_string(depth)).out("b" + std::to_string(depth), {2});
    outer.choose("c", name, inner, other).out(name, {2});
    inner = outer;
  }
  Proto p = inner;
  p.in("x", {2}).in("c", {}, kBool);
  EXPECT_NE(error_of(p.file()).find("graphs in graphs, deeper than the limit of 16"), std::string::npos);

  OnnxLimits limits;
  limits.max_nodes = 5;
  const std::string file = by_sum().file();
  EXPECT_TRUE(parse_onnx(std::as_bytes(std::span(file)), limits));
  limits.max_nodes = 4;
  EXPECT_NE(std::string(parse_onnx(std::as_bytes(std::span(file)), limits).status().text()).find("If 'y': else_branch: 5 nodes, more than the limit of 4"),
            std::string::npos);
}

// Loops of loops of loops: what would be a million nodes runs, in a moment.
TEST(Files, UnrollingIsLimited) {
  Proto inner;
  for (int depth = 0; depth < 4; ++depth) {
    const std::string d = std::to_string(depth);
    Proto body;
    body.in("i" + d, {}, kInt64).in("go" + d, {}, kBool).in("v" + d, {});
    if (depth == 0) body.op("Add", {"v0", "one"}, "w0");
    else body.loop({"n", "", "v" + d}, {"w" + d}, inner);
    body.op("Identity", {"go" + d}, "on" + d).out("on" + d, {}, kBool).out("w" + d, {});
    inner = body;
  }
  Proto p;
  p.in("x", {}).constant(floats("one", {}, {1})).constant(ints("n", {}, {20})).loop({"n", "", "x"}, {"y"}, inner).out("y", {});
  EXPECT_EQ(values_of<float>(run(parsed(p), {{"x", f32({}, {5})}})), std::vector<float>{5 + 20 * 20 * 20 * 20});
}

}  // namespace
}  // namespace octavo
