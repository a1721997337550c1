// The loops are assembly: the compiler's flags are the baseline's, and nothing may be optimized away or spilled.
#include "peak.h"

#include <algorithm>
#include <cstring>
#include <ctime>
#include <string>
#include <vector>

namespace octavo::bench {
namespace {

// Twelve independent accumulators (x86) cover latency times throughput of every core so far (5 cycles x 2).
#if defined(__x86_64__)
#define TWELVE(op) op(0) op(1) op(2) op(3) op(4) op(5) op(6) op(7) op(8) op(9) op(10) op(11)
#define CLOBBERS                                                                                                               \
  "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", \
      "xmm15", "cc"
#define LOOP(body) asm volatile("vzeroall\n1:\n" body body "sub $1, %0\njnz 1b\nvzeroupper\n" : "+r"(n) : : CLOBBERS)

#define DPBUSD_ZMM(i) "vpdpbusd %%zmm15, %%zmm14, %%zmm" #i "\n"
#define DPBUSD_EVEX(i) "%{evex%} vpdpbusd %%ymm15, %%ymm14, %%ymm" #i "\n"
#define DPBUSD_VEX(i) "%{vex%} vpdpbusd %%ymm15, %%ymm14, %%ymm" #i "\n"
#define MADD(i) "vpmaddwd %%ymm15, %%ymm14, %%ymm13\nvpaddd %%ymm13, %%ymm" #i ", %%ymm" #i "\n"
#define FMA_ZMM(i) "vfmadd231ps %%zmm15, %%zmm14, %%zmm" #i "\n"
#define FMA_YMM(i) "vfmadd231ps %%ymm15, %%ymm14, %%ymm" #i "\n"
// 1 / 1.9999999: some cores are quick to divide zeros.
#define ONES_ZMM "vpternlogd $255, %%zmm14, %%zmm14, %%zmm14\nvpsrld $2, %%zmm14, %%zmm15\nvpsrld $25, %%zmm14, %%zmm14\nvpslld $23, %%zmm14, %%zmm14\n"
#define ONES_YMM "vpcmpeqd %%ymm14, %%ymm14, %%ymm14\nvpsrld $2, %%ymm14, %%ymm15\nvpsrld $25, %%ymm14, %%ymm14\nvpslld $23, %%ymm14, %%ymm14\n"
#define FOUR_DIV(r) DIV(r, 0) DIV(r, 1) DIV(r, 2) DIV(r, 3)
#define DIV(r, i) "vdivps %%" r "15, %%" r "14, %%" r #i "\n"
#define MUL(r, i) "vmulps %%" r "15, %%" r "14, %%" r #i "\n"
#define ADD(r, i) "vaddps %%" r "15, %%" r "14, %%" r #i "\n"
#define INT(r, i) "vpsubd %%" r "15, %%" r "14, %%" r #i "\n"
// A third each of what multiplies, adds and is integer: no unit is the first to be full.
#define MIX_ZMM MUL("zmm", 0) ADD("zmm", 1) INT("zmm", 2) MUL("zmm", 3) ADD("zmm", 4) INT("zmm", 5) MUL("zmm", 6) ADD("zmm", 7) \
                INT("zmm", 8) MUL("zmm", 9) ADD("zmm", 10) INT("zmm", 11)
#define MIX_YMM MUL("ymm", 0) ADD("ymm", 1) INT("ymm", 2) MUL("ymm", 3) ADD("ymm", 4) INT("ymm", 5) MUL("ymm", 6) ADD("ymm", 7) \
                INT("ymm", 8) MUL("ymm", 9) ADD("ymm", 10) INT("ymm", 11)

void dpbusd_zmm(long n) { LOOP(TWELVE(DPBUSD_ZMM)); }
void dpbusd_evex(long n) { LOOP(TWELVE(DPBUSD_EVEX)); }
void dpbusd_vex(long n) { LOOP(TWELVE(DPBUSD_VEX)); }
void madd_ymm(long n) { LOOP(TWELVE(MADD)); }
void fma_zmm(long n) { LOOP(TWELVE(FMA_ZMM)); }
void fma_ymm(long n) { LOOP(TWELVE(FMA_YMM)); }
void mix_zmm(long n) { LOOP(MIX_ZMM); }
void mix_ymm(long n) { LOOP(MIX_YMM); }
#define CHAIN(r) "vaddps %%" r "15, %%" r "0, %%" r "0\n"
void chain_zmm(long n) { LOOP(CHAIN("zmm")); }
void chain_ymm(long n) { LOOP(CHAIN("ymm")); }
// A division among twelve products, which it takes the places of some of.
#define BESIDE(r) DIV(r, 12) MUL(r, 0) MUL(r, 1) MUL(r, 2) MUL(r, 3) MUL(r, 4) MUL(r, 5) MUL(r, 6) MUL(r, 7) MUL(r, 8) MUL(r, 9) \
                  MUL(r, 10) MUL(r, 11)
void beside_zmm(long n) { LOOP(ONES_ZMM BESIDE("zmm")); }
void beside_ymm(long n) { LOOP(ONES_YMM BESIDE("ymm")); }
void div_zmm(long n) { LOOP(ONES_ZMM FOUR_DIV("zmm")); }
void div_ymm(long n) { LOOP(ONES_YMM FOUR_DIV("ymm")); }

constexpr PeakLoop kLoops[] = {
    {"vpdpbusd_zmm", Isa::avx512vnni, 24 * 64, dpbusd_zmm}, {"vpdpbusd_ymm_evex", Isa::avx512vnni, 24 * 32, dpbusd_evex},
    {"vpdpbusd_ymm", Isa::avxvnni, 24 * 32, dpbusd_vex},    {"vpmaddwd_vpaddd_ymm", Isa::avx2, 24 * 16, madd_ymm},
    {"fma_zmm", Isa::avx512vnni, 24 * 16, fma_zmm},         {"fma_ymm", Isa::avx2, 24 * 8, fma_ymm},
    {"mix_zmm", Isa::avx512vnni, 24 * 16, mix_zmm},         {"mix_ymm", Isa::avx2, 24 * 8, mix_ymm},
    {"chain_zmm", Isa::avx512vnni, 2 * 8, chain_zmm},      {"chain_ymm", Isa::avx2, 2 * 8, chain_ymm},
    {"div_zmm", Isa::avx512vnni, 8 * 16, div_zmm},          {"div_ymm", Isa::avx2, 8 * 8, div_ymm},
    {"div_mul_zmm", Isa::avx512vnni, 2 * 16, beside_zmm},   {"div_mul_ymm", Isa::avx2, 2 * 8, beside_ymm},
};
constexpr const char* kName[2][3] = {{"vpdpbusd_zmm", "vpdpbusd_ymm", "vpmaddwd_vpaddd_ymm"}, {"fma_zmm", "fma_ymm", "fma_ymm"}};

const char* loop_name(Isa isa, DType a) {
  const int type = a == DType::f32;
  if (covers(isa, Isa::avx512vnni)) return kName[type][0];
  if (covers(isa, Isa::avxvnni)) return kName[type][1];
  if (covers(isa, Isa::avx2)) return kName[type][2];
  return "";
}

#define READ16(op, reg, bytes) \
  asm volatile(".set i, 0\n.rept 16\n" op " i*" bytes "(%0), %%" reg "\n.set i, i+1\n.endr\n" : : "r"(p) : "xmm0", "memory")
#define WRITE16(op, reg, bytes) \
  asm volatile(".set i, 0\n.rept 16\n" op " %%" reg ", i*" bytes "(%0)\n.set i, i+1\n.endr\n" : : "r"(p) : "memory")
void write_all(char* p, size_t blocks) {
  const bool ymm = covers(detected_isa(), Isa::avx2);
  for (char* end = p + blocks * 1024; p != end; p += ymm ? 512 : 256) {
    if (ymm) {
      WRITE16("vmovups", "ymm0", "32");
    } else {
      WRITE16("movups", "xmm0", "16");
    }
  }
}
void read_all(const char* p, size_t blocks) {
  const bool zmm = covers(detected_isa(), Isa::avx512vnni), ymm = covers(detected_isa(), Isa::avx2);
  for (const char* end = p + blocks * 1024; p != end; p += zmm ? 1024 : ymm ? 512 : 256) {
    if (zmm) {
      READ16("vmovups", "zmm0", "64");
    } else if (ymm) {
      READ16("vmovups", "ymm0", "32");
    } else {
      READ16("movups", "xmm0", "16");
    }
  }
  if (ymm) asm volatile("vzeroupper");
}
#elif defined(__aarch64__)
// Twenty-four: up to four a cycle, at a latency of four.
#define TWENTY_FOUR(op)                                                                                                      \
  op(0) op(1) op(2) op(3) op(4) op(5) op(6) op(7) op(8) op(9) op(10) op(11) op(12) op(13) op(14) op(15) op(16) op(17) op(18) \
      op(19) op(20) op(21) op(22) op(23)
#define CLOBBERS                                                                                                             \
  "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15", "v16", "v17", "v18", \
      "v19", "v20", "v21", "v22", "v23", "v24", "v30", "v31", "cc"
#define ZERO(i) "movi v" #i ".4s, #0\n"
#define LOOP(body)                                                                                                               \
  asm volatile(".arch armv8.2-a+dotprod+i8mm+sve\n" TWENTY_FOUR(ZERO) ZERO(30) ZERO(31) "1:\n" body "subs %0, %0, #1\nb.ne 1b\n" \
               : "+r"(n)                                                                                                         \
               :                                                                                                                 \
               : CLOBBERS)

#define SMULL(i) "smull v24.8h, v30.8b, v31.8b\nsadalp v" #i ".4s, v24.8h\n"
#define SDOT(i) "sdot v" #i ".4s, v30.16b, v31.16b\n"
#define SMMLA(i) "smmla v" #i ".4s, v30.16b, v31.16b\n"
#define FMLA(i) "fmla v" #i ".4s, v30.4s, v31.4s\n"
#define FDIV(i) "fdiv v" #i ".4s, v30.4s, v31.4s\n"
#define FADD(i) "fadd v" #i ".4s, v30.4s, v31.4s\n"
#define IADD(i) "add v" #i ".4s, v30.4s, v31.4s\n"
#define FMUL(i) "fmul v" #i ".4s, v30.4s, v31.4s\n"
#define MIX FMUL(0) FADD(1) IADD(2) FMUL(3) FADD(4) IADD(5) FMUL(6) FADD(7) IADD(8) FMUL(9) FADD(10) IADD(11) FMUL(12) FADD(13) \
            IADD(14) FMUL(15) FADD(16) IADD(17) FMUL(18) FADD(19) IADD(20) FMUL(21) FADD(22) IADD(23)
#define SDOT_Z(i) "sdot z" #i ".s, z30.b, z31.b\n"
#define SMMLA_Z(i) "smmla z" #i ".s, z30.b, z31.b\n"
#define FMLA_Z(i) "fmla z" #i ".s, p0/m, z30.s, z31.s\n"

void smull(long n) { LOOP(TWENTY_FOUR(SMULL)); }
void sdot(long n) { LOOP(TWENTY_FOUR(SDOT)); }
void smmla(long n) { LOOP(TWENTY_FOUR(SMMLA)); }
void fmla(long n) { LOOP(TWENTY_FOUR(FMLA)); }
void mix(long n) { LOOP(MIX); }
void chain(long n) { LOOP("fadd v0.4s, v0.4s, v31.4s\n"); }
void fdiv(long n) { LOOP("fmov v30.4s, #1.0\nfmov v31.4s, #1.9375\n" FDIV(0) FDIV(1) FDIV(2) FDIV(3)); }
void sdot_sve(long n) { LOOP(TWENTY_FOUR(SDOT_Z)); }
void smmla_sve(long n) { LOOP(TWENTY_FOUR(SMMLA_Z)); }
void fmla_sve(long n) { LOOP("ptrue p0.s\n" TWENTY_FOUR(FMLA_Z)); }

int sve_bytes() {
  if (!covers(detected_isa(), Isa::sve)) return 16;
  int64_t bytes;
  asm(".arch armv8.2-a+sve\nrdvl %0, #1" : "=r"(bytes));
  return int(bytes);
}

const PeakLoop kLoops[] = {
    {"smmla_z", Isa::svei8mm, 24.0 * sve_bytes() * 2, smmla_sve},
    {"smmla_q", Isa::neoni8mm, 24 * 32, smmla},
    {"sdot_z", Isa::sve, 24.0 * sve_bytes(), sdot_sve},
    {"sdot_q", Isa::neondot, 24 * 16, sdot},
    {"smull_sadalp_q", Isa::neon, 24 * 8, smull},
    {"fmla_z", Isa::sve, 24.0 * sve_bytes() / 4, fmla_sve},
    {"fmla_q", Isa::neon, 24 * 4, fmla},
    {"mix_q", Isa::neon, 24 * 4, mix},
    {"chain_q", Isa::neon, 2 * 8, chain},
    {"div_q", Isa::neon, 4 * 4, fdiv},
};

// The best that the set has, in the order of the list.
const char* loop_name(Isa isa, DType a) {
  for (const PeakLoop& loop : kLoops)
    if (covers(isa, loop.needs) && std::string_view(loop.name).starts_with("fmla") == (a == DType::f32)) return loop.name;
  return "";
}

void read_all(const char* p, size_t blocks) {
  for (const char* end = p + blocks * 1024; p != end; p += 512)
    asm volatile(".set i, 0\n.rept 16\nldp q0, q1, [%0, #i*32]\n.set i, i+1\n.endr\n" : : "r"(p) : "v0", "v1", "memory");
}
void write_all(char* p, size_t blocks) {
  for (char* end = p + blocks * 1024; p != end; p += 512)
    asm volatile(".set i, 0\n.rept 16\nstp q0, q1, [%0, #i*32]\n.set i, i+1\n.endr\n" : : "r"(p) : "memory");
}
#else
constexpr std::span<const PeakLoop> kLoops;
void write_all(char* p, size_t blocks) { std::memset(p, 0, blocks * 1024); }
void read_all(const char* p, size_t blocks) {
  for (const char* end = p + blocks * 1024; p != end; p += 8) asm volatile("" : : "r"(*reinterpret_cast<const uint64_t*>(p)));
}

const char* loop_name(Isa, DType) { return ""; }
#endif

const PeakLoop* find(std::string_view name) {
  for (const PeakLoop& loop : peak_loops())
    if (name == loop.name) return &loop;
  return nullptr;
}

double cpu_seconds() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
}

// The shortest of `repeats` runs: whatever disturbs a run makes it longer.
template <class Run>
double best_seconds(int repeats, Run run) {
  run();
  double best = 1e30;
  for (int i = 0; i < repeats; ++i) {
    const double start = cpu_seconds();
    run();
    best = std::min(best, cpu_seconds() - start);
  }
  return best;
}

}  // namespace

