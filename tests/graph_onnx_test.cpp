// ONNX import and export: round trips, and files made to do harm.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>

#include "graph_test_util.h"
#include "octavo/onnx.h"
#include "onnx_message.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;

// The error of a model, after checking that there is one.
Status error_of(const std::string& text) {
  const Expected<Graph> graph = parse(text);
  EXPECT_FALSE(graph);
  return graph.status();
}

bool mentions(const Status& status, const std::string& part) { return std::string(status.text()).find(part) != std::string::npos; }

class Folder {
 public:
  Folder() : path_((fs::temp_directory_path() / "octavo_onnx_XXXXXX").string()) { EXPECT_NE(mkdtemp(path_.data()), nullptr); }
  ~Folder() { fs::remove_all(path_); }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  void write(const std::string& name, const std::string& bytes) const {
    fs::create_directories(fs::path(*this / name).parent_path());
    std::ofstream(*this / name, std::ios::binary) << bytes;
  }
  size_t files() const { return size_t(std::distance(fs::directory_iterator(path_), fs::directory_iterator())); }

 private:
  std::string path_;
};

Graph every_kind_of_thing() {
  Graph graph;
  graph.name = "g";
  graph.opset = 13;
  graph.other_opsets = {{"com.example", 2}};
  graph.inputs = {{"x", DType::f32, {{-1, "N"}, {3, ""}, {-1, ""}}, true}};
  graph.add_initializer("f", f32({2}, {1.5f, -2}));
  graph.add_initializer("s", Tensor::from<int8_t>(DType::s8, {3}, {1, -2, 3}));
  graph.add_initializer("b", Tensor::from<uint8_t>(DType::boolean, {2}, {0, 1}));
  graph.add_initializer("d", Tensor::from<double>(DType::f64, {}, {0.1}));
  graph.add_initializer("e", s64({0}, {}));
  graph.add_node("Thing", "y", {"x", "", "f", "s", "b", "d", "e"},
                 {{"i", int64_t(-3)}, {"f", 0.25f}, {"s", std::string("text")}, {"is", std::vector<int64_t>{1, -2}},
                  {"fs", std::vector<float>{1, 2}}, {"ss", std::vector<std::string>{"a", ""}}, {"t", s64({2}, {5, 6})}});
  graph.nodes[0].domain = "com.example";
  graph.outputs = {{"y", DType::s64, {}, false}};
  return graph;
}

TEST(Onnx, RoundTripKeepsEverything) {
  const Graph before = every_kind_of_thing();
  const Expected<std::string> bytes = serialize_onnx(before);
  ASSERT_TRUE(bytes);
  const Expected<Graph> after = parse(*bytes);
  ASSERT_TRUE(after) << after.status().text();
  EXPECT_EQ(after->name, "g");
  EXPECT_EQ(after->opset, 13);
  EXPECT_EQ(after->other_opsets, before.other_opsets);
  ASSERT_EQ(after->inputs.size(), 1u);
  EXPECT_EQ(after->inputs[0].dims[0].symbol, "N");
  EXPECT_EQ(after->inputs[0].dims[0].size, -1);
  EXPECT_EQ(after->inputs[0].dims[1].size, 3);
  EXPECT_EQ(after->inputs[0].dims[2].size, -1);
  EXPECT_FALSE(after->outputs[0].has_shape);
  ASSERT_EQ(after->nodes.size(), 1u);
  const Node& n = after->nodes[0];
  EXPECT_EQ(n.inputs, before.nodes[0].inputs);
  EXPECT_EQ(n.domain, "com.example");
  EXPECT_EQ(n.get_int("i", 0), -3);
  EXPECT_EQ(n.get_float("f", 0), 0.25f);
  EXPECT_EQ(n.get_string("s", ""), "text");
  EXPECT_EQ(n.get_ints("is"), (std::vector<int64_t>{1, -2}));
  EXPECT_EQ(std::get<std::vector<float>>(n.attributes.at("fs")), (std::vector<float>{1, 2}));
  EXPECT_EQ(std::get<std::vector<std::string>>(n.attributes.at("ss")), (std::vector<std::string>{"a", ""}));
  EXPECT_EQ(values_of<int64_t>(std::get<Tensor>(n.attributes.at("t"))), (std::vector<int64_t>{5, 6}));
  for (const auto& [name, want] : before.initializers) {
    const Tensor& got = after->initializers.at(name);
    EXPECT_EQ(got.dtype(), want.dtype());
    EXPECT_EQ(got.shape(), want.shape());
    EXPECT_EQ(std::string(static_cast<const char*>(got.data()), got.bytes()),
              std::string(static_cast<const char*>(want.data()), want.bytes()));
  }
  EXPECT_EQ(*serialize_onnx(*after), *bytes);  // the same graph gives the same bytes
}

