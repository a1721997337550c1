#include <algorithm>
#include <numeric>
#include <unordered_map>

#include "rewrite.h"

namespace octavo::net {
namespace {

// Where axis `a` of [n, c, spatial...] lies in [n, spatial..., c].
int64_t moved(int64_t a, size_t rank) {
  if (a < 0) a += int64_t(rank);
  return a == 0 ? 0 : a == 1 ? int64_t(rank) - 1 : a - 1;
}

template <class T>
std::vector<T> channels_last(const std::vector<T>& v) {
  std::vector<T> r(v);
  if (v.size() > 2) std::rotate(r.begin() + 1, r.begin() + 2, r.end());
  return r;
}

Shape channels_first(const Shape& s) {
  Shape r(s);
  if (s.size() > 2) std::rotate(r.begin() + 1, r.end() - 1, r.end());
  return r;
}

// A constant of lower rank gets leading ones, as broadcasting reads it; then channels go last.
Tensor channels_last(const Tensor& t, size_t rank) {
  Shape shape(rank - t.shape().size(), 1);
  shape.insert(shape.end(), t.shape().begin(), t.shape().end());
  Expected<Tensor> result = Tensor::create(t.dtype(), channels_last(shape));
  if (!result) throw std::bad_alloc();
  int64_t spatial = 1;
  for (size_t d = 2; d < rank; ++d) spatial *= shape[d];
  const size_t size = size_of(t.dtype());
  const char* from = static_cast<const char*>(t.data());
  char* to = static_cast<char*>(result->mutable_data());
  for (int64_t n = 0; n < shape[0]; ++n)
    for (int64_t c = 0; c < shape[1]; ++c)
      for (int64_t s = 0; s < spatial; ++s)
        std::copy_n(from + size_t((n * shape[1] + c) * spatial + s) * size, size,
                    to + size_t((n * spatial + s) * shape[1] + c) * size);
  return *std::move(result);
}

class Layouts {
 public:
  explicit Layouts(Net& net) : net_(net) {}

  Status run() {
    for (int id : net_.sorted())
      if (Status s = place(id); !s.ok()) return s;
    for (int& v : net_.outputs)
      if (net_.values[v].channels_last) {
        net_.values[v].output = false;
        v = as(v, false, int64_t(net_.ops.size()));
        net_.values[v].output = true;
      }
    net_.sweep();
    return {};
  }

 private:
  Net& net_;
  std::unordered_map<int, int> converted_;  // a value in its other layout

  bool is_last(int v) const { return v >= 0 && net_.values[v].channels_last; }
  size_t rank(int v) const { return net_.values[v].shape.size(); }

  // Not the last axis of a MatMul's operand.
  bool repeats_pixels(const Op& op) const {
    if (op.kind != Kind::repeat) return false;
    const auto is_conv = [&](int user) { return net_.ops[user].linear && net_.ops[user].linear->conv; };
    const std::vector<int>& users = net_.values[op.out[0]].users;
    return std::any_of(users.begin(), users.end(), is_conv);
  }

  // What quantizes v, for one reader: it can as well write the other layout.
  Op* quantizer(int v) {
    const int producer = net_.values[v].producer;
    return producer >= 0 && net_.ops[producer].kind == Kind::quantize && net_.only_user(v) >= 0 ? &net_.ops[producer] : nullptr;
  }

