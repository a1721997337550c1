#include "annotate.h"

#include <algorithm>
#include <deque>
#include <numeric>
#include <unordered_set>

#include "annotate_ops.h"
#include "known_function.h"
#include "pointwise.h"
#include "recipe_check.h"

namespace octavo {
namespace {

constexpr int kNone = -1;

class Annotator {
 public:
  Annotator(const Graph& graph, const Recipe& recipe) : graph_(graph), recipe_(recipe) {}

  Expected<QuantPlan> run() {
    if (!recipe_.status().ok()) return recipe_.status();
    if (Status s = classify(); !s.ok()) return s;
    link_values();
    infer();
    grow_regions();
    find_pointwise_regions();
    grow_adds();
    find_able();
    demand_backwards();
    for (size_t n = 0; n < size(); ++n) explain(n);
    collect_values();
    if (Status s = apply_value_rules(); !s.ok()) return s;
    fix_softmax();
    collect_functions();
    return std::move(plan_);
  }

 private:
  struct Value {
    int producer = kNone;
    std::vector<int> users;  // one entry for each use
    bool output = false;
    bool able = false;                     // can come in int8: from an int8 node, or straight from a graph input
    bool reaches = false;                  // some path leads to a linear node
    const TensorConfig* wanted = nullptr;  // somebody reads it in int8
  };
  struct NodeInfo {
    const QuantConfig* config = nullptr;
    Role role = Role::none;
    int head = kNone;  // the linear or Add node whose kernel computes this node
    int tail = kNone;  // of a head: the last node of its region
    std::string base;  // of a head whose role is pointwise: what the region reads
    std::string why_not;
  };

  size_t size() const { return graph_.nodes.size(); }
  const Node& node(int n) const { return graph_.nodes[size_t(n)]; }
  NodeInfo& info(int n) { return info_[size_t(n)]; }
  Value& value(const std::string& name) { return values_[name]; }
  Value& result(int n) { return value(node(n).outputs[0]); }
  bool is_constant(const std::string& name) const { return graph_.initializers.count(name) != 0; }

  Status classify() {
    info_.resize(size());
    plan_.nodes.resize(size());
    for (size_t n = 0; n < size(); ++n) {
      const Node& node = graph_.nodes[n];
      if (is_quantization(node))
        return Status::error(Code::invalid_argument, "node '%.100s' (%.40s): the model is already quantized", node.name.c_str(),
                             node.op_type.c_str());
      info_[n].config = recipe_.match(node);
      if (!info_[n].config) {
        info_[n].why_not = "the recipe keeps it in float";
        continue;
      }
      if (Status s = check_config(*info_[n].config); !s.ok())
        return Status::error(s.code(), "config of node '%.100s': %s", node.name.c_str(), s.text());
      if (info_[n].config->mode != QuantMode::static_range || is_lookup(node)) {
        classify_float(n);
        continue;
      }
      info_[n].role = role_of(graph_, node);
      if (info_[n].role == Role::none) info_[n].why_not = "operator " + node.op_type + " has no int8 kernel";
      if (info_[n].role == Role::recurrent) {
        classify_recurrent(n);
        continue;
      }
      if (info_[n].role != Role::linear) continue;
      if (is_product(node)) {
        info_[n].role = Role::matmul;
        continue;
      }
      QuantizedWeight weight;
      info_[n].why_not = find_weight(graph_, node, weight);
      if (!info_[n].why_not.empty()) {
        info_[n].role = Role::none;
        continue;
      }
      take_weight(n, weight);
    }
    return {};
  }

  // Other outputs than Y are read in float: there is no int8 form for those.
  void classify_recurrent(size_t n) {
    const Node& node = graph_.nodes[n];
    QuantizedWeight w, r;
    info_[n].why_not = find_recurrent_weights(graph_, node, w, r);
    for (const ValueInfo& output : graph_.outputs)
      if (output.name == node.outputs[0]) info_[n].why_not = "its result is an output of the graph";
    for (size_t i = 1; i < node.outputs.size() && info_[n].why_not.empty(); ++i)
      if (is_read(node.outputs[i])) info_[n].why_not = "its output '" + node.outputs[i] + "' is used";
    if (!info_[n].why_not.empty()) {
      info_[n].role = Role::none;
      return;
    }
    take_weight(n, w);
    r.config = info_[n].config->weight;
    plan_.nodes[n].state_weight = r;
  }

