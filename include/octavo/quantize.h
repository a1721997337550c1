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

// Sees the values of one tensor and proposes QParams. Mergeable: observing two parts and merging equals observing both
// (min-max exactly; histogram up to re-binning).
class Observer {
 public:
  virtual ~Observer() = default;
  virtual void observe(const float* data, size_t count) = 0;
  virtual Status merge(const Observer& other) = 0;
  virtual Expected<QParams> qparams(const TensorConfig& config) const = 0;  // error if nothing was observed
  static std::unique_ptr<Observer> create(ObserverKind kind);
};

// Why a node was or was not annotated.
struct Annotation {
  std::string node, op_type;
  bool quantized = false;
  std::string reason;   // where not quantized
};

// A float graph, normalized (constants and batch norm folded) and annotated: which values get observers.
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

Expected<Prepared> prepare(const Graph& graph, const Recipe& recipe);

// Runs the samples (each: one tensor per graph input) through the float graph on `threads` threads and shows every
// observed value to its observer. May be called again with more samples. progress(done, total) after each sample.
Status calibrate(Prepared& prepared, const std::vector<std::map<std::string, Tensor>>& samples, int threads = 1,
                 const std::function<void(size_t, size_t)>& progress = {});

// A standard ONNX QDQ model: s8 weights and s32 biases as initializers behind DequantizeLinear, QuantizeLinear-
// DequantizeLinear pairs around the activations. Errors name a value that calibration never saw.
Expected<Graph> convert(const Prepared& prepared);

}  // namespace octavo
