// Three spellings for code whose arrays must stay in registers.
#pragma once

// Before a loop over registers with a constant bound: the array disappears only if the loop is unrolled completely.
#if defined(__clang__)
#define OCTAVO_UNROLL _Pragma("clang loop unroll(full)")
#else
#define OCTAVO_UNROLL _Pragma("GCC unroll 32")
#endif

// For functions that take registers by reference: not inlined, they would take them through memory.
#define OCTAVO_INLINE inline __attribute__((always_inline))

// The same for a lambda, behind its parameters.
#define OCTAVO_LAMBDA __attribute__((always_inline))