TEST(Onnx, SaveReplacesTheWholeFileOrNothing) {
  const Folder folder;
  folder.write("m.onnx", "old");
  const Graph graph = every_kind_of_thing();
  ASSERT_TRUE(save_onnx(graph, folder / "m.onnx").ok());
  EXPECT_EQ(folder.files(), 1u);
  EXPECT_TRUE(load_onnx(folder / "m.onnx"));
  EXPECT_EQ(save_onnx(graph, folder / "no/such/m.onnx").code(), Code::io);
  EXPECT_EQ(load_onnx(folder / "absent.onnx").status().code(), Code::io);
  EXPECT_EQ(load_onnx(folder / "").status().code(), Code::io);
}

TEST(Onnx, NodesGetUniqueNames) {
  const Message graph = Message()
                            .message(kNode, node("Relu", {"x"}, "a"))
                            .message(kNode, node("Relu", {"a"}, "b", "Relu_0"))
                            .message(kNode, node("Relu", {"b"}, "c", "Relu_0"))
                            .message(kInput, value_info("x", {1}))
                            .message(kOutput, value_info("c", {1}));
  const Expected<Graph> g = parse(model(graph));
  ASSERT_TRUE(g) << g.status().text();
  EXPECT_EQ(g->nodes[1].name, "Relu_0");
  EXPECT_NE(g->nodes[0].name, g->nodes[1].name);
  EXPECT_NE(g->nodes[2].name, g->nodes[1].name);
  EXPECT_NE(g->nodes[2].name, g->nodes[0].name);
}

TEST(Onnx, InitializersAreNoInputs) {
  const Message graph = Message()
                            .message(kNode, node("Add", {"x", "w"}, "y"))
                            .message(kInitializer, tensor("w", {1}, 1, std::string(4, '\0')))
                            .message(kInput, value_info("x", {1}))
                            .message(kInput, value_info("w", {1}))
                            .message(kOutput, value_info("y", {1}));
  const Expected<Graph> g = parse(model(graph));
  ASSERT_TRUE(g);
  ASSERT_EQ(g->inputs.size(), 1u);
  EXPECT_EQ(g->inputs[0].name, "x");
}

TEST(Onnx, OpsetsOutsideTheRangeAreErrors) {
  const Message empty;
  for (const uint64_t opset : {uint64_t(0), uint64_t(29), ~uint64_t(0)})
    EXPECT_EQ(error_of(model(empty, opset)).code(), Code::unsupported);
  const auto reads_x = [](const char* op) {
    return Message().message(kNode, node(op, {"x"}, "y")).message(kInput, value_info("x", {1}));
  };
  EXPECT_TRUE(mentions(error_of(model(reads_x("Relu"), 5)), "opset 5"));
  EXPECT_TRUE(parse(model(reads_x("Not"), 1)));
  EXPECT_TRUE(parse(model(empty, 7)));
  EXPECT_TRUE(parse(model(empty, 25)));
  EXPECT_EQ(parse(model(empty, 6))->opset, 7);
  EXPECT_EQ(error_of(Message().message(kGraph, empty).text()).code(), Code::invalid_argument);
  EXPECT_EQ(error_of("").code(), Code::invalid_argument);
  EXPECT_EQ(error_of("not an ONNX model").code(), Code::invalid_argument);
}

