// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "segue/nn/leaf_io.hpp"
#include "segue/ops/gemm.hpp"
#include "segue/train/ema.hpp"
#include "segue/train/optimizer.hpp"

SEGUE_NAMESPACE_BEGIN
namespace train {

/// How far a run is.
struct RunState {
  std::int64_t step = 0;                 ///< steps done, skipped ones included
  std::int64_t skipped = 0;              ///< of these, skipped
  std::int64_t consecutive_skipped = 0;  ///< skipped since the last good one
  double seconds = 0;                    ///< training time
  double last_loss = 0;                  ///< of the last good step
};

namespace detail {

/// Calls f(name, flat tensor view) for all that a checkpoint holds.
template <PolicyLike P, class F>
void for_each_saved(const AdamW<P>& optimizer, const Ema<P>* ema, F&& f) {
  for (std::size_t i = 0; i < optimizer.parameters().size(); ++i) {
    const auto& p = *optimizer.parameters()[i];
    f("parameter/" + p.name(), p, p.master());
    f("first_moment/" + p.name(), p, optimizer.first_moment(i).view());
    f("second_moment/" + p.name(), p, optimizer.second_moment(i).view());
    if (ema != nullptr) f("average/" + p.name(), p, ema->averages()[i].view());
  }
}

}  // namespace detail

/// Writes all that a run needs to go on bit for bit: one safetensors file, whole or not at all. `settings` is an
/// object; a run is resumed only under equal settings. Choices of tuned products travel along.
template <PolicyLike P>
void save_checkpoint(const std::string& path, Exec<typename P::Device>& exec, const AdamW<P>& optimizer,
                     const Ema<P>* ema, const RunState& state, const io::Json& settings) {
  io::SafetensorsWriter writer;
  detail::for_each_saved(optimizer, ema, [&](std::string name, const TrainedParameter<P>& p, const auto& view) {
    using T = typename std::remove_cvref_t<decltype(view)>::value_type;
    nn::write_elements(exec, writer, std::move(name), p.shape(), View<const T, 1, typename P::Space>(view),
                       dtype_of<T>);
  });
  io::Json json = io::Json::object();
  json["step"] = state.step;
  const ops::UpdateState numbers =
      to_host(exec, View<const ops::UpdateState, 1, typename P::Space>(optimizer.state()))[0];
  json["updates"] = numbers.updates;
  json["loss_scale"] = numbers.loss_scale;
  json["steady"] = numbers.steady;
  json["skipped"] = state.skipped;
  json["consecutive_skipped"] = state.consecutive_skipped;
  json["seconds"] = state.seconds;
  json["last_loss"] = state.last_loss;
  writer.metadata("format", "segue training state 1");
  writer.metadata("state", io::dump_json(json, -1));
  writer.metadata("settings", io::dump_json(settings, -1));
  if (const std::string choices = ops::gemm_choices(exec); !choices.empty()) writer.metadata("gemm_choices", choices);
  writer.write(path);
}

/// Puts a saved run back. Tuned products are as they were, if the device and its library are of the same kind; bits
/// would differ on another anyway.
/// @throws InputError if the file is no such checkpoint, holds other parameters, or was made under another setting,
/// which the sentence names.
template <PolicyLike P>
RunState load_checkpoint(const std::string& path, Exec<typename P::Device>& exec, AdamW<P>& optimizer, Ema<P>* ema,
                         const io::Json& settings) {
  const io::SafetensorsFile file(path);
  const std::string* format = io::find_metadata(file.metadata(), "format");
  const std::string* state_text = io::find_metadata(file.metadata(), "state");
  const std::string* settings_text = io::find_metadata(file.metadata(), "settings");
  if (format == nullptr || *format != "segue training state 1" || state_text == nullptr || settings_text == nullptr)
    throw_input(path, "is not a training checkpoint of this version");

  const io::Json saved = io::parse_json(*settings_text, path);
  const io::Json missing("absent");
  const auto compare = [&](const std::string& key) {
    const io::Json* was = saved.find(key);
    const io::Json* is = settings.find(key);
    // Reals go through text on the way to the file, and so must they here.
    const std::string found = io::dump_json(is != nullptr ? *is : missing, -1);
    const std::string expected = io::dump_json(was != nullptr ? *was : missing, -1);
    if (found != expected)
      throw_input(path, "setting '" + key + "' of this run", found, expected + " as in the run that it would resume");
  };
  for (const std::string& key : saved.keys()) compare(key);
  for (const std::string& key : settings.keys()) compare(key);

  std::size_t count = 0;
  const auto info_of = [&](const std::string& name, const TrainedParameter<P>& p) -> const io::TensorInfo& {
    const io::TensorInfo* info = file.find(name);
    if (info == nullptr) throw_input(path, "tensor '" + name + "' is missing");
    if (info->shape != p.shape())
      throw_input(path, "shape of tensor '" + name + "'", io::shape_text(info->shape), io::shape_text(p.shape()));
    return *info;
  };
  // All is checked before anything is changed.
  detail::for_each_saved(optimizer, ema, [&](const std::string& name, const TrainedParameter<P>& p, const auto&) {
    info_of(name, p);
    ++count;
  });
  if (count != file.tensors().size())
    throw_input(path, "number of tensors", std::to_string(file.tensors().size()), std::to_string(count));
  const io::Json json = io::parse_json(*state_text, path);
  RunState state;
  state.step = json.get<std::int64_t>("step", path);
  state.skipped = json.get<std::int64_t>("skipped", path);
  state.consecutive_skipped = json.get<std::int64_t>("consecutive_skipped", path);
  state.seconds = json.get_or<double>("seconds", 0.0, path);
  state.last_loss = json.get_or<double>("last_loss", 0.0, path);
  ops::UpdateState numbers;
  numbers.updates = json.get<std::int64_t>("updates", path);
  numbers.loss_scale = json.get<double>("loss_scale", path);
  numbers.steady = json.get<std::int64_t>("steady", path);
  numbers.skipped = state.skipped;
  numbers.consecutive_skipped = state.consecutive_skipped;

  if (const std::string* choices = io::find_metadata(file.metadata(), "gemm_choices")) {
    try {
      ops::restore_gemm_choices(exec, *choices);
    } catch (const InputError& error) {
      throw_input(path, error.what());
    }
  }
  detail::for_each_saved(optimizer, ema, [&](const std::string& name, const TrainedParameter<P>& p, const auto& view) {
    nn::read_elements(exec, info_of(name, p), view);
  });
  for (const auto& p : optimizer.parameters()) p->write_back(exec);
  optimizer.restore(exec, numbers);
  if (ema != nullptr) ema->set_updates(numbers.updates);
  return state;
}

}  // namespace train
SEGUE_NAMESPACE_END
