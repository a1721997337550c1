// Einsum: y[out] = sum over the labels that `out` lacks of the product of all operands. In plain loops: the importer makes MatMul
// of what is a product of matrices (onnx/expand_einsum.h).
#include "ops/einsum.h"

namespace octavo::ops {
namespace {

constexpr int kMaxLabels = 2 * kMaxRank;

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// One term of the equation; `open` dimensions are what "..." stands for, -1: as many as `rank` leaves.
const char* parse_term(std::string_view text, int rank, int& open, EinsumTerm& term) noexcept {
  int letters = 0;
  for (const char c : text) letters += is_letter(c);
  const size_t dots = text.find("...");
  if (open < 0) open = dots == text.npos ? 0 : rank - letters;
  const int total = letters + (dots == text.npos ? 0 : open);
  if (open < 0 || total > kMaxRank || (rank >= 0 && total != rank)) return "the equation does not fit the ranks of the operands";
  for (size_t i = 0; i < text.size(); ++i) {
    if (is_letter(text[i])) {
      term.labels[term.n++] = text[i];
    } else if (i == dots) {
      for (int d = open; d-- > 0;) term.labels[term.n++] = char('0' + d);
      i += 2;
    } else if (text[i] != ' ') {
      return "the equation has a character that is no label";
    }
  }
  return nullptr;
}

int times(const Einsum& e, char label) noexcept {
  int n = 0;
  for (int i = 0; i < e.operands; ++i)
    for (const char c : e.in[i].text()) n += c == label;
  return n;
}

// Without "->": the dimensions of "...", then all labels that occur once, in the order of the alphabet.
const char* implicit_output(Einsum& e, int open) noexcept {
  const auto append = [&](char label) {
    if (e.out.n == kMaxRank) return false;
    e.out.labels[e.out.n++] = label;
    return true;
  };
  for (int d = open; d-- > 0;)
    if (!append(char('0' + d))) return "the result has too many dimensions";
  for (int c = 'A'; c <= 'z'; ++c)
    if (is_letter(char(c)) && times(e, char(c)) == 1 && !append(char(c))) return "the result has too many dimensions";
  return nullptr;
}

// A loop for each label, those of the result first.
struct Loops {
  int labels = 0, kept = 0;
  char label[kMaxLabels] = {};
  int64_t dims[kMaxLabels] = {};
  int64_t strides[Einsum::kMaxOperands][kMaxLabels] = {};  // 0 where the operand lacks the label or repeats its one element

  int find(char c) const { return int(std::find(label, label + labels, c) - label); }
};

// dims(i): of operand i. Null, or what is wrong.
template <class Dims>
const char* make_loops(const Einsum& e, Dims&& dims, Loops& l) noexcept {
  for (const char c : e.out.text()) {
    if (l.find(c) < l.labels) return "the result has a label twice";
    l.label[l.labels] = c;
    l.dims[l.labels++] = 1;
  }
  l.kept = l.labels;
  for (int i = 0; i < e.operands; ++i) {
    int64_t stride = 1;
    for (int d = e.in[i].n; d-- > 0;) {
      const int at = l.find(e.in[i].labels[d]);
      if (at == l.labels) {
        if (l.labels == kMaxLabels) return "it has too many labels";
        l.label[l.labels] = e.in[i].labels[d];
        l.dims[l.labels++] = 1;
      }
      const int64_t dim = dims(i)[d];
      if (dim != 1 && l.dims[at] != 1 && l.dims[at] != dim) return "the operands differ in the dimension of a label";
      if (dim != 1) l.dims[at] = dim, l.strides[i][at] += stride;
      stride *= dim;
    }
  }
  for (const char c : e.out.text())
    if (times(e, c) == 0) return "the result has a label that no operand has";
  return nullptr;
}

Inferred infer_einsum(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 1, Einsum::kMaxOperands); !s.ok()) return s;
  int ranks[Einsum::kMaxOperands];
  for (size_t i = 0; i < ctx.inputs.size(); ++i) {
    if (!ctx.inputs[i] || ctx.inputs[i]->dtype == DType::boolean || ctx.inputs[i]->dtype != ctx.inputs[0]->dtype)
      return misshapen(ctx, "operands of one type of numbers are needed");
    ranks[i] = int(ctx.inputs[i]->shape.size());
  }
  Einsum e;
  Loops l;
  const char* why = parse_einsum(string_attribute(ctx.node, "equation", ""), {ranks, ctx.inputs.size()}, e);
  if (!why) why = make_loops(e, [&](int i) { return ctx.inputs[size_t(i)]->shape.data(); }, l);
  if (why) return misshapen(ctx, why);
  return std::vector<TypeShape>{{ctx.inputs[0]->dtype, Shape(l.dims, l.dims + l.kept)}};
}

