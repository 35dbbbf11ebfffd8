#!/usr/bin/env bash
# Makes the fixtures of this folder: half a second of a 440 Hz sine of
# amplitude 0.5 in the formats that Go cannot write.
# Needs sox with its mp3 format (Debian: sox libsox-fmt-mp3).
set -euo pipefail
cd "$(dirname "$0")"
for f in flac ogg mp3; do
  sox -R -n -r 16000 -c 2 "sine.$f" synth 0.5 sine 440 vol 0.5
done
