// What main.cpp puts together.
#pragma once

namespace octavo::bench {

void register_peak_benches();      // peak/...: the denominators themselves
void register_ukernel_benches();   // ukernel/NAME/...: every brgemm row that this machine can run
void register_dwconv_benches();    // ukernel/NAME/...: every dwconv row
void register_winograd_benches();  // ukernel/NAME/...: every winograd row
void register_eltwise_benches();   // eltwise/TABLE/...: bytes per second
// gemm/NAME:DST and conv/NAME:DST for each line of the file. False, after one line on stderr, if a line is wrong.
bool register_shape_benches(const char* file);

}  // namespace octavo::bench
