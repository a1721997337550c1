// What main.cpp puts together.
#pragma once

namespace octavo::bench {

void register_peak_benches();     // peak/...: the denominators themselves
void register_ukernel_benches();  // ukernel/NAME/...: every registry row that this machine can run
// gemm/NAME:DST and conv/NAME:DST for each line of the file. False, after one line on stderr, if a line is wrong.
bool register_shape_benches(const char* file);

}  // namespace octavo::bench