  bool is_read(const std::string& name) const {
    const auto reads = [&](const auto& list) { return std::find(list.begin(), list.end(), name) != list.end(); };
    return !name.empty() && (std::any_of(graph_.nodes.begin(), graph_.nodes.end(), [&](const Node& node) { return reads(node.inputs); }) ||
                             std::any_of(graph_.outputs.begin(), graph_.outputs.end(), [&](const ValueInfo& v) { return v.name == name; }));
  }

  // MatMul of two operands that are both computed.
  bool is_product(const Node& node) const {
    return node.op_type == "MatMul" && node.inputs.size() == 2 && !is_constant(node.inputs[0]) && !is_constant(node.inputs[1]);
  }

  void take_weight(size_t n, QuantizedWeight weight) {
    weight.config = info_[n].config->weight;
    if (weight.one_scale) weight.config.per_channel = false;
    plan_.nodes[n].weight = weight;
    plan_.nodes[n].config = *info_[n].config;
  }

  // Gather from a constant of floats.
  bool is_lookup(const Node& node) const {
    if (node.op_type != "Gather" || !node.domain.empty() || node.inputs.empty()) return false;
    const auto table = graph_.initializers.find(node.inputs[0]);
    return table != graph_.initializers.end() && table->second.dtype() == DType::f32;
  }

  // Nodes that read float values, or indices: dynamic ranges, weights alone, tables.
  void classify_float(size_t n) {
    const Node& node = graph_.nodes[n];
    NodeInfo& i = info_[n];
    const bool dynamic = i.config->mode == QuantMode::dynamic_range;
    QuantizedWeight weight;
    if (is_lookup(node))
      i.why_not = find_table(graph_, node, weight);
    else if (dynamic ? has_dynamic_form(node) : role_of(graph_, node) == Role::linear)
      i.why_not = find_weight(graph_, node, weight);
    else
      i.why_not = std::string(dynamic ? "dynamic ranges are" : "quantized weights alone are") + " not for operator " + node.op_type;
    if (!i.why_not.empty()) return;
    take_weight(n, weight);
    plan_.nodes[n].quantized = true;
  }

  void link_values() {
    for (size_t n = 0; n < size(); ++n) {
      for (const std::string& input : graph_.nodes[n].inputs)
        if (!input.empty()) value(input).users.push_back(int(n));
      for (const std::string& output : graph_.nodes[n].outputs)
        if (!output.empty()) value(output).producer = int(n);
    }
    for (const ValueInfo& v : graph_.inputs) value(v.name).able = v.dtype == DType::f32;
    for (const ValueInfo& v : graph_.outputs) value(v.name).output = true;
  }

  // Shapes for dynamic dimensions of size 1. A graph for which that fails is annotated as if no Add broadcast: then compile
  // finds what it cannot fuse, and the values are the same.
  void infer() {
    std::map<std::string, Shape> inputs;
    for (const ValueInfo& v : graph_.inputs) {
      if (!v.has_shape) return;
      for (const Dim& d : v.dims) inputs[v.name].push_back(d.size < 0 ? 1 : d.size);
    }
    if (Expected<ShapeMap> shapes = infer_shapes(graph_, inputs)) shapes_ = *std::move(shapes);
  }

  bool same_shape(const std::string& a, const std::string& b) const {
    const auto x = shapes_.find(a), y = shapes_.find(b);
    return x == shapes_.end() || y == shapes_.end() || x->second.shape == y->second.shape;
  }

  // The node that alone reads the result of n, if the recipe wants it in int8.
  int only_user(int n) {
    const Value& v = result(n);
    if (v.output || v.users.size() != 1) return kNone;
    const int user = v.users[0];
    return info(user).config && info(user).head == kNone ? user : kNone;
  }

  void take(int head, int n) {
    info(n).head = head;
    info(head).tail = n;
  }

  const std::string& other_operand(int add, const std::string& operand) const {
    return node(add).inputs[node(add).inputs[0] == operand ? 1 : 0];
  }

  void take_clamp(int head) {
    const int user = only_user(info(head).tail);
    if (user != kNone && info(user).role == Role::clamp) take(head, user);
  }

