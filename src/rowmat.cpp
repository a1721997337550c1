// The one list of kernels that take a matrix as it lies.
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

std::span<const PanelKernels> panel_kernel_tables() noexcept {
#if defined(__x86_64__)
  static const PanelKernels tables[] = {octavo_panels_avx512vnni};
  return tables;
#else
  return {};
#endif
}

const PanelKernels* panel_kernels(const PackFormat& format, Isa isa) noexcept {
  for (const PanelKernels& t : panel_kernel_tables())
    if (covers(isa, t.needs) && t.makes(format)) return &t;
  return nullptr;
}

}  // namespace octavo