  // The value in the layout asked for; a new operator at `order` where there is none yet.
  int as(int v, bool last, int64_t order) {
    if (net_.values[v].channels_last == last || rank(v) < 3) return v;
    if (const auto it = converted_.find(v); it != converted_.end()) return it->second;
    const Shape shape = net_.values[v].shape;
    if (Op* op = last ? quantizer(v) : nullptr) {
      const int result = net_.add_value(net_.values[v].name, net_.values[v].dtype, channels_last(shape), true);
      net_.values[result].producer = net_.values[v].producer;
      net_.values[v].producer = -1;
      op->out = {result};
      return result;
    }
    const int64_t channels = last ? shape[1] : shape.back();
    int64_t spatial = 1;
    for (size_t d = 1; d < shape.size(); ++d) spatial *= shape[d];
    spatial /= std::max<int64_t>(channels, 1);
    int result;
    if (net_.values[v].constant && last) {
      result = net_.add_constant(net_.values[v].name, channels_last(*net_.values[v].constant, shape.size()));
      net_.values[result].channels_last = true;
    } else {
      Op op;
      op.kind = channels <= 1 || spatial <= 1 ? Kind::alias : last ? Kind::to_last : Kind::to_first;
      op.node.name = net_.values[v].name;
      op.node.op_type = "Transpose";
      op.order = order;
      result =
          net_.add_value(net_.values[v].name, net_.values[v].dtype, last ? channels_last(shape) : channels_first(shape), last);
      op.in = {v};
      op.out = {result};
      net_.add_op(std::move(op));
    }
    converted_[v] = result;
    converted_[result] = v;
    return result;
  }

  void convert_inputs(int id, bool last) {
    for (size_t i = 0; i < net_.ops[id].in.size(); ++i) {
      const int v = net_.ops[id].in[i];
      if (v >= 0 && !(net_.values[v].constant && !last)) net_.set_input(id, i, as(v, last, net_.ops[id].order));
    }
  }

  void mark_outputs(int id) {
    for (int v : net_.ops[id].out) {
      if (v < 0 || rank(v) < 3) continue;
      net_.values[v].shape = channels_last(net_.values[v].shape);
      net_.values[v].channels_last = true;
    }
  }

  void set_constant_input(int id, size_t index, const std::vector<int64_t>& v) {
    const Tensor t = Tensor::from(DType::s64, {int64_t(v.size())}, v);
    net_.set_input(id, index, net_.add_constant(net_.ops[id].node.name + "/channels_last", t));
  }

  Status place(int id) {
    const Op& op = net_.ops[id];
    if (op.in.empty()) return {};
    const bool wants_last = op.kind == Kind::pool || op.kind == Kind::affine || op.kind == Kind::shuffle || repeats_pixels(op) ||
                            ((op.kind == Kind::linear || op.kind == Kind::dynamic_linear) && op.linear->conv);
    if (wants_last) {
      convert_inputs(id, true);
      mark_outputs(id);
      return {};
    }
    if (op.kind == Kind::generic && op.node.op_type == "Transpose" && op.node.domain.empty() && transpose_is_layout(id))
      return {};
    if (op.kind == Kind::alias && flatten_into_weights(id)) return {};
    if (works_in_both(id)) return {};
    convert_inputs(id, false);
    return {};
  }

  // A Transpose between the two layouts: the bytes stay.
  bool transpose_is_layout(int id) {
    const int x = net_.ops[id].in[0];
    const size_t r = rank(x);
    if (r < 3) return false;
    std::vector<int64_t> axes(r);
    std::iota(axes.begin(), axes.end(), 0);
    const std::vector<int64_t> perm = net_.ops[id].node.get_ints("perm");
    if (is_last(x) && perm == channels_last(axes)) {
      net_.ops[id].kind = Kind::alias;
      return true;
    }
    if (!is_last(x) && !net_.values[x].constant && perm == channels_first(axes)) {
      net_.ops[id].kind = Kind::alias;
      mark_outputs(id);
      return true;
    }
    return false;
  }

