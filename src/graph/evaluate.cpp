#include "evaluate.h"

#include <algorithm>

#include "ops.h"
#include "rewrite.h"

namespace octavo::net {

bool is_pointwise(const Op& op) {
  if (op.kind != Kind::generic || !op.node.domain.empty() || op.out.size() != 1) return false;
  if (is_unary(op)) return true;
  for (const char* type :
       {"Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Swish", "Mish", "Selu", "Softsign", "ThresholdedRelu"})
    if (op.node.op_type == type) return true;
  return false;
}

Expected<std::vector<float>> evaluate(const Net& net, const std::vector<int>& ids, std::vector<float> x) {
  const auto row = [](std::vector<float>& data) {
    ops::View v;
    v.rank = 1;
    v.dims[0] = int64_t(data.size());
    v.data = data.data();
    return v;
  };
  std::vector<std::vector<float>> results(ids.size(), std::vector<float>(x.size()));
  for (size_t n = 0; n < ids.size(); ++n) {
    const Op& op = net.ops[ids[n]];
    const ops::OpInfo* info = ops::find(op.node.op_type, "");
    if (!info || !info->eval) return std::vector<float>();
    std::vector<ops::View> inputs(op.in.size());
    for (size_t i = 0; i < op.in.size(); ++i) {
      if (op.in[i] < 0) continue;
      if (const Tensor* t = net.constant(op, i)) {
        inputs[i].data = const_cast<void*>(t->data());
        continue;
      }
      const auto source = std::find(ids.begin(), ids.end(), net.values[op.in[i]].producer);
      inputs[i] = row(source == ids.end() ? x : results[size_t(source - ids.begin())]);
    }
    ops::View output = row(results[n]);
    if (Status s = info->eval({op.node, net.opset, eltwise(Isa::scalar), inputs, {&output, 1}}); !s.ok()) return s;
  }
  return std::move(results.back());
}

}  // namespace octavo::net
