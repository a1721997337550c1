// Instruction sets, as a bitset: AVX-VNNI is no rung between AVX2 and AVX-512.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "octavo/types.h"

namespace octavo {

enum class Isa : uint32_t {
  scalar = 0,
  avx2 = 1u << 0,        // AVX2 + FMA + F16C
  avxvnni = 1u << 1,     // VEX-encoded vpdpbusd; implies avx2
  avx512vnni = 1u << 2,  // AVX-512 F + BW + DQ + VL + VNNI; implies avx2
  avx512vbmi = 1u << 3,  // look-ups of bytes; implies avx512vnni
  neon = 1u << 8,        // Armv8.0
  neondot = 1u << 9,     // SDOT, UDOT
  neoni8mm = 1u << 10,   // SMMLA, USMMLA, UMMLA, USDOT
  sve = 1u << 11,        // any vector length
  svei8mm = 1u << 12,
};

constexpr Isa operator|(Isa a, Isa b) { return Isa(uint32_t(a) | uint32_t(b)); }
constexpr Isa operator&(Isa a, Isa b) { return Isa(uint32_t(a) & uint32_t(b)); }
// True if everything in `needs` is in `have`.
constexpr bool covers(Isa have, Isa needs) { return (uint32_t(needs) & ~uint32_t(have)) == 0; }

struct IsaName {
  Isa bit;
  const char* name;   // the word in kernel names and in OCTAVO_ISA
  Isa implies;        // the whole set that forcing this name allows
};
std::span<const IsaName> isa_names() noexcept;

// What the CPU and the operating system support (CPUID and XCR0; HWCAP and sysctl on Arm). Constant for a process.
Isa detected_isa() noexcept;

// detected_isa() without what is no gain on this core (SMMLA on Apple's, that of SVE where a vector is 128 bits long), or what the
// environment variable OCTAVO_ISA names (one of isa_names()). An unknown name, or one that this machine lacks, is an error. Read
// once, at the first call.
Expected<Isa> active_isa() noexcept;

// The set that a name allows, or an error that lists the known names.
Expected<Isa> parse_isa(std::string_view name) noexcept;

}  // namespace octavo
