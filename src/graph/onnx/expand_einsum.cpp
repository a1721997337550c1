#include "onnx/expand_einsum.h"

#include <string>
#include <unordered_set>

#include "ops/einsum.h"
#include "shape.h"

namespace octavo {
namespace {

using Labels = std::string;

bool contains(std::string_view labels, char c) { return labels.find(c) != labels.npos; }

bool repeats(std::string_view labels) {
  for (size_t i = 0; i < labels.size(); ++i)
    if (contains(labels.substr(i + 1), labels[i])) return true;
  return false;
}

// The equation sorted: a [batch, rows, inner] x b [batch, inner, columns] -> [batch, rows, columns], in the order of the result.
struct Product {
  Labels batch, rows, inner, columns;
};

std::optional<Product> as_product(std::string_view a, std::string_view b, std::string_view out) {
  if (repeats(a) || repeats(b) || repeats(out)) return std::nullopt;
  Product p;
  for (const char c : out) {
    if (!contains(a, c) && !contains(b, c)) return std::nullopt;
    (contains(a, c) ? contains(b, c) ? p.batch : p.rows : p.columns) += c;
  }
  for (const char c : a) {
    if (contains(out, c)) continue;
    if (!contains(b, c)) return std::nullopt;  // summed over one operand alone
    p.inner += c;
  }
  for (const char c : b)
    if (!contains(out, c) && !contains(a, c)) return std::nullopt;
  if (p.inner.empty() || p.rows.size() + p.columns.size() == 0) return std::nullopt;
  return p;
}

class Expander {
 public:
  explicit Expander(Graph& graph) : graph_(graph), values_(graph) {
    values_.set_inputs(graph, 1);  // only ranks matter here
    for (const ValueInfo& input : graph.inputs) names_.insert(input.name);
    for (const auto& [name, tensor] : graph.initializers) names_.insert(name);
    for (const Node& node : graph.nodes) {
      names_.insert(node.name);
      names_.insert(node.outputs.begin(), node.outputs.end());
    }
  }

  void run() {
    std::vector<Node> old = std::move(graph_.nodes);
    graph_.nodes.clear();
    for (Node& node : old) {
      (void)values_.visit(node);
      if (node.op_type != "Einsum" || !node.domain.empty() || !expand(node)) graph_.nodes.push_back(std::move(node));
    }
  }

 private:
  // The ranks where shapes are known; without "..." the equation says them.
  static int rank_in(std::string_view term) {
    return contains(term, '.') ? -1 : int(std::count_if(term.begin(), term.end(), [](char c) { return c != ' '; }));
  }

  bool expand(const Node& node) {
    const std::string equation = node.get_string("equation", "");
    if (node.inputs.size() != 2 || node.outputs.size() != 1) return false;
    const std::string_view left = std::string_view(equation).substr(0, equation.find("->"));
    const size_t comma = left.find(',');
    if (comma == left.npos) return false;
    int ranks[] = {rank_in(left.substr(0, comma)), rank_in(left.substr(comma + 1))};
    for (size_t i = 0; i < 2; ++i) {
      const TypeShape* type = values_.type(node.inputs[i]);
      if (ranks[i] < 0) ranks[i] = type ? int(type->shape.size()) : -1;
      if (ranks[i] < 0 || ranks[i] > ops::kMaxRank || (type && type->dtype != DType::f32)) return false;
    }
    ops::Einsum e;
    if (ops::parse_einsum(equation, ranks, e)) return false;
    // Constants are weights: they go to the right.
    const bool swap = graph_.initializers.count(node.inputs[0]) && !graph_.initializers.count(node.inputs[1]);
    const ops::EinsumTerm &a = e.in[swap ? 1 : 0], &b = e.in[swap ? 0 : 1];
    const std::optional<Product> p = as_product(a.text(), b.text(), e.out.text());
    if (!p) return false;
    write(node, node.inputs[swap ? 1 : 0], Labels(a.text()), node.inputs[swap ? 0 : 1], Labels(b.text()), Labels(e.out.text()), *p);
    return true;
  }