  // [n, h, w, c] flattened for one MatMul or Gemm: the rows of the weights take the order of the bytes.
  bool flatten_into_weights(int id) {
    const int x = net_.ops[id].in[0], y = net_.ops[id].out[0];
    if (!is_last(x) || rank(y) != 2) return false;
    const Shape shape = net_.values[x].shape;
    const int user = net_.only_user(y);
    if (user < 0 || net_.ops[user].kind != Kind::linear || net_.ops[user].linear->conv || net_.ops[user].in[0] != y) return false;
    Linear& linear = *net_.ops[user].linear;
    const int64_t c = shape.back();
    if (net_.values[y].shape[0] != shape[0] || c == 0 || linear.ic % c != 0) return false;
    const int64_t spatial = linear.ic / c;
    if (c == 1 || spatial == 1) return true;
    const size_t size = size_of(linear.weight.dtype());
    const int64_t k_stride = linear.transposed ? 1 : linear.oc, n_stride = linear.transposed ? linear.ic : 1;
    Expected<Tensor> permuted = Tensor::create(linear.weight.dtype(), linear.weight.shape());
    if (!permuted) throw std::bad_alloc();
    const char* from = static_cast<const char*>(linear.weight.data());
    char* to = static_cast<char*>(permuted->mutable_data());
    for (int64_t i = 0; i < c; ++i)
      for (int64_t s = 0; s < spatial; ++s)
        for (int64_t j = 0; j < linear.oc; ++j)
          std::copy_n(from + size_t((i * spatial + s) * k_stride + j * n_stride) * size, size,
                      to + size_t((s * c + i) * k_stride + j * n_stride) * size);
    linear.weight = *std::move(permuted);
    return true;
  }

  // Operators that run in either layout follow their inputs; axes in attributes and constants move along.
  bool works_in_both(int id) {
    const Op& op = net_.ops[id];
    size_t r = 0;
    bool any_last = false;
    for (int v : op.in)
      if (is_last(v)) {
        any_last = true;
        r = rank(v);
      }
    if (!any_last) return false;
    switch (op.kind) {
      case Kind::quantize:
      case Kind::dequantize:
      case Kind::requantize:
      case Kind::table:
        break;
      case Kind::add:
      case Kind::mul:
        for (int v : op.in)  // a smaller rank means other axes in the other layout
          if (rank(v) != r) return false;
        break;
      case Kind::generic:
        if (!op.node.domain.empty()) return false;
        if (is_unary(op) || op.node.op_type == "Cast") break;
        if (is_broadcast(op)) return place_broadcast(id, r);
        return place_axes(id, r);
      default:
        return false;
    }
    net_.set_input(id, 0, as(net_.ops[id].in[0], true, net_.ops[id].order));
    if (net_.ops[id].kind == Kind::add || net_.ops[id].kind == Kind::mul) convert_inputs(id, true);
    mark_outputs(id);
    return true;
  }

  static bool is_broadcast(const Op& op) {
    for (const char* name :
         {"Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean", "Pow", "PRelu", "Where", "Equal", "Less", "Greater"})
      if (op.node.op_type == name) return true;
    return false;
  }

  bool place_broadcast(int id, size_t r) {
    if (rank(net_.ops[id].out[0]) != r) return false;
    for (int v : net_.ops[id].in) {
      if (v < 0) return false;
      if (net_.values[v].constant ? rank(v) > r : rank(v) != r && net_.values[v].shape != Shape{}) return false;
    }
    for (size_t i = 0; i < net_.ops[id].in.size(); ++i) {
      const int v = net_.ops[id].in[i];
      if (net_.values[v].constant) {
        const int c = net_.add_constant(net_.values[v].name, channels_last(*net_.values[v].constant, r));
        net_.values[c].channels_last = true;
        net_.set_input(id, i, c);
      } else {
        net_.set_input(id, i, as(v, true, net_.ops[id].order));
      }
    }
    mark_outputs(id);
    return true;
  }

