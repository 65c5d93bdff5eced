// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <set>
#include <string>
#include <vector>

#include "segue/ops/cpu/elementwise.hpp"
#include "segue/ops/cpu/pixels.hpp"
#include "segue/train/clip_spec.hpp"
#include "segue/train/codec.hpp"
#include "segue/train/jsonl_log.hpp"
#include "segue/train/latent_folder.hpp"
#include "segue/train/progress.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/paths.hpp"

namespace {

using namespace segue;
using P = Policy<Fp32, Cpu>;
using support::contains;
using support::message_of;

template <int Rank>
Tensor<float, Rank, HostSpace> filled(Exec<Cpu>& exec, const Shape<Rank>& shape, double value) {
  auto x = exec.empty<float, Rank>(shape);
  ops::fill(exec, value, x.view());
  return x;
}

train::InMemoryDataset<P> numbers(Exec<Cpu>& exec, std::int64_t n, std::int64_t batch, std::uint64_t seed = 3) {
  train::InMemoryDataset<P> data(batch, seed, filled<2>(exec, {1, 2}, -1));
  for (std::int64_t i = 0; i < n; ++i)
    data.add(filled<4>(exec, {1, 2, 1, 2}, static_cast<double>(i)),
             filled<4>(exec, {2, 2, 1, 2}, static_cast<double>(100 + i)));
  return data;
}

static_assert(train::BatchSource<train::InMemoryDataset<P>, P>);
static_assert(!train::BatchSource<int, P>);
static_assert(train::Codec<train::IdentityCodec, P>);

std::string read(std::FILE* file) {
  std::string text;
  std::rewind(file);
  for (int c = std::fgetc(file); c != EOF; c = std::fgetc(file)) text.push_back(static_cast<char>(c));
  return text;
}

}  // namespace

TEST_CASE("every epoch shows every clip once, with its condition, in an order of its own") {
  Exec<Cpu> exec;
  auto data = numbers(exec, 5, 2);
  train::Batch<P> batch;
  std::vector<std::vector<int>> epochs(4);
  for (std::uint64_t i = 0; i < 10; ++i) {
    data.fill(exec, i, batch);
    REQUIRE(batch.clips.shape() == Shape<5>{2, 1, 2, 1, 2});
    REQUIRE(batch.condition.shape() == Shape<5>{2, 2, 2, 1, 2});
    REQUIRE(batch.text.shape() == Shape<3>{2, 1, 2});
    for (std::int64_t b = 0; b < 2; ++b) {
      const float value = batch.clips(b, 0, 1, 0, 1);
      CHECK(batch.condition(b, 1, 1, 0, 0) == value + 100);
      CHECK(batch.text(b, 0, 1) == -1);
      epochs[static_cast<std::size_t>((2 * i + static_cast<std::uint64_t>(b)) / 5)].push_back(static_cast<int>(value));
    }
  }
  std::set<std::vector<int>> orders(epochs.begin(), epochs.end());
  CHECK(orders.size() > 1);
  for (auto epoch : epochs) {
    std::sort(epoch.begin(), epoch.end());
    CHECK(epoch == std::vector<int>{0, 1, 2, 3, 4});
  }
  // A batch depends on its number alone.
  auto again = numbers(exec, 5, 2);
  train::Batch<P> other;
  again.fill(exec, 7, other);
  data.fill(exec, 7, batch);
  CHECK(other.clips(0, 0, 0, 0, 0) == batch.clips(0, 0, 0, 0, 0));
  CHECK(other.clips(1, 0, 0, 0, 0) == batch.clips(1, 0, 0, 0, 0));
}

