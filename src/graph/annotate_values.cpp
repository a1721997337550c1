// The values that are quantized, and which of them share parameters.
#include <algorithm>
#include <numeric>

#include "annotator.h"

namespace octavo {

size_t Annotator::find_group(size_t v) {
  while (group_[v] != v) v = group_[v] = group_[group_[v]];
  return v;
}

void Annotator::collect_values() {
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
    if (plan_.nodes[n].quantized && info_[n].role == Role::recurrent) share_state(int(n), index);
  }
  for (size_t v = 0; v < plan_.values.size(); ++v) plan_.values[v].group = find_group(v);
}

// An int8 node reads quantized values. So does a float one, unless the float value exists anyway.
void Annotator::read_dequantized(size_t n) {
  for (size_t k = 0; k < graph_.nodes[n].inputs.size(); ++k) {
    const Value& v = value(graph_.nodes[n].inputs[k]);
    if (!v.wanted) continue;
    const bool float_exists = v.output || v.producer == kNone || !plan_.nodes[size_t(v.producer)].quantized;
    if (plan_.nodes[n].quantized || !float_exists) plan_.nodes[n].dequantized.push_back(k);
  }
}

// The state that a step passes on is a row of Y, and the first one is like the others.
void Annotator::share_state(int n, const std::unordered_map<std::string, size_t>& index) {
  const auto y = index.find(node(n).outputs[0]), state = index.find(initial_state(n));
  if (y == index.end() || state == index.end()) return;
  if (plan_.values[y->second].config == plan_.values[state->second].config)
    group_[find_group(state->second)] = find_group(y->second);
}

// Joins the values of a node that moves elements, but never two Concats: chained ones would spread the widest range over
// whole networks, while a requantization costs little. Values of differing configs stay apart as well.
void Annotator::share(int n, const std::unordered_map<std::string, size_t>& index) {
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

Status Annotator::apply_value_rules() {
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
    if (plan_.fixed.count(v.group) && plan_.derived.count(v.group)) return error(v, "its parameters are both fixed and derived");
  }
  for (QuantizedValue& v : plan_.values)
    if (plan_.fixed.count(v.group) || plan_.derived.count(v.group)) v.observed = false;
  return {};
}

// Probabilities are multiples of 1/256, unless the recipe says otherwise.
void Annotator::fix_softmax() {
  for (QuantizedValue& v : plan_.values) {
    const int producer = value(v.name).producer;
    if (producer == kNone || info(producer).role != Role::softmax || plan_.derived.count(v.group)) continue;
    plan_.fixed.emplace(v.group, QParams{1.0f / 256, qmin_of(v.config.dtype)});
    for (QuantizedValue& other : plan_.values)
      if (other.group == v.group) other.observed = false;
  }
}

// Of the regions found, those whose input serves them alone.
void Annotator::collect_functions() {
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

}  // namespace octavo
