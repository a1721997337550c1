#include "net.h"

#include <algorithm>
#include <functional>
#include <queue>
#include <unordered_set>

namespace octavo::net {

Expected<Net> Net::from(const Graph& graph, const ShapeMap& shapes, const std::vector<std::string>& keep) {
  Net net;
  net.opset = graph.opset;
  std::unordered_map<std::string, int> index;
  for (const ValueInfo& info : graph.inputs) {
    const auto it = shapes.find(info.name);
    if (it == shapes.end()) return Status::error(Code::internal, "input '%s' has no shape", info.name.c_str());
    net.inputs.push_back(index[info.name] = net.add_value(info.name, it->second.dtype, it->second.shape));
    // An input whose value is known: whoever reads it reads the constant.
    if (const auto known = graph.initializers.find(info.name); known != graph.initializers.end())
      index[info.name] = net.add_constant(info.name, known->second);
  }
  for (const Node& node : graph.nodes) {
    Op op;
    op.node = node;
    for (const std::string& name : node.inputs) {
      if (!name.empty() && !index.count(name)) {
        const auto constant = graph.initializers.find(name);
        if (constant == graph.initializers.end())
          return Status::error(Code::invalid_argument, "node '%s': nothing produces its input '%s'", node.name.c_str(),
                               name.c_str());
        index[name] = net.add_constant(name, constant->second);
      }
      op.in.push_back(name.empty() ? -1 : index[name]);
    }
    for (const std::string& name : node.outputs) {
      if (name.empty()) {
        op.out.push_back(-1);
        continue;
      }
      const auto it = shapes.find(name);
      if (it == shapes.end()) return Status::error(Code::internal, "value '%s' has no shape", name.c_str());
      if (index.count(name))
        return Status::error(Code::invalid_argument, "node '%s': its output '%s' exists already", node.name.c_str(),
                             name.c_str());
      op.out.push_back(index[name] = net.add_value(name, it->second.dtype, it->second.shape));
    }
    op.order = int64_t(net.ops.size());
    net.add_op(std::move(op));
  }
  for (const ValueInfo& info : graph.outputs) {
    if (!index.count(info.name)) {
      const auto constant = graph.initializers.find(info.name);
      if (constant == graph.initializers.end())
        return Status::error(Code::invalid_argument, "nothing produces the output '%s'", info.name.c_str());
      index[info.name] = net.add_constant(info.name, constant->second);
    }
    net.outputs.push_back(index[info.name]);
    net.values[index[info.name]].output = true;
  }
  for (const std::string& name : keep)
    if (const auto it = index.find(name); it != index.end()) net.values[it->second].kept = true;
  return net;
}

int Net::add_value(std::string name, DType dtype, Shape shape, bool channels_last) {
  Value v;
  v.name = std::move(name);
  v.dtype = dtype;
  v.shape = std::move(shape);
  v.channels_last = channels_last;
  values.push_back(std::move(v));
  return int(values.size()) - 1;
}

int Net::add_constant(std::string name, Tensor tensor) {
  const int v = add_value(std::move(name), tensor.dtype(), tensor.shape());
  values[v].constant = std::move(tensor);
  return v;
}

int Net::add_op(Op op) {
  const int id = int(ops.size());
  for (int v : op.in)
    if (v >= 0) values[v].users.push_back(id);
  for (int v : op.out)
    if (v >= 0) values[v].producer = id;
  ops.push_back(std::move(op));
  return id;
}

void Net::erase(int op) {
  set_inputs(op, {});
  for (int v : ops[op].out)
    if (v >= 0 && values[v].producer == op) values[v].producer = -1;
  ops[op].out.clear();
  ops[op].dead = true;
}

void Net::set_input(int op, size_t index, int value) {
  int& slot = ops[op].in[index];
  if (slot >= 0) {
    std::vector<int>& users = values[slot].users;
    users.erase(std::find(users.begin(), users.end(), op));
  }
  slot = value;
  if (value >= 0) values[value].users.push_back(op);
}

void Net::set_inputs(int op, std::vector<int> inputs) {
  for (size_t i = 0; i < ops[op].in.size(); ++i) set_input(op, i, -1);
  ops[op].in.assign(inputs.size(), -1);
  for (size_t i = 0; i < inputs.size(); ++i) set_input(op, i, inputs[i]);
}

void Net::replace_uses(int value, int by) {
  const std::vector<int> users = values[value].users;
  for (int op : users)
    for (size_t i = 0; i < ops[op].in.size(); ++i)
      if (ops[op].in[i] == value) set_input(op, i, by);
  for (int& output : outputs)
    if (output == value) {
      output = by;
      values[by].output = true;
    }
  values[value].output = false;
}

void Net::absorb(int op, int later) {
  const int out = ops[later].out[0];
  ops[op].fused.push_back(ops[later].node.name);
  ops[op].fused.insert(ops[op].fused.end(), ops[later].fused.begin(), ops[later].fused.end());
  ops[op].order = std::max(ops[op].order, ops[later].order);
  erase(later);
  values[ops[op].out[0]].producer = -1;
  ops[op].out = {out};
  values[out].producer = op;
}

const Op* Net::producer(int value) const {
  return value >= 0 && values[value].producer >= 0 ? &ops[values[value].producer] : nullptr;
}

Part Net::place(int value) const {
  int64_t all = 1;
  for (int64_t d : values[value].shape) all *= d;
  Part place{value, 0, all, all};
  const auto is_one_row = [](const Part& p) { return p.row == p.stride; };
  for (;;) {
    const Op* op = producer(place.whole);
    if (const std::optional<Part>& p = values[place.whole].part) {
      // What is one row here is as many rows as the part has; rows here lie in the rows of the part.
      if (is_one_row(*p))
        place.whole = p->whole, place.offset += p->offset;
      else if (is_one_row(place))
        place = {p->whole, p->offset, p->row, p->stride};
      else
        place = {p->whole, p->offset + place.offset, place.row, p->stride};
    } else if (op && op->kind == Kind::alias) {
      place.whole = op->in[0];
    } else {
      return place;
    }
  }
}

int Net::only_user(int value) const {
  const Value& v = values[value];
  return v.output || v.kept || v.users.size() != 1 ? -1 : v.users[0];
}

const Tensor* Net::constant(const Op& op, size_t index) const {
  if (index >= op.in.size() || op.in[index] < 0) return nullptr;
  const std::optional<Tensor>& c = values[op.in[index]].constant;
  return c ? &*c : nullptr;
}

std::vector<int> Net::sorted() const {
  std::vector<int> waiting(ops.size(), 0), result;
  using Entry = std::pair<int64_t, int>;
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> ready;
  for (size_t i = 0; i < ops.size(); ++i) {
    if (ops[i].dead) continue;
    for (int v : ops[i].in) waiting[i] += v >= 0 && values[v].producer >= 0;
    if (waiting[i] == 0) ready.push({ops[i].order, int(i)});
  }
  while (!ready.empty()) {
    const int op = ready.top().second;
    ready.pop();
    result.push_back(op);
    for (int v : ops[op].out) {
      if (v < 0) continue;
      for (int user : values[v].users)
        if (--waiting[user] == 0) ready.push({ops[user].order, user});
    }
  }
  return result;
}

void Net::sweep() {
  std::vector<int> order = sorted();
  std::reverse(order.begin(), order.end());
  for (int op : order) {
    const auto used = [&](int v) { return v >= 0 && (values[v].output || values[v].kept || !values[v].users.empty()); };
    if (std::none_of(ops[op].out.begin(), ops[op].out.end(), used)) erase(op);
  }
}

std::vector<float> floats(const Tensor& t) {
  if (t.dtype() == DType::f32) return {t.as<float>(), t.as<float>() + t.count()};
  if (t.dtype() == DType::f64) return {t.as<double>(), t.as<double>() + t.count()};
  return {};
}

std::vector<int64_t> integers(const Tensor& t) {
  switch (t.dtype()) {
    case DType::s64:
      return {t.as<int64_t>(), t.as<int64_t>() + t.count()};
    case DType::s32:
      return {t.as<int32_t>(), t.as<int32_t>() + t.count()};
    case DType::u8:
      return {t.as<uint8_t>(), t.as<uint8_t>() + t.count()};
    case DType::s8:
      return {t.as<int8_t>(), t.as<int8_t>() + t.count()};
    default:
      return {};
  }
}

std::optional<std::vector<float>> per_channel(const Tensor& t, size_t rank, size_t axis, int64_t channels) {
  if (t.dtype() != DType::f32 || t.shape().size() > rank) return std::nullopt;
  if (t.count() == 1) return std::vector<float>(size_t(channels), *t.as<float>());
  const size_t lead = rank - t.shape().size();
  if (axis < lead || t.count() != channels || t.shape()[axis - lead] != channels) return std::nullopt;
  return floats(t);
}

}  // namespace octavo::net
