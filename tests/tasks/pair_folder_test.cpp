// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "segue/tasks/pair_folder.hpp"

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/paths.hpp"

using namespace segue;
namespace fs = std::filesystem;

namespace {

io::Image plain(int width, int height, std::uint8_t value) {
  return {width, height, 3, std::vector<std::uint8_t>(static_cast<std::size_t>(width * height) * 3, value)};
}

/// A picture whose left half has one value and whose right half another.
io::Image halves(int width, int height, std::uint8_t left, std::uint8_t right) {
  io::Image image = plain(width, height, left);
  for (int y = 0; y < height; ++y) {
    for (int x = width / 2; x < width; ++x) {
      for (int c = 0; c < 3; ++c) image.pixels[static_cast<std::size_t>((y * width + x) * 3 + c)] = right;
    }
  }
  return image;
}

/// Folders of pairs named "10", "9", "b" (train) and "z" (test).
class Folder {
 public:
  Folder() {
    for (const std::string split : {"train", "test"}) {
      fs::create_directories(dir_ / split / "input");
      fs::create_directories(dir_ / split / "target");
    }
    for (const std::string name : {"9", "b", "10"}) add("train", name, plain(12, 10, 90), halves(12, 10, 0, 255));
    add("test", "z", plain(6, 6, 30), halves(6, 6, 255, 0));
  }
  void add(const std::string& split, const std::string& name, const io::Image& input, const io::Image& target) {
    io::save_png(file(split, "input", name), input);
    io::save_png(file(split, "target", name), target);
  }
  std::string file(const std::string& split, const std::string& side, const std::string& name) const {
    return (dir_.path() / split / side / (name + ".png")).string();
  }
  std::string path() const { return dir_.path().string(); }
  tasks::PairFolder read() const { return {path(), 8, 8}; }
  std::string error() const {
    return support::message_of<InputError>([this] { read(); });
  }

 private:
  support::TempDir dir_;
};

}  // namespace

TEST_CASE("a folder of pairs is read in byte order at the model's size", "[tasks]") {
  const Folder folder;
  std::ofstream(folder.path() + "/train/input/notes.txt") << "not a picture";
  const tasks::PairFolder pairs = folder.read();
  REQUIRE(pairs.train().size() == 3);
  CHECK(pairs.train()[0].name == "10");
  CHECK(pairs.train()[1].name == "9");
  CHECK(pairs.train()[2].name == "b");
  REQUIRE(pairs.test().size() == 1);
  CHECK(pairs.test()[0].name == "z");
  CHECK(pairs.train(2).size() == 2);
  CHECK(pairs.train()[0].input.width == 8);
  CHECK(pairs.train()[0].target.height == 8);
  CHECK(support::message_of<InputError>([&] { pairs.train(4); }) ==
        folder.path() + ": number of training pairs is 4, expected 1 to 3");
  CHECK_THROWS_AS(pairs.train(0), InputError);
}

TEST_CASE("masks stay masks when they are stretched, other targets do not", "[tasks]") {
  Folder folder;
  const tasks::PairFolder masks = folder.read();
  CHECK(masks.two_valued());
  CHECK(masks.score() == tasks::Score::Iou);
  for (const tasks::Pair& pair : masks.train()) {
    for (const std::uint8_t v : pair.target.pixels) CHECK((v == 0 || v == 255));
  }
  // 20 and 230 are two values, but with 0 and 255 of the other pictures they are four.
  folder.add("test", "y", plain(6, 6, 1), halves(7, 6, 20, 230));
  folder.add("test", "y", plain(7, 6, 1), halves(7, 6, 20, 230));
  const tasks::PairFolder pictures = folder.read();
  CHECK(!pictures.two_valued());
  CHECK(pictures.score() == tasks::Score::Mae);
}

TEST_CASE("two values on one side of the threshold are no mask", "[tasks]") {
  tasks::detail::ValuesSeen seen;
  seen.add(halves(4, 4, 10, 90));
  CHECK(!seen.two_valued());
  tasks::detail::ValuesSeen apart;
  apart.add(halves(4, 4, 100, 140));
  CHECK(apart.two_valued());
}

