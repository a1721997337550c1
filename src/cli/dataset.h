// DATA: an .npz whose arrays are named after a model's inputs (first axis = samples), with an optional 'labels'. Where an array has
// one axis more than its input, each sample is a whole input: for scalars, and for what has its batch not in front (the state of an
// LSTM).
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "octavo/graph.h"

namespace octavo::cli {

using Inputs = std::map<std::string, Tensor>;

// Numeric conversion to the type that a model's input wants. To f32 and f64 every number converts (f64 and large integers
// round to nearest); to integers only integers whose values all fit. Throws Failure naming `what` otherwise.
Tensor convert_to(const Tensor& tensor, DType dtype, const std::string& what);

// Throws Failure naming both shapes unless `shape` fits what the input declares (dynamic dimensions fit any size).
void check_shape(const ValueInfo& input, const Shape& shape, const std::string& what);

// The samples as a model takes them: one at a time where its batch is dynamic or 1 or samples are whole inputs, in groups of B where
// it is B.
class Dataset {
 public:
  // Arrays for the inputs of all `models` are read once. Throws Failure: a missing array, differing sample counts, a sample
  // of the wrong shape, a number of samples that a static batch does not divide.
  static std::map<std::string, Tensor> load(const std::string& path, const std::vector<const Graph*>& models);
  // Uses the first `max_samples` of them.
  Dataset(const std::string& path, const Graph& model, const std::map<std::string, Tensor>& arrays,
          int64_t max_samples = std::numeric_limits<int64_t>::max());

  int64_t samples() const { return samples_; }
  int64_t batch() const { return batch_; }
  int64_t groups() const { return samples_ / batch_; }
  Inputs group(int64_t index) const;
  const std::optional<std::vector<int64_t>>& labels() const { return labels_; }

 private:
  struct Column {
    ValueInfo input;
    Tensor array;
  };

  std::string path_;
  std::vector<Column> columns_;
  std::optional<std::vector<int64_t>> labels_;
  int64_t samples_ = 0, batch_ = 1;
};

}  // namespace octavo::cli