  void write(const Node& node, const std::string& a, const Labels& a_labels, const std::string& b, const Labels& b_labels,
             const Labels& out, const Product& p) {
    base_ = node.name;
    const size_t batch = p.batch.size(), rows = p.rows.size(), inner = p.inner.size(), columns = p.columns.size();
    const std::string from_a = transpose(a, a_labels, p.batch + p.rows + p.inner);
    const std::string from_b = transpose(b, b_labels, p.batch + p.inner + p.columns);
    std::string x = merge(from_a, batch + rows + inner, batch + rows, inner);
    std::string w = merge(from_b, batch + inner + columns, batch + inner, columns);
    w = merge(w, batch + inner + 1, batch, inner);
    // Where the right operand is one matrix, MatMul takes any number of rows.
    const bool merges_rows = rows == 0 || (batch > 0 && rows > 1);
    if (merges_rows) x = merge(x, batch + rows + 1, batch, rows);
    Node product;
    product.op_type = "MatMul";
    product.name = node.name;
    product.inputs = {x, w};
    product.outputs = {unique(node.name + "_product")};
    std::string y = product.outputs[0];
    graph_.nodes.push_back(std::move(product));
    if (merges_rows || columns != 1) {
      const std::string parts[] = {slice(shape_of(y), 0, batch), slice(shape_of(from_a), batch, batch + rows),
                                   slice(shape_of(from_b), batch + inner, batch + inner + columns)};
      y = add("Reshape", {y, concat({parts[0], parts[1], parts[2]})});
    }
    (void)transpose(y, p.batch + p.rows + p.columns, out);
    graph_.nodes.back().outputs = node.outputs;  // of the last that was needed: the product, its Reshape or its Transpose
  }

  std::string unique(std::string name) {
    while (!names_.insert(name).second) name += "_";
    return name;
  }

  std::string add(const char* op_type, std::vector<std::string> inputs, std::map<std::string, Attribute> attributes = {}) {
    Node node;
    node.op_type = op_type;
    node.name = unique(base_ + "/" + op_type);
    node.inputs = std::move(inputs);
    node.attributes = std::move(attributes);
    node.outputs = {unique(node.name + "_output")};
    graph_.nodes.push_back(std::move(node));
    return graph_.nodes.back().outputs[0];
  }

  std::string ints(std::vector<int64_t> values) {
    const int64_t n = int64_t(values.size());
    return graph_.add_initializer(unique(base_ + "/ints"), Tensor::from(DType::s64, {n}, values));
  }

  std::string transpose(const std::string& x, const Labels& from, const Labels& to) {
    if (from == to) return x;
    std::vector<int64_t> perm;
    for (const char c : to) perm.push_back(int64_t(from.find(c)));
    return add("Transpose", {x}, {{"perm", std::move(perm)}});
  }

  std::string shape_of(const std::string& x) { return add("Shape", {x}); }

  std::string slice(const std::string& x, size_t begin, size_t end) {
    if (begin == end) return "";
    return add("Slice", {x, ints({int64_t(begin)}), ints({int64_t(end)}), ints({0})});
  }

  std::string concat(std::vector<std::string> parts) {
    std::erase(parts, "");
    return parts.size() == 1 ? parts[0] : add("Concat", std::move(parts), {{"axis", int64_t{0}}});
  }

  // Dimensions [begin, begin + count) of `rank` become one; none become a new one.
  std::string merge(const std::string& x, size_t rank, size_t begin, size_t count) {
    if (count == 1) return x;
    const std::string shape = shape_of(x), before = slice(shape, 0, begin), after = slice(shape, begin + count, rank);
    return add("Reshape", {x, concat({before, ints({count == 0 ? 1 : -1}), after})});
  }

  Graph& graph_;
  Propagation values_;
  std::unordered_set<std::string> names_;
  std::string base_;
};

}  // namespace

void expand_einsum(Graph& graph) {
  const auto is_einsum = [](const Node& node) { return node.op_type == "Einsum" && node.domain.empty(); };
  if (std::any_of(graph.nodes.begin(), graph.nodes.end(), is_einsum)) Expander(graph).run();
}

}  // namespace octavo