TEST_CASE("faults of a folder are one sentence that names the file", "[tasks]") {
  Folder folder;
  SECTION("no such folder") {
    CHECK(support::message_of<InputError>([] { tasks::PairFolder("/nowhere/at/all", 8, 8); }) ==
          "/nowhere/at/all: the folder of pairs is missing");
  }
  SECTION("an input without target") {
    fs::remove(folder.file("train", "target", "9"));
    CHECK(folder.error() == folder.file("train", "input", "9") + ": there is no target picture of this name");
  }
  SECTION("a target without input") {
    fs::remove(folder.file("train", "input", "b"));
    CHECK(folder.error() == folder.file("train", "target", "b") + ": there is no input picture of this name");
  }
  SECTION("sizes that differ") {
    io::save_png(folder.file("test", "target", "z"), plain(6, 7, 0));
    CHECK(folder.error() == folder.file("test", "target", "z") + ": size is 6x7, expected 6x6 like its input");
  }
  SECTION("an empty folder") {
    fs::remove(folder.file("test", "input", "z"));
    CHECK(folder.error() == folder.path() + "/test/input: the folder holds no .png file");
  }
  SECTION("a missing folder") {
    fs::remove_all(folder.path() + "/test");
    CHECK(support::contains(folder.error(), folder.path() + "/test/input"));
  }
  SECTION("a corrupt picture") {
    std::ofstream(folder.file("train", "input", "9"), std::ios::binary) << "\x89PNG\r\n\x1a\nrubbish";
    CHECK(support::contains(folder.error(), folder.file("train", "input", "9")));
  }
  SECTION("a picture that is cut off") {
    const std::string path = folder.file("train", "target", "b");
    fs::resize_file(path, fs::file_size(path) / 2);
    CHECK(support::contains(folder.error(), path));
  }
}

TEST_CASE("with keypoints.json the targets are drawn at the model's size", "[tasks]") {
  Folder folder;
  const std::string json = folder.path() + "/keypoints.json";
  const auto write = [&](const std::string& train) {
    write_file_atomically(json, R"({"parts": ["nose"], "colours": [[255, 0, 0]], "size": 16,
      "points": {"train": {)" + train +
                                    R"("10": [[8, 4]], "9": [null]}, "test": {"z": [[1, 15]]}}})");
  };
  write(R"("b": [[2, 2]], )");
  const tasks::PairFolder pairs = folder.read();
  CHECK(pairs.score() == tasks::Score::Pck);
  CHECK(!pairs.two_valued());
  REQUIRE(pairs.train_poses(3).size() == 3);
  CHECK(pairs.train_poses(3)[0][0]->x == 4.0);
  CHECK(pairs.train_poses(3)[0][0]->y == 2.0);
  CHECK(!pairs.train_poses(3)[1][0].has_value());
  REQUIRE(pairs.test_poses().size() == 1);
  const io::Image& drawn = pairs.train()[0].target;
  CHECK(drawn.width == 8);
  CHECK(drawn.pixels[(2 * 8 + 4) * 3] == 255);
  const tasks::Pose read = tasks::decode_pose(drawn, pairs.keypoints()->colours);
  REQUIRE(read[0].has_value());
  CHECK(tasks::count_pck(read, pairs.train_poses(3)[0], 8, 8, 0.1).hits == 1);

  write("");
  CHECK(folder.error() == json + ": there are no points for train/b");
}

TEST_CASE("pictures without answers are read for a trained adapter", "[tasks]") {
  const Folder folder;
  const auto pictures = tasks::read_pictures(folder.path() + "/train/input", 4, 6);
  REQUIRE(pictures.size() == 3);
  CHECK(pictures[0].name == "10");
  CHECK(pictures[0].image.width == 4);
  CHECK(pictures[0].image.height == 6);
  CHECK_THROWS_AS(tasks::read_pictures(folder.path() + "/train", 4, 6), InputError);
  std::filesystem::copy_file(folder.path() + "/train/input/10.png", folder.path() + "/train/input/10.jpg");
  CHECK(tasks::read_pictures(folder.path() + "/train/input", 4, 6).size() == 4);
}
