// Shapes files, and what it takes to run one of their lines.
// A line: gemm NAME M N K DST, or conv NAME N IC IH IW OC KH KW SH SW PH PW DH DW G DST, or matmul NAME B M N K ORDER DST: B
// products of two operands that are both computed at run time, the second one as [k][n] or [n][k] (ORDER: kn nk). DST: s32 f32 u8
// s8 (u8 activations, int8 kernels) or fp32 (all float). `s8-` in front of it: s8 activations. `+add` behind it: a residual is
// added, in place.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "octavo/conv.h"
#include "octavo/gemm.h"
#include "octavo/matmul.h"
#include "octavo/quant.h"
#include "octavo/types.h"

namespace octavo::bench {

struct Shape {
  bool conv = false, matmul = false, residual = false;
  std::string name;
  int64_t batch = 1;                   // conv, matmul
  int64_t m = 0, n = 0, k = 0;         // gemm, matmul
  bool b_is_nk = false;                // matmul
  int64_t ic = 0, oc = 0, groups = 1;  // conv
  Window window;
  DType a = DType::u8, out = DType::u8;

  bool depthwise() const { return conv && groups == ic && ic > 1; }
  DType weight() const { return a == DType::f32 ? DType::f32 : DType::s8; }
  int64_t rows() const { return batch * (conv ? window.oh() * window.ow() : m); }   // of the output
  int64_t columns() const { return conv ? oc : n; }                                 // of the output
  int64_t depth() const { return conv ? ic / groups * window.kh * window.kw : k; }  // products in one sum
  int64_t inputs() const { return batch * (conv ? window.ih * window.iw * ic : m * k); }
  int64_t weights() const { return columns() * depth() * (matmul ? batch : 1); }
  double macs() const { return double(rows()) * double(columns()) * double(depth()); }
  std::string label() const;  // conv/NAME:DST
};

// The shapes of a file. False, after one line on stderr, if it cannot be read or a line is wrong.
bool read_shapes(const char* file, std::vector<Shape>& shapes);

// Zeroed memory that starts on a cache line.
class Bytes {
 public:
  explicit Bytes(size_t size = 0);
  char* get() const { return data_.get(); }
  size_t size() const { return size_; }

 private:
  struct Free {
    void operator()(char* p) const { std::free(p); }
  };
  std::unique_ptr<char, Free> data_;
  size_t size_;
};

// The operands of a shape: noise, per-channel scales, zero point 7, bias and ReLU. Weights are [k][n] or [oc][ic/g][kh][kw].
struct Operands {
  explicit Operands(const Shape&);
  Operands(const Operands&) = delete;
  Bytes a, w, c;  // c holds the residual, if there is one
  std::vector<float> w_scale, bias;
  Numerics numerics;  // points to these
};

}  // namespace octavo::bench