std::span<const PeakLoop> peak_loops() { return kLoops; }

double peak_gmacs(const PeakLoop& loop) {
  static std::vector<double> known(peak_loops().size(), 0.0);
  double& gmacs = known[size_t(&loop - peak_loops().data())];
  if (gmacs == 0) {
    constexpr long kIterations = 100000;  // about a millisecond
    gmacs = double(kIterations) * loop.macs_per_iteration / best_seconds(20, [&] { loop.run(kIterations); }) * 1e-9;
  }
  return gmacs;
}

const PeakLoop* peak_loop_of(const KernelInfo& kernel) {
  const bool ymm_variant = std::string_view(kernel.name).ends_with("_ymm");
  return ymm_variant ? find("vpdpbusd_ymm_evex") : peak_loop_of(kernel.needs, kernel.a);
}

const PeakLoop* peak_loop_of(Isa isa, DType a) { return find(loop_name(isa, a)); }

const PeakLoop* vector_loop(Isa isa, std::string_view op) {
  const std::string_view fma = loop_name(isa, DType::f32);
  return fma.empty() ? nullptr : find(std::string(op) + std::string(fma.substr(fma.rfind('_'))));
}

void read_blocks(const char* p, size_t blocks) { read_all(p, blocks); }
void write_blocks(char* p, size_t blocks) { write_all(p, blocks); }

double read_gbytes(size_t bytes) {
  constexpr size_t kBlock = kReadBlock;
  const size_t blocks = bytes / kBlock;
  std::vector<char> buffer((blocks + 1) * kBlock, 1);
  const char* begin = buffer.data() + (kBlock - reinterpret_cast<uintptr_t>(buffer.data()) % kBlock);
  const size_t passes = std::max<size_t>(1, (size_t(8) << 20) / (blocks * kBlock));
  const double seconds = best_seconds(8, [&] {
    for (size_t pass = 0; pass < passes; ++pass) read_blocks(begin, blocks);
  });
  return double(passes * blocks * kBlock) / seconds * 1e-9;
}

}  // namespace octavo::bench
