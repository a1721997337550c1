// Whatever has no step of its own: the table of ops.h, one thread, row-major tensors.
#include <new>

#include "ops.h"
#include "step.h"

namespace octavo {
namespace {

using net::Net;

class GenericStep : public Step {
 public:
  GenericStep(const EltwiseKernels& k, const ops::OpInfo& info, const Net& net, const net::Op& op)
      : k_(k), info_(info), node_(op.node), opset_(net.opset), lo_(op.lo), hi_(op.hi) {
    for (int v : op.in) inputs_.push_back(view(net, v));
    for (int v : op.out) outputs_.push_back(view(net, v));
    views_bytes_ = ((inputs_.size() + outputs_.size()) * sizeof(ops::View) + 63) / 64 * 64;
    scratch_bytes = views_bytes_;
    if (info_.scratch) scratch_bytes += info_.scratch({node_, opset_, k_, inputs_, outputs_});
    for (const ops::View& v : outputs_) work += v.rank < 0 ? 0 : v.count();
  }
  Status run(const Frame& f) const noexcept override {
    // Views live in the workspace, so that any number of operands needs no allocation.
    ops::View* views = reinterpret_cast<ops::View*>(f.scratch);
    ops::View* outputs = views + inputs_.size();
    for (size_t i = 0; i < inputs_.size(); ++i) {
      ops::View* v = new (views + i) ops::View(inputs_[i]);
      v->data = f.at(in[i]);
    }
    for (size_t i = 0; i < outputs_.size(); ++i) {
      ops::View* v = new (outputs + i) ops::View(outputs_[i]);
      v->data = f.at(out[i]);
    }
    Status s = info_.eval({node_, opset_, k_, {views, inputs_.size()}, {outputs, outputs_.size()}, f.scratch + views_bytes_});
    if (s.ok() && (lo_ > -net::kInf || hi_ < net::kInf)) {
      float* y = static_cast<float*>(outputs[0].data);
      k_.clamp(y, y, size_t(outputs[0].count()), lo_, hi_);
    }
    return s;
  }

 private:
  static ops::View view(const Net& net, int value) {
    ops::View v;
    if (value < 0) return v;
    v.dtype = net.values[value].dtype;
    v.rank = int(net.values[value].shape.size());
    for (int d = 0; d < v.rank; ++d) v.dims[d] = net.values[value].shape[size_t(d)];
    return v;
  }

  const EltwiseKernels& k_;
  const ops::OpInfo& info_;
  Node node_;
  int64_t opset_;
  float lo_, hi_;
  std::vector<ops::View> inputs_, outputs_;
  size_t views_bytes_;
};

}  // namespace

Expected<std::unique_ptr<Step>> lower_generic(const Net& net, const net::Op& op, const EltwiseKernels& k) {
  const ops::OpInfo* info = op.kind == net::Kind::generic ? ops::find(op.node.op_type, op.node.domain) : nullptr;
  if (!info || !info->eval)
    return Status::error(Code::unsupported, "node '%s': operator %s%s%s cannot run with these operands", op.node.name.c_str(),
                         op.node.domain.c_str(), op.node.domain.empty() ? "" : ".", op.node.op_type.c_str());
  for (const std::vector<int>* values : {&op.in, &op.out})
    for (int v : *values)
      if (v >= 0 && net.values[v].shape.size() > size_t(ops::kMaxRank))
        return Status::error(Code::unsupported, "node '%s' (%s): rank %zu", op.node.name.c_str(), op.node.op_type.c_str(),
                             net.values[v].shape.size());
  return std::unique_ptr<Step>(std::make_unique<GenericStep>(k, *info, net, op));
}

}  // namespace octavo
