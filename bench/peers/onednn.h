// One shape on oneDNN: the problem that case.h solves, as a primitive with prepacked weights.
#pragma once

#include <memory>
#include <string>

#include "shapes.h"

namespace octavo::bench {

class OneDnnCase {
 public:
  // Packs the weights. `operands.a` is read by each run.
  OneDnnCase(const Shape&, const Operands& operands);
  ~OneDnnCase();
  const std::string& error() const { return error_; }  // empty: all is well
  void run();
  std::string describe() const;  // what the library calls the implementation
  Bytes c;                       // the result; holds the residual, if there is one, before the first run

 private:
  struct Primitive;
  std::unique_ptr<Primitive> primitive_;
  std::string error_;
};

std::string onednn_version();

}  // namespace octavo::bench
