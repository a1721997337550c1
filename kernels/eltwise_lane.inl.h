// Zip (eltwise_transpose.inl.h) of one 16-byte lane, by the compilers' own vectors.
#include "kernels/unroll.inl.h"

typedef uint8_t Bytes16 __attribute__((vector_size(16)));
typedef uint32_t Words4 __attribute__((vector_size(16)));

template <class T>
struct Zip16;
template <>
struct Zip16<uint8_t> {
  using R = Bytes16;
  static R low(R a, R b) { return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23); }
  static R high(R a, R b) { return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31); }
};
template <>
struct Zip16<uint32_t> {
  using R = Words4;
  static R low(R a, R b) { return __builtin_shufflevector(a, b, 0, 4, 1, 5); }
  static R high(R a, R b) { return __builtin_shufflevector(a, b, 2, 6, 3, 7); }
};
template <class T>
struct OneLane : Zip16<T> {
  using typename Zip16<T>::R;
  static constexpr int kLanes = 1;
  static R load(const T* p, ptrdiff_t) {
    R r;
    std::memcpy(&r, p, 16);
    return r;
  }
  static void store(T* p, R r) { std::memcpy(p, &r, 16); }
};
