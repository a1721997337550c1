// The internal form that Program::compile rewrites: values and operators by index, with users at hand. It starts as a copy
// of the ONNX graph (Net::from); rewrites fuse operators, move quantization and choose layouts; lowering reads the rest.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "octavo/conv.h"
#include "octavo/conv_transpose.h"
#include "octavo/graph.h"
#include "octavo/quant.h"
#include "octavo/unary.h"

namespace octavo::net {

inline constexpr float kInf = std::numeric_limits<float>::infinity();

enum class Kind : uint8_t {
  generic,     // what node.op_type says
  alias,       // the bytes of in[0] under another shape
  linear,      // Conv, ConvTranspose, Gemm or MatMul with constant weights: op.linear; in = {x} or {x, residual}
  linears,     // several Gemm or MatMul of one input: op.parts, each with its output; in = {x}
  // MatMul or Conv of bytes whose range is known only at run time: op.linear; in = {q, scale, zero point or -1}. scale: one, or for
  // MatMul one a row
  dynamic_linear,
  quantize_rows,  // f32 -> s8 in [-row_steps, row_steps] and the scale of each row of the last axis: out = {q, scale}
  matmul,      // MatMul of two computed operands: op.matmul; in = {a, b} or {a, b, residual}
  // LSTM and GRU in int8: op.recurrence; in = {x, first state in bytes or -1, first cell in f32 or -1}, out = {y} or {y, last cell}
  recurrent,
  // LSTM of bytes whose range is known only at run time, its state likewise: op.recurrence; in = {q, scale, zero point, first state
  // or -1, first cell or -1}, out = those of LSTM, in f32
  dynamic_recurrent,
  rows,        // Softmax, LayerNormalization, RMSNormalization of rows of op.row elements, from and to f32 or bytes
  pool,        // MaxPool, AveragePool, their global forms: op.pool
  quantize,    // f32 -> u8, s8, per tensor: out_q
  dequantize,  // u8, s8, s32 -> f32, per tensor: in_q[0]
  requantize,  // u8, s8 -> u8, s8: in_q[0], out_q
  add,         // two quantized tensors of one shape: in_q[0], in_q[1], out_q
  mul,         // likewise
  table,       // u8, s8 -> u8, s8 through 256 entries: op.table
  embedding,   // rows of a constant matrix of bytes: op.embedding; in = {matrix, indices}, to f32 or bytes
  affine,      // clamp(x * channel_scale + channel_bias): one scale and bias for each channel
  shuffle,     // channel shuffle: channels [groups][c/groups] become [c/groups][groups]
  repeat,      // bytes: each index of one axis `groups` times, side by side
  to_last,     // [n, c, spatial...] -> [n, spatial..., c]
  to_first,    // and back
  copy,        // in[0] into a graph output that cannot be computed in place
  parts,       // Concat or Split without a step: the smaller values lie in the larger one (Value::part)
};

// Weights and window of a Conv, ConvTranspose, Gemm or MatMul.
struct Linear {
  bool conv = false;       // Conv, ConvTranspose
  Window window;           // Conv
  std::optional<TransposedWindow> spread;  // ConvTranspose
  int64_t groups = 1;      // conv
  int64_t ic = 0, oc = 0;  // Gemm and MatMul: k and n
  // f32, or s8 (where x is f32: Gemm, MatMul, Conv without groups): [oc][ic/groups][kh][kw], ConvTranspose [ic][oc/groups][kh][kw], [k][n], or
  // [n][k] where transposed
  Tensor weight;
  bool transposed = false;
  std::vector<float> w_scale;     // s8: one or oc
  std::vector<int32_t> w_zero;    // dynamic MatMul: zero points of weight, one or oc; empty: 0
  std::vector<float> bias;        // empty, or [oc]
  std::vector<int32_t> bias_s32;  // empty, or [oc] in units of in_q[0].scale * w_scale
};

// Products of [batch][heads] matrices a [m][k] and b [k][n]. Strides in elements; 0 repeats.
struct Matmul {
  struct Strides {
    int64_t batch = 0, head = 0, row = 0, column = 0;
  };
  int64_t batch = 1, heads = 1, m = 0, n = 0, k = 0;
  Strides a, b, c, residual;
  float scale = 1;  // int8: the product is multiplied by it
};

// The constants of a recurrent operator; Y and the state have the parameters out_q.
struct Recurrence {
  Shape x_shape;
  Tensor w, r;                          // s8 [1][gates * hidden][n]
  std::vector<float> w_scale, r_scale;  // one, or one for each row
  std::vector<int32_t> w_zero, r_zero;  // dynamic: zero points of w and r, one, or one for each row; empty: 0
  std::vector<float> bias;              // [2 * gates * hidden]: of W, of R
};

// One scale and zero point, or one for each row of the matrix.
struct Embedding {
  std::vector<float> scale;
  std::vector<int32_t> zero;
};

struct Pool {
  PoolKind kind = PoolKind::max;
  Window window;
  bool count_include_pad = false;
};

// Where the elements of a value lie among those of another: rows of `row` elements, `stride` apart, from element `offset` on.
// One row has stride = row.
struct Part {
  int whole = -1;
  int64_t offset = 0, row = 0, stride = 0;
};

struct Value {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;  // as it lies in memory: [n, spatial..., c] where channels_last
  bool channels_last = false;
  std::optional<Tensor> constant;
  std::optional<Part> part;
  bool kept = false;       // named in CompileOptions::keep
  bool output = false;     // of the graph
  int producer = -1;       // operator; -1: graph input or constant
  std::vector<int> users;  // operators, one entry for each use
};

struct Op {
  Kind kind = Kind::generic;
  Node node;                       // origin; attributes follow the layout
  std::vector<int> in, out;        // values; -1: absent
  std::vector<std::string> fused;  // names of the other nodes computed here
  std::optional<Linear> linear;
  std::optional<Matmul> matmul;
  std::optional<Recurrence> recurrence;
  std::optional<Pool> pool;
  std::optional<Embedding> embedding;
  std::vector<Op> parts;           // linears
  int64_t row = 0;
  std::vector<QParams> in_q;  // by input; affine: one, or one for each channel
  QParams out_q;
  std::optional<Function> function;  // linear: of the real-valued result, before the clamp
  float lo = -kInf, hi = kInf;       // clamp of the real-valued result
  std::vector<float> channel_scale, channel_bias;
  std::vector<uint8_t> table;
  int64_t groups = 1;  // shuffle, repeat
  float row_steps = 0, least_scale = 0;  // quantize_rows: scale = max(max |x| / row_steps, least_scale)
  std::string why_not_int8;
  int64_t order = 0;  // position in the graph; an operator that took over others stands where the last one stood
  bool dead = false;
};

struct Net {
  int64_t opset = 13;
  std::vector<Value> values;
  std::vector<Op> ops;
  std::vector<int> inputs, outputs;
  bool compact = false;  // CompileOptions

