// grouped_{u8s8,s8s8}_svei8mm_240x32x4: few channels a group, 16 columns of one to four groups at a time
// acc[i][j] = bias[j] + sum_t sum_p A_t[i][(j / group_n) * k + p] * B_t[p][j]
// A: 16 bytes of a row
// B: [k/4][32][4] s8:  k0..3 of column 0 | k0..3 of column 1 | ... | k0..3 of column 31 | k4..7 of column 0 | ...
// C: s32, f32, u8, s8, in blocks of 5x16 and 5x4
// Registers, of 32: 5 x 4 accumulators, 5 of A, 1 of B
// Needs dotprod, i8mm: the lanes of SVE's SDOT are those of each 128 bits, so longer registers would only take more rows of A
#include "kernels/arm/grouped_dot.inl.h"

using namespace octavo;
using namespace octavo::OCTAVO_ISA;
extern "C" {
void octavo_grouped_u8s8_svei8mm_240x32x4(const BrgemmArgs* g) { brgemm_grouped<DotByLane<Dot::u8>>(*g); }
void octavo_grouped_s8s8_svei8mm_240x32x4(const BrgemmArgs* g) { brgemm_grouped<DotByLane<Dot::s8>>(*g); }
}
