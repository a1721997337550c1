// prepare -> calibrate -> convert, the words of PyTorch's PT2E flow.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "octavo/graph.h"
#include "octavo/recipe.h"
#include "octavo/session.h"

namespace octavo {

// Sees the values of one tensor and proposes QParams. Mergeable: observing parts in any order and merging them equals
// observing the whole, bit for bit. NaN and infinities are ignored; it is an error if nothing else was seen.
// min_max: the range of the values. histogram: the range that minimizes the squared quantization error.
class Observer {
 public:
  virtual ~Observer() = default;
  virtual void observe(const float* data, size_t count) = 0;
  virtual Status merge(const Observer& other) = 0;
  virtual Expected<QParams> qparams(const TensorConfig& config) const = 0;  // error if nothing was observed
  static std::unique_ptr<Observer> create(ObserverKind kind);
};

// For a node of the normalized graph, whether it is computed in int8, or why not.
struct Annotation {
  std::string node, op_type;
  bool quantized = false;
  std::string reason;   // where not quantized
};

// A float graph, normalized (constants and batch norm folded, opset at least 13) and annotated. The values observed are
// those to be quantized, except where a value's elements are those of another one, with which it shares its parameters.
class Prepared {
 public:
  Prepared(Prepared&&) noexcept;
  Prepared& operator=(Prepared&&) noexcept;
  ~Prepared();
  const Graph& graph() const noexcept;
  const std::vector<Annotation>& annotations() const noexcept;
  std::vector<std::string> observed_values() const;

 private:
  struct Impl;
  explicit Prepared(std::unique_ptr<Impl>) noexcept;
  std::unique_ptr<Impl> impl_;
  friend Expected<Prepared> prepare(const Graph&, const Recipe&);
  friend Status calibrate(Prepared&, const std::vector<std::map<std::string, Tensor>>&, int, const std::function<void(size_t, size_t)>&);
  friend Expected<Graph> convert(const Prepared&);
};

// Errors: a graph that is already quantized; a config that no kernel honours; an operator of an old opset that cannot be
// rewritten for opset 13. They name the node.
Expected<Prepared> prepare(const Graph& graph, const Recipe& recipe);

// Runs the samples (each: one tensor per graph input) through the float graph on `threads` threads and shows every
// observed value to its observer. The result depends neither on the number of threads nor on the order of the samples.
// May be called again with more samples. progress(done, total) after each sample, one call at a time, on any of the threads.
// Errors name the sample; nothing counts as observed then.
Status calibrate(Prepared& prepared, const std::vector<std::map<std::string, Tensor>>& samples, int threads = 1,
                 const std::function<void(size_t, size_t)>& progress = {});

// A standard ONNX QDQ model: s8 weights and s32 biases as initializers behind DequantizeLinear, QuantizeLinear-
// DequantizeLinear pairs around the activations; graph inputs and outputs stay float. A value `v` becomes `v_quantized` with
// `v_scale` and `v_zero_point`. The scale of a bias is that of the input times that of the weights; where a bias would not fit
// int32 so, its channel's weight scale is enlarged. Errors name a value that calibration never saw.
Expected<Graph> convert(const Prepared& prepared);

}  // namespace octavo
