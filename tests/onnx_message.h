// ONNX files written field by field, so that tests can say what no library would write.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "octavo/onnx.h"

namespace octavo {

// A protobuf message.
class Message {
 public:
  Message& varint(int field, uint64_t value) {
    put(uint64_t(field) << 3);
    put(value);
    return *this;
  }
  Message& bytes(int field, const std::string& value) {
    put(uint64_t(field) << 3 | 2);
    put(value.size());
    text_ += value;
    return *this;
  }
  Message& message(int field, const Message& value) { return bytes(field, value.text_); }
  const std::string& text() const { return text_; }

 private:
  void put(uint64_t value) {
    for (; value >= 0x80; value >>= 7) text_ += char(value | 0x80);
    text_ += char(value);
  }
  std::string text_;
};

// Field numbers of onnx.proto.
enum Model { kIrVersion = 1, kGraph = 7, kOpsetImport = 8, kFunctions = 25 };
enum GraphField { kNode = 1, kGraphName = 2, kInitializer = 5, kInput = 11, kOutput = 12 };
enum NodeField { kNodeInput = 1, kNodeOutput = 2, kNodeName = 3, kOpType = 4, kAttribute = 5, kDomain = 7 };
enum TensorField { kDims = 1, kDataType = 2, kFloatData = 4, kTensorName = 8, kRawData = 9, kExternalData = 13, kDataLocation = 14 };

inline Message node(const std::string& op, const std::vector<std::string>& inputs, const std::string& output, const std::string& name = "") {
  Message m;
  for (const std::string& input : inputs) m.bytes(kNodeInput, input);
  m.bytes(kNodeOutput, output);
  if (!name.empty()) m.bytes(kNodeName, name);
  m.bytes(kOpType, op);
  return m;
}

inline Message value_info(const std::string& name, const std::vector<int64_t>& dims, int type = 1) {
  Message shape;
  for (const int64_t dim : dims) shape.message(1, Message().varint(1, uint64_t(dim)));
  return Message().bytes(1, name).message(2, Message().message(1, Message().varint(1, uint64_t(type)).message(2, shape)));
}

inline Message tensor(const std::string& name, const std::vector<int64_t>& dims, int type, const std::string& raw) {
  Message m;
  for (const int64_t dim : dims) m.varint(kDims, uint64_t(dim));
  return m.varint(kDataType, uint64_t(type)).bytes(kTensorName, name).bytes(kRawData, raw);
}

inline std::string model(const Message& graph, uint64_t opset = 13) {
  return Message().varint(kIrVersion, 8).message(kGraph, graph).message(kOpsetImport, Message().varint(2, opset)).text();
}

// Attributes of nodes.
inline Message flag(const std::string& name, uint64_t value) { return Message().bytes(1, name).varint(3, value).varint(20, 2); }
inline Message graph_attribute(const std::string& name, const Message& graph) {
  return Message().bytes(1, name).message(6, graph).varint(20, 5);
}

inline Expected<Graph> parse(const std::string& text) { return parse_onnx(std::as_bytes(std::span(text))); }

}  // namespace octavo