  void grow_regions() {
    for (int n = int(size()) - 1; n >= 0; --n) {  // backwards: of two that meet in an Add, the later one takes it
      if (info(n).role != Role::linear) continue;
      take(n, n);
      const QuantizedWeight& w = *plan_.nodes[size_t(n)].weight;
      const int64_t channels = graph_.initializers.at(node(n).inputs[w.input]).shape()[size_t(w.axis)];
      const bool conv = node(n).op_type == "Conv" || node(n).op_type == "ConvTranspose";
      int user = only_user(n);
      if (!conv && !w.bias && user != kNone && info(user).role == Role::add &&
          is_bias(graph_, other_operand(user, node(n).outputs[0]), channels)) {
        take(n, user);
        user = only_user(user);
      }
      if (user != kNone && info(user).role == Role::add) {
        const std::string& sum = node(info(n).tail).outputs[0];
        const std::string& other = other_operand(user, sum);
        if (!is_constant(other) && same_shape(sum, other)) take(n, user);
      }
      take_clamp(n);
    }
  }

  // Products that a linear node sums for each of its results.
  int64_t depth(int n) const {
    const QuantizedWeight& w = *plan_.nodes[size_t(n)].weight;
    const Tensor& weight = graph_.initializers.at(node(n).inputs[w.input]);
    return weight.count() / std::max<int64_t>(1, weight.shape()[size_t(w.axis)]);
  }

  // The linear head whose plan can compute the region on its own results; kNone if there is none.
  int linear_before(const PointwiseRegion& region) {
    const Value& base = value(region.base);
    const int head = info(base.producer).head;
    if (head == kNone || info(head).role != Role::linear || info(head).tail != base.producer || base.output) return kNone;
    const bool bias = info(base.producer).role == Role::add && is_constant(other_operand(base.producer, node(head).outputs[0]));
    const bool alone = std::all_of(base.users.begin(), base.users.end(), [&](int user) {
      return std::find(region.nodes.begin(), region.nodes.end(), size_t(user)) != region.nodes.end();
    });
    if ((base.producer != head && !bias) || !alone || depth(head) < info(head).config->function_depth) return kNone;
    if (region.nodes.size() == 1 && function_of(graph_.nodes[region.nodes[0]])) return head;
    return known_function(pointwise_values(graph_, region, function_points())) ? head : kNone;
  }

  void grow_adds() {
    for (int n = 0; n < int(size()); ++n) {
      if ((info(n).role != Role::add && info(n).role != Role::affine) || info(n).head != kNone) continue;
      take(n, n);
      take_clamp(n);
    }
  }

  // A clamp alone is left as it is: its result shares the parameters of its input.
  void find_pointwise_regions() {
    const auto takes = [&](size_t n) {
      const NodeInfo& i = info_[n];
      return i.role != Role::none && i.head == kNone && is_pointwise(graph_.nodes[n]);
    };
    const auto producer = [&](const std::string& name) { return value(name).producer; };
    const auto stays_inside = [&](const std::string& name, const std::vector<size_t>& nodes) {
      const Value& v = value(name);
      return !v.output && std::all_of(v.users.begin(), v.users.end(), [&](int user) {
        return std::find(nodes.begin(), nodes.end(), size_t(user)) != nodes.end();
      });
    };
    for (size_t n = size(); n-- > 0;) {
      if (!takes(n)) continue;
      const PointwiseRegion region = find_pointwise(graph_, n, takes, producer, stays_inside);
      const bool alone = region.nodes.size() == 1;
      if (region.nodes.empty() || (alone && info_[n].role == Role::clamp) || value(region.base).producer == kNone ||
          !same_shape(region.base, graph_.nodes[n].outputs[0])) {
        if (info_[n].role == Role::pointwise) info_[n].role = Role::none;
        continue;
      }
      if (const int linear = linear_before(region); linear != kNone) {
        for (const size_t inner : region.nodes) take(linear, int(inner));
        continue;
      }
      const int head = int(region.nodes[0]);
      for (const size_t inner : region.nodes) info_[inner].head = head;
      info(head).role = Role::pointwise;
      info(head).tail = int(n);
      info(head).base = region.base;
      plan_.functions.push_back(region);
    }
    for (size_t n = 0; n < size(); ++n)
      if (info_[n].role == Role::none && info_[n].why_not.empty())
        info_[n].why_not = "operator " + graph_.nodes[n].op_type + " has no int8 kernel for these operands";
  }

  // The values that a head or a node of its own reads in int8.
  std::vector<std::string> activations_of(int n) {
    if (info(n).role == Role::pointwise) return {info(n).base};
    const std::vector<std::string>& inputs = node(n).inputs;
    return {inputs.begin(), inputs.begin() + ptrdiff_t(activation_inputs(node(n), info(n).role))};
  }

