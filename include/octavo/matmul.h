// Batched matrix products of two operands that are both computed at run time, as in attention: C = epilogue(A * B) for each head of
// each batch. B is packed by run() itself, into the workspace. reference.h defines every bit of C.
//
//   A   u8, s8 or f32: k contiguous elements a row, any row stride, any alignment
//   B   u8 or s8 (f32 where A is f32), any two strides: [k][n] and [n][k] (a transposed operand) both do, and so do slices of a wider
//       tensor: queries, keys and values are read where they lie, none needs to be transposed first
//   C   s32, f32, u8 or s8: n contiguous elements a row. Where A is f32, C is f32
//
// Errors are those of gemm.h. Nothing outside the named elements is read or written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "octavo/choice.h"
#include "octavo/quant.h"
#include "octavo/registry.h"
#include "octavo/threads.h"
#include "octavo/types.h"

namespace octavo {

struct MatmulDesc {
  int64_t n = 0, k = 0;
  DType a = DType::u8;                 // u8, s8 or f32
  DType b = DType::s8;                 // u8 or s8; f32 if and only if a is
  int32_t b_zero_point = 0;            // other than 0 (s8) or 128 (u8) it costs a second product
  Numerics numerics;                   // w_scale is the scale of B, or of each of its columns; scale of a softmax etc. included
  const KernelInfo* kernel = nullptr;  // null: the best one for `isa`
  Isa isa = Isa::scalar;               // used if use_isa is set; else active_isa()
  bool use_isa = false;
  Choice choice;                       // of what else the policy decides
};

// Where the matrix of one head of one batch begins, in bytes from the first one's beginning. 0: all of them are the same one.
struct MatrixStrides {
  ptrdiff_t batch = 0, head = 0;
};

// All strides are in bytes. Matrices of c must not overlap each other.
struct MatmulArgs {
  int64_t batch = 1, heads = 1, m = 0;  // 0 is allowed and does nothing
  const void* a = nullptr;              // [m][k]
  ptrdiff_t a_row_stride = 0;
  MatrixStrides a_strides;
  const void* b = nullptr;              // element (p, j) at b + p * b_row_stride + j * b_col_stride
  ptrdiff_t b_row_stride = 0, b_col_stride = 0;
  MatrixStrides b_strides;
  void* c = nullptr;                    // [m][n] of numerics.out
  ptrdiff_t c_row_stride = 0;
  MatrixStrides c_strides;
  const void* residual = nullptr;       // [m][n] of numerics.residual_dtype if numerics.has_residual, else null: a mask, say
  ptrdiff_t residual_row_stride = 0;    // 0: all rows are the same one
  MatrixStrides residual_strides;
};

// Immutable; any number of threads may run() one plan at once, each with its own workspace.
class MatmulPlan {
 public:
  // `overflow` if k * max|a - zero point| * max|b - zero point|, plus the bias in the case of bias_f32, does not fit int32.
  static Expected<MatmulPlan> create(const MatmulDesc&) noexcept;
  // run() splits into this many tiles; any partition of [0, tiles) over threads gives the same bytes. The tiles of one matrix
  // follow each other: its B is packed once for each run() that takes some of them.
  int64_t tiles(int64_t batch, int64_t heads, int64_t m) const noexcept;
  size_t workspace_bytes() const noexcept;  // for each concurrent run(); 64-byte aligned
  // Computes tiles [tile_begin, tile_end). Allocates nothing, locks nothing.
  Status run(const MatmulArgs&, int64_t tile_begin, int64_t tile_end, void* workspace) const noexcept;
  // All tiles on the caller's threads. `workspace` holds parallel.threads times workspace_bytes().
  Status run(const MatmulArgs&, void* workspace, const Parallel& parallel) const noexcept;

  const KernelInfo& kernel() const noexcept;
  int64_t n() const noexcept;
  int64_t k() const noexcept;
  std::string describe() const;  // kernel, blocking and memory, each with its reason. May throw std::bad_alloc

 private:
  struct Impl;
  explicit MatmulPlan(std::shared_ptr<const Impl>) noexcept;
  std::shared_ptr<const Impl> impl_;
};

}  // namespace octavo
