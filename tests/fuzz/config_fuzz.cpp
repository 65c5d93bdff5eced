// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// JSON, and the config.json of a Wan model.
#include <string>

#include "fuzz.hpp"
#include "segue/io/json.hpp"
#include "segue/models/wan_config.hpp"

using namespace segue;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::read("fuzz", [&] {
    const io::Json json = io::parse_json(fuzz::text(data, size), "fuzz");
    const std::string once = io::dump_json(json, -1);
    fuzz::require(io::dump_json(io::parse_json(once, "fuzz"), -1) == once, "JSON that changes when it is written");
    const models::WanConfig config = models::read_wan_config(json, "fuzz");
    fuzz::require(config.num_layers > 0 && config.num_attention_heads > 0 && config.patch_volume() > 0,
                  "a model without size");
    fuzz::require(models::read_wan_config(models::write_wan_config(config), "fuzz") == config,
                  "a config that changes when it is written");
  });
  return 0;
}
