// What a Program executes: steps on places in memory.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "net.h"
#include "octavo/eltwise.h"
#include "octavo/session.h"

namespace octavo {

// Where a tensor lies: in the arena, in the Program, or in a buffer of the caller.
struct Place {
  enum class Space : uint8_t { none, arena, constant, input, output };
  Space space = Space::none;
  size_t index = 0;      // of the input or output
  size_t offset = 0;     // bytes from the start of arena, input or output
  ptrdiff_t stride = 0;  // bytes between rows of the last axis; 0: they follow each other
  const void* constant = nullptr;
};

// One run() of a Program.
struct Frame {
  std::byte* arena = nullptr;
  std::byte* scratch = nullptr;  // parallel.threads times the largest scratch of a step
  const TensorView* inputs = nullptr;
  const TensorView* outputs = nullptr;
  Parallel parallel;

  void* at(const Place& p) const noexcept {
    switch (p.space) {
      case Place::Space::none:
        return nullptr;
      case Place::Space::arena:
        return arena + p.offset;
      case Place::Space::constant:
        return const_cast<void*>(p.constant);
      case Place::Space::input:
        return static_cast<std::byte*>(inputs[p.index].data) + p.offset;
      case Place::Space::output:
        return static_cast<std::byte*>(outputs[p.index].data) + p.offset;
    }
    return nullptr;
  }
};

class Step {
 public:
  virtual ~Step() = default;
  virtual Status run(const Frame& frame) const noexcept = 0;

  std::vector<Place> in, out;  // set by the memory plan
  int in_place = -1;           // the input that out[0] may overwrite; both are dense then
  size_t scratch_bytes = 0;    // of one thread
  int64_t work = 0;            // rough number of operations: small steps stay on the calling thread
  size_t weight_bytes = 0;
};

struct Lowered {
  std::unique_ptr<Step> step;
  NodeReport report;
};

// The step for an operator that is no alias. Errors name the node.
Expected<Lowered> lower(const net::Net& net, const net::Op& op, Isa isa);

// The parts of lower(): each returns a null step where the operator is not of its kind.
Expected<std::unique_ptr<Step>> lower_linear(const net::Net& net, const net::Op& op, Isa isa, NodeReport& report);
Expected<std::unique_ptr<Step>> lower_linears(const net::Net& net, const net::Op& op, Isa isa, NodeReport& report);
std::unique_ptr<Step> lower_embedding(const net::Net& net, const net::Op& op, const EltwiseKernels& kernels);
Expected<std::unique_ptr<Step>> lower_weights(const net::Net& net, const net::Op& op, Isa isa, NodeReport& report);
Expected<std::unique_ptr<Step>> lower_conv_weights(const net::Net& net, const net::Op& op, Isa isa, NodeReport& report);
Expected<std::unique_ptr<Step>> lower_dynamic(const net::Net& net, const net::Op& op, Isa isa, NodeReport& report);
Expected<std::unique_ptr<Step>> lower_dynamic_conv(const net::Net& net, const net::Op& op, Isa isa, NodeReport& report);
Expected<std::unique_ptr<Step>> lower_matmul(const net::Net& net, const net::Op& op, Isa isa, NodeReport& report);
Expected<std::unique_ptr<Step>> lower_recurrent(const net::Net& net, const net::Op& op, const EltwiseKernels& kernels, Isa isa,
                                                NodeReport& report);
Expected<std::unique_ptr<Step>> lower_dynamic_recurrent(const net::Net& net, const net::Op& op, const EltwiseKernels& kernels,
                                                        Isa isa, NodeReport& report);
std::unique_ptr<Step> lower_row_function(const net::Net& net, const net::Op& op, const EltwiseKernels& kernels);
Expected<std::unique_ptr<Step>> lower_pool(const net::Net& net, const net::Op& op, Isa isa);
std::unique_ptr<Step> lower_rows(const net::Net& net, const net::Op& op, const EltwiseKernels& kernels);
std::unique_ptr<Step> lower_quantized(const net::Net& net, const net::Op& op, const EltwiseKernels& kernels);
std::unique_ptr<Step> lower_float(const net::Net& net, const net::Op& op, const EltwiseKernels& kernels);
std::unique_ptr<Step> lower_movement(const net::Net& net, const net::Op& op, const EltwiseKernels& kernels);
Expected<std::unique_ptr<Step>> lower_generic(const net::Net& net, const net::Op& op, const EltwiseKernels& kernels);

int64_t product(const Shape& shape, size_t begin, size_t end);
inline int64_t product(const Shape& shape) { return product(shape, 0, shape.size()); }

// body(begin, end) over [0, count) in units of `grain`, on the threads of the frame.
template <class Body>
void split(const Frame& frame, int64_t count, int64_t grain, const Body& body) {
  if (frame.parallel.threads <= 1 || count <= grain) {
    body(int64_t{0}, count);
    return;
  }
  struct Job {
    const Body& body;
    int64_t count, grain;
  } job{body, count, grain};
  frame.parallel.run(
      frame.parallel.context, (count + grain - 1) / grain,
      [](void* arg, int64_t begin, int64_t end, int) {
        const Job& j = *static_cast<const Job*>(arg);
        if (begin < end) j.body(begin * j.grain, std::min(j.count, end * j.grain));
      },
      &job);
}

}  // namespace octavo
