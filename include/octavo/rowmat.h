// The contract of kernels that take a matrix as it lies in memory, an operand at run time. Plain data only.
//
// One row times the matrix, where packing it would cost more than the product: attention over a cache of keys and values, one token
// at a time.
//   sums[j] = sum_{p<k} a[p] * b[p][j]   in int32, modulo 2^32
//
// Zero points, bias and everything behind the sums are the caller's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "octavo/isa.h"
#include "octavo/ukernel.h"

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

// A dense matrix to brgemm panels, back to back: what a product of two run-time operands does anew for each.
//   b        rows: row p at (const char*)b + p*b_stride_bytes, n elements; columns: column j at b + j*b_stride_bytes, k elements
//   flip     u8 elements, packed as s8: xor 0x80
//   panels   panel_stride bytes apart, 64-byte aligned. All of them is written, zeros too
//   sums     [n] to which those of the columns are added, as packed; null: not wanted, or floats
// Nothing but the named elements is read.
struct PanelArgs {
  const void* b = nullptr;
  ptrdiff_t b_stride_bytes = 0;
  int64_t k = 0, n = 0;
  int32_t element_bytes = 1;  // 4: floats
  bool flip = false;
  void* panels = nullptr;
  ptrdiff_t panel_stride = 0;
  int32_t* sums = nullptr;
};
struct PanelKernels {
  const char* name;  // panels_<isa>
  Isa needs;
  uint8_t nr, word_bytes;  // words of kr elements
  void (*rows)(const PanelArgs*);
  void (*columns)(const PanelArgs*);
  constexpr bool makes(const PackFormat& f) const { return f.nr == nr && f.kr * f.elem_bytes == word_bytes && f.elem_bytes != 2; }
};

// All of them in this binary, in priority order; the first one whose needs are covered wins. The last one is scalar.
std::span<const RowMatrixKernels> row_matrix_tables() noexcept;
const RowMatrixKernels& row_matrix_kernels(Isa isa) noexcept;

// The same of those that make panels faster than portable code does; null if none makes `format` on `isa`.
std::span<const PanelKernels> panel_kernel_tables() noexcept;
const PanelKernels* panel_kernels(const PackFormat& format, Isa isa) noexcept;

}  // namespace octavo
