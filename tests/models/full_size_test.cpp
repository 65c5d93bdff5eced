// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// One block of a big model is loaded and run on a small machine. $SEGUE_FULL_SIZE_DIR names what
// tests/golden/make_full_size.py wrote; it is too large for a repository.

#include <fcntl.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <optional>

#include "models/wan_support.hpp"

using namespace segue;

namespace {

using P = Policy<Fp32, Cpu>;
using Block = models::WanBlock<P, adapters::Frozen>;

constexpr double most_seconds = 3.0;
/// Peak of resident memory over the block's own bytes.
constexpr double most_memory = 1.2;

std::optional<std::string> full_size_dir() {
  const char* path = std::getenv("SEGUE_FULL_SIZE_DIR");
  if (path != nullptr && *path != '\0') return path;
  std::printf("skipped: SEGUE_FULL_SIZE_DIR is not set, so there is no Wan of the 1.3B shape\n");
  return std::nullopt;
}

/// So that the files come from the disk and not from the system's cache.
void forget_cached_pages(const std::string& folder) {
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const detail::FileDescriptor file(::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC));
    REQUIRE(file.valid());
    REQUIRE(::fdatasync(file.get()) == 0);  // pages that were not written yet stay otherwise
    REQUIRE(::posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED) == 0);
  }
}

/// The process's peak begins anew at what is resident, so that what other tests held does not hide it.
bool reset_peak() {
  std::ofstream file("/proc/self/clear_refs");
  file << '5';
  file.close();
  return !file.fail();
}

}  // namespace

TEST_CASE("a block of a full-size Wan is opened, checked and run within 3 s and 1.2 times its bytes", "[full_size]") {
  const auto path = full_size_dir();
  if (!path) return;
  Exec<Cpu> exec;
  exec.pool().set_cache_limit(0);
  const testing::Golden recorded((support::golden_dir() / "wan_full_block0.safetensors").string());
  const io::Json parameters = recorded.parameters("block0");
  const auto unit = parameters.get<double>("unit", recorded.path());
  const auto every = parameters.get<std::int64_t>("y_every", recorded.path());
  const auto grid = parameters.get<std::vector<std::int64_t>>("grid", recorded.path());
  const auto input = [&](const char* name) {
    auto x = recorded.tensor<float, 3>(exec, name);
    for (std::int64_t i = 0; i < x.size(); ++i) x.data_handle()[i] *= static_cast<float>(unit);
    return x;
  };
  const auto x = input("block0.x"), text = input("block0.text"), time = input("block0.time");

  forget_cached_pages(*path);
  REQUIRE(reset_peak());
  const std::int64_t resident = peak_resident_bytes();
  const double start = monotonic_seconds();
  const models::WanFolder folder = models::open_wan_folder(*path);
  models::check_wan_folder<models::Wan<P, adapters::Frozen>>(folder);
  const double checked = monotonic_seconds();
  Block block(exec, folder.config);
  models::load_weights(block, exec, folder.weights, "blocks.0");
  const double loaded = monotonic_seconds();
  Context<P> ctx(exec);
  const auto rope = make_rotary_table(exec, {grid.at(0), grid.at(1), grid.at(2)}, folder.config.attention_head_dim);
  const auto y = block(ctx, x, text, time, {{}, x.extent(1)}, rope);
  const double end = monotonic_seconds();
  const std::int64_t peak = peak_resident_bytes() - resident;

  std::int64_t bytes = 0, weights = 0;
  nn::for_each_leaf(block, [&](const auto& leaf) {
    weights += leaf.tensor.size();
    bytes += leaf.tensor.size() * static_cast<std::int64_t>(sizeof(*leaf.tensor.data_handle()));
  });
  std::printf(
      "full size: %.2f s (opened and checked %zu tensors %.3f, loaded %lld weights %.2f, ran %lld tokens %.2f), peak "
      "%lld bytes, %.3f of the block's %lld\n",
      end - start, folder.weights.names().size(), checked - start, static_cast<long long>(weights), loaded - checked,
      static_cast<long long>(x.extent(1)), end - loaded, static_cast<long long>(peak),
      static_cast<double>(peak) / static_cast<double>(bytes), static_cast<long long>(bytes));

  CHECK(folder.config.num_layers == 30);
  const auto expected = recorded.tensor<float, 3>(exec, "block0.y");
  REQUIRE(expected.extent(1) == (y.extent(1) + every - 1) / every);
  auto some = exec.empty<float, 3>(expected.shape());
  for (std::int64_t i = 0; i < some.extent(1); ++i)
    ops::copy(exec, y.cview().slice(1, i * every, i * every + 1), some.view().slice(1, i, i + 1));
  CHECK(testing::relative_error(some, expected) < 1e-5);
  CHECK(end - start < most_seconds);
  CHECK(static_cast<double>(peak) < most_memory * static_cast<double>(bytes));
}
