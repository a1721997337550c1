// Which values are wanted in int8: consumers are asked before producers.
#include "annotator.h"

namespace octavo {

// The values that a head or a node of its own reads in int8.
std::vector<std::string> Annotator::activations_of(int n) {
  if (info(n).role == Role::pointwise) return {info(n).base};
  const std::vector<std::string>& inputs = node(n).inputs;
  return {inputs.begin(), inputs.begin() + ptrdiff_t(activation_inputs(node(n), info(n).role))};
}

void Annotator::find_able() {
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

// Why a node cannot work on bytes. Nodes that multiply are worth quantizing floats for.
std::string Annotator::why_unable(int n) {
  const NodeInfo& i = info(n);
  if (i.role == Role::recurrent || i.role == Role::matmul) return "";
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

// Consumers before producers; so the config of a value is that of its first consumer.
void Annotator::demand_backwards() {
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

void Annotator::want_residual(int add, const TensorConfig& config) {
  for (const std::string& input : node(add).inputs)
    if (!is_constant(input) && !is_inside(input)) want(input, config);
}

bool Annotator::is_inside(const std::string& name) {
  const int producer = value(name).producer;
  return producer != kNone && info(producer).head != kNone && info(info(producer).head).tail != producer;
}

void Annotator::demand_of_follower(int n) {
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
  for (const std::string& input : activations_of(n))
    if (!is_constant(input)) want(input, *config);
  if (i.role == Role::recurrent) {
    want(node(n).outputs[0], *config);
    if (const std::string& state = initial_state(n); !state.empty()) want(state, *config);
  }
  if (i.role == Role::matmul && !is_constant(node(n).inputs[1])) {
    // The kernel wants the second operand around a fixed zero: another zero point costs a second product.
    right_operands_.push_back(*config);
    right_operands_.back().symmetric = true;
    want(node(n).inputs[1], right_operands_.back());
  }
}

// A batch norm scales each channel by itself, so that the parts of a Concat before it keep parameters of their own.
bool Annotator::want_parts(int n, const TensorConfig& config) {
  const int concat = value(node(n).inputs[0]).producer;
  if (concat == kNone || node(concat).op_type != "Concat" || info(concat).role != Role::move ||
      node(concat).get_int("axis", 0) != 1 || result(concat).output || result(concat).users.size() != 1)
    return false;
  for (const std::string& part : node(concat).inputs) want(part, config);
  plan_.nodes[size_t(concat)].quantized = true;
  return true;
}

void Annotator::explain(size_t n) {
  NodePlan& plan = plan_.nodes[n];
  if (plan.quantized) return;
  NodeInfo& i = info_[n];
  const auto result = shapes_.find(graph_.nodes[n].outputs.empty() ? "" : graph_.nodes[n].outputs[0]);
  if (result != shapes_.end() && result->second.dtype != DType::f32)
    i.why_not = std::string("its result is ") + name_of(result->second.dtype) + ", not f32";
  if (i.why_not.empty()) i.why_not = why_unable(i.head == kNone ? int(n) : i.head);
  plan.reason = i.why_not.empty() ? "its result is used in float only" : i.why_not;
}

}  // namespace octavo
