#include <algorithm>

#include "rewrite.h"

namespace octavo::net {
namespace {

int64_t count(const Shape& shape, size_t begin, size_t end) {
  int64_t n = 1;
  for (size_t d = begin; d < end; ++d) n *= shape[d];
  return n;
}
int64_t count(const Shape& shape) { return count(shape, 0, shape.size()); }

bool is_op(const Op& op, const char* type) {
  return op.kind == Kind::generic && op.node.domain.empty() && op.node.op_type == type;
}

// Its step reads any operand, and writes its result, as rows of the last axis that lie apart.
bool works_on_rows(const Net& net, const Op& op) {
  switch (op.kind) {
    case Kind::quantize:
      return net.values[op.in[0]].channels_last == net.values[op.out[0]].channels_last;
    case Kind::linear:
      return !op.linear->spread;
    case Kind::pool:
    case Kind::dequantize:
    case Kind::requantize:
    case Kind::table:
    case Kind::shuffle:
      return true;
    case Kind::affine:
      return !op.in_q.empty();
    case Kind::add:
    case Kind::mul:
      return net.values[op.in[0]].shape == net.values[op.in[1]].shape;
    case Kind::generic:
      return is_op(op, "Concat");
    default:
      return false;
  }
}

class Parts {
 public:
  explicit Parts(Net& net) : net_(net) {}

  void run() {
    std::vector<int> order = net_.sorted();
    for (int id : order)
      if (is_op(net_.ops[id], "Split") || is_op(net_.ops[id], "Slice")) select(id);
    // Later ones first: what grows along a chain of Concats (DenseNet) has its place in the last one.
    std::reverse(order.begin(), order.end());
    for (int id : order)
      if (is_op(net_.ops[id], "Concat")) gather(id);
  }

 private:
  Net& net_;

  static bool is_dense(const Part& p) { return p.row == p.stride; }

  // An axis of op's operands of this rank; -1 if there is none.
  static int64_t axis_of(int64_t axis, size_t rank) {
    if (axis < 0) axis += int64_t(rank);
    return axis >= 0 && axis < int64_t(rank) ? axis : -1;
  }

  // `length` places of an axis of `whole`, from `begin` on. One row is a dense one, whatever it is called.
  Part part_of(int whole, int64_t axis, int64_t begin, int64_t length) const {
    const Shape& shape = net_.values[whole].shape;
    const int64_t inner = count(shape, size_t(axis) + 1, shape.size()), rows = count(shape, 0, size_t(axis));
    Part p{whole, begin * inner, length * inner, shape[size_t(axis)] * inner};
    if (rows == 1) p.stride = p.row;
    return p;
  }

  // Whether v, and whatever else names its bytes, may lie where `part` says.
  bool fits(int v, const Part& part) const {
    const Value& value = net_.values[v];
    if (value.output || value.constant || value.part || count(value.shape) == 0) return false;
    if (!is_dense(part) && (value.kept || value.shape.empty() || value.shape.back() != part.row)) return false;
    return std::all_of(value.users.begin(), value.users.end(), [&](int user) {
      const Op& op = net_.ops[user];
      if (op.kind == Kind::alias) return is_dense(part) && fits(op.out[0], part);
      if (op.kind == Kind::parts)  // a Split
        return std::all_of(op.out.begin(), op.out.end(), [&](int y) { return nests(*net_.values[y].part, part); });
      return is_dense(part) || works_on_rows(net_, op);
    });
  }

  // A part of a part is rows of one stride again.
  static bool nests(const Part& inner, const Part& outer) {
    return is_dense(outer) || (!is_dense(inner) && inner.stride == outer.row);
  }

  // Split and Slice: the outputs are read where the input lies.
  void select(int id) {
    const Op& op = net_.ops[id];
    const int x = op.in[0];
    if (x < 0 || net_.values[x].constant || net_.values[x].dtype != net_.values[op.out[0]].dtype) return;
    std::vector<Part> parts;
    if (op.node.op_type == "Split") {
      const int64_t axis = axis_of(op.node.get_int("axis", 0), net_.values[x].shape.size());
      if (axis < 0) return;
      int64_t begin = 0;
      for (int y : op.out) {
        if (y < 0) return;
        const int64_t length = net_.values[y].shape[size_t(axis)];
        parts.push_back(part_of(x, axis, begin, length));
        begin += length;
      }
    } else if (const std::optional<Part> part = slice(op)) {
      parts.push_back(*part);
    }
    if (parts.size() != op.out.size()) return;
    for (size_t i = 0; i < parts.size(); ++i)
      if (!fits(op.out[i], parts[i])) return;
    for (size_t i = 0; i < parts.size(); ++i) net_.values[net_.ops[id].out[i]].part = parts[i];
    net_.ops[id].kind = Kind::parts;
    net_.set_inputs(id, {x});
  }

