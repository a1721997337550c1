// The rewrites of Program::compile, in the order in which it applies them. Each leaves a Net that computes the same.
#pragma once

#include "net.h"

namespace octavo::net {

// QLinearConv and QLinearMatMul whose parameters are constants become DequantizeLinear -> Conv or MatMul -> QuantizeLinear.
void spell_out_integer(Net& net);

// ReduceMean, Pow, Sqrt, Div ... that are a layer or RMS normalization of the last axis become LayerNormalization or
// RMSNormalization; to be called while they still are operators of ONNX.
void fuse_norms(Net& net);

// QuantizeLinear and DequantizeLinear with constant per-tensor parameters become Kind::quantize and Kind::dequantize;
// operators that only rename bytes (Reshape, Flatten, Squeeze, Identity ...) become Kind::alias; pools Kind::pool; batch norm
// that found no convolution Kind::affine. simulate: QuantizeLinear and DequantizeLinear stay what they are.
Status recognize(Net& net, bool simulate);

// Moves DequantizeLinear down and QuantizeLinear up through operators that only move or select elements, so that those
// work on bytes and the pairs meet; then pairs that meet become nothing or Kind::requantize.
void move_quantization(Net& net);

// Reshape-Transpose-Reshape over channels becomes Kind::shuffle.
void fuse_shuffles(Net& net);

// A constant behind DequantizeLinear, as the file has it.
struct QuantizedConstant {
  const Tensor* q = nullptr;
  std::vector<float> scale;   // one, or one for each index along axis
  std::vector<int64_t> zero;  // likewise; empty = 0
  int64_t axis = 0;
};
std::optional<QuantizedConstant> quantized_constant(const Net& net, int value);

// LSTM and GRU whose input, weights and Y are quantized become Kind::recurrent, LSTM whose input is by DynamicQuantizeLinear
// Kind::dynamic_recurrent; to be called while the weights still are.
void recognize_recurrent(Net& net);

// Gather of rows of a quantized constant becomes Kind::embedding, with the QuantizeLinear behind it; to be called while the table
// still is quantized.
void recognize_embedding(Net& net);

// DequantizeLinear of constants of up to max_count elements become f32 constants.
void dequantize_constants(Net& net, int64_t max_count = std::numeric_limits<int64_t>::max(), bool but_operands = false);

// Conv, Gemm and MatMul with constant weights become Kind::linear: int8 where input and weights are quantized, else f32.
Status recognize_linear(Net& net);

// MatMulInteger or ConvInteger -> Cast -> Mul by scales -> [Add of a bias] -> [Relu | Clip] becomes Kind::dynamic_linear; the
// operators that stand for a row-wise DynamicQuantizeLinear become Kind::quantize_rows.
void recognize_dynamic(Net& net);

// What is left of ConvInteger and MatMulInteger with constant weights and zero point becomes Kind::linear with s32 results, or with
// f32 ones where Cast -> Mul by constants follows.
Status recognize_integer(Net& net);

// Linear operators take over what follows: bias, a function of one element or a residual Add, Relu or Clip, QuantizeLinear.
Status fuse_epilogues(Net& net);

// The operators behind an int8 linear one that are a function which its plan can compute, if any.
Status absorb_function(Net& net, int id);

// MatMul of two computed operands becomes Kind::matmul, int8 where both are quantized, with the transposes, scale, mask and
// QuantizeLinear around it; Softmax and normalizations of rows become Kind::rows with the quantization around them.
void recognize_matmul(Net& net);

// DequantizeLinear -> any function of one element -> QuantizeLinear becomes a Kind::table: one operator (Sigmoid) or several
// (x * Sigmoid(x), the Erf form of Gelu), as long as nobody else sees what is in between.
Status fuse_tables(Net& net);

// DequantizeLinear -> operator -> QuantizeLinear becomes one operator on bytes: Add, Mul, average pools,
// batch norms.
void fuse_quantized(Net& net);

// Relu and Clip after float elementwise operators; Mul and Add by channel constants after Kind::affine.
void fuse_float(Net& net);

// Gemm and MatMul with constant weights that read one value (Q, K and V of an attention) become one Kind::linears.
void merge_linear(Net& net);

// Chooses the memory layout of every value: channels last around linear operators and pools, as ONNX has it elsewhere.
Status choose_layouts(Net& net);

// Concat, Split and Slice without a copy: steps write their results straight into the whole, and read parts where they lie. DenseNet's
// growing Concats all lie in the last one. To be called last: it looks at what the steps of the other operators can do.
void place_parts(Net& net);

// For each float operator why it is not int8; the first operator that strict mode refuses, as an error.
Status explain(Net& net, bool strict);

// The clamp that a Relu or a Clip with constant limits is; nothing for other operators.
std::optional<std::pair<float, float>> clamp_of(const Net& net, const Op& op);
// Elementwise with one operand.
bool is_unary(const Op& op);

}  // namespace octavo::net