  void find_able() {
    for (int n = int(size()) - 1; n >= 0; --n) {
      bool reaches = info(n).role == Role::linear || info(n).role == Role::matmul || info(n).role == Role::recurrent;
      for (const std::string& output : node(n).outputs) reaches |= value(output).reaches;
      for (const std::string& input : node(n).inputs) value(input).reaches |= reaches;
    }
    for (int n = 0; n < int(size()); ++n) {
      const NodeInfo& i = info(n);
      if (i.role == Role::none || (i.head != kNone && i.head != n)) continue;
      if (i.role == Role::linear) {
        result(i.tail).able = true;
        continue;
      }
      if (!why_unable(n).empty()) continue;
      if (i.tail != kNone)
        result(i.tail).able = true;
      else
        for (const std::string& output : node(n).outputs) value(output).able = true;
    }
  }

  // Why a node other than a linear or recurrent one, which quantize floats themselves, cannot work on bytes.
  std::string why_unable(int n) {
    const NodeInfo& i = info(n);
    if (i.role == Role::recurrent) return "";
    for (const std::string& input : activations_of(n)) {
      if (is_constant(input)) return "input '" + input + "' is a constant";
      if (!value(input).able) return "input '" + input + "' is computed in float";
    }
    if ((i.role == Role::add || i.role == Role::mul) && !same_shape(node(n).inputs[0], node(n).outputs[0]) &&
        !same_shape(node(n).inputs[1], node(n).outputs[0]))
      return "both of its inputs are broadcast";
    // Behind the last linear node values are scores: a pool there is cheap, and float keeps them exact.
    if ((i.role == Role::average || i.role == Role::max) && !result(n).reaches) return "no int8 node follows";
    return "";
  }

  void want(const std::string& name, const TensorConfig& config) { value(name).wanted = &config; }

  // Consumers before producers; so the config of a value is that of its first consumer.
  void demand_backwards() {
    for (int n = int(size()) - 1; n >= 0; --n) {
      const NodeInfo& i = info(n);
      NodePlan& plan = plan_.nodes[size_t(n)];
      if (i.head != kNone && info(i.head).role == Role::linear) {
        plan.quantized = true;
        const TensorConfig& config = info(i.head).config->activation;
        if (n == i.head)
          want(node(n).inputs[0], config);
        else if (i.role == Role::add && result(info(i.head).tail).wanted)
          want_residual(n, config);
      } else if (i.head != kNone && i.head != n) {
        const Value& out = result(info(i.head).tail);  // of an Add with its clamp, or of a pointwise region
        plan.quantized = out.able && out.wanted;
      } else if (i.role != Role::none) {
        demand_of_follower(n);
      }
    }
  }

  void want_residual(int add, const TensorConfig& config) {
    for (const std::string& input : node(add).inputs)
      if (!is_constant(input) && !is_inside(input)) want(input, config);
  }

  bool is_inside(const std::string& name) {
    const int producer = value(name).producer;
    return producer != kNone && info(producer).head != kNone && info(info(producer).head).tail != producer;
  }

  void demand_of_follower(int n) {
    const NodeInfo& i = info(n);
    Value& out = i.tail == kNone ? result(n) : result(i.tail);
    if (!out.able) return;
    const TensorConfig* config = nullptr;
    for (const std::string& output : node(i.tail == kNone ? n : i.tail).outputs)
      if (value(output).wanted) config = value(output).wanted;
    const bool pool = i.role == Role::average || i.role == Role::max;
    if (!config && !pool && i.role != Role::matmul && i.role != Role::recurrent) return;
    // Parameters of its own.
    const bool own = i.role == Role::add || i.role == Role::mul || i.role == Role::affine || i.role == Role::pointwise ||
                     i.role == Role::matmul || i.role == Role::softmax || i.role == Role::recurrent;
    if (!config || own) config = &i.config->activation;
    plan_.nodes[size_t(n)].quantized = true;
    if (!own)
      for (const std::string& output : node(n).outputs)
        if (!output.empty() && !value(output).wanted) want(output, *config);
    if (i.role == Role::affine && want_parts(n, *config)) return;
    for (const std::string& input : activations_of(n)) want(input, *config);
    if (i.role == Role::recurrent) want(node(n).outputs[0], *config);
    if (i.role == Role::matmul) {
      // The kernel wants the second operand around a fixed zero: another zero point costs a second product.
      right_operands_.push_back(*config);
      right_operands_.back().symmetric = true;
      want(node(n).inputs[1], right_operands_.back());
    }
  }