TEST_CASE("a data set refuses what does not fit, and describes its contents") {
  Exec<Cpu> exec;
  auto data = numbers(exec, 2, 1);
  CHECK(message_of<InputError>([&] {
          data.add(filled<4>(exec, {1, 3, 1, 2}, 0), {}, {}, "x.png");
        }) == "x.png: shape of the clip is (1, 3, 1, 2), expected (1, 2, 1, 2)");
  CHECK(contains(message_of<InputError>([&] {
                   data.add(filled<4>(exec, {1, 2, 1, 2}, 0));
                 }),
                 "shape of the condition"));
  train::InMemoryDataset<P> wordless(1, 0);
  CHECK(contains(message_of<InputError>([&] { wordless.add(filled<4>(exec, {1, 2, 1, 2}, 0)); }), "text is absent"));
  train::Batch<P> batch;
  CHECK_THROWS_AS(wordless.fill(exec, 0, batch), InputError);
  CHECK_THROWS_AS(train::InMemoryDataset<P>(0, 0), InputError);

  CHECK(numbers(exec, 2, 1).describe(exec) == numbers(exec, 2, 1).describe(exec));
  CHECK(numbers(exec, 2, 1).describe(exec) != numbers(exec, 3, 1).describe(exec));
  auto changed = numbers(exec, 1, 1);
  changed.add(filled<4>(exec, {1, 2, 1, 2}, 1.5), filled<4>(exec, {2, 2, 1, 2}, 101));
  CHECK(changed.describe(exec) != numbers(exec, 2, 1).describe(exec));
  CHECK(numbers(exec, 3, 1).all(exec).clips(2, 0, 0, 0, 0) == 2);
}

TEST_CASE("a folder of latents is read back as it was written") {
  Exec<Cpu> exec;
  support::TempDir dir;
  for (int i = 0; i < 3; ++i)
    train::write_latent_item(exec, (dir / ("clip" + std::to_string(i) + ".safetensors")).string(),
                             filled<4>(exec, {4, 2, 3, 3}, i), filled<4>(exec, {5, 2, 3, 3}, 10 + i),
                             filled<2>(exec, {2, 6}, 20 + i));
  write_file_atomically((dir / "notes.txt").string(), "no clip");
  const auto data = train::read_latent_folder<P>(exec, dir.path().string(), 2, 0);
  REQUIRE(data.size() == 3);
  const auto all = data.all(exec);
  CHECK(all.clips.shape() == Shape<5>{3, 4, 2, 3, 3});
  CHECK(all.clips(2, 3, 1, 2, 2) == 2);
  CHECK(all.condition(1, 4, 1, 2, 2) == 11);
  CHECK(all.text(0, 1, 5) == 20);

  train::write_latent_item(exec, (dir / "odd.safetensors").string(), filled<4>(exec, {4, 2, 3, 2}, 0),
                           filled<4>(exec, {5, 2, 3, 2}, 0), filled<2>(exec, {2, 6}, 0));
  const std::string message =
      message_of<InputError>([&] { train::read_latent_folder<P>(exec, dir.path().string(), 2, 0); });
  CHECK(contains(message, "odd.safetensors: shape of the clip is (4, 2, 3, 2)"));
  support::TempDir empty;
  CHECK(contains(message_of<InputError>([&] { train::read_latent_folder<P>(exec, empty.path().string(), 2, 0); }),
                 "holds no .safetensors file"));
  train::write_latent_item(exec, (empty / "a.safetensors").string(), filled<4>(exec, {4, 2, 3, 2}, 0), {},
                           Tensor<float, 2, HostSpace>{});
  CHECK(contains(message_of<InputError>([&] { train::read_latent_folder<P>(exec, empty.path().string(), 2, 0); }),
                 "tensor 'text' is missing"));
}

TEST_CASE("the identity codec goes to model space and back") {
  Exec<Cpu> exec;
  tasks::Clip clip = tasks::make_blank_clip({2, 3, 4, 3});
  for (std::size_t i = 0; i < clip.pixels.size(); ++i) clip.pixels[i] = static_cast<std::uint8_t>(i * 37);
  const train::IdentityCodec codec;
  const auto latents = codec.encode<P>(exec, clip);
  CHECK(latents.shape() == Shape<4>{3, 2, 3, 4});
  CHECK(latents(1, 1, 2, 3) == clip.pixels[((1 * 3 + 2) * 4 + 3) * 3 + 1] / 127.5f - 1);
  CHECK(codec.decode<P>(exec, latents).pixels == clip.pixels);
  using P16 = Policy<Bf16, Cpu>;
  CHECK(codec.encode<P16>(exec, clip).shape() == latents.shape());
}

