// Lowering, fusion and running of small graphs with known results.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "counted_new.h"
#include "graph_test_util.h"
#include "octavo/session.h"

namespace octavo {
namespace {

using Ints = std::vector<int64_t>;

Tensor noise_s8(Shape shape, uint64_t seed) {
  int64_t n = 1;
  for (int64_t d : shape) n *= d;
  test::Noise random(seed);
  std::vector<int8_t> v(static_cast<size_t>(n));
  for (int8_t& x : v) x = int8_t(random.integer(-127, 127));
  return Tensor::from(DType::s8, std::move(shape), v);
}

Tensor scalar(float v) { return Tensor::from(DType::f32, {}, std::vector<float>{v}); }
Tensor ints(const Ints& v) { return Tensor::from(DType::s64, {int64_t(v.size())}, v); }

// A graph under construction; every call returns the name of a value.
struct Model {
  Graph g;

  std::string input(const std::string& name, const Shape& shape) {
    ValueInfo v{name, DType::f32, {}, true};
    for (int64_t d : shape) v.dims.push_back({d, ""});
    g.inputs.push_back(v);
    return name;
  }
  void output(const std::string& name, DType dtype = DType::f32) { g.outputs.push_back({name, dtype, {}, false}); }
  std::string constant(const std::string& name, Tensor t) { return g.add_initializer(name, std::move(t)); }
  std::string node(const std::string& op, const std::string& name, std::vector<std::string> in,
                   std::map<std::string, Attribute> attributes = {}) {
    return g.add_node(op, name, std::move(in), std::move(attributes));
  }
  std::string quantize(const std::string& name, const std::string& x, float scale, int zp, DType dtype = DType::u8) {
    constant(name + ".scale", scalar(scale));
    constant(name + ".zp", dtype == DType::u8 ? Tensor::from(dtype, {}, std::vector<uint8_t>{uint8_t(zp)})
                                              : Tensor::from(dtype, {}, std::vector<int8_t>{int8_t(zp)}));
    return node("QuantizeLinear", name, {x, name + ".scale", name + ".zp"});
  }
  // DequantizeLinear with the parameters of the QuantizeLinear that made q.
  std::string dequantize(const std::string& name, const std::string& q) {
    return node("DequantizeLinear", name, {q, q + ".scale", q + ".zp"});
  }
  std::string qdq(const std::string& name, const std::string& x, float scale, int zp, DType dtype = DType::u8) {
    return dequantize(name + "_dq", quantize(name, x, scale, zp, dtype));
  }
  std::string weight(const std::string& name, Tensor q, const std::vector<float>& scales, int zp = 0) {
    const int64_t n = int64_t(scales.size());
    constant(name + ".q", std::move(q));
    constant(name + ".scale", Tensor::from(DType::f32, n == 1 ? Shape{} : Shape{n}, scales));
    constant(name + ".zp", Tensor::from(DType::s8, n == 1 ? Shape{} : Shape{n}, std::vector<int8_t>(scales.size(), int8_t(zp))));
    return node("DequantizeLinear", name, {name + ".q", name + ".scale", name + ".zp"}, {{"axis", int64_t(0)}});
  }
  // A copy of x that no rewrite sees through: what reads it computes in float.
  std::string opaque(const std::string& x) { return node("Neg", x + "/plus", {node("Neg", x + "/minus", {x})}); }
};

Program compile(const Graph& g, CompileOptions options = {}) {
  Expected<Program> p = Program::compile(g, options);
  if (!p) {
    ADD_FAILURE() << p.status().text();
    std::abort();
  }
  return *std::move(p);
}

std::vector<Tensor> run(const Program& p, const std::vector<Tensor>& inputs, const RunHooks* hooks = nullptr) {
  std::vector<TensorView> in, out;
  std::vector<Tensor> results;
  for (const Tensor& t : inputs) in.push_back({t.dtype(), t.shape(), const_cast<void*>(t.data())});
  for (const ValueInfo& info : p.outputs()) {
    Shape shape;
    for (const Dim& d : info.dims) shape.push_back(d.size);
    results.push_back(*Tensor::create(info.dtype, shape));
    out.push_back({info.dtype, shape, results.back().mutable_data()});
  }
  std::byte* workspace = new (std::align_val_t(64)) std::byte[p.workspace_bytes(1) + 1];
  const size_t before = allocations;
  const Status s = p.run(in, out, workspace, single_thread(), hooks);
  EXPECT_EQ(allocations, before) << "run() allocates";
  EXPECT_TRUE(s.ok()) << s.text();
  operator delete[](workspace, std::align_val_t(64));
  return results;
}

std::vector<Tensor> run(const Graph& g, const std::vector<Tensor>& inputs) { return run(compile(g), inputs); }

// The step whose main node is of this type; the test fails if there is not exactly one.
NodeReport step(const Program& p, const std::string& op_type) {
  NodeReport found;
  int count = 0;
  for (const NodeReport& r : p.report())
    if (r.op_type == op_type) {
      found = r;
      ++count;
    }
  EXPECT_EQ(count, 1) << op_type;
  return found;
}

int steps(const Program& p, const std::string& op_type) {
  const auto report = p.report();
  return int(std::count_if(report.begin(), report.end(), [&](const NodeReport& r) { return r.op_type == op_type; }));
}

void expect_floats(const Tensor& t, const std::vector<float>& expected) {
  ASSERT_EQ(t.count(), int64_t(expected.size()));
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_EQ(t.as<float>()[i], expected[i]) << i;
}

// Sums in another order differ by rounding: a few ulps of the largest product sum.
void expect_close(const Tensor& a, const Tensor& b, float tolerance) {
  ASSERT_EQ(a.shape(), b.shape());
  for (int64_t i = 0; i < a.count(); ++i) ASSERT_NEAR(a.as<float>()[i], b.as<float>()[i], tolerance) << i;
}

// A QDQ model rounds in float between its operators, an int8 step once at its end: they may differ by one step of the grid.
void expect_within_a_step(const Tensor& a, const Tensor& b, float scale) { expect_close(a, b, scale * 1.001f); }

TEST(Float, ConvolutionTakesBiasAndRelu) {
  Model m;
  m.input("x", {1, 1, 2, 2});
  m.constant("w", Tensor::from(DType::f32, {2, 1, 1, 1}, std::vector<float>{2, -1}));
  m.constant("b", Tensor::from(DType::f32, {2}, std::vector<float>{1, 2}));
  m.output(m.node("Relu", "relu", {m.node("Conv", "conv", {"x", "w", "b"})}));
  const Program p = compile(m.g);
  const NodeReport conv = step(p, "Conv");
  EXPECT_EQ(conv.fused, std::vector<std::string>{"relu"});
  EXPECT_EQ(conv.kernel.rfind("brgemm_f32f32", 0), 0u) << conv.kernel;
  EXPECT_EQ(conv.macs, 8);
  EXPECT_EQ(conv.output_shape, (Shape{1, 2, 2, 2}));
  EXPECT_EQ(conv.why_not_int8, "input 'x' has no QuantizeLinear");
  EXPECT_EQ(steps(p, "Relu"), 0);
  expect_floats(run(p, {Tensor::from(DType::f32, {1, 1, 2, 2}, std::vector<float>{1, 2, 3, -4})})[0], {3, 5, 7, 0, 1, 0, 0, 6});
}

// x -> conv a -> relu -> conv b -> + x -> clip
Model residual_block(bool sum) {
  Model m;
  m.input("x", {2, 8, 5, 6});
  m.constant("wa", noise({8, 8, 3, 3}, 1));
  m.constant("wb", noise({8, 8, 1, 1}, 2));
  m.constant("lo", scalar(0));
  m.constant("hi", scalar(6));
  const std::string a = m.node("Relu", "relu", {m.node("Conv", "a", {"x", "wa"}, {{"pads", Ints{1, 1, 1, 1}}})});
  const std::string added = m.node(sum ? "Sum" : "Add", "add", {"x", m.node("Conv", "b", {a, "wb"})});
  m.output(m.node("Clip", "clip", {added, "lo", "hi"}));
  return m;
}

TEST(Float, ConvolutionTakesResidualAndClip) {
  for (bool sum : {false, true}) {
    const Model m = residual_block(sum);
    const Program p = compile(m.g);
    EXPECT_EQ(steps(p, "Conv"), 2);
    EXPECT_EQ(steps(p, "Transpose"), 2);  // at the input and at the output
    EXPECT_EQ(p.report().size(), 4u);
    EXPECT_EQ(p.report()[2].fused, (std::vector<std::string>{"add", "clip"}));
    // The same without any fusion.
    CompileOptions keep;
    keep.keep = {"a", "relu", "b", "add", "clip"};
    const Program plain = compile(m.g, keep);
    EXPECT_EQ(plain.report().size(), 7u);
    const Tensor x = noise({2, 8, 5, 6}, 3);
    expect_close(run(p, {x})[0], run(plain, {x})[0], 1e-5f);
  }
}

TEST(Float, KeptValuesAreSeen) {
  const Model m = residual_block(false);
  CompileOptions options;
  options.keep = {"x", "relu", "add"};
  const Program p = compile(m.g, options);
  std::map<std::string, float> smallest;
  RunHooks hooks;
  hooks.context = &smallest;
  for (const std::string& name : options.keep) smallest[name] = 100;
  hooks.on_value = [](void* context, const std::string& name, const float* data, size_t count) {
    EXPECT_EQ(count, 2u * 8 * 5 * 6);
    (*static_cast<std::map<std::string, float>*>(context))[name] = *std::min_element(data, data + count);
  };
  const Tensor x = noise({2, 8, 5, 6}, 3);
  run(p, {x}, &hooks);
  EXPECT_EQ(smallest["x"], *std::min_element(x.as<float>(), x.as<float>() + x.count()));
  EXPECT_EQ(smallest["relu"], 0);
  EXPECT_LT(smallest["add"], 0);
}

TEST(Float, MatMulTakesBias) {
  Model m;
  m.input("x", {1, 2, 2});
  m.constant("w", Tensor::from(DType::f32, {2, 3}, std::vector<float>{1, 2, 3, 4, 5, 6}));
  m.constant("b", Tensor::from(DType::f32, {3}, std::vector<float>{10, 20, 30}));
  m.output(m.node("Add", "add", {"b", m.node("MatMul", "matmul", {"x", "w"})}));
  const Program p = compile(m.g);
  EXPECT_EQ(p.report().size(), 1u);
  EXPECT_EQ(p.report()[0].macs, 12);
  expect_floats(run(p, {Tensor::from(DType::f32, {1, 2, 2}, std::vector<float>{1, 0, 1, 1})})[0], {11, 22, 33, 15, 27, 39});
}

TEST(Float, GemmWithScalesAndTransposes) {
  Model m;
  m.input("x", {2, 1});
  m.constant("w", Tensor::from(DType::f32, {2, 2}, std::vector<float>{1, 2, 3, 4}));
  m.constant("c", Tensor::from(DType::f32, {1, 2}, std::vector<float>{10, 20}));
  m.output(
      m.node("Gemm", "gemm", {"x", "w", "c"}, {{"alpha", 2.0f}, {"beta", 0.5f}, {"transA", int64_t(1)}, {"transB", int64_t(1)}}));
  expect_floats(run(m.g, {Tensor::from(DType::f32, {2, 1}, std::vector<float>{1, -1})})[0], {5 - 2, 10 - 2});
}

TEST(Layout, FlattenGoesIntoTheWeights) {
  Model m;
  m.input("x", {2, 3, 4, 5});
  m.constant("w", noise({6, 3, 1, 1}, 1));
  m.constant("fc", noise({120, 7}, 2));
  const std::string conv = m.node("Conv", "conv", {"x", "w"});
  m.output(m.node("Gemm", "gemm", {m.node("Flatten", "flatten", {conv}), "fc"}));
  const Program p = compile(m.g);
  EXPECT_EQ(steps(p, "Transpose"), 1);
  EXPECT_EQ(p.report().size(), 3u);
  m.output(conv);  // now Flatten's input is needed as ONNX has it, too
  Model plain = m;
  CompileOptions keep;
  keep.keep = {"flatten"};
  const Tensor x = noise({2, 3, 4, 5}, 3);
  expect_close(run(p, {x})[0], run(compile(plain.g, keep), {x})[0], 1e-5f);
}

TEST(Layout, ShuffleConcatSliceAndPadStayChannelsLast) {
  Model m;
  m.input("x", {1, 4, 3, 3});
  m.constant("w", noise({6, 4, 1, 1}, 1));
  m.constant("w2", noise({2, 8, 3, 3}, 2));
  m.constant("five", ints({1, 2, 3, 3, 3}));
  m.constant("four", ints({1, 6, 3, 3}));
  m.constant("begin", ints({1}));
  m.constant("end", ints({3}));
  m.constant("axis", ints({1}));
  m.constant("pads", ints({0, 0, 1, 0, 0, 0, 0, 1}));
  const std::string conv = m.node("Conv", "conv", {"x", "w"});
  const std::string grouped =
      m.node("Transpose", "perm", {m.node("Reshape", "split", {conv, "five"})}, {{"perm", Ints{0, 2, 1, 3, 4}}});
  const std::string shuffled = m.node("Reshape", "merge", {grouped, "four"});
  const std::string slice = m.node("Slice", "slice", {shuffled, "begin", "end", "axis"});
  const std::string concat = m.node("Concat", "concat", {slice, shuffled}, {{"axis", int64_t(1)}});
  m.output(m.node("Conv", "conv2", {m.node("Pad", "pad", {concat, "pads"}), "w2"}));
  const Program p = compile(m.g);
  EXPECT_EQ(steps(p, "Reshape"), 0);
  EXPECT_EQ(p.report().size(), 7u);  // in, conv, shuffle, concat (which copies the slice), pad, conv2, out
  CompileOptions keep;
  keep.keep = {"split", "perm", "merge", "slice", "concat", "pad"};
  const Tensor x = noise({1, 4, 3, 3}, 3);
  expect_close(run(p, {x})[0], run(compile(m.g, keep), {x})[0], 1e-5f);
}

TEST(Layout, OutputsThatAreInputsConstantsOrTwins) {
  Model m;
  m.input("x", {1, 2});
  m.constant("c", Tensor::from(DType::f32, {2}, std::vector<float>{5, 6}));
  const std::string y = m.node("Neg", "y", {"x"});
  for (const char* name : {"x", "c", "y", "y"}) m.output(name);
  const std::vector<Tensor> r = run(m.g, {Tensor::from(DType::f32, {1, 2}, std::vector<float>{1, 2})});
  ASSERT_EQ(r.size(), 4u);
  expect_floats(r[0], {1, 2});
  expect_floats(r[1], {5, 6});
  expect_floats(r[2], {-1, -2});
  expect_floats(r[3], {-1, -2});
}

TEST(Layout, SecondOutputsAreComputed) {
  Model m;
  m.input("x", {1, 1, 2, 2});
  Node dropout{"dropout", "Dropout", "", {"x"}, {"d", "mask"}, {}};
  Node pool{"pool", "MaxPool", "", {"d"}, {"y", "indices"}, {{"kernel_shape", Ints{2, 2}}}};
  m.g.nodes = {dropout, pool};
  m.output("y");
  m.output("mask", DType::boolean);
  m.output("indices", DType::s64);
  const std::vector<Tensor> r = run(m.g, {Tensor::from(DType::f32, {1, 1, 2, 2}, std::vector<float>{1, 4, 3, 2})});
  ASSERT_EQ(r.size(), 3u);
  expect_floats(r[0], {4});
  for (int i = 0; i < 4; ++i) EXPECT_EQ(r[1].as<uint8_t>()[i], 1);
  EXPECT_EQ(*r[2].as<int64_t>(), 1);
}

// Every allocation of a builder fails in turn: the graph stays as it was, and says so to whoever takes it.
TEST(Builders, NeverThrow) {
  const std::string name(40, 'n');
  const std::map<std::string, Attribute> attributes = {{"axis", int64_t(1)}};
  for (const bool node : {false, true}) {
    bool done = false;
    for (size_t nth = 1; !done; ++nth) {
      Graph g;
      std::string op = "Softmax", to = name;
      std::vector<std::string> in = {name};
      std::map<std::string, Attribute> with = attributes;
      Tensor t;
      failing = allocations + nth;
      const std::string y = node ? g.add_node(std::move(op), std::move(to), std::move(in), std::move(with))
                                 : std::string_view(g.add_initializer(std::move(to), std::move(t))).empty() ? "" : "n";
      done = allocations < failing;
      failing = 0;
      EXPECT_EQ(g.nodes.size() + g.initializers.size(), done ? 1u : 0u);
      EXPECT_EQ(y.empty(), !done);
      EXPECT_EQ(g.status.code(), done ? Code::ok : Code::out_of_memory);
      EXPECT_EQ(infer_shapes(g, {}).status().code() == Code::out_of_memory, !done);
      EXPECT_EQ(Program::compile(g).status().code() == Code::out_of_memory, !done);
      ASSERT_LT(nth, 100u);
    }
  }
}

TEST(Memory, AFixedGraphIsLetGoOnceItIsCompiled) {
  Model m;
  m.input("x", {1, 16, 8, 8});
  m.constant("w", noise({16, 16, 1, 1}, 1));
  m.output(m.node("Conv", "conv", {"x", "w"}));
  Expected<Session> s = Session::create(m.g);
  const std::map<std::string, Tensor> x = {{"x", noise({1, 16, 8, 8}, 2)}};
  const Expected<const Program*> first = s->program(std::map<std::string, Shape>{});
  ASSERT_TRUE(first) << first.status().text();
  EXPECT_EQ(s->graph().initializers.size(), 0u);
  const Expected<std::vector<Tensor>> a = s->run(x), b = s->run(x);
  ASSERT_TRUE(a && b) << a.status().text();
  EXPECT_EQ(values_of<float>((*a)[0]), values_of<float>((*b)[0]));
  EXPECT_EQ(*first, *s->program(std::map<std::string, Shape>{{"x", {1, 16, 8, 8}}}));
  EXPECT_EQ(s->program(std::map<std::string, Shape>{{"x", {2, 16, 8, 8}}}).status().code(), Code::invalid_argument);
  const MemoryReport& memory = (*first)->memory();
  EXPECT_GE(memory.weights, 16u * 16 * 4);
  EXPECT_EQ(memory.peak(3), memory.weights + memory.constants + memory.arena + 3 * memory.scratch);
  EXPECT_EQ((*first)->workspace_bytes(3), memory.workspace(3));
}

TEST(Memory, AChainNeedsTwoBuffers) {
  Model m;
  m.input("x", {1, 16, 8, 8});
  m.constant("w", noise({16, 16, 1, 1}, 1));
  std::string v = "x";
  for (int i = 0; i < 10; ++i) v = m.node("Conv", "conv" + std::to_string(i), {v, "w"});
  m.output(v);
  EXPECT_LE(compile(m.g).memory().arena, 2u * 16 * 8 * 8 * 4);
}

// Q -> DQ -> conv [-> + DQ(r)] [-> relu] -> Q -> DQ, on a tensor with 3 channels.
Model quantized_conv(DType dtype, bool opaque, bool residual, int weight_zp = 0, int64_t groups = 1) {
  const int zp = dtype == DType::u8 ? 100 : -20;
  Model m;
  m.input("x", {2, 6, 7, 5});
  const std::string q = m.qdq("xq", "x", 0.01f, zp, dtype);
  const std::string w =
      m.weight("w", noise_s8({6, 6 / groups, 3, 3}, 1), {0.01f, 0.02f, 0.005f, 0.01f, 0.011f, 0.012f}, weight_zp);
  m.constant("b", noise({6}, 2));
  std::string y = m.node("Conv", "conv", {opaque ? m.opaque(q) : q, w, "b"}, {{"pads", Ints{1, 1, 1, 1}}, {"group", groups}});
  if (residual) y = m.node("Add", "add", {y, q});
  y = m.node("Relu", "relu", {y});
  m.output(m.qdq("yq", y, 0.03f, zp, dtype));
  return m;
}

TEST(Memory, CompactKeepsWeightsOfConvolutionsAtAByte) {
  Model m;
  m.input("x", {1, 64, 24, 24});
  const std::string q = m.qdq("xq", "x", 0.01f, 100), w = m.weight("w", noise_s8({64, 64, 3, 3}, 1), {0.01f});
  m.output(m.qdq("yq", m.node("Conv", "conv", {q, w}), 0.9f, 99));
  CompileOptions options;
  options.compact = true;
  const Expected<Program> compact = Program::compile(m.g, options);
  ASSERT_TRUE(bool(compact)) << compact.status().text();
  const Program fast = compile(m.g);
  const Tensor x = noise({1, 64, 24, 24}, 5);
  EXPECT_EQ(values_of<float>(run(*compact, {x})[0]), values_of<float>(run(fast, {x})[0]));
  EXPECT_EQ(step(*compact, "Conv").kernel.find("winograd"), std::string::npos);
  EXPECT_LT(compact->memory().weights, 2u * 64 * 64 * 9);
  if (step(fast, "Conv").kernel.find("winograd") == std::string::npos)
    GTEST_SKIP() << "this machine has no kernel with larger weights";
  EXPECT_GE(fast.memory().weights, 8u * 64 * 64 * 9);
}

TEST(Int8, ConvolutionTakesEverythingUpToQuantize) {
  const Tensor x = noise({2, 6, 7, 5}, 5);
  for (DType dtype : {DType::u8, DType::s8})
    for (bool residual : {false, true})
      for (int64_t groups : {1, 2, 6})
        for (int weight_zp : {0, 3}) {
          const Model m = quantized_conv(dtype, false, residual, weight_zp, groups);
          const Program p = compile(m.g);
          const NodeReport conv = step(p, "Conv");
          EXPECT_EQ(conv.precision, "int8");
          EXPECT_EQ(conv.why_not_int8, "");
          EXPECT_NE(conv.kernel.find(dtype == DType::u8 ? "_u8s8_" : "_s8s8_"), std::string::npos) << conv.kernel;
          EXPECT_EQ(conv.fused,
                    residual ? (std::vector<std::string>{"add", "relu", "yq"}) : (std::vector<std::string>{"relu", "yq"}));
          EXPECT_EQ(p.int8_mac_share(), 1);
          // quantize (and, with two readers, to channels last), repeat channels for a zero point of the weights, conv, dequantize, back
          EXPECT_EQ(p.report().size(), (residual ? 5u : 4u) + (weight_zp ? 1 : 0));
          const Program reference = compile(quantized_conv(dtype, true, residual, weight_zp, groups).g);
          EXPECT_EQ(reference.int8_mac_share(), 0);
          expect_within_a_step(run(p, {x})[0], run(reference, {x})[0], 0.03f);
        }
}

TEST(Int8, FloatOutputWhereNothingQuantizesIt) {
  Model m;
  m.input("x", {3, 16});
  const std::string w = m.weight("w", noise_s8({5, 16}, 1), {0.01f});
  m.constant("bq", Tensor::from(DType::s32, {5}, std::vector<int32_t>{1, 20, -300, 4000, 5}));
  m.constant("bs", scalar(0.02f * 0.01f));
  const std::string b = m.node("DequantizeLinear", "b", {"bq", "bs"});
  Model reference = m;
  for (Model* model : {&m, &reference}) {
    const std::string q = model->qdq("xq", "x", 0.02f, 128);
    model->output(model->node("Gemm", "gemm", {model == &m ? q : model->opaque(q), w, b}, {{"transB", int64_t(1)}}));
  }
  const Program p = compile(m.g);
  EXPECT_EQ(step(p, "Gemm").precision, "int8");
  const Tensor x = noise({3, 16}, 5);
  expect_close(run(p, {x})[0], run(reference.g, {x})[0], 1e-5f);  // exact sums against rounded ones
}

TEST(Int8, BytesAreMovedAsBytes) {
  Model m;
  m.input("x", {1, 4, 6, 6});
  const std::string a = m.qdq("a", "x", 0.01f, 128);
  const std::string pool = m.node("MaxPool", "pool", {a}, {{"kernel_shape", Ints{2, 2}}, {"strides", Ints{2, 2}}});
  const std::string b = m.qdq("b", pool, 0.01f, 128);
  m.constant("shape", ints({1, 36}));
  const std::string concat = m.node("Concat", "concat", {b, m.qdq("c", pool, 0.02f, 100)}, {{"axis", int64_t(1)}});
  m.output(m.qdq("d", concat, 0.02f, 100));
  const Program p = compile(m.g);
  EXPECT_EQ(step(p, "MaxPool").precision, "int8");
  EXPECT_EQ(steps(p, "Concat"), 0) << "its inputs are computed in place";
  for (const NodeReport& r : p.report()) EXPECT_NE(r.precision, "float") << r.name;
  Model plain;
  plain.input("x", {1, 4, 6, 6});
  const std::string pa = plain.opaque(plain.qdq("a", "x", 0.01f, 128));
  const std::string pp = plain.node("MaxPool", "pool", {pa}, {{"kernel_shape", Ints{2, 2}}, {"strides", Ints{2, 2}}});
  const std::string pb = plain.opaque(plain.qdq("b", pp, 0.01f, 128)), pc = plain.opaque(plain.qdq("c", pp, 0.02f, 100));
  plain.output(plain.qdq("d", plain.opaque(plain.node("Concat", "concat", {pb, pc}, {{"axis", int64_t(1)}})), 0.02f, 100));
  const Tensor x = noise({1, 4, 6, 6}, 5);
  expect_within_a_step(run(p, {x})[0], run(plain.g, {x})[0], 0.02f);
}

TEST(Int8, AddMulAveragePoolAndTables) {
  Model m;
  m.input("x", {1, 8, 4, 4});
  m.input("y", {1, 8, 4, 4});
  const std::string a = m.qdq("a", "x", 0.01f, 128), b = m.qdq("b", "y", 0.02f, 3);
  const std::string add = m.qdq("aq", m.node("Relu", "relu", {m.node("Add", "add", {a, b})}), 0.02f, 0);
  const std::string mul = m.qdq("mq", m.node("Mul", "mul", {add, a}), 0.02f, 90);
  const std::string sigmoid = m.qdq("sq", m.node("Sigmoid", "sigmoid", {mul}), 1.0f / 256, 0);
  m.output(m.qdq("gq", m.node("GlobalAveragePool", "gap", {sigmoid}), 1.0f / 256, 0));
  const Program p = compile(m.g);
  for (const char* type : {"Add", "Mul", "Sigmoid", "GlobalAveragePool"}) EXPECT_EQ(step(p, type).precision, "int8") << type;
  EXPECT_EQ(steps(p, "Relu"), 0);
  CompileOptions keep;
  keep.keep = {"add", "relu", "mul", "sigmoid", "gap"};
  const Program plain = compile(m.g, keep);
  for (const char* type : {"Add", "Mul", "Sigmoid", "GlobalAveragePool"}) EXPECT_EQ(step(plain, type).precision, "float") << type;
  const Tensor x = noise({1, 8, 4, 4}, 5), y = noise({1, 8, 4, 4}, 6);
  expect_within_a_step(run(p, {x, y})[0], run(plain, {x, y})[0], 1.0f / 256);
}

TEST(Int8, ReasonsAndStrictMode) {
  Model bad = quantized_conv(DType::u8, false, false);
  for (Node& node : bad.g.nodes)
    if (node.name == "w") node.attributes["axis"] = int64_t(1);
  const Program p = compile(bad.g);
  EXPECT_EQ(step(p, "Conv").precision, "float");
  EXPECT_EQ(step(p, "Conv").why_not_int8, "weight scales lie along axis 1, not the output channels");
  CompileOptions strict;
  strict.strict = true;
  const Expected<Program> refused = Program::compile(bad.g, strict);
  ASSERT_FALSE(refused);
  EXPECT_STREQ(refused.status().text(), "node 'conv' (Conv) cannot run in int8: weight scales lie along axis 1, not the output channels");
  EXPECT_TRUE(bool(Program::compile(quantized_conv(DType::u8, false, true).g, strict)));

  Model m;
  m.input("x", {1, 8});
  m.output(m.qdq("b", m.node("LogSoftmax", "scores", {m.qdq("a", "x", 0.01f, 0)}), 1.0f / 256, 0));
  EXPECT_EQ(step(compile(m.g), "LogSoftmax").why_not_int8, "operator LogSoftmax has no int8 kernel");
}

// Each row breaks one thing; the error must name the node.
TEST(Int8, ProductsOfComputedTensorsCount) {
  Model m;
  m.input("x", {2, 3, 8});
  const std::string q = m.qdq("xq", "x", 0.01f, 128);
  m.constant("wq", noise_s8({8, 8}, 1));
  m.constant("ws", scalar(0.01f));
  const std::string y = m.node("MatMul", "linear", {q, m.node("DequantizeLinear", "w", {"wq", "ws"})});
  m.output(m.node("MatMul", "attention", {y, m.node("Transpose", "t", {y}, {{"perm", Ints{0, 2, 1}}})}));
  const Program p = compile(m.g);
  int64_t macs[2] = {};
  for (const NodeReport& r : p.report())
    if (r.macs > 0) {
      const bool attention = r.name == "attention";
      macs[attention] += r.macs;
      EXPECT_EQ(r.precision, attention ? "float" : "int8");
      EXPECT_EQ(r.why_not_int8, attention ? "input 'linear' has no QuantizeLinear" : "");
    }
  EXPECT_EQ(macs[0], 2 * 3 * 8 * 8);
  EXPECT_EQ(macs[1], 2 * 3 * 8 * 3);
  EXPECT_EQ(p.int8_mac_share(), 8.0 / 11);
}

TEST(Float, TransposedConvolutionCounts) {
  Model m;
  m.input("x", {1, 4, 5, 5});
  m.constant("w", noise({4, 3, 2, 2}, 1));  // two groups: each input element meets 3 x 2 x 2 weights
  m.output(m.node("ConvTranspose", "up", {"x", "w"}, {{"strides", Ints{2, 2}}, {"group", int64_t(2)}}));
  const Program p = compile(m.g);
  EXPECT_EQ(step(p, "ConvTranspose").macs, 4 * 5 * 5 * 3 * 2 * 2);
  EXPECT_EQ(step(p, "ConvTranspose").why_not_int8, "input 'x' has no QuantizeLinear");
  EXPECT_EQ(p.int8_mac_share(), 0);
}

TEST(Malformed, IsAnErrorThatNamesTheNode) {
  const std::map<std::string, std::function<void(Model&)>> cases = {
      {"kernel_shape", [](Model& m) { m.node("Conv", "bad", {"x", "w"}, {{"kernel_shape", Ints{2, 2}}}); }},
      {"strides", [](Model& m) { m.node("Conv", "bad", {"x", "w"}, {{"strides", Ints{0, 1}}}); }},
      {"negative stride", [](Model& m) { m.node("Conv", "bad", {"x", "w"}, {{"strides", Ints{-1, 1}}}); }},
      {"pads size", [](Model& m) { m.node("Conv", "bad", {"x", "w"}, {{"pads", Ints{1}}}); }},
      {"huge pads", [](Model& m) { m.node("Conv", "bad", {"x", "w"}, {{"pads", Ints{0, 0, INT64_MAX, INT64_MAX}}}); }},
      {"huge dilation", [](Model& m) { m.node("Conv", "bad", {"x", "w"}, {{"dilations", Ints{INT64_MAX, INT64_MAX}}}); }},
      {"groups", [](Model& m) { m.node("Conv", "bad", {"x", "w"}, {{"group", int64_t(3)}}); }},
      {"no groups", [](Model& m) { m.node("Conv", "bad", {"x", "w"}, {{"group", int64_t(0)}}); }},
      {"bias", [](Model& m) { m.node("Conv", "bad", {"x", "w", "three"}); }},
      {"no weights", [](Model& m) { m.node("Conv", "bad", {"x"}); }},
      {"window", [](Model& m) { m.node("MaxPool", "bad", {"x"}, {{"kernel_shape", Ints{9, 9}}}); }},
      {"pool kernel", [](Model& m) { m.node("AveragePool", "bad", {"x"}, {{"kernel_shape", Ints{}}}); }},
      {"inner dimensions", [](Model& m) { m.node("MatMul", "bad", {"x", "three"}); }},
      {"scale", [](Model& m) { m.quantize("bad", "x", 0, 0); }},
      {"nan scale", [](Model& m) { m.quantize("bad", "x", NAN, 0); }},
      {"reshape", [](Model& m) { m.node("Reshape", "bad", {"x", m.constant("shape", ints({7}))}); }},
      {"unknown", [](Model& m) { m.node("Frobnicate", "bad", {"x"}); }},
      {"broadcast", [](Model& m) { m.node("Add", "bad", {"x", "three"}); }},
  };
  for (const auto& [name, add_node] : cases) {
    Model m;
    m.input("x", {1, 4, 5, 5});
    m.constant("w", noise({4, 4, 3, 3}, 1));
    m.constant("three", noise({3}, 2));
    add_node(m);
    m.output("bad");
    const Expected<Program> p = Program::compile(m.g);
    ASSERT_FALSE(p) << name;
    EXPECT_NE(std::string(p.status().text()).find("bad"), std::string::npos) << name << ": " << p.status().text();
    EXPECT_NE(p.status().code(), Code::internal) << name;
  }
}

TEST(Run, ChecksItsArguments) {
  const Program p = compile(residual_block(false).g);
  const Tensor x = noise({2, 8, 5, 6}, 1);
  Tensor y = x;
  alignas(64) static std::byte workspace[1 << 20];
  ASSERT_LE(p.workspace_bytes(1), sizeof workspace);
  const TensorView in{DType::f32, x.shape(), const_cast<void*>(x.data())}, out{DType::f32, y.shape(), y.mutable_data()};
  const auto run = [&](std::vector<TensorView> i, std::vector<TensorView> o, void* w) { return p.run(i, o, w, single_thread()); };
  EXPECT_TRUE(run({in}, {out}, workspace).ok());
  EXPECT_EQ(run({}, {out}, workspace).code(), Code::invalid_argument);
  EXPECT_EQ(run({in}, {out}, workspace + 1).code(), Code::invalid_argument);
  EXPECT_EQ(run({in}, {out}, nullptr).code(), Code::invalid_argument);
  EXPECT_EQ(run({{DType::u8, x.shape(), in.data}}, {out}, workspace).code(), Code::invalid_argument);
  EXPECT_EQ(run({{DType::f32, {1, 8, 5, 6}, in.data}}, {out}, workspace).code(), Code::invalid_argument);
  EXPECT_EQ(run({in}, {{DType::f32, y.shape(), nullptr}}, workspace).code(), Code::invalid_argument);
}

TEST(SessionTest, KeepsProgramsByShapeAndNamesMissingInputs) {
  Model m = residual_block(false);
  m.g.inputs[0].dims[0] = {-1, "n"};
  Expected<Session> s = Session::create(m.g, 2);
  ASSERT_TRUE(bool(s)) << s.status().text();
  const Tensor two = noise({2, 8, 5, 6}, 1);
  const auto r = s->run({{"x", two}});
  ASSERT_TRUE(bool(r)) << r.status().text();
  expect_close((*r)[0], run(residual_block(false).g, {two})[0], 0);
  EXPECT_EQ(*s->program({{"x", {2, 8, 5, 6}}}), *s->program({{"x", {2, 8, 5, 6}}}));
  EXPECT_NE(*s->program({{"x", {2, 8, 5, 6}}}), *s->program({{"x", {3, 8, 5, 6}}}));
  EXPECT_STREQ(s->run({}).status().text(), "input 'x' is missing");
  EXPECT_FALSE(s->run({{"x", noise({2, 7, 5, 6}, 1)}}));
  EXPECT_FALSE(s->run({{"x", two}, {"z", two}}));
  EXPECT_EQ(Session::create(m.g, 0).status().code(), Code::invalid_argument);
}

}  // namespace
}  // namespace octavo