TEST(Onnx, ModelsOfOtherDomainsAloneAreUnsupported) {
  const Message opset = Message().bytes(1, "ai.onnx.ml").varint(2, 3);
  const Message graph = Message().message(kNode, node("Binarizer", {"x"}, "y").bytes(7, "ai.onnx.ml"));
  const Status status = error_of(Message().message(kGraph, graph).message(kOpsetImport, opset).text());
  EXPECT_EQ(status.code(), Code::unsupported);
  EXPECT_STREQ(status.text(), "operator ai.onnx.ml::Binarizer is not supported");
}

TEST(Onnx, Opset6IsRewritten) {
  const auto graph_of = [](const Message& n) {
    return Message()
        .message(kNode, n)
        .message(kInitializer, tensor("w", {2}, 1, std::string("\0\0\x80\x3f\0\0\0\x40", 8)))
        .message(kInput, value_info("x", {1, 2, 3, 3}))
        .message(kOutput, value_info("y", {1, 2, 3, 3}));
  };
  const Expected<Graph> prelu = parse(model(graph_of(node("PRelu", {"x", "w"}, "y", "p")), 6));
  ASSERT_TRUE(prelu) << prelu.status().text();
  EXPECT_EQ(prelu->initializers.at(prelu->nodes[0].inputs[1]).shape(), (Shape{2, 1, 1}));
  EXPECT_EQ(values_of<float>(prelu->initializers.at(prelu->nodes[0].inputs[1])), (std::vector<float>{1, 2}));

  const Message add = node("Add", {"x", "x"}, "y", "a");
  const Expected<Graph> plain = parse(model(graph_of(Message(add).message(kAttribute, flag("broadcast", 1))), 6));
  ASSERT_TRUE(plain) << plain.status().text();
  EXPECT_TRUE(plain->nodes[0].attributes.empty());
  const Message along = Message(add).message(kAttribute, flag("broadcast", 1)).message(kAttribute, flag("axis", 1));
  EXPECT_STREQ(error_of(model(graph_of(along), 6)).text(), "Add 'a': opset 6 with an axis of the broadcast");
  EXPECT_STREQ(error_of(model(graph_of(node("Dropout", {"x"}, "y", "d")), 6)).text(), "Dropout 'd': training mode is not supported");
}

TEST(Onnx, UnsupportedThingsAreNamed) {
  const auto with_tensor = [](const Message& t) { return model(Message().message(kInitializer, t)); };
  for (const auto& [type, name] : std::map<int, std::string>{{10, "FLOAT16"}, {16, "BFLOAT16"}, {8, "STRING"}, {14, "COMPLEX64"}, {22, "22"}}) {
    const Status status = error_of(with_tensor(tensor("weights", {1}, type, "ab")));
    EXPECT_EQ(status.code(), Code::unsupported);
    EXPECT_TRUE(mentions(status, name) && mentions(status, "weights")) << status.text();
  }
  const Message attribute = graph_attribute("body", Message().bytes(kGraphName, "inner"));
  const Status subgraph = error_of(model(Message().message(kNode, node("SequenceMap", {}, "y", "branch").message(kAttribute, attribute))));
  EXPECT_EQ(subgraph.code(), Code::unsupported);
  EXPECT_TRUE(mentions(subgraph, "'branch'")) << subgraph.text();
  const std::string function = model(Message()) + Message().message(kFunctions, Message().bytes(1, "my_function")).text();
  EXPECT_TRUE(mentions(error_of(function), "my_function"));
  // A sequence as input: type field 4.
  const Message sequence = Message().bytes(1, "seq").message(2, Message().message(4, Message()));
  EXPECT_TRUE(mentions(error_of(model(Message().message(kInput, sequence))), "seq"));
  EXPECT_EQ(error_of(with_tensor(tensor("deep", std::vector<int64_t>(9, 1), 1, "abcd"))).code(), Code::unsupported);
}

