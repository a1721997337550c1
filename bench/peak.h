// What this machine can do at best, measured once per process: the denominators of the counter `peak`.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "octavo/isa.h"
#include "octavo/ukernel.h"

namespace octavo::bench {

struct PeakLoop {
  const char* name;  // the instruction and the register width
  Isa needs;
  double macs_per_iteration;
  void (*run)(long iterations);  // nothing but the instruction, on registers
};
std::span<const PeakLoop> peak_loops();

// 1e9 multiply-accumulates per second of CPU time, the best of several short runs. Measured at the first call.
double peak_gmacs(const PeakLoop& loop);

// The loop that a kernel's dot instruction is measured against; null for scalar kernels.
const PeakLoop* peak_loop_of(const KernelInfo& kernel);
// The one for (isa, type) in the widest registers: what plans are measured against.
const PeakLoop* peak_loop_of(Isa isa, DType a);

// What else a float loop is made of, in the widest registers of the set; null for scalar code. op: "div"; "mix", vector instructions
// of all kinds, which says how many the core issues; "chain", sums that wait for each other; "div_mul", a division and 12 products.
const PeakLoop* vector_loop(Isa isa, std::string_view op);

// Reads blocks of kReadBlock bytes in the widest registers.
constexpr size_t kReadBlock = 1024;
void read_blocks(const char* p, size_t blocks);
void write_blocks(char* p, size_t blocks);  // in the registers of AVX2, of which a store takes the least
// 1e9 bytes per second that one thread reads from a buffer of that size again and again.
double read_gbytes(size_t bytes);

}  // namespace octavo::bench
