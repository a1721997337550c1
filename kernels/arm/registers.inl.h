// Registers by number, where they cannot be elements of an array: SVE's types have no size at compile time, but there may be
// variables of them, and references to these.
#pragma once

#include <arm_neon.h>

#include "kernels/unroll.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

// Behind the parameters of a lambda that takes registers: see OCTAVO_INLINE.
#define OCTAVO_LAMBDA __attribute__((always_inline))

template <int>
struct Int {};

// f(Int<0>), ..., f(Int<N - 1>): write f as []<int i>(Int<i>) OCTAVO_LAMBDA {...}.
template <int N, int I = 0, class F>
OCTAVO_INLINE void each(const F& f) {
  if constexpr (I < N) {
    f(Int<I>{});
    each<N, I + 1>(f);
  }
}

template <class X, int N>
struct Registers {
  X& first;
  Registers<X, N - 1> rest;
  template <int I>
  OCTAVO_INLINE X& at() const {
    if constexpr (I == 0) {
      return first;
    } else {
      return rest.template at<I - 1>();
    }
  }
};
template <class X>
struct Registers<X, 0> {};

// Access from code that takes them for another type: Clang would change the type of the load or store, and then not see that the
// variable can live in a register.
template <int I, class X, int N>
OCTAVO_INLINE X get(const Registers<X, N>& registers) {
  X x = registers.template at<I>();
  asm volatile("" : "+w"(x));
  return x;
}
template <int I, class X, int N>
OCTAVO_INLINE void set(const Registers<X, N>& registers, X x) {
  asm volatile("" : "+w"(x));
  registers.template at<I>() = x;
}

// This one and the next: what loads them can be one instruction.
template <int I, class X, int N>
OCTAVO_INLINE void set(const Registers<X, N>& registers, X x, X next) {
  asm volatile("" : "+w"(x), "+w"(next));
  registers.template at<I>() = x;
  registers.template at<I + 1>() = next;
}

// ST1: N1 stores a Q of STR in two halves, on the pipes that multiply too.
OCTAVO_INLINE void store16(void* p, uint8x16_t x) {
  asm volatile("st1 {%1.16b}, %0" : "=Q"(*static_cast<uint8x16_t*>(p)) : "w"(x));
}

// Calls f with N registers that are `zero`.
template <class X, int N, class F, int Have = 0>
OCTAVO_INLINE void with_registers(X zero, const F& f, const Registers<X, Have>& registers = {}) {
  if constexpr (Have == N) {
    f(registers);
  } else {
    X x = zero;
    with_registers<X, N, F, Have + 1>(zero, f, Registers<X, Have + 1>{x, registers});
  }
}

}  // namespace
}  // namespace octavo::OCTAVO_ISA