TEST_CASE("the condition holds a mask and the first frame, and nothing of later frames") {
  Exec<Cpu> exec;
  auto clip = exec.empty<float, 4>({3, 4, 2, 2});
  for (std::int64_t i = 0; i < clip.size(); ++i) clip.data_handle()[i] = static_cast<float>(i + 1);
  const auto condition = train::first_frame_condition(exec, clip);
  REQUIRE(condition.shape() == Shape<4>{4, 4, 2, 2});
  for (std::int64_t c = 0; c < 4; ++c)
    for (std::int64_t f = 0; f < 4; ++f)
      for (std::int64_t y = 0; y < 2; ++y)
        for (std::int64_t x = 0; x < 2; ++x) {
          const float expected = f > 0 ? 0.0f : c == 0 ? 1.0f : clip(c - 1, 0, y, x);
          REQUIRE(condition(c, f, y, x) == expected);
        }
  CHECK(train::first_frame_condition(exec, clip.slice(1, 0, 1), 5).shape() == Shape<4>{4, 5, 2, 2});
}

TEST_CASE("segue.json") {
  const train::ClipSpec spec{.frames = 9, .height = 32, .width = 48, .channels = {"noisy"}, .codec = "identity"};
  CHECK(train::read_clip_spec(train::write_clip_spec(spec), "segue.json") == spec);
  CHECK(!spec.is_conditioned());
  CHECK(train::ClipSpec{}.is_conditioned());
  const auto read_text = [](const char* text) {
    return train::read_clip_spec(io::parse_json(text, "s"), "segue.json");
  };
  CHECK(contains(message_of<InputError>([&] { read_text(R"({"frames": 0})"); }), "key 'frames' is 0"));
  CHECK(contains(message_of<InputError>([&] { read_text(R"({"frame": 1})"); }), "key 'frame' is not known"));
  CHECK(contains(message_of<InputError>([&] {
                   read_text(
                       R"({"frames": 1, "height": 1, "width": 1, "channels": ["mask", "noisy"], "codec": "identity"})");
                 }),
                 "key 'channels'"));
}

TEST_CASE("a resumed log takes back what it must, torn lines included") {
  support::TempDir dir;
  const std::string path = (dir / "log.jsonl").string();
  const auto line = [](int step) {
    io::Json json = io::Json::object();
    json["step"] = step;
    return json;
  };
  {
    train::JsonlLog log(path, 0);
    for (int step = 1; step <= 5; ++step) log.write(line(step));
  }
  write_file_atomically(path, read_text_file(path) + "{\"step\": 6, \"lo");
  {
    train::JsonlLog log(path, 3);
    log.write(line(4));
  }
  CHECK(read_text_file(path) == "{\"step\":1}\n{\"step\":2}\n{\"step\":3}\n{\"step\":4}\n");
  { train::JsonlLog log(path, 0); }
  CHECK(read_text_file(path).empty());
}

TEST_CASE("progress goes to the stream that it is given: a bar, or few lines") {
  CHECK(train::duration_text(65) == "1:05");
  CHECK(train::duration_text(7389) == "2:03:09");
  CHECK(train::duration_text(NAN) == "-");
  const auto report = [](train::TextProgress::Style style) {
    std::FILE* file = std::tmpfile();
    REQUIRE(file != nullptr);
    {
      train::TextProgress progress(file, style);
      progress.on_start(0, 200);
      for (std::int64_t step = 1; step <= 200; ++step)
        progress.on_step({.step = step,
                          .steps = 200,
                          .loss = 0.5,
                          .steps_per_second = 4,
                          .eta_seconds = static_cast<double>(200 - step) / 4,
                          .skipped = step == 50});
      progress.on_end();
    }
    std::string text = read(file);
    std::fclose(file);
    return text;
  };
  const std::string lines = report(train::TextProgress::Style::lines);
  CHECK(std::count(lines.begin(), lines.end(), '\n') == 22);
  CHECK(!contains(lines, "\r"));
  CHECK(contains(lines, "step 100/200  loss 0.5000  4.00 steps/s  0:25 left\n"));
  CHECK(contains(lines, "step 50 is skipped"));
  const std::string bar = report(train::TextProgress::Style::bar);
  CHECK(std::count(bar.begin(), bar.end(), '\r') == 200);
  CHECK(contains(bar, "[############............] step 100/200"));
  CHECK(bar.back() == '\n');
}