  // A Slice of one axis with step 1.
  std::optional<Part> slice(const Op& op) const {
    const int x = op.in[0];
    const Shape &from = net_.values[x].shape, &to = net_.values[op.out[0]].shape;
    std::vector<int64_t> starts = op.node.get_ints("starts"), axes = op.node.get_ints("axes");
    if (op.in.size() > 1) {
      const Tensor *s = net_.constant(op, 1), *a = net_.constant(op, 3), *steps = net_.constant(op, 4);
      if (!s || (op.in.size() > 3 && op.in[3] >= 0 && !a) || (op.in.size() > 4 && op.in[4] >= 0 && !steps)) return std::nullopt;
      starts = integers(*s);
      axes = a ? integers(*a) : std::vector<int64_t>();
      for (int64_t step : steps ? integers(*steps) : std::vector<int64_t>())
        if (step != 1) return std::nullopt;
    }
    std::optional<Part> part;
    for (size_t i = 0; i < starts.size(); ++i) {
      const int64_t axis = axis_of(axes.empty() ? int64_t(i) : axes[i], from.size());
      if (axis < 0) return std::nullopt;
      const int64_t size = from[size_t(axis)], length = to[size_t(axis)];
      if (length == size) continue;
      if (part) return std::nullopt;
      const int64_t begin = starts[i] < 0 ? std::max<int64_t>(starts[i] + size, 0) : std::min(starts[i], size);
      part = part_of(x, axis, begin, length);
    }
    return part;
  }

  // Concat: each input that can be is computed where the whole lies; a step copies the others.
  void gather(int id) {
    const int y = net_.ops[id].out[0];
    const Shape& shape = net_.values[y].shape;
    const int64_t axis = axis_of(net_.ops[id].node.get_int("axis", 0), shape.size());
    if (axis < 0 || net_.values[y].constant) return;
    if (lies_in_another(id, axis)) return;
    bool all = true;
    int64_t begin = 0;
    for (int x : net_.ops[id].in) {
      if (x < 0 || net_.values[x].dtype != net_.values[y].dtype) return;
      const int64_t length = net_.values[x].shape[size_t(axis)];
      all &= length == 0 || claim(x, part_of(y, axis, begin, length));
      begin += length;
    }
    if (all) net_.ops[id].kind = Kind::parts;
  }

  // The inputs lie side by side, in this order, in what a later Concat makes: so does the result.
  bool lies_in_another(int id, int64_t axis) {
    const Op& op = net_.ops[id];
    const int y = op.out[0];
    std::optional<Part> all;
    for (int x : op.in) {
      if (x < 0 || !net_.values[x].part) return false;
      const Part& part = *net_.values[x].part;
      if (!all)
        all = part;
      else if (part.whole != all->whole || part.stride != all->stride || part.offset != all->offset + all->row)
        return false;
      else
        all->row += part.row;
    }
    if (!all || all->row != count(net_.values[y].shape, size_t(axis), net_.values[y].shape.size()) || !fits(y, *all)) return false;
    net_.values[y].part = all;
    net_.ops[id].kind = Kind::parts;
    return true;
  }

  bool claim(int x, const Part& part) {
    const std::optional<Part>& outer = net_.values[part.whole].part;
    if (outer && !nests(part, *outer)) return false;
    const Op* producer = net_.producer(x);
    while (producer && producer->kind == Kind::alias && is_dense(part)) {
      x = producer->in[0];
      producer = net_.producer(x);
    }
    if (!producer || !(is_dense(part) ? producer->kind != Kind::alias : works_on_rows(net_, *producer)) || !fits(x, part)) return false;
    net_.values[x].part = part;
    return true;
  }
};

}  // namespace

void place_parts(Net& net) { Parts(net).run(); }

}  // namespace octavo::net
