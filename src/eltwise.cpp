// The one list of elementwise tables.
#include "octavo/eltwise.h"

#include "kernels/kernels.h"

namespace octavo {
namespace {

#if defined(__x86_64__)
// AVX-512 VNNI's but for functions of one byte.
EltwiseKernels avx512vbmi() {
  EltwiseKernels table = octavo_eltwise_avx512vnni;
  table.name = "eltwise_avx512vbmi";
  table.needs = table.needs | Isa::avx512vbmi;
  table.lut = octavo_lut_avx512vbmi;
  table.requantize = octavo_requantize_avx512vbmi;
  return table;
}
#endif

}  // namespace

std::span<const EltwiseKernels> eltwise_tables() noexcept {
  static const EltwiseKernels tables[] = {
#if defined(__x86_64__)
      avx512vbmi(),
      octavo_eltwise_avx512vnni,
      octavo_eltwise_avx2,
#elif defined(__aarch64__)
      octavo_eltwise_neon,
#endif
      octavo_eltwise_scalar,
  };
  return tables;
}

const EltwiseKernels& eltwise(Isa isa) noexcept {
  const std::span<const EltwiseKernels> tables = eltwise_tables();
  for (const EltwiseKernels& t : tables)
    if (covers(isa, t.needs)) return t;
  return tables.back();
}

}  // namespace octavo
