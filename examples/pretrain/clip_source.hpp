// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "ahead_upload.hpp"
#include "pretrain/clip_stream.hpp"
#include "pretrain/corpus.hpp"
#include "segue/ops/elementwise.hpp"
#include "segue/ops/pixels.hpp"
#include "segue/train/batch.hpp"
#if defined(__CUDACC__)
#include "ahead_upload.cuh"
#endif

namespace pretrain {

/// The trainer's batches: clips of a stream, their first frames as conditions, one zero token as text.
template <segue::PolicyLike P>
class ClipSource {
 public:
  using T = typename P::compute;
  using Device = typename P::Device;

  ClipSource(const Corpus& corpus, ClipStreamOptions options, std::int64_t text_dim)
      : corpus_(corpus), options_(options), text_dim_(text_dim) {}

  std::int64_t batch_size() const { return options_.batch; }

  void fill(segue::Exec<Device>& exec, std::uint64_t index, segue::train::Batch<P>& batch) {
    const std::int64_t b = options_.batch, f = corpus_.spec().frames, h = corpus_.spec().height,
                       w = corpus_.spec().width;
    if (!batch.clips) {
      batch.clips = exec.template empty<T, 5>({b, 3, f, h, w});
      batch.condition = exec.template empty<T, 5>({b, 4, f, h, w});
      batch.text = exec.template empty<T, 3>({b, 1, text_dim_});
      segue::ops::fill(exec, 0.0, batch.text.view());
      segue::ops::fill(exec, 0.0, batch.condition.view());
      for (std::int64_t i = 0; i < b; ++i)
        segue::ops::fill(exec, 1.0, batch.condition.view()[i].slice(0, 0, 1).slice(1, 0, 1));
    }
    if (exec.planning()) return;
    const segue::Shape<5> shape{b, f, h, w, 3};
    segue::ops::normalize_pixels(exec, bytes(exec, index, shape), batch.clips.view());
    segue::ops::copy(exec, batch.clips.cview().slice(2, 0, 1), batch.condition.view().slice(1, 1, 4).slice(2, 0, 1));
    // The next batch is fetched and goes on its way while the device works on this one.
    fetching_ = std::async(std::launch::async, [this, &exec, shape] {
      ahead_.finish();
      ahead_.begin(exec, stream_->next(), shape);
    });
  }

  std::string describe(segue::Exec<Device>&) const {
    return corpus_.describe() + ", seed " + std::to_string(options_.seed) + ", each clip " +
           std::to_string(options_.reuse) + " times";
  }

 private:
  /// The bytes of a batch, where the device reads them.
  segue::View<const std::uint8_t, 5, typename P::Space> bytes(segue::Exec<Device>& exec, std::uint64_t index,
                                                              const segue::Shape<5>& shape) {
    if (fetching_.valid()) fetching_.get();
    if (!stream_ || index != next_) {
      ahead_.release();
      ClipStreamOptions from_here = options_;
      from_here.first_step = index;
      stream_ = std::make_unique<ClipStream<Corpus>>(corpus_, from_here);
      ahead_.begin(exec, stream_->next(), shape);
    }
    next_ = index + 1;
    return ahead_.wait(exec);
  }

  const Corpus& corpus_;
  ClipStreamOptions options_;
  std::int64_t text_dim_;
  std::unique_ptr<ClipStream<Corpus>> stream_;
  std::uint64_t next_ = 0;
  AheadUpload<Device> ahead_;   // after the stream, whose memory it lets go of first
  std::future<void> fetching_;  // the last to come and the first to go: it uses both
};

}  // namespace pretrain
