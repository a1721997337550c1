// octavo kernels, and what all commands have in common: help, version, exit codes, OCTAVO_ISA.
#include "cli_util.h"
#include "octavo/eltwise.h"
#include "octavo/isa.h"
#include "octavo/registry.h"

namespace octavo::test {
namespace {

const char* const kCommands[] = {"quantize", "run", "eval", "bench", "inspect", "conform", "kernels"};

TEST(Kernels, ListsTheRegistryInItsOrder) {
  const Json json = octavo({"kernels", "--json"}).json();
  ASSERT_EQ(json["kernels"].size(), kernels().size());
  for (size_t i = 0; i < kernels().size(); ++i) {
    const KernelInfo& k = kernels()[i];
    const Json& row = json["kernels"][i];
    EXPECT_EQ(row["name"], k.name);
    EXPECT_NE(std::string(k.name).find(std::string("_").append(row["isa"]) + "_"), std::string::npos) << row;
    EXPECT_EQ(row["eligible"], covers(*active_isa(), k.needs) && !k.test_only) << row;
    EXPECT_EQ(row["why_not"] == "", row["eligible"] == true) << row;
    EXPECT_EQ(row["chosen"], best_kernel(k.op, k.a, k.b, *active_isa()) == &k) << row;
  }
  ASSERT_EQ(json["eltwise"].size(), eltwise_tables().size());
  for (size_t i = 0; i < eltwise_tables().size(); ++i) EXPECT_EQ(json["eltwise"][i]["name"], eltwise_tables()[i].name);
}

TEST(Kernels, ForcedScalarExcludesTheRest) {
  const Json json = octavo({"kernels", "--json"}, "scalar").json();
  EXPECT_EQ(json["active"], Json{"scalar"});
  for (const Json& row : json["kernels"]) {
    if (row["isa"] == "scalar") continue;
    EXPECT_EQ(row["eligible"], false) << row;
    const std::string why = row["why_not"];
    EXPECT_TRUE(why == "excluded by OCTAVO_ISA=scalar" || why.starts_with("this machine lacks ")) << row;
  }
}

TEST(Kernels, TextNamesEveryKernel) {
  const Result result = octavo({"kernels"});
  EXPECT_EQ(result.code, 0);
  for (const KernelInfo& k : kernels()) EXPECT_NE(result.out.find(k.name), std::string::npos) << k.name;
}

TEST(Command, HelpAndVersion) {
  EXPECT_EQ(octavo({"--help"}).code, 0);
  EXPECT_TRUE(octavo({"--version"}).out.starts_with("octavo "));
  for (const char* command : kCommands) {
    const Result help = octavo({command, "--help"});
    EXPECT_EQ(help.code, 0);
    EXPECT_NE(help.out.find("--json"), std::string::npos) << command;
  }
}

TEST(Command, UnknownThings) {
  expect_bad_input(octavo({}), "A subcommand is required");
  expect_bad_input(octavo({"fold"}), "no command 'fold' (there are quantize, calibrate, tune, analyze, run,");
  for (const char* command : kCommands) expect_bad_input(octavo({command, "--no-such-option"}), "");
  expect_bad_input(octavo({"kernels", "surplus"}), "surplus");
  expect_bad_input(octavo({"inspect", "m.onnx", "--threads", "1"}), "--threads");
  expect_bad_input(octavo({"bench", "m.onnx", "--threads", "0"}), "--threads");
  expect_bad_input(octavo({"bench", "m.onnx", "--threads", "two"}), "--threads");
}

TEST(Command, IsaThatCannotBe) {
  const TempDir dir;
  const std::vector<std::vector<std::string>> commands = {
      {"kernels"},
      {"inspect", "m.onnx"},
      {"bench", "m.onnx"},
      {"conform", dir.path()},
      {"eval", "m.onnx", "--data", "d.npz"},
      {"run", "m.onnx", "--input", "x=x.npy", "--output-dir", dir / "out"},
      {"quantize", "m.onnx", "-o", dir / "q.onnx", "--calib", "d.npz"},
  };
  for (const auto& command : commands) {
    expect_bad_input(octavo(command, "avx1024"), "unknown instruction set 'avx1024'");
    for (const IsaName& n : isa_names())
      if (!covers(detected_isa(), n.implies)) expect_bad_input(octavo(command, n.name), "this machine does not support");
  }
  EXPECT_TRUE(dir.files().empty());
}

TEST(Command, OutputThatCannotBeWritten) {
  if (access("/dev/full", W_OK) != 0) GTEST_SKIP() << "no /dev/full here";
  const std::string command = std::string(kEmulator) + " \"" + kCli + "\" kernels > /dev/full 2> /dev/null";
  EXPECT_EQ(std::system(command.c_str()) >> 8, 2);
}

}  // namespace
}  // namespace octavo::test
