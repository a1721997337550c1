// CPU detection. Baseline flags only: nothing here may need more than the compiler's default.
#include <cstdlib>
#include <cstring>

#include "octavo/isa.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <linux/prctl.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace octavo {
namespace {

constexpr IsaName kNames[] = {
    {Isa::scalar, "scalar", Isa::scalar},
    {Isa::avx2, "avx2", Isa::avx2},
    {Isa::avxvnni, "avxvnni", Isa::avx2 | Isa::avxvnni},
    {Isa::avx512vnni, "avx512vnni", Isa::avx2 | Isa::avx512vnni},
    {Isa::avx512vbmi, "avx512vbmi", Isa::avx2 | Isa::avx512vnni | Isa::avx512vbmi},
    {Isa::neon, "neon", Isa::neon},
    {Isa::neondot, "neondot", Isa::neon | Isa::neondot},
    {Isa::neoni8mm, "neoni8mm", Isa::neon | Isa::neondot | Isa::neoni8mm},
    {Isa::sve, "sve", Isa::neon | Isa::sve},  // A64FX has SVE's SDOT, but not that of NEON
    {Isa::svei8mm, "svei8mm", Isa::neon | Isa::neondot | Isa::neoni8mm | Isa::sve | Isa::svei8mm},
};

[[maybe_unused]] constexpr Isa without(Isa isa, Isa some) { return Isa(uint32_t(isa) & ~uint32_t(some)); }

#if defined(__x86_64__)
struct Cpuid {
  unsigned a = 0, b = 0, c = 0, d = 0;
  Cpuid(unsigned leaf, unsigned sub) { __get_cpuid_count(leaf, sub, &a, &b, &c, &d); }
};
constexpr bool bit(unsigned word, int i) { return (word >> i) & 1u; }

Isa detect() {
  const Cpuid one(1, 0), seven(7, 0), seven1(7, 1);
  if (!bit(one.c, 27)) return Isa::scalar;  // OSXSAVE
  unsigned lo, hi;
  __asm__("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
  // CPUID says what the core has, XCR0 what the operating system saves across a context switch. Both must agree.
  const bool os_ymm = (lo & 0x06) == 0x06, os_zmm = (lo & 0xe6) == 0xe6;
  Isa isa = Isa::scalar;
  const bool avx2 = os_ymm && bit(one.c, 28) && bit(one.c, 12) && bit(one.c, 29) && bit(seven.b, 5);
  if (!avx2) return isa;
  isa = isa | Isa::avx2;
  if (bit(seven1.a, 4)) isa = isa | Isa::avxvnni;
  const bool avx512 = os_zmm && bit(seven.b, 16) && bit(seven.b, 17) && bit(seven.b, 30) && bit(seven.b, 31);
  if (avx512 && bit(seven.c, 11)) isa = isa | Isa::avx512vnni;
  if (avx512 && bit(seven.c, 11) && bit(seven.c, 1)) isa = isa | Isa::avx512vbmi;
  return isa;
}
// Nothing of it is slower than what it replaces, on any core known so far.
Isa without_slow(Isa isa) { return isa; }
#elif defined(__aarch64__) && defined(__linux__)
Isa detect() {
  const unsigned long cap = getauxval(AT_HWCAP), cap2 = getauxval(AT_HWCAP2);
  Isa isa = Isa::neon;
  if (cap & HWCAP_ASIMDDP) isa = isa | Isa::neondot;
  if (cap2 & HWCAP2_I8MM) isa = isa | Isa::neoni8mm;
  if (cap & HWCAP_SVE) isa = isa | Isa::sve;
  if (cap2 & HWCAP2_SVEI8MM) isa = isa | Isa::svei8mm;
  return isa;
}

// Cores that have an instruction, but no use for it.
struct SlowOn {
  uint32_t implementer, part;  // of MIDR_EL1; part kAny: all of them
  Isa isa;
};
constexpr uint32_t kAny = 0xffff, kApple = 0x61;
constexpr SlowOn kSlow[] = {
    {kApple, kAny, Isa::neoni8mm},  // SMMLA does twice the work of SDOT in twice the time, and wastes half of it on one row
};

// The feature bits say what a core can do, MIDR_EL1 what core it is; Linux lets user space read it where HWCAP_CPUID is set.
// Where cores differ it is the one that asks first: all must run the same code.
// SVE of 128 bits (Neoverse N2, V2) multiplies as much as NEON, but loads one register at a time and narrows in more steps.
Isa without_slow(Isa isa) {
  if (covers(isa, Isa::svei8mm)) {
    const int length = prctl(PR_SVE_GET_VL);
    if (length > 0 && (length & PR_SVE_VL_LEN_MASK) == 16) isa = without(isa, Isa::svei8mm);
  }
  if (!(getauxval(AT_HWCAP) & HWCAP_CPUID)) return isa;
  uint64_t midr;
  __asm__("mrs %0, MIDR_EL1" : "=r"(midr));
  const uint32_t implementer = uint32_t(midr >> 24) & 0xff, part = uint32_t(midr >> 4) & 0xfff;
  for (const SlowOn& s : kSlow)
    if (s.implementer == implementer && (s.part == kAny || s.part == part)) isa = without(isa, s.isa);
  return isa;
}
#elif defined(__aarch64__) && defined(__APPLE__)
bool has(const char* feature) {
  int value = 0;
  size_t size = sizeof value;
  return sysctlbyname(feature, &value, &size, nullptr, 0) == 0 && value != 0;
}

Isa detect() {
  Isa isa = Isa::neon;
  if (has("hw.optional.arm.FEAT_DotProd")) isa = isa | Isa::neondot;
  if (has("hw.optional.arm.FEAT_I8MM")) isa = isa | Isa::neoni8mm;
  return isa;
}
// SMMLA does twice the work of SDOT in twice the time, and wastes half of it on one row.
Isa without_slow(Isa isa) { return without(isa, Isa::neoni8mm); }
#else
Isa detect() { return Isa::scalar; }
Isa without_slow(Isa isa) { return isa; }
#endif

Expected<Isa> read_environment() {
  const char* name = std::getenv("OCTAVO_ISA");
  if (!name || !*name) return without_slow(detected_isa());
  const Expected<Isa> wanted = parse_isa(name);
  if (!wanted) return wanted;
  if (!covers(detected_isa(), *wanted))
    return Status::error(Code::unsupported, "OCTAVO_ISA=%s: this machine does not support %s", name, name);
  return wanted;
}

}  // namespace

std::span<const IsaName> isa_names() noexcept { return kNames; }

Isa detected_isa() noexcept {
  static const Isa isa = detect();
  return isa;
}

Expected<Isa> parse_isa(std::string_view name) noexcept {
  for (const IsaName& n : kNames)
    if (name == n.name) return n.implies;
  char known[160] = {};
  for (const IsaName& n : kNames) {
    std::strncat(known, " ", sizeof known - std::strlen(known) - 1);
    std::strncat(known, n.name, sizeof known - std::strlen(known) - 1);
  }
  return Status::error(Code::invalid_argument, "unknown instruction set '%.*s' (known:%s)", int(name.size()), name.data(), known);
}

Expected<Isa> active_isa() noexcept {
  static const Expected<Isa> isa = read_environment();
  return isa;
}

}  // namespace octavo
