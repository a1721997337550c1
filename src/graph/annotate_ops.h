// What annotate() knows about single operators.
#pragma once

#include <string>

#include "annotate.h"

namespace octavo {

enum class Role : uint8_t {
  none,       // no int8 form
  linear,     // Conv, ConvTranspose, Gemm, MatMul
  add,        // of two operands
  mul,        // likewise
  pointwise,  // a function of one element, alone or with its neighbours: a table of 256 entries
  matmul,     // of two computed operands
  recurrent,  // LSTM, GRU: its state has the parameters of its result
  softmax,    // reads floats; its result has fixed parameters
  affine,     // BatchNormalization that found nothing to be folded into
  clamp,      // Relu, Clip with constant limits
  average,    // average pools: own output parameters
  max,        // max pools: output elements are input elements
  move,       // output elements are elements of input 0 (Concat: of all inputs), or zeros
};
Role role_of(const Graph& graph, const Node& node) noexcept;

// How many leading inputs of the node are activations: 2 for add, mul and matmul, none for softmax, all for Concat, else 1.
size_t activation_inputs(const Node& node, Role role) noexcept;

bool is_quantization(const Node& node) noexcept;  // the node reads or writes quantized data

// Fills in where the weight and the bias of a linear node are; or says why it has no int8 form.
std::string find_weight(const Graph& graph, const Node& node, QuantizedWeight& weight);

// The constant operand of a MatMul that is no matrix of weights (several matrices, or on the left): quantized as one tensor.
bool find_constant_operand(const Graph& graph, const Node& node, QuantizedWeight& weight);

// The same for Gather from a constant table of rows: one scale for each row.
std::string find_table(const Graph& graph, const Node& node, QuantizedWeight& weight);
bool has_dynamic_form(const Node& node) noexcept;  // MatMul, Gemm, Conv: of ranges that are found at run time

// Fills in where W and R of an LSTM or GRU are; or says why it has no int8 form.
std::string find_recurrent_weights(const Graph& graph, const Node& node, QuantizedWeight& w, QuantizedWeight& r);

// A constant with one float for each of the n last-axis elements: [n], [1,n], [1,1,n] ...
bool is_bias(const Graph& graph, const std::string& value, int64_t n) noexcept;

}  // namespace octavo
