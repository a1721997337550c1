// Forms that exporters give to attention, recurrent layers and resizing: from float to int8, on the smallest graph that has them.
#include <gtest/gtest.h>

#include <unistd.h>

#include <cmath>
#include <filesystem>

#include "graph_test_util.h"
#include "octavo/onnx.h"
#include "octavo/quantize.h"

namespace octavo {
namespace {

using Sample = std::map<std::string, Tensor>;

Graph with_input(Shape shape) {
  Graph g;
  ValueInfo x{"x", DType::f32, {}, true};
  for (int64_t d : shape) x.dims.push_back({d, d < 0 ? "N" : ""});
  g.inputs = {x};
  return g;
}

// By reference: `output` may be that of a node which is added in the same call.
Graph ending_in(const Graph& g, const std::string& output) {
  Graph whole = g;
  whole.outputs = {{output, DType::f32, {}, false}};
  return whole;
}

// [k, n], about unit variance behind it
std::string linear(Graph& g, const std::string& name, const std::string& x, int64_t k, int64_t n) {
  g.add_initializer(name + ".w", noise({k, n}, uint64_t(k + n), std::sqrt(3 / float(k))));
  return g.add_node("MatMul", name, {x, name + ".w"});
}

std::string conv(Graph& g, const std::string& name, const std::string& x, int64_t ic, int64_t oc) {
  g.add_initializer(name + ".w", noise({oc, ic, 3, 3}, uint64_t(ic + oc), 0.3f));
  return g.add_node("Conv", name, {x, name + ".w"}, {{"pads", std::vector<int64_t>{1, 1, 1, 1}}});
}

std::vector<Sample> samples_for(const Graph& g) {
  std::vector<Sample> samples;
  for (uint64_t i = 0; i < 4; ++i) {
    Shape shape;
    for (const Dim& d : g.inputs[0].dims) shape.push_back(d.size < 0 ? 1 : d.size);
    samples.push_back({{"x", noise(shape, 50 + i, 2)}});
  }
  return samples;
}

struct Outcome {
  double sqnr = 0, share = 0;
  Graph graph;
};

// x86_static on its own samples; the written model passes through a file.
Outcome quantized(const Graph& g) {
  Outcome r;
  Expected<Prepared> p = prepare(g, *Recipe::preset("x86_static"));
  EXPECT_TRUE(p) << p.status().text();
  if (!p) return r;
  const std::vector<Sample> samples = samples_for(g);
  if (const Status s = calibrate(*p, samples); !s.ok()) return ADD_FAILURE() << s.text(), r;
  const Expected<Graph> q = convert(*p);
  EXPECT_TRUE(q) << q.status().text();
  if (!q) return r;
  r.graph = *q;
  Expected<Session> exact = Session::create(g), rounded = Session::create(*q);
  if (!exact || !rounded) return ADD_FAILURE() << exact.status().text() << rounded.status().text(), r;
  double signal = 0, error = 0;
  for (const Sample& sample : samples) {
    const auto a = exact->run(sample), b = rounded->run(sample);
    if (!a || !b) return ADD_FAILURE() << a.status().text() << b.status().text(), r;
    for (size_t o = 0; o < a->size(); ++o) {
      EXPECT_EQ((*a)[o].shape(), (*b)[o].shape());
      for (int64_t i = 0; i < (*a)[o].count(); ++i) {
        const double x = double((*a)[o].as<float>()[i]), d = x - double((*b)[o].as<float>()[i]);
        signal += x * x, error += d * d;
      }
    }
  }
  r.sqnr = 10 * std::log10(signal / error);
  const Expected<const Program*> program = rounded->program(samples[0]);
  if (!program) return ADD_FAILURE() << program.status().text(), r;
  r.share = (*program)->int8_mac_share();
  return r;
}

// 8-bit chains of a few layers lose some 30 to 40 dB; a wrong scale or a lost operand leaves less than 10.
void expect_all_int8(const Graph& g) {
  const Outcome r = quantized(g);
  EXPECT_GT(r.sqnr, 25);
  EXPECT_EQ(r.share, 1);
}

// ---- products of two operands

TEST(Exports, QKVTakenFromOneTensorByGather) {  // Swin, timm's ViT: [3, heads, tokens, size]
  Graph g = with_input({1, 6, 8});
  g.add_initializer("split", s64({1, 6, 3, 2, 4}));
  for (int64_t i = 0; i < 3; ++i) g.add_initializer("i" + std::to_string(i), s64({}, {i}));
  g.add_initializer("half", f32({}, {0.5f}));
  const std::string heads = g.add_node("Reshape", "split_heads", {linear(g, "qkv", "x", 8, 24), "split"});
  const std::string parts = g.add_node("Transpose", "parts", {heads}, {{"perm", std::vector<int64_t>{2, 0, 3, 1, 4}}});
  for (const char* i : {"i0", "i1", "i2"}) g.add_node("Gather", std::string("part_") + i, {parts, i}, {{"axis", int64_t(0)}});
  const std::string q = g.add_node("Mul", "scaled", {"part_i0", "half"});
  const std::string k = g.add_node("Transpose", "turned", {"part_i1"}, {{"perm", std::vector<int64_t>{0, 1, 3, 2}}});
  const std::string p = g.add_node("Softmax", "p", {g.add_node("MatMul", "scores", {q, k})}, {{"axis", int64_t(-1)}});
  expect_all_int8(ending_in(g, g.add_node("MatMul", "y", {p, "part_i2"})));
}

TEST(Exports, FloatOperandsAreQuantizedForAProduct) {  // rotary embeddings, Concat of tables
  Graph g = with_input({1, 2, 6, 4});
  const std::string s = g.add_node("Sin", "turn", {"x"});
  const std::string t = g.add_node("Transpose", "t", {s}, {{"perm", std::vector<int64_t>{0, 1, 3, 2}}});
  expect_all_int8(ending_in(g, g.add_node("MatMul", "y", {g.add_node("Cos", "other", {"x"}), t})));
}

TEST(Exports, ConstantOperandsOfProductsAreQuantized) {
  for (const bool left : {false, true}) {  // DeBERTa's relative positions; matrices that mix tokens
    Graph g = with_input({1, 3, 4, 4});
    g.add_initializer("c", left ? noise({4, 4}, 9) : noise({3, 4, 5}, 9));
    const std::vector<std::string> operands = {left ? "c" : "x", left ? "x" : "c"};
    const Graph done = ending_in(g, g.add_node("MatMul", "y", operands));
    expect_all_int8(done);
    const Outcome r = quantized(done);
    EXPECT_EQ(r.graph.initializers.at("c_quantized").dtype(), DType::s8);
    EXPECT_EQ(r.graph.initializers.at("c_scale").count(), 1);
  }
}

TEST(Exports, ProductsOfFiveDimensions) {  // windows of MaxViT
  Graph g = with_input({2, 3, 4, 2, 6});
  const std::string a = g.add_node("Transpose", "a", {"x"}, {{"perm", std::vector<int64_t>{0, 1, 3, 2, 4}}});
  const std::string b = g.add_node("Transpose", "b", {"x"}, {{"perm", std::vector<int64_t>{0, 1, 3, 4, 2}}});
  g.add_initializer("bias", noise({2, 4, 4}, 3));
  expect_all_int8(ending_in(g, g.add_node("Add", "y", {g.add_node("MatMul", "ab", {a, b}), "bias"})));
}

TEST(Exports, ProductsWhoseBatchStepsAreUneven) {  // the batch and the groups swap: no one stride walks both
  Graph g = with_input({2, 3, 2, 4, 6});
  const std::string a = g.add_node("Transpose", "a", {"x"}, {{"perm", std::vector<int64_t>{1, 0, 2, 3, 4}}});
  const std::string b = g.add_node("Transpose", "b", {"x"}, {{"perm", std::vector<int64_t>{1, 0, 2, 4, 3}}});
  expect_all_int8(ending_in(g, g.add_node("MatMul", "y", {a, b})));
}

TEST(Exports, CastOfFloatsToFloatsIsNothing) {  // transformers casts probabilities back to the type that they have
  Graph g = with_input({-1, 4, 4});
  const std::string p = g.add_node("Softmax", "p", {linear(g, "scores", "x", 4, 4)}, {{"axis", int64_t(-1)}});
  const std::string same = g.add_node("Cast", "same", {p}, {{"to", int64_t(1)}});
  expect_all_int8(ending_in(g, g.add_node("MatMul", "y", {same, "x"})));
}

// ---- values that are gone at fixed shapes

TEST(Exports, ReshapeThatIsNothingAtFixedShapesIsCalibrated) {  // GPT-2 with a dynamic batch
  Graph g = with_input({-1, 4});
  g.add_node("Shape", "shape", {"x"});
  const std::string h = g.add_node("Relu", "h", {"x"});
  expect_all_int8(ending_in(g, linear(g, "y", g.add_node("Reshape", "same", {h, "shape"}), 4, 4)));
}

// ---- recurrent layers

Graph recurrent(const std::string& type, int64_t gates, const std::string& state) {
  Graph g = with_input({7, 1, 6});
  g.opset = 14;
  g.add_initializer("w", noise({2, gates * 5, 6}, 1, 0.5f));
  g.add_initializer("r", noise({2, gates * 5, 5}, 2, 0.5f));
  g.add_initializer("b", noise({2, 2 * gates * 5}, 3, 0.2f));
  std::vector<std::string> inputs = {"x", "w", "r", "b", "", state};
  if (type == "LSTM") inputs.push_back(state);
  std::map<std::string, Attribute> attributes = {{"direction", std::string("bidirectional")}, {"hidden_size", int64_t(5)}};
  if (type == "GRU") attributes["linear_before_reset"] = int64_t(1);
  g.add_node(type, "rnn", inputs, attributes);
  g.add_initializer("flat", s64({7, 10}));
  const std::string rows = g.add_node("Transpose", "rows", {"rnn"}, {{"perm", std::vector<int64_t>{0, 2, 1, 3}}});
  return ending_in(g, linear(g, "y", g.add_node("Reshape", "both", {rows, "flat"}), 10, 4));
}

TEST(Exports, BidirectionalLayersBecomeTwoDirections) {
  expect_all_int8(recurrent("LSTM", 4, ""));
  expect_all_int8(recurrent("GRU", 3, ""));
}

TEST(Exports, StatesOfZerosWhateverTheirShape) {  // a dynamic batch: a part of a ConstantOfShape of computed dimensions
  Graph g = recurrent("LSTM", 4, "part");
  g.inputs[0].dims[1] = {-1, "N"};
  g.add_initializer("one", s64({1}));
  g.add_initializer("two", s64({2}));
  g.add_initializer("zero", s64({0}));
  g.add_initializer("four", s64({4}));
  g.add_initializer("five", s64({5}));
  g.initializers.erase("flat");
  g.add_initializer("flat", s64({0, 0, 10}));
  Graph states;
  states.add_node("Shape", "dims", {"x"});
  states.add_node("Slice", "batch", {"dims", "one", "two"});
  states.add_node("Concat", "shape", {"four", "batch", "five"}, {{"axis", int64_t(0)}});
  states.add_node("ConstantOfShape", "zeros", {"shape"});
  states.add_node("Slice", "part", {"zeros", "zero", "two", "zero"});
  g.nodes.insert(g.nodes.begin(), states.nodes.begin(), states.nodes.end());
  expect_all_int8(g);
}

TEST(Exports, TheLastStateIsTheLastRow) {  // classifiers of sequences
  for (const char* direction : {"forward", "reverse", "bidirectional"}) {
    Graph g = recurrent("LSTM", 4, "");
    const bool both = std::string(direction) == "bidirectional";
    Node& rnn = g.nodes[0];
    rnn.attributes["direction"] = std::string(direction);
    rnn.outputs = {"", "state"};
    if (!both)
      for (const char* name : {"w", "r", "b"}) {
        const Tensor& t = g.initializers.at(name);
        Shape shape = t.shape();
        shape[0] = 1;
        g.initializers[name] = f32(shape, std::vector<float>(t.as<float>(), t.as<float>() + t.count() / 2));
      }
    g.nodes.resize(1);
    g.add_initializer("row", s64({1, both ? 10 : 5}));
    g.outputs.clear();
    expect_all_int8(ending_in(g, linear(g, "y2", g.add_node("Reshape", "flat_state", {"state", "row"}), both ? 10 : 5, 4)));
  }
}

TEST(Exports, ReductionsOverChannelsAreThoseOfRows) {  // spatial attention; 300 columns are more than one block
  const Tensor x = noise({3, 5, 300}, 4);
  const float* v = x.as<float>();
  for (const char* op : {"ReduceMax", "ReduceMin", "ReduceSum", "ReduceMean"}) {
    Graph g = with_input({3, 5, 300});
    g.opset = 18;
    g.add_initializer("axes", s64({0, 1}));
    Expected<Session> session = Session::create(ending_in(g, g.add_node(op, "y", {"x", "axes"}, {{"keepdims", int64_t(0)}})));
    ASSERT_TRUE(session) << session.status().text();
    const auto y = session->run({{"x", x}});
    ASSERT_TRUE(y) << y.status().text();
    for (int64_t j = 0; j < 300; ++j) {
      double sum = 0, largest = -9, smallest = 9;
      for (int64_t i = 0; i < 15; ++i) {
        const double e = double(v[i * 300 + j]);
        sum += e, largest = std::max(largest, e), smallest = std::min(smallest, e);
      }
      const std::string name = op;
      const double want = name == "ReduceMax" ? largest : name == "ReduceMin" ? smallest : name == "ReduceSum" ? sum : sum / 15;
      ASSERT_EQ((*y)[0].as<float>()[j], float(want)) << op << " " << j;
    }
  }
}

TEST(Exports, ReduceMaxOverSpaceIsAPoolOfBytes) {  // PointNet
  Graph g = with_input({1, 4, 6});
  g.add_initializer("c.w", noise({8, 4, 1}, 3, 0.8f));
  g.add_node("Conv", "c", {"x", "c.w"});
  const std::string most = g.add_node("ReduceMax", "most", {"c"}, {{"axes", std::vector<int64_t>{2}}, {"keepdims", int64_t(0)}});
  expect_all_int8(ending_in(g, linear(g, "y", most, 8, 3)));
}

// One direction of what recurrent() builds.
Graph forward(Graph g) {
  g.nodes.resize(1);
  g.nodes[0].attributes["direction"] = std::string("forward");
  for (const char* name : {"w", "r", "b"}) {
    const Tensor& t = g.initializers.at(name);
    Shape shape = t.shape();
    shape[0] = 1;
    g.initializers[name] = f32(shape, std::vector<float>(t.as<float>(), t.as<float>() + t.count() / 2));
  }
  return g;
}

TEST(Exports, StatesThatAreNoZeros) {
  for (const char* type : {"LSTM", "GRU"})
    for (const bool computed : {false, true}) {
      Graph g = recurrent(type, type[0] == 'L' ? 4 : 3, "state");
      if (!computed) {
        g.add_initializer("state", noise({2, 1, 5}, 8, 0.3f));
        expect_all_int8(g);
        continue;
      }
      // Of the input: the sum of its steps through a linear layer, as much for each direction.
      Graph states;
      g.add_initializer("state.w", noise({6, 10}, 9, 0.3f));
      g.add_initializer("state.shape", s64({2, 1, 5}));
      states.add_node("ReduceMean", "mean", {"x"}, {{"axes", std::vector<int64_t>{0}}, {"keepdims", int64_t(0)}});
      states.add_node("MatMul", "projected", {"mean", "state.w"});
      states.add_node("Reshape", "state", {"projected", "state.shape"});
      g.nodes.insert(g.nodes.begin(), states.nodes.begin(), states.nodes.end());
      expect_all_int8(g);
    }
}

// A decoder of sequences: its state comes from the encoder, and what it ends with is a result, the cell too.
TEST(Exports, StatesFromLayerToLayer) {
  for (const bool both : {true, false}) {
    Graph g = recurrent("LSTM", 4, "");
    if (!both) g = forward(std::move(g));
    g.nodes.resize(1);
    g.nodes[0].outputs = {"", "h", "c"};
    for (const char* name : {"w", "r", "b"}) g.add_initializer(std::string(name) + "2", g.initializers.at(name));
    Node decoder = g.nodes[0];
    decoder.name = "decoder";
    decoder.inputs = {"x", "w2", "r2", "b2", "", "h", "c"};
    decoder.outputs = {"rows", "h2", "c2"};
    g.nodes.push_back(decoder);
    g.add_initializer("flat", s64({-1, 5}));
    const std::string y = linear(g, "y", g.add_node("Reshape", "all", {"rows", "flat"}), 5, 4);
    const std::string h = linear(g, "yh", g.add_node("Reshape", "h_rows", {"h2", "flat"}), 5, 4);
    for (const std::string& output : {y, h, std::string("c2")}) g.outputs.push_back({output, DType::f32, {}, false});
    expect_all_int8(g);
  }
}

// A model that makes one step at a time: states come from the caller, larger than what the layer itself gives.
TEST(Exports, StatesFromTheCaller) {
  for (const char* type : {"LSTM", "GRU"}) {
    Graph g = forward(recurrent(type, type[0] == 'L' ? 4 : 3, "state"));
    g.inputs.push_back({"state", DType::f32, {{1, ""}, {1, ""}, {5, ""}}, true});
    g.add_initializer("flat", s64({7, 5}));
    const std::string y = linear(g, "y", g.add_node("Reshape", "rows", {"rnn", "flat"}), 5, 4);
    g.outputs = {{y, DType::f32, {}, false}};
    Expected<Prepared> p = prepare(g, *Recipe::preset("x86_static"));
    ASSERT_TRUE(p) << p.status().text();
    std::vector<Sample> samples = samples_for(g);
    for (size_t i = 0; i < samples.size(); ++i) samples[i]["state"] = noise({1, 1, 5}, 20 + i, 3);
    ASSERT_TRUE(calibrate(*p, samples).ok());
    const Expected<Graph> q = convert(*p);
    ASSERT_TRUE(q) << q.status().text();
    // The state is quantized with what its steps pass on.
    EXPECT_EQ(*q->initializers.at("state_scale").as<float>(), *q->initializers.at("rnn_scale").as<float>());
    Expected<Session> exact = Session::create(g), rounded = Session::create(*q);
    ASSERT_TRUE(exact && rounded) << rounded.status().text();
    EXPECT_EQ((*rounded->program(samples[0]))->int8_mac_share(), 1) << type;
    double signal = 0, error = 0;
    for (const Sample& sample : samples) {
      const auto a = exact->run(sample), b = rounded->run(sample);
      ASSERT_TRUE(a && b) << b.status().text();
      for (int64_t i = 0; i < (*a)[0].count(); ++i) {
        const double w = double((*a)[0].as<float>()[i]), d = double((*b)[0].as<float>()[i]) - w;
        signal += w * w, error += d * d;
      }
    }
    EXPECT_GT(10 * std::log10(signal / error), 25) << type;
    // Bytes that the parameters of the result cannot hold: in float.
    Graph far = *q;
    for (Node& node : far.nodes)
      if (node.op_type == type) node.inputs[5] = far.add_initializer("far", f32({1, 1, 5}, {0, 0, 1000, 0, 0}));
    const Expected<Program> in_float = Program::compile(far);
    ASSERT_TRUE(in_float) << in_float.status().text();
    EXPECT_LT(in_float->int8_mac_share(), 0.5);
  }
}

// ---- resizing

TEST(Exports, NearestResizeMovesBytes) {
  Graph g = with_input({1, 4, 4, 4});
  g.add_initializer("scales", f32({4}, {1, 1, 2, 2}));
  const std::string up = g.add_node("Resize", "up", {conv(g, "a", "x", 4, 8), "", "scales"}, {{"mode", std::string("nearest")}});
  const Outcome r = quantized(ending_in(g, conv(g, "b", up, 8, 4)));
  EXPECT_GT(r.sqnr, 25);
  EXPECT_EQ(*r.graph.initializers.at("a_scale").as<float>(), *r.graph.initializers.at("up_scale").as<float>());
}

TEST(Exports, UpsampleIsRaisedWithItsPixels) {
  for (const int64_t opset : {7, 9}) {
    Graph g = with_input({1, 2, 3, 3});
    g.opset = opset;
    const std::vector<float> scales = {1, 1, 2, 2};
    std::vector<std::string> inputs = {conv(g, "a", "x", 2, 2)};
    std::map<std::string, Attribute> attributes = {{"mode", std::string("linear")}};
    if (opset == 7) attributes["scales"] = scales;
    else inputs.push_back(g.add_initializer("scales", f32({4}, scales)));
    expect_all_int8(ending_in(g, conv(g, "b", g.add_node("Upsample", "up", inputs, attributes), 2, 2)));
  }
}

TEST(Exports, ResizeIsTheSameInBothLayouts) {  // between convolutions channels lie last, between graph inputs and outputs first
  for (const char* mode : {"nearest", "linear", "cubic"}) {
    for (const bool by_axes : {false, true}) {
      Graph g = with_input({1, 3, 5, 4});
      g.opset = 18;
      g.add_initializer("eye", f32({3, 3, 1, 1}, {1, 0, 0, 0, 1, 0, 0, 0, 1}));
      if (by_axes) g.add_initializer("sizes", s64({7, 9}));
      else g.add_initializer("sizes", s64({1, 3, 7, 9}));
      std::map<std::string, Attribute> attributes = {{"mode", std::string(mode)}};
      if (by_axes) attributes["axes"] = std::vector<int64_t>{2, 3};
      g.add_node("Resize", "first", {"x", "", "", "sizes"}, attributes);
      g.add_node("Conv", "same", {"x", "eye"});
      const std::string last = g.add_node("Resize", "last", {"same", "", "", "sizes"}, attributes);
      g.add_node("Conv", "again", {last, "eye"});
      g.outputs = {{"first", DType::f32, {}, false}, {"again", DType::f32, {}, false}};
      Expected<Session> session = Session::create(g);
      ASSERT_TRUE(session) << session.status().text();
      const auto r = session->run(samples_for(g)[0]);
      ASSERT_TRUE(r) << r.status().text();
      for (int64_t i = 0; i < (*r)[0].count(); ++i)  // sums of the same products in another order
        ASSERT_NEAR((*r)[0].as<float>()[i], (*r)[1].as<float>()[i], 1e-5f) << mode << " " << i;
    }
  }
}

// ---- Einsum, which the importer takes apart

Graph loaded(const Graph& g) {
  std::string path = (std::filesystem::temp_directory_path() / "octavo_exports_XXXXXX").string();
  const int file = mkstemp(path.data());
  EXPECT_GE(file, 0);
  close(file);
  const Status s = save_onnx(g, path);
  EXPECT_TRUE(s.ok()) << s.text();
  Expected<Graph> r = load_onnx(path);
  EXPECT_TRUE(r) << r.status().text();
  std::filesystem::remove(path);
  return r ? *std::move(r) : Graph();
}

TEST(Exports, EinsumThatIsAProductOfMatricesIsOne) {
  const struct {
    const char* equation;
    Shape x, w;
    bool constant_first;
  } cases[] = {{"btd,dhe->bthe", {2, 3, 4}, {4, 2, 5}, false},  // a linear of several heads
               {"bthe,hed->btd", {2, 3, 2, 4}, {2, 4, 5}, false},
               {"of,bf->bo", {2, 3}, {5, 3}, true},
               {"bqhe,bkhe->bhqk", {2, 3, 2, 4}, {2, 5, 2, 4}, false},
               {"bhqk,bkhe->bqhe", {2, 2, 3, 5}, {2, 5, 2, 4}, false},
               {"bhwc,hkc->bhwk", {2, 3, 2, 4}, {3, 5, 4}, false},  // relative positions
               {"...ij,...jk->...ik", {2, 3, 4}, {2, 4, 5}, false},
               {"i,ij->j", {3}, {3, 4}, false},
               {"bij,bj->bi", {2, 3, 4}, {2, 4}, false},
               {"abcd,cdef->abef", {2, 3, 2, 2}, {2, 2, 3, 2}, false}};
  for (const auto& c : cases) {
    Graph g = with_input(c.x);
    if (c.x.size() > 1) g.inputs[0].dims[0] = {-1, "N"};
    g.add_initializer("w", noise(c.w, 5));
    g.add_node("Einsum", "y", c.constant_first ? std::vector<std::string>{"w", "x"} : std::vector<std::string>{"x", "w"},
               {{"equation", std::string(c.equation)}});
    g = ending_in(g, "y");
    const Graph taken_apart = loaded(g);
    int products = 0;
    for (const Node& node : taken_apart.nodes) {
      EXPECT_NE(node.op_type, "Einsum") << c.equation;
      products += node.op_type == "MatMul";
    }
    EXPECT_EQ(products, 1) << c.equation;
    Expected<Session> plain = Session::create(g), session = Session::create(taken_apart);
    ASSERT_TRUE(plain && session) << plain.status().text() << session.status().text();
    const Sample sample = {{"x", noise(c.x, 6)}};
    const auto a = plain->run(sample), b = session->run(sample);
    ASSERT_TRUE(a && b) << c.equation << ": " << a.status().text() << b.status().text();
    ASSERT_EQ((*a)[0].shape(), (*b)[0].shape()) << c.equation;
    for (int64_t i = 0; i < (*a)[0].count(); ++i)  // sums in double against sums in float
      ASSERT_NEAR((*a)[0].as<float>()[i], (*b)[0].as<float>()[i], 1e-5f) << c.equation << " " << i;
  }
}

TEST(Exports, OtherEinsumsStay) {
  for (const char* equation : {"bii->bi", "bij->b", "bij,bij->bij", "bij,bik->bijk", "bij,ij->b"}) {
    Graph g = with_input({2, 3, 3});
    const bool two = std::string(equation).find(',') != std::string::npos;
    g.add_initializer("w", noise(std::string(equation).find(",ij") != std::string::npos ? Shape{3, 3} : Shape{2, 3, 3}, 5));
    std::vector<std::string> operands = {"x"};
    if (two) operands.push_back("w");
    g.add_node("Einsum", "y", operands, {{"equation", std::string(equation)}});
    const Graph same = loaded(ending_in(g, "y"));
    const bool product = std::string(equation) == "bij,ij->b";  // of a row with one column
    EXPECT_EQ(same.nodes.back().op_type == "Einsum", !product) << equation;
    Expected<Session> session = Session::create(same);
    ASSERT_TRUE(session) << session.status().text();
    EXPECT_TRUE(session->run({{"x", noise({2, 3, 3}, 6)}})) << equation;
  }
}

// ---- spellings

TEST(Exports, PReluOfOneSlopeIsLeakyRelu) {
  Graph g = with_input({1, 2, 4, 4});
  g.add_initializer("slope", f32({1, 1, 1}, {0.25f}));
  g.add_node("PRelu", "leaky", {conv(g, "a", "x", 2, 2), "slope"});
  g = ending_in(g, conv(g, "b", "leaky", 2, 2));
  ASSERT_TRUE(fold_constants(g).ok());
  EXPECT_EQ(g.nodes[1].op_type, "LeakyRelu");
  EXPECT_EQ(g.nodes[1].get_float("alpha", 0), 0.25f);
  expect_all_int8(g);
}

// PT2E and QAT of PyTorch: weights [out, in] per row, then a Transpose, then MatMul.
TEST(Exports, TransposedQuantizedWeightsAreWeights) {
  for (const int64_t axis : {0, -2}) {
    Graph g = with_input({3, 4});
    g.add_initializer("step", f32({}, {0.02f}));
    g.add_initializer("middle", Tensor::from(DType::u8, {}, std::vector<uint8_t>{128}));
    g.add_initializer("w", Tensor::from(DType::s8, {2, 4}, std::vector<int8_t>{1, -2, 3, -4, 50, 60, -70, 80}));
    g.add_initializer("w_scale", f32({2}, {0.5f, 0.01f}));
    g.add_initializer("w_zero", Tensor::from(DType::s8, {2}, std::vector<int8_t>{0, 0}));
    g.add_node("QuantizeLinear", "x_q", {"x", "step", "middle"});
    const std::string x = g.add_node("DequantizeLinear", "x_dq", {"x_q", "step", "middle"});
    const std::string w = g.add_node("DequantizeLinear", "w_dq", {"w", "w_scale", "w_zero"}, {{"axis", axis}});
    const std::string turned = g.add_node("Transpose", "turned", {w}, {{"perm", std::vector<int64_t>{1, 0}}});
    g = ending_in(g, g.add_node("MatMul", "y", {x, turned}));
    Expected<Session> session = Session::create(g);
    ASSERT_TRUE(session) << session.status().text();
    const Sample sample = {{"x", f32({3, 4}, {1, 0, 0, 0, 0, 1, 0, 0, 0.5f, 0.5f, -0.5f, 1})}};
    const auto y = session->run(sample);
    ASSERT_TRUE(y) << y.status().text();
    const std::vector<float> want = {0.5f, 0.5f, -1, 0.6f, -3, 1.7f};  // all of x are multiples of the step
    for (size_t i = 0; i < want.size(); ++i) EXPECT_FLOAT_EQ((*y)[0].as<float>()[i], want[i]) << i;
    const Expected<const Program*> program = session->program(sample);
    ASSERT_TRUE(program);
    EXPECT_EQ((*program)->int8_mac_share(), 1);
  }
}

TEST(Exports, BiasOfOneScaleAndAScalarZeroPoint) {  // ONNX Runtime's quantizer
  Graph g = with_input({3});
  g.add_initializer("q", Tensor::from(DType::s32, {3}, std::vector<int32_t>{2, -4, 6}));
  g.add_initializer("scale", f32({1}, {0.5f}));
  g.add_initializer("zero", Tensor::from(DType::s32, {}, std::vector<int32_t>{0}));
  g = ending_in(g, g.add_node("Add", "y", {"x", g.add_node("DequantizeLinear", "bias", {"q", "scale", "zero"})}));
  Expected<Session> session = Session::create(g);
  ASSERT_TRUE(session) << session.status().text();
  EXPECT_EQ(values_of<float>((*session->run({{"x", f32({3}, {0, 0, 0})}}))[0]), (std::vector<float>{1, -2, 3}));
}

}  // namespace
}  // namespace octavo
