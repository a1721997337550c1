// The contract of kernels that multiply one row by a matrix as it lies in memory, where packing the matrix would cost more than the
// product: attention over a cache of keys and values, one token at a time. Plain data only.
//
//   sums[j] = sum_{p<k} a[p] * b[p][j]   in int32, modulo 2^32
//
// Zero points, bias and everything behind the sums are the caller's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "octavo/isa.h"

namespace octavo {

struct RowMatrixArgs {
  const int16_t* a = nullptr;  // [k], zeros behind it up to a multiple of kRowMatrixPad. |a[p]| <= 255: the zero point may be off already
  const void* b = nullptr;     // u8 or s8
  ptrdiff_t b_stride_bytes = 0;  // from a row of B to the next one, or from a column to the next one
  int64_t k = 0, n = 0;        // at least 1
  int32_t* sums = nullptr;     // [n]
};
constexpr int64_t kRowMatrixPad = 16;

// Nothing but the named elements is read or written. rows: each row of B is dense; columns: each column is.
struct RowMatrixKernels {
  const char* name;  // rowmat_<isa>
  Isa needs;
  void (*rows_u8)(const RowMatrixArgs*);
  void (*rows_s8)(const RowMatrixArgs*);
  void (*columns_u8)(const RowMatrixArgs*);
  void (*columns_s8)(const RowMatrixArgs*);
};

// All of them in this binary, in priority order; the first one whose needs are covered wins. The last one is scalar.
std::span<const RowMatrixKernels> row_matrix_tables() noexcept;
const RowMatrixKernels& row_matrix_kernels(Isa isa) noexcept;

}  // namespace octavo
