// grouped_{u8s8,s8s8}_neondot_240x32x4: few channels a group, 16 columns of one to four groups at a time
// acc[i][j] = bias[j] + sum_t sum_p A_t[i][(j / group_n) * k + p] * B_t[p][j]
// A: 16 bytes of a row, u8 flipped to s8 on the way
// B: [k/4][32][4] s8:  k0..3 of column 0 | k0..3 of column 1 | ... | k0..3 of column 31 | k4..7 of column 0 | ...
// C: s32, f32, u8, s8, in blocks of 5x16 and 5x4
// Registers, of 32: 5 x 4 accumulators, 5 of A, 1 of B, the constant 0x80 of u8
// Needs dotprod. SDOT sums four s8*s8 into s32 without saturation: exact
// Counted: instructions per 1000 MACs of 3x3 convolutions, 14x14 pixels, 32 groups of 4 / 8 / 16 channels, GCC 12
//   (tests/arm_layers.py --full): u8 288 / 196 / 136, s8 278 / 193 / 134; with zeros between merged groups 1196 / 596 / 298 and
//   675 / 337 / 150
#include "kernels/arm/grouped_dot.inl.h"

using namespace octavo;
using namespace octavo::OCTAVO_ISA;
extern "C" {
void octavo_grouped_u8s8_neondot_240x32x4(const BrgemmArgs* g) { brgemm_grouped<DotByLane<Dot::flipped_u8>>(*g); }
void octavo_grouped_s8s8_neondot_240x32x4(const BrgemmArgs* g) { brgemm_grouped<DotByLane<Dot::s8>>(*g); }
}