  bool place_axes(int id, size_t r) {
    Op& op = net_.ops[id];
    const std::string type = op.node.op_type;
    if (type == "Concat" || type == "Split" || ((type == "Softmax" || type == "LogSoftmax") && net_.opset >= 13)) {
      const int64_t axis = op.node.get_int("axis", type == "Split" ? 0 : -1);
      for (int v : op.in)
        if (v >= 0 && type == "Concat" && rank(v) != r) return false;
      op.node.attributes["axis"] = moved(axis, r);
      if (type == "Concat") convert_inputs(id, true);
    } else if (type == "Slice") {
      if (op.in.size() < 2) {
        std::vector<int64_t> axes = op.node.get_ints("axes");
        if (axes.empty())
          for (size_t i = 0; i < op.node.get_ints("starts").size(); ++i) axes.push_back(int64_t(i));
        for (int64_t& a : axes) a = moved(a, r);
        op.node.attributes["axes"] = axes;
      } else {
        const Tensor* starts = net_.constant(op, 1);
        const Tensor* given = net_.constant(op, 3);
        if (!starts || (op.in.size() > 3 && op.in[3] >= 0 && !given)) return false;
        std::vector<int64_t> axes = given ? integers(*given) : std::vector<int64_t>();
        if (!given)
          for (int64_t i = 0; i < starts->count(); ++i) axes.push_back(i);
        for (int64_t& a : axes) a = moved(a, r);
        if (op.in.size() < 4) {
          std::vector<int> in = op.in;
          in.resize(4, -1);
          net_.set_inputs(id, in);
        }
        // Starts, ends and steps of a Slice may be s32: axes must then be of that type too.
        if (starts->dtype() == DType::s32) {
          const std::vector<int32_t> narrow(axes.begin(), axes.end());
          net_.set_input(
              id, 3,
              net_.add_constant(op.node.name + "/channels_last", Tensor::from(DType::s32, {int64_t(narrow.size())}, narrow)));
        } else {
          set_constant_input(id, 3, axes);
        }
      }
    } else if (type == "Pad") {
      const Tensor* given = net_.constant(op, 1);
      if (op.in.size() > 3 || (op.in.size() > 1 && !given)) return false;
      const std::vector<int64_t> pads = given ? integers(*given) : op.node.get_ints("pads");
      if (pads.size() != 2 * r) return false;
      std::vector<int64_t> begin = channels_last(std::vector<int64_t>(pads.begin(), pads.begin() + int64_t(r)));
      const std::vector<int64_t> end = channels_last(std::vector<int64_t>(pads.begin() + int64_t(r), pads.end()));
      begin.insert(begin.end(), end.begin(), end.end());
      if (given)
        set_constant_input(id, 1, begin);
      else
        op.node.attributes["pads"] = begin;
    } else if (type == "Resize" && net_.opset >= 11) {
      if (!place_resize(id, r)) return false;
    } else {
      return false;
    }
    mark_outputs(id);
    return true;
  }

  // Scales or sizes are constants, for all axes or for those that are named. A crop's region stays where it is.
  bool place_resize(int id, size_t r) {
    const Op& op = net_.ops[id];
    if (op.node.get_string("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize") return false;
    for (size_t i = 1; i < op.in.size(); ++i)
      if (op.in[i] >= 0 && !net_.values[op.in[i]].constant) return false;
    if (std::vector<int64_t> axes = op.node.get_ints("axes"); !axes.empty()) {
      for (int64_t& a : axes) a = moved(a, r);
      net_.ops[id].node.attributes["axes"] = axes;
      return true;
    }
    for (size_t i = 2; i < op.in.size(); ++i) {
      const Tensor* given = net_.constant(op, i);
      if (!given || given->count() == 0) continue;
      if (given->shape() != Shape{int64_t(r)}) return false;
      const Shape& shape = given->shape();
      const Tensor turned = given->dtype() == DType::f32 ? Tensor::from(DType::f32, shape, channels_last(floats(*given)))
                                                         : Tensor::from(DType::s64, shape, channels_last(integers(*given)));
      net_.set_input(id, i, net_.add_constant(op.node.name + "/channels_last", turned));
    }
    return true;
  }
};

}  // namespace

Status choose_layouts(Net& net) { return Layouts(net).run(); }

}  // namespace octavo::net