  // `shapes` must know every value of the graph.
  static Expected<Net> from(const Graph& graph, const ShapeMap& shapes, const std::vector<std::string>& keep);

  int add_value(std::string name, DType dtype, Shape shape, bool channels_last = false);
  int add_constant(std::string name, Tensor tensor);
  int add_op(Op op);   // links op.in and op.out
  void erase(int op);  // unlinks
  void set_input(int op, size_t index, int value);
  void set_inputs(int op, std::vector<int> values);
  void replace_uses(int value, int by);  // in operators and graph outputs
  // Takes over `later`'s output (which becomes the only output of `op`), its name, and its place in the order.
  void absorb(int op, int later);

  const Op* producer(int value) const;
  // Where the bytes of a value are, through aliases and parts: a value that has bytes of its own.
  Part place(int value) const;
  // The operator that is the only user of a value nobody else sees (no graph output, not kept); -1 if there is none.
  int only_user(int value) const;
  const Tensor* constant(const Op& op, size_t index) const;  // null: absent or computed at run time
  std::vector<int> sorted() const;                           // live operators, producers first, else by `order`
  void sweep();                                              // erases operators whose results nobody uses
};

// The elements of a constant as floats; empty if it is neither f32 nor f64.
std::vector<float> floats(const Tensor& t);
// The elements of a constant as integers; empty if it is no integer tensor.
std::vector<int64_t> integers(const Tensor& t);
// One value per channel, if t (f32, constant) broadcasts over a tensor of this rank along `axis` only.
std::optional<std::vector<float>> per_channel(const Tensor& t, size_t rank, size_t axis, int64_t channels);

}  // namespace octavo::net