  // A batch norm scales each channel by itself, so that the parts of a Concat before it keep parameters of their own.
  bool want_parts(int n, const TensorConfig& config) {
    const int concat = value(node(n).inputs[0]).producer;
    if (concat == kNone || node(concat).op_type != "Concat" || info(concat).role != Role::move || node(concat).get_int("axis", 0) != 1 ||
        result(concat).output || result(concat).users.size() != 1)
      return false;
    for (const std::string& part : node(concat).inputs) want(part, config);
    plan_.nodes[size_t(concat)].quantized = true;
    return true;
  }

  void explain(size_t n) {
    NodePlan& plan = plan_.nodes[n];
    if (plan.quantized) return;
    NodeInfo& i = info_[n];
    if (i.why_not.empty()) i.why_not = why_unable(i.head == kNone ? int(n) : i.head);
    plan.reason = i.why_not.empty() ? "its result is used in float only" : i.why_not;
  }

  // ---- values -------------------------------------------------------------------------------------------------------------

  size_t find_group(size_t v) {
    while (group_[v] != v) v = group_[v] = group_[group_[v]];
    return v;
  }

  void collect_values() {
    std::unordered_map<std::string, size_t> index;
    const auto add = [&](const std::string& name) {
      if (name.empty() || !value(name).wanted) return;
      index[name] = plan_.values.size();
      plan_.values.push_back({name, *value(name).wanted, plan_.values.size(), true});
    };
    for (const ValueInfo& v : graph_.inputs) add(v.name);
    for (const Node& node : graph_.nodes)
      for (const std::string& output : node.outputs) add(output);
    group_.resize(plan_.values.size());
    std::iota(group_.begin(), group_.end(), size_t(0));
    for (size_t n = 0; n < size(); ++n) {
      read_dequantized(n);
      const bool shares =
          info_[n].role == Role::move || info_[n].role == Role::max || (info_[n].role == Role::clamp && info_[n].head == kNone);
      if (plan_.nodes[n].quantized && shares && index.count(graph_.nodes[n].outputs[0])) share(int(n), index);
    }
    for (size_t v = 0; v < plan_.values.size(); ++v) plan_.values[v].group = find_group(v);
  }

  // An int8 node reads quantized values. So does a float one, unless the float value exists anyway.
  void read_dequantized(size_t n) {
    for (size_t k = 0; k < graph_.nodes[n].inputs.size(); ++k) {
      const Value& v = value(graph_.nodes[n].inputs[k]);
      if (!v.wanted) continue;
      const bool float_exists = v.output || v.producer == kNone || !plan_.nodes[size_t(v.producer)].quantized;
      if (plan_.nodes[n].quantized || !float_exists) plan_.nodes[n].dequantized.push_back(k);
    }
  }

  // Joins the values of a node that moves elements, but never two Concats: chained ones would spread the widest range over
  // whole networks, while a requantization costs little. Values of differing configs stay apart as well.
  void share(int n, const std::unordered_map<std::string, size_t>& index) {
    const size_t out = index.at(node(n).outputs[0]);
    const bool concat = node(n).op_type == "Concat";
    if (concat) concat_groups_.insert(find_group(out));
    bool all_joined = true;
    const auto join = [&](size_t v) {
      const size_t a = find_group(out), b = find_group(v);
      if (a == b) return;
      const bool joins =
          plan_.values[out].config == plan_.values[v].config && !(concat_groups_.count(a) && concat_groups_.count(b));
      all_joined &= joins;
      if (!joins) return;
      if (concat_groups_.count(b)) concat_groups_.insert(a);
      group_[b] = a;
    };
    for (size_t k = 0; k < activation_inputs(node(n), info(n).role); ++k) join(index.at(node(n).inputs[k]));
    for (const std::string& output : node(n).outputs) {
      if (output.empty()) continue;
      const size_t v = index.at(output);
      plan_.values[v].observed = !all_joined || info(n).role == Role::clamp;  // a limit may be no element of the input
      join(v);
    }
  }

