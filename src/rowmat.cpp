// The one list of kernels that multiply a row by a matrix as it lies.
#include "octavo/rowmat.h"

#include "kernels/kernels.h"

namespace octavo {

std::span<const RowMatrixKernels> row_matrix_tables() noexcept {
  static const RowMatrixKernels tables[] = {
#if defined(__x86_64__)
      octavo_rowmat_avx2,
#elif defined(__aarch64__)
      octavo_rowmat_neon,
#endif
      octavo_rowmat_scalar,
  };
  return tables;
}

const RowMatrixKernels& row_matrix_kernels(Isa isa) noexcept {
  const std::span<const RowMatrixKernels> tables = row_matrix_tables();
  for (const RowMatrixKernels& t : tables)
    if (covers(isa, t.needs)) return t;
  return tables.back();
}

}  // namespace octavo
