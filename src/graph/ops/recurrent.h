// LSTM, GRU and RNN: shapes and the arithmetic of one time step, which the generic loops and the steps with plans share.
#pragma once

#include "ops/common.h"

namespace octavo::ops {

enum class Cell : uint8_t { rnn, gru, lstm };

// An activation with its parameters.
struct Activation {
  Unary op = Unary::sigmoid;
  float alpha = 0, beta = 0;
};

struct Recurrent {
  Cell cell = Cell::rnn;
  int64_t gates = 1;                          // blocks of `hidden` rows in W and R: LSTM i o f c, GRU z r h
  int64_t steps = 0, batch = 0, in = 0, hidden = 0, directions = 1;
  bool reverse = false;                       // of the first direction; the second one is always
  bool batch_first = false;
  bool reset_after = false;                   // GRU: linear_before_reset
  bool couple = false;                        // LSTM: input_forget
  float clip = 0;                             // 0: none
  Activation activation[2][3];                // by direction

  // Offsets in elements.
  int64_t x_at(int64_t t, int64_t b) const { return (batch_first ? b * steps + t : t * batch + b) * in; }
  int64_t y_at(int64_t t, int64_t d, int64_t b) const {
    return (batch_first ? (b * steps + t) * directions + d : (t * directions + d) * batch + b) * hidden;
  }
  int64_t state_at(int64_t d, int64_t b) const { return (batch_first ? b * directions + d : d * batch + b) * hidden; }
};

// Inputs in the order of all three operators.
constexpr size_t kRecurrentBias = 3, kRecurrentLengths = 4, kRecurrentH = 5, kRecurrentC = 6, kRecurrentPeephole = 7;

// Fills r from the attributes and the shapes of X, W and R.
Status read_recurrent(const Node& node, int64_t opset, const int64_t* x, const int64_t* w, const int64_t* r_dims, Recurrent& r);

// One step of one sequence. gates: X W^T + Wb + R h^T + Rb, blocks of `hidden`; h and c are overwritten. peephole: for i, o, f,
// or null. A GRU needs two calls, because the reset gate comes in front of (or, reset_after, behind) the last product with R.
void lstm_cell(const Recurrent& r, const EltwiseKernels& k, const Activation* f, const float* peephole, float* gates, float* h, float* c);
// z and r from their gates; reset_h = r * h.
void gru_reset(const Recurrent& r, const EltwiseKernels& k, const Activation* f, float* gates, const float* h, float* reset_h);
// candidate: the input of the activation g. h = (1 - z) g(candidate) + z h.
void gru_cell(const Recurrent& r, const EltwiseKernels& k, const Activation* f, const float* gates, float* candidate, float* h);
void rnn_cell(const Recurrent& r, const EltwiseKernels& k, const Activation* f, float* gates, float* h);

}  // namespace octavo::ops
