#include <algorithm>

#include "evaluate.h"
#include "octavo/eltwise.h"
#include "rewrite.h"

namespace octavo::net {
namespace {

// The operators between one quantized tensor and a QuantizeLinear.
struct Region {
  int base = -1;         // the DequantizeLinear's result
  std::vector<int> ops;  // producers first
};

class Finder {
 public:
  Finder(const Net& net, int result) : net_(net), result_(result) {}

  // Empty ops: there is no such region.
  Region run() {
    if (!visit(result_) || region_.ops.empty() || region_.base < 0) return {};
    // Nobody outside may see a value inside.
    for (int id : region_.ops) {
      const Value& v = net_.values[net_.ops[id].out[0]];
      if (net_.ops[id].out[0] == result_) continue;
      if (v.output || v.kept) return {};
      for (int user : v.users)
        if (!contains(user)) return {};
    }
    return region_;
  }

 private:
  bool contains(int id) const { return std::find(region_.ops.begin(), region_.ops.end(), id) != region_.ops.end(); }

  bool visit(int value) {
    const Value& v = net_.values[value];
    if (v.constant) return v.constant->count() == 1 && v.dtype == DType::f32;
    if (v.dtype != DType::f32 || v.shape != net_.values[result_].shape || v.producer < 0) return false;
    const Op& op = net_.ops[v.producer];
    if (op.kind == Kind::dequantize) {
      if (region_.base < 0) region_.base = value;
      return same_base(value);
    }
    if (!is_pointwise(op) || region_.ops.size() >= kMaxOps) return false;
    if (contains(v.producer)) return true;
    for (int in : op.in)
      if (in >= 0 && !visit(in)) return false;
    if (!contains(v.producer)) region_.ops.push_back(v.producer);
    return true;
  }

  // Bytes that are dequantized twice are one base.
  bool same_base(int value) const {
    const Op &a = *net_.producer(value), &b = *net_.producer(region_.base);
    const Value& bytes = net_.values[a.in[0]];
    return a.in[0] == b.in[0] && a.in_q == b.in_q && !bytes.constant && (bytes.dtype == DType::u8 || bytes.dtype == DType::s8);
  }

  static constexpr size_t kMaxOps = 16;
  const Net& net_;
  const int result_;
  Region region_;
};

// A function of one element has 256 values. They come from the float operators themselves, so the table is exact.
Status fuse_table(Net& net, int quantize) {
  const int y = net.ops[quantize].in[0];
  if (net.only_user(y) != quantize) return {};
  const Region region = Finder(net, y).run();
  if (region.ops.empty()) return {};
  const Op& dq = *net.producer(region.base);
  const QParams q = dq.in_q[0], out_q = net.ops[quantize].out_q;
  const int x = dq.in[0];
  const DType in_type = net.values[x].dtype, out_type = net.values[net.ops[quantize].out[0]].dtype;
  const EltwiseKernels& k = eltwise(Isa::scalar);
  std::vector<float> real(256);
  uint8_t bytes[256];
  for (int i = 0; i < 256; ++i) bytes[i] = uint8_t(i);
  k.dequantize(bytes, in_type, real.data(), 256, q.scale, q.zero_point);
  const Expected<std::vector<float>> results = evaluate(net, region.ops, std::move(real));
  if (!results) return results.status();
  if (results->empty()) return {};
  const int last = region.ops.back();
  for (int id : region.ops)
    if (id != last) net.ops[last].fused.push_back(net.ops[id].node.name);
  net.absorb(last, quantize);
  Op& op = net.ops[last];
  op.kind = Kind::table;
  op.in_q = {q};
  op.out_q = out_q;
  op.table.resize(256);
  k.quantize(results->data(), op.table.data(), out_type, 256, out_q.scale, out_q.zero_point);
  net.set_inputs(last, {x});
  return {};
}

}  // namespace

Status fuse_tables(Net& net) {
  for (int id : net.sorted())
    if (!net.ops[id].dead && net.ops[id].kind == Kind::quantize)
      if (Status s = fuse_table(net, id); !s.ok()) return s;
  net.sweep();
  return {};
}

}  // namespace octavo::net