TEST(Onnx, SizesThatTheFileDoesNotHoldAreErrors) {
  const auto status_of = [](const std::vector<int64_t>& dims, const std::string& raw) {
    return error_of(model(Message().message(kInitializer, tensor("w", dims, 1, raw))));
  };
  const std::string four(4, '\0');
  for (const std::vector<int64_t>& dims : {std::vector<int64_t>{2}, {-1}, {0}, {int64_t(1) << 40}, {int64_t(1) << 62, 4}, {int64_t(1) << 28}})
    EXPECT_TRUE(mentions(status_of(dims, four), "'w'"));
  EXPECT_EQ(status_of({int64_t(1) << 62, 4}, four).code(), Code::overflow);
  EXPECT_EQ(status_of({0, -1}, "").code(), Code::overflow);
  EXPECT_EQ(status_of({1}, "abc").code(), Code::invalid_argument);
  OnnxLimits limits;
  limits.max_tensor_bytes = 3;
  const std::string ok = model(Message().message(kInitializer, tensor("w", {1}, 1, four)));
  EXPECT_TRUE(parse(ok));
  EXPECT_EQ(parse_onnx(std::as_bytes(std::span(ok)), limits).status().code(), Code::overflow);
  limits = {};
  limits.max_file_bytes = 3;
  EXPECT_EQ(parse_onnx(std::as_bytes(std::span(ok)), limits).status().code(), Code::overflow);
  limits = {};
  limits.max_nodes = 0;
  const std::string one = model(Message().message(kNode, node("Relu", {}, "y")));
  EXPECT_EQ(parse_onnx(std::as_bytes(std::span(one)), limits).status().code(), Code::unsupported);
}

TEST(Onnx, BrokenGraphsAreErrorsThatNameTheNode) {
  const Message cycle = Message().message(kNode, node("Add", {"x", "b"}, "a", "first")).message(kNode, node("Relu", {"a"}, "b", "second"))
                            .message(kInput, value_info("x", {1}));
  EXPECT_TRUE(mentions(error_of(model(cycle)), "'first'"));
  const Message twice = Message().message(kNode, node("Relu", {"x"}, "y", "first")).message(kNode, node("Neg", {"x"}, "y", "second"))
                            .message(kInput, value_info("x", {1}));
  EXPECT_TRUE(mentions(error_of(model(twice)), "'second'"));
  EXPECT_TRUE(mentions(error_of(model(Message().message(kNode, node("Relu", {"nobody"}, "y", "lonely")))), "'lonely'"));
  const Message untyped = Message().message(kNode, Message().bytes(kNodeOutput, "y").bytes(kNodeName, "void"));
  EXPECT_TRUE(mentions(error_of(model(untyped)), "'void'"));
}

TEST(Onnx, DeepNestingDoesNotOverflowTheStack) {
  // If nodes in If nodes in If nodes ...
  Message inner;
  for (int i = 0; i < 5000; ++i) {
    Message attribute;
    attribute.bytes(1, "then_branch").message(6, inner).varint(20, 5);
    inner = Message().message(kNode, Message().bytes(kOpType, "If").message(kAttribute, attribute));
  }
  EXPECT_FALSE(parse(model(inner)));
}

std::string small_model() {
  const Message graph = Message()
                            .bytes(kGraphName, "g")
                            .message(kNode, node("MatMul", {"x", "w"}, "y", "fc"))
                            .message(kNode, node("Relu", {"y"}, "z", "relu"))
                            .message(kInitializer, tensor("w", {2, 2}, 1, std::string(16, '\1')))
                            .message(kInput, value_info("x", {1, 2}))
                            .message(kOutput, value_info("z", {1, 2}));
  return model(graph);
}

TEST(Onnx, EveryTruncationIsHandled) {
  const std::string whole = small_model();
  ASSERT_TRUE(parse(whole));
  for (size_t n = 0; n < whole.size(); ++n) (void)parse(whole.substr(0, n));
  EXPECT_FALSE(parse(whole.substr(0, whole.size() / 2)));
}

TEST(Onnx, MutationsNeverCrash) {
  const std::string whole = small_model();
  std::mt19937 random(1);
  int parsed = 0;
  for (int i = 0; i < 20000; ++i) {
    std::string bytes = whole;
    for (int k = int(random() % 4); k >= 0; --k) bytes[random() % bytes.size()] = char(random());
    Expected<Graph> graph = parse(bytes);
    if (!graph) {
      EXPECT_STRNE(graph.status().text(), "");
      continue;
    }
    ++parsed;
    (void)infer_shapes(*graph, {});
    (void)fold_constants(*graph, {}, 1 << 20);
    (void)fold_batch_norm(*graph);
  }
  EXPECT_GT(parsed, 0);
}

