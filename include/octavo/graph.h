// The graph IR: ONNX's operators and names. Plain data, joined by value names.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>

#include "octavo/types.h"

namespace octavo {

using Shape = std::vector<int64_t>;

// Number of elements; `overflow` if a dimension is negative, or the product of those that are not 0, in bytes, does not fit int64.
Expected<int64_t> element_count(const Shape& shape, DType dtype) noexcept;
std::string to_string(const Shape& shape);  // "[1,3,224,224]"

// An owned, dense, row-major tensor. Copies share the bytes; mutable_data() un-shares them first.
class Tensor {
 public:
  Tensor() = default;
  // Zero-filled. Errors: overflow, out_of_memory.
  static Expected<Tensor> create(DType dtype, Shape shape) noexcept;
  // May throw std::bad_alloc; create() does not.
  template <class T>
  static Tensor from(DType dtype, Shape shape, const std::vector<T>& values);  // size_of(dtype) == sizeof(T), count matches

  DType dtype() const noexcept { return dtype_; }
  const Shape& shape() const noexcept { return shape_; }
  int64_t count() const noexcept { return count_; }
  size_t bytes() const noexcept { return size_t(count_) * size_of(dtype_); }
  const void* data() const noexcept { return data_ ? data_->data() : nullptr; }
  template <class T>
  const T* as() const noexcept { return static_cast<const T*>(data()); }
  void* mutable_data();
  // The same bytes under another shape of the same count.
  Tensor reshaped(Shape shape) const;

 private:
  DType dtype_ = DType::f32;
  Shape shape_;
  int64_t count_ = 0;
  std::shared_ptr<std::vector<std::byte>> data_;
};

template <class T>
Tensor Tensor::from(DType dtype, Shape shape, const std::vector<T>& values) {
  Tensor t;
  t.dtype_ = dtype;
  t.shape_ = std::move(shape);
  t.count_ = int64_t(values.size());
  const std::byte* bytes = reinterpret_cast<const std::byte*>(values.data());
  t.data_ = std::make_shared<std::vector<std::byte>>(bytes, bytes + values.size() * sizeof(T));
  return t;
}

struct Graph;
// A graph inside a node: a branch of If, the body of Loop (see Graph::captures). Shared, as tensors are; who changes it makes another.
using Subgraph = std::shared_ptr<const Graph>;

using Attribute =
    std::variant<int64_t, float, std::string, std::vector<int64_t>, std::vector<float>, std::vector<std::string>, Tensor, Subgraph>;

struct Node {
  std::string name;                  // unique in a graph (import makes one up where the file has none)
  std::string op_type, domain;       // domain "" = ai.onnx
  std::vector<std::string> inputs;   // "" = absent optional input
  std::vector<std::string> outputs;  // "" = unused optional output
  std::map<std::string, Attribute> attributes;

  // The attribute, or `fallback` where it is absent or of another type.
  int64_t get_int(const char* name, int64_t fallback) const;
  float get_float(const char* name, float fallback) const;
  std::string get_string(const char* name, const char* fallback) const;
  std::vector<int64_t> get_ints(const char* name, std::vector<int64_t> fallback = {}) const;
  bool has(const char* name) const { return attributes.count(name) != 0; }
};

// A dimension of a graph input: a size, or a name for one that is known only at run time.
struct Dim {
  int64_t size = -1;    // -1: dynamic
  std::string symbol;
};

struct ValueInfo {
  std::string name;
  DType dtype = DType::f32;
  std::vector<Dim> dims;
  bool has_shape = true;
  bool has_type = true;  // false: only in subgraphs; dtype says nothing then
};

struct Graph {
  std::string name;
  int64_t opset = 13;                                    // of ai.onnx
  std::map<std::string, int64_t> other_opsets;           // domain -> version
  std::vector<Node> nodes;                               // topologically sorted
  std::unordered_map<std::string, Tensor> initializers;  // constants by value name
  std::vector<ValueInfo> inputs, outputs;                // inputs without initializers
  std::map<std::string, std::string> metadata;           // the file's metadata_props
  // Of a subgraph: so many of its last inputs are values of the graph around it, and the last inputs of the node that holds it. So
  // a subgraph reads nothing but its inputs, and who renames a value renames it in `inputs` of nodes alone. ONNX writes the
  // outer name inside instead; import and export translate. If: all inputs of both branches, behind its condition. Loop: those
  // behind the iteration, the condition and the carried values.
  size_t captures = 0;

  // Builders for those who write models in code (see examples/resnet50). They never throw: what finds no memory leaves the graph as
  // it was, returns "", and sets `status`, which whoever takes the graph (infer_shapes, prepare, compile, serialize_onnx) returns.
  const std::string& add_initializer(std::string name, Tensor tensor) noexcept;
  // Appends a node with one output, named like the node; returns the output's name.
  std::string add_node(std::string op_type, std::string name, std::vector<std::string> inputs,
                       std::map<std::string, Attribute> attributes = {}) noexcept;
  Status status;
};

// Sorts nodes topologically. Errors name the node: a cycle, a value produced twice, an input nobody produces.
Status sort_topologically(Graph& graph);

// Type and shape of every value, for inputs of the given shapes (names of graph inputs; static inputs may be left out).
// Errors name the node, the operator and the offending shapes; `unsupported` names an unknown operator.
struct TypeShape {
  DType dtype = DType::f32;
  Shape shape;
};
using ShapeMap = std::unordered_map<std::string, TypeShape>;
Expected<ShapeMap> infer_shapes(const Graph& graph, const std::map<std::string, Shape>& input_shapes);

// Rewrites, each a fixpoint over rows {match, apply}; the graph computes the same function afterwards.
// fold_constants: an If whose condition is known becomes its branch, a Loop whose iterations are known and few (up to 16384 inputs and
// outputs of nodes in all) becomes their nodes; nodes whose inputs are all constants become initializers, up to max_bytes of results in all; also Identity,
// Dropout (inference), no-op reshapes and casts vanish, and PRelu of one slope becomes LeakyRelu. With input shapes given, Shape
// nodes fold too. What stays: a DequantizeLinear, because it says that its constant is quantized (a Transpose behind it is done to
// the constant), and a node that produces a graph output.
Status fold_constants(Graph& graph, const std::map<std::string, Shape>& input_shapes = {}, size_t max_bytes = size_t(1) << 30);
// BatchNormalization (or Mul/Add by a per-channel constant) goes into the constants of the Conv, ConvTranspose, Gemm, MatMul or
// BatchNormalization whose only reader it is. MatMul has no bias: a BatchNormalization behind it leaves an Add.
Status fold_batch_norm(Graph& graph);
// Drops nodes and initializers that no output needs.
void remove_dead(Graph& graph);

}  // namespace octavo