  Status apply_value_rules() {
    const auto error = [](const QuantizedValue& v, const char* what, const std::string& other = "") {
      return Status::error(Code::invalid_argument, "rule for value '%.100s': %s%.100s", v.name.c_str(), what, other.c_str());
    };
    std::unordered_map<std::string, size_t> index;
    for (size_t v = 0; v < plan_.values.size(); ++v) index[plan_.values[v].name] = v;
    const auto group_of = [&](const std::string& name) { return find_group(index.at(name)); };
    for (const QuantizedValue& v : plan_.values) {  // groups grow before anything is said of them
      const ValueParams* params = recipe_.match_value(v.name);
      const auto* shared = params ? std::get_if<SharedParams>(params) : nullptr;
      if (!shared) continue;
      if (!index.count(shared->with)) return error(v, "no such quantized value: ", shared->with);
      if (plan_.values[index.at(shared->with)].config != v.config) return error(v, "another config than that of ", shared->with);
      group_[group_of(v.name)] = group_of(shared->with);
    }
    for (QuantizedValue& v : plan_.values) v.group = group_of(v.name);
    for (const QuantizedValue& v : plan_.values) {
      const ValueParams* params = recipe_.match_value(v.name);
      if (const auto* fixed = params ? std::get_if<FixedParams>(params) : nullptr) {
        if (fixed->q.zero_point < qmin_of(v.config.dtype) || fixed->q.zero_point > qmax_of(v.config.dtype))
          return error(v, "the zero point does not fit ", name_of(v.config.dtype));
        const auto [it, added] = plan_.fixed.emplace(v.group, fixed->q);
        if (!added && it->second != fixed->q) return error(v, "it shares its parameters with a value that has others");
      }
      if (const auto* derived = params ? std::get_if<DerivedParams>(params) : nullptr) {
        if (!index.count(derived->from)) return error(v, "no such quantized value: ", derived->from);
        const QuantizedValue& from = plan_.values[index.at(derived->from)];
        if (from.config.dtype != v.config.dtype) return error(v, "another type than that of ", derived->from);
        const auto [it, added] = plan_.derived.emplace(v.group, DerivedGroup{from.group, derived->factor});
        if (!added && (it->second.from != from.group || it->second.factor != derived->factor))
          return error(v, "it shares its parameters with a value that has others");
        size_t group = from.group, steps = 0;
        for (auto next = plan_.derived.find(group); next != plan_.derived.end(); next = plan_.derived.find(group)) {
          group = next->second.from;
          if (++steps > plan_.derived.size()) return error(v, "it is derived from itself");
        }
      }
      if (plan_.fixed.count(v.group) && plan_.derived.count(v.group))
        return error(v, "its parameters are both fixed and derived");
    }
    for (QuantizedValue& v : plan_.values)
      if (plan_.fixed.count(v.group) || plan_.derived.count(v.group)) v.observed = false;
    return {};
  }

  // Probabilities are multiples of 1/256, unless the recipe says otherwise.
  void fix_softmax() {
    for (QuantizedValue& v : plan_.values) {
      const int producer = value(v.name).producer;
      if (producer == kNone || info(producer).role != Role::softmax || plan_.derived.count(v.group)) continue;
      plan_.fixed.emplace(v.group, QParams{1.0f / 256, qmin_of(v.config.dtype)});
      for (QuantizedValue& other : plan_.values)
        if (other.group == v.group) other.observed = false;
    }
  }

  // Of the regions found, those whose input serves them alone.
  void collect_functions() {
    std::unordered_map<std::string, size_t> groups;
    std::unordered_map<size_t, int> members;
    for (const QuantizedValue& v : plan_.values) {
      ++members[v.group];
      if (v.observed) groups[v.name] = v.group;
    }
    std::erase_if(plan_.functions, [&](const PointwiseRegion& region) {
      const auto group = groups.find(region.base);
      if (group == groups.end() || members[group->second] > 1 || !plan_.nodes[region.nodes.back()].quantized) return true;
      const Value& v = value(region.base);
      return v.output || std::any_of(v.users.begin(), v.users.end(), [&](int user) {
        return std::find(region.nodes.begin(), region.nodes.end(), size_t(user)) == region.nodes.end();
      });
    });
  }

  const Graph& graph_;
  const Recipe& recipe_;
  std::deque<TensorConfig> right_operands_;  // values point at them
  QuantPlan plan_;
  ShapeMap shapes_;
  std::vector<NodeInfo> info_;
  std::unordered_map<std::string, Value> values_;
  std::vector<size_t> group_;
  std::unordered_set<size_t> concat_groups_;
};

}  // namespace

Expected<QuantPlan> annotate(const Graph& graph, const Recipe& recipe) { return Annotator(graph, recipe).run(); }

}  // namespace octavo