// A tensor whose bytes lie in another file.
Message external_tensor(const std::string& location, const std::string& offset = "", const std::string& length = "") {
  const auto entry = [](const std::string& key, const std::string& value) { return Message().bytes(1, key).bytes(2, value); };
  Message m = Message().varint(kDims, 2).varint(kDataType, 1).bytes(kTensorName, "w").message(kExternalData, entry("location", location));
  if (!offset.empty()) m.message(kExternalData, entry("offset", offset));
  if (!length.empty()) m.message(kExternalData, entry("length", length));
  return m.varint(kDataLocation, 1);
}

TEST(Onnx, ExternalDataInsideTheFolder) {
  const Folder folder;
  const float values[] = {0, 1, 2, 3};
  folder.write("data/w.bin", std::string(reinterpret_cast<const char*>(values), sizeof values));
  folder.write("m.onnx", model(Message().message(kInitializer, external_tensor("data/w.bin", "8", "8"))));
  const Expected<Graph> graph = load_onnx(folder / "m.onnx");
  ASSERT_TRUE(graph) << graph.status().text();
  EXPECT_EQ(values_of<float>(graph->initializers.at("w")), (std::vector<float>{2, 3}));
}

TEST(Onnx, ExternalDataThatEscapesOrLies) {
  const Folder folder;
  folder.write("secret", "12345678");
  folder.write("model/w.bin", "12345678");
  fs::create_symlink(folder / "secret", folder / "model/link");
  fs::create_directory_symlink(folder / "", folder / "model/up");
  const auto status_of = [&](const Message& t) {
    folder.write("model/m.onnx", model(Message().message(kInitializer, t)));
    const Expected<Graph> graph = load_onnx(folder / "model/m.onnx");
    EXPECT_FALSE(graph);
    EXPECT_TRUE(mentions(graph.status(), "'w'")) << graph.status().text();
    return graph.status();
  };
  for (const std::string& location : {std::string("../secret"), std::string("x/../../secret"), folder / "secret", std::string("link"),
                                      std::string("up/secret"), std::string(""), std::string("w.bin\0x", 7)})
    EXPECT_EQ(status_of(external_tensor(location)).code(), Code::invalid_argument) << location;
  EXPECT_EQ(status_of(external_tensor("absent")).code(), Code::io);
  EXPECT_EQ(status_of(external_tensor(".")).code(), Code::io);
  for (const auto& [offset, length] : {std::pair("1", "8"), {"9", "8"}, {"-1", "8"}, {"0", "4"}, {"18446744073709551615", "8"}, {"", "80000000000000"}})
    EXPECT_EQ(status_of(external_tensor("w.bin", offset, length)).code(), Code::invalid_argument) << offset << " " << length;
  // A model in memory has no folder.
  EXPECT_TRUE(mentions(error_of(model(Message().message(kInitializer, external_tensor("w.bin")))), "'w'"));
}

TEST(Onnx, OneRegionOfAFileIsNotManyTensors) {
  const Folder folder;
  folder.write("w.bin", "12345678");
  Message second = Message().varint(kDims, 2).varint(kDataType, 1).bytes(kTensorName, "v");
  second.message(kExternalData, Message().bytes(1, "location").bytes(2, "w.bin")).varint(kDataLocation, 1);
  folder.write("m.onnx", model(Message().message(kInitializer, external_tensor("w.bin")).message(kInitializer, second)));
  EXPECT_TRUE(mentions(load_onnx(folder / "m.onnx").status(), "overlapping"));
}

TEST(Onnx, TensorProto) {
  const Folder folder;
  folder.write("t.pb", tensor("t", {2}, 3, "\1\2").text());
  const Expected<Tensor> t = load_tensor_proto(folder / "t.pb");
  ASSERT_TRUE(t) << t.status().text();
  EXPECT_EQ(values_of<int8_t>(*t), (std::vector<int8_t>{1, 2}));
  folder.write("bad.pb", tensor("t", {3}, 3, "\1\2").text());
  EXPECT_EQ(load_tensor_proto(folder / "bad.pb").status().code(), Code::invalid_argument);
}

}  // namespace
}  // namespace octavo
