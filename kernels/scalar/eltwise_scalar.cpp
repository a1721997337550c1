// The elementwise routines in portable C++: one lane.
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "octavo/eltwise.h"

namespace octavo::OCTAVO_ISA {
namespace {

#include "kernels/eltwise_lane.inl.h"

struct Vec {
  static constexpr int N = 1;
  using F = float;
  using M = bool;
  struct I {  // int32 that wraps
    int32_t v;
    I() = default;
    explicit I(int32_t i) : v(i) {}
    friend I operator+(I a, I b) { return I(int32_t(uint32_t(a.v) + uint32_t(b.v))); }
    friend I operator-(I a, I b) { return I(int32_t(uint32_t(a.v) - uint32_t(b.v))); }
    friend I operator^(I a, I b) { return I(a.v ^ b.v); }
    friend I operator<<(I a, int s) { return I(int32_t(uint32_t(a.v) << s)); }
    friend I operator>>(I a, int s) { return I(a.v >> s); }
  };
  struct All {};

  static F fma(F a, F b, F c) { return __builtin_fmaf(a, b, c); }
  static F min(F a, F b) { return a < b ? a : b; }
  static F max(F a, F b) { return a > b ? a : b; }
  static F sqrt(F a) { return __builtin_sqrtf(a); }
  static F floor(F a) { return __builtin_floorf(a); }
  static F ceil(F a) { return __builtin_ceilf(a); }
  static F rint(F a) { return __builtin_rintf(a); }
  static F abs(F a) { return __builtin_fabsf(a); }
  static F copysign(F a, F s) { return __builtin_copysignf(a, s); }
  static M lt(F a, F b) { return a < b; }
  static M is_nan(F a) { return a != a; }
  static F nan_to_zero(F a) { return a != a ? 0 : a; }
  static F select(M m, F a, F b) { return m ? a : b; }
  static I bits(F a) {
    I i;
    std::memcpy(&i, &a, 4);
    return i;
  }
  static F from_bits(I i) {
    F a;
    std::memcpy(&a, &i, 4);
    return a;
  }
  // Adding 1.5 * 2^23 leaves the integer, rounded to even, in the low bits.
  static I to_int(F a) { return bits(a + 0x1.8p23f) - bits(0x1.8p23f); }
  static F to_float(I i) { return F(i.v); }

  static F load(const float* p, All) {
    F a;
    std::memcpy(&a, p, 4);
    return a;
  }
  static void store(float* p, F a, All) { std::memcpy(p, &a, 4); }
  static I load_u8(const uint8_t* p, All) { return I(*p); }
  static void store_u8(uint8_t* p, I i, All) { *p = uint8_t(i.v); }
  static I load_s32(const int32_t* p, All) {
    I i;
    std::memcpy(&i, p, 4);
    return i;
  }

  // Bytes go one by one: there are no groups to convert.
  [[maybe_unused]] static constexpr int kGroup = 1;
  struct Widen {
    Widen(int32_t, uint8_t) {}
  };
  struct Narrow {
    static constexpr float kNear = 0;
    Narrow(int32_t, uint8_t, uint8_t, uint8_t) {}
  };
  template <class T>
  using Zip = OneLane<T>;

  struct Bytes {
    static constexpr int N = 1;
    using All = Vec::All;
    static uint8_t load(const uint8_t* p, All) { return *p; }
    static void store(uint8_t* p, uint8_t b, All) { *p = b; }
    static uint8_t max(uint8_t a, uint8_t b) { return a > b ? a : b; }
    static uint8_t max_s8(uint8_t a, uint8_t b) { return int8_t(a) > int8_t(b) ? a : b; }
    static uint8_t flip(uint8_t a, uint8_t mask) { return a ^ mask; }
    static uint8_t lookup(const uint8_t* table, uint8_t i) { return table[i]; }
  };
};

#include "kernels/eltwise.inl.h"

}  // namespace
}  // namespace octavo::OCTAVO_ISA

extern "C" {
extern const octavo::EltwiseKernels octavo_eltwise_scalar;
constinit const octavo::EltwiseKernels octavo_eltwise_scalar =
    octavo::OCTAVO_ISA::eltwise_table<octavo::OCTAVO_ISA::Vec>("eltwise_scalar", octavo::Isa::scalar);
}
