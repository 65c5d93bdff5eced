// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// PNG, JPEG and BMP files. The first byte chooses the channels.
#include <algorithm>
#include <array>
#include <vector>

#include "fuzz.hpp"
#include "segue/io/image.hpp"

using namespace segue;

namespace {

std::uint32_t crc(const std::uint8_t* data, std::size_t size) {
  std::uint32_t sum = 0xFFFFFFFFu;
  for (std::size_t i = 0; i < size; ++i) {
    sum ^= data[i];
    for (int bit = 0; bit < 8; ++bit) sum = sum >> 1 ^ (sum & 1 ? 0xEDB88320u : 0);
  }
  return ~sum;
}

std::uint32_t word(const std::uint8_t* p) {
  return std::uint32_t{p[0]} << 24 | std::uint32_t{p[1]} << 16 | std::uint32_t{p[2]} << 8 | p[3];
}

/// Makes the checksums of PNG chunks right: otherwise nothing behind them would ever be reached.
void mend(std::vector<std::uint8_t>& file) {
  constexpr std::array<std::uint8_t, 8> signature{0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'};
  if (file.size() < 8 || !std::equal(signature.begin(), signature.end(), file.begin())) return;
  for (std::size_t at = 8; file.size() - at >= 12;) {
    const std::size_t length = word(&file[at]);
    if (length > file.size() - at - 12) return;
    const std::uint32_t sum = crc(&file[at + 4], length + 4);
    for (std::size_t i = 0; i < 4; ++i) file[at + 8 + length + i] = static_cast<std::uint8_t>(sum >> (24 - 8 * i));
    at += 12 + length;
  }
}

/// Whether a header asks for more pixels than a fuzzer has time for.
bool large(const std::vector<std::uint8_t>& file) {
  constexpr std::uint64_t most = 1 << 18;
  if (file.size() >= 24 && file[0] == 0x89) return std::uint64_t{word(&file[16])} * word(&file[20]) > most;
  if (file.size() >= 26 && file[0] == 'B') return file[20] | file[21] | file[24] | file[25];
  for (std::size_t i = 2; i + 8 < file.size(); ++i) {
    const auto pair = [&](std::size_t at) { return std::uint64_t{file[at]} << 8 | file[at + 1]; };
    if (file[i] == 0xFF && file[i + 1] >= 0xC0 && file[i + 1] <= 0xC2 && pair(i + 5) * pair(i + 7) > most) return true;
  }
  return false;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1) return 0;
  constexpr int choices[] = {0, 1, 3, 4};
  const int channels = choices[data[0] % 4];
  std::vector<std::uint8_t> file(data + 1, data + size);
  mend(file);
  if (large(file)) return 0;
  fuzz::read("fuzz", [&] {
    const io::Image image = io::decode_image(fuzz::bytes(file.data(), file.size()), "fuzz", channels);
    fuzz::require(image.width > 0 && image.height > 0, "a picture without pixels");
    fuzz::require(channels == 0 || image.channels == channels, "a picture of other channels");
    fuzz::require(image.pixels.size() == static_cast<std::size_t>(image.width) *
                                             static_cast<std::size_t>(image.height) *
                                             static_cast<std::size_t>(image.channels),
                  "a picture of another size");
  });
  return 0;
}
