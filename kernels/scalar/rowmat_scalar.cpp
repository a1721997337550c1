// rowmat_scalar: sums[j] = sum_p a[p] * b[p][j]
// A: s16, one value at a time
// B: u8 or s8 as it lies, one value at a time
// C: s32 sums
// Registers: the compiler's choice
// Needs nothing; sums wrap modulo 2^32
// Measured: it is the fallback and the definition, not a competitor
#include "octavo/rowmat.h"

namespace octavo::scalar {
namespace {

template <class B>
void multiply(const RowMatrixArgs& g, ptrdiff_t row_stride, ptrdiff_t column_stride) {
  for (int64_t j = 0; j < g.n; ++j) {
    uint32_t sum = 0;
    const B* b = static_cast<const B*>(g.b) + j * column_stride;
    for (int64_t p = 0; p < g.k; ++p, b += row_stride) sum += uint32_t(int32_t(g.a[p]) * int32_t(*b));
    g.sums[j] = int32_t(sum);
  }
}
template <class B>
void rows(const RowMatrixArgs* g) {
  multiply<B>(*g, g->b_stride_bytes, 1);
}
template <class B>
void columns(const RowMatrixArgs* g) {
  multiply<B>(*g, 1, g->b_stride_bytes);
}

}  // namespace
}  // namespace octavo::scalar

extern "C" {
extern const octavo::RowMatrixKernels octavo_rowmat_scalar;
constinit const octavo::RowMatrixKernels octavo_rowmat_scalar = {
    "rowmat_scalar",
    octavo::Isa::scalar,
    octavo::scalar::rows<uint8_t>,
    octavo::scalar::rows<int8_t>,
    octavo::scalar::columns<uint8_t>,
    octavo::scalar::columns<int8_t>,
};
}