// The next index of loops [begin, end), and where it lies in each operand; false behind the last one.
bool advance(const Loops& l, int begin, int end, int operands, int64_t* index, int64_t* at) {
  for (int d = end; d-- > begin;) {
    for (int i = 0; i < operands; ++i) at[i] += l.strides[i][d];
    if (++index[d] < l.dims[d]) return true;
    for (int i = 0; i < operands; ++i) at[i] -= l.strides[i][d] * l.dims[d];
    index[d] = 0;
  }
  return false;
}

Status eval_einsum(const EvalContext& ctx) {
  int ranks[Einsum::kMaxOperands];
  for (size_t i = 0; i < ctx.inputs.size(); ++i) ranks[i] = ctx.inputs[i].rank;
  Einsum e;
  Loops l;
  const char* why = parse_einsum(string_attribute(ctx.node, "equation", ""), {ranks, ctx.inputs.size()}, e);
  if (!why) why = make_loops(e, [&](int i) { return ctx.inputs[size_t(i)].dims; }, l);
  if (why) return fail(ctx.node, Code::invalid_argument, "%s", why);
  const View& y = ctx.outputs[0];
  if (y.count() == 0) return {};
  const bool empty = std::any_of(l.dims + l.kept, l.dims + l.labels, [](int64_t dim) { return dim == 0; });
  visit(y.dtype, [&](auto type) {
    using T = decltype(type);
    using Sum = std::conditional_t<std::is_floating_point_v<T>, double, uint64_t>;
    int64_t index[kMaxLabels] = {}, at[Einsum::kMaxOperands] = {};
    T* out = static_cast<T*>(y.data);
    do {
      Sum sum = 0;
      if (!empty) {
        do {
          Sum product = 1;
          for (int i = 0; i < e.operands; ++i) product *= Sum(static_cast<const T*>(ctx.inputs[size_t(i)].data)[at[i]]);
          sum += product;
        } while (advance(l, l.kept, l.labels, e.operands, index, at));
      }
      *out++ = T(sum);
    } while (advance(l, 0, l.kept, e.operands, index, at));
  });
  return {};
}

constexpr OpInfo kOps[] = {{"Einsum", "", infer_einsum, eval_einsum}};

}  // namespace

const char* parse_einsum(std::string_view equation, std::span<const int> ranks, Einsum& e) noexcept {
  const size_t arrow = equation.find("->");
  std::string_view left = equation.substr(0, arrow);
  int widest = 0;  // "..." of the operands, aligned to the right
  if (ranks.size() > Einsum::kMaxOperands) return "it has too many operands";
  for (;; ++e.operands) {
    if (e.operands == int(ranks.size())) return "the equation has more terms than there are operands";
    const size_t comma = left.find(',');
    int open = -1;
    if (const char* why = parse_term(left.substr(0, comma), ranks[size_t(e.operands)], open, e.in[e.operands])) return why;
    widest = std::max(widest, open);
    if (comma == left.npos) break;
    left.remove_prefix(comma + 1);
  }
  if (++e.operands != int(ranks.size())) return "the equation has fewer terms than there are operands";
  return arrow == equation.npos ? implicit_output(e, widest) : parse_term(equation.substr(arrow + 2), -1, widest, e.out);
}

std::span<const OpInfo> einsum_ops() noexcept { return kOps; }

}  // namespace octavo::ops
