// What bounds an elementwise routine, measured in this process: the bytes that it moves, or the instructions that its formula takes.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>

#include "octavo/isa.h"

namespace octavo::bench {

// Memory whose pages are there. Buffers of different `place` do not begin at the same offset of a page: a load that is taken for
// the neighbour of a store 4096 bytes before it waits.
struct Buffer {
  Buffer() = default;
  Buffer(size_t bytes, size_t place)
      : size(bytes), offset(place * 1088),
        memory(static_cast<char*>(std::aligned_alloc(4096, (bytes + offset + 4095) / 4096 * 4096)), std::free) {
    std::memset(memory.get(), 1, bytes + offset);
  }
  char* data() const { return memory.get() + offset; }
  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(data());
  }
  size_t size = 0, offset = 0;
  std::unique_ptr<char, void (*)(void*)> memory{nullptr, std::free};
};

// Vector instructions on 32 floats in registers of 8, as on AVX2: what the formula takes however it is written.
//   fma  what most cores issue two of a cycle: products, fused or not, and shuffles; or minima and maxima, where there are more of
//        them (Zen 4 has units of their own for these, and for sums, conversions, shifts)
//   div  divisions and square roots. They take places of products: two on Zen 4
//   all  the two above and sums, conversions, integers; neither loads nor stores
//   chain  sums that wait for each other, in registers of any width
//   loads  from the nearest cache, where elements are read more than once
struct Mix {
  double fma = 0, div = 0, all = 0, chain = 0, loads = 0;
};

// Seconds that `floats` elements take if nothing but the scarcest of them counts; 0 for scalar code.
double mix_seconds(Isa isa, const Mix& mix, double floats);

// The shortest of several measurements taken in turns (whatever disturbs one makes it longer): seconds of one call of the routine,
// and of memcpy for as many bytes read and written together, from memory that lies as near; where more is written than read, of a
// loop that writes what the routine writes, since a store takes longer than a load; where nothing is written, of one that reads.
struct Beside {
  double routine, bytes;
};
Beside time_beside(const std::function<void()>& routine, size_t bytes_read, size_t bytes_written);

}  // namespace octavo::bench
