#!/bin/sh
# Makes the benchmark's clip: 1280x720, 25 fps, 30 s, closed GOPs of 2 s, B-frames, AAC stereo.
# Moving and textured, neither flat nor noise: a slow zoom into a fractal under moving shapes.
# usage: clip.sh OUT.ts [SECONDS]
# The decoded frames' hash is in clip.sha256; the benchmark refuses a clip that has another.
set -eu
out=$1
seconds=${2:-30}
exec ffmpeg -hide_banner -loglevel error -nostdin -y \
  -f lavfi -i "mandelbrot=size=1280x720:rate=25:start_scale=1.2:end_scale=0.02:end_pts=750:maxiter=400" \
  -f lavfi -i "testsrc2=size=1280x720:rate=25" \
  -f lavfi -i "sine=frequency=330:sample_rate=48000:beep_factor=3" \
  -filter_complex "[0:v]format=yuv420p[a];[1:v]format=yuv420p[b];[a][b]blend=all_mode=average[v];[2:a]aformat=channel_layouts=stereo[s]" \
  -map "[v]" -map "[s]" -t "$seconds" -threads 1 \
  -c:v libx264 -preset veryfast -crf 25 -bf 2 -g 50 -keyint_min 50 -sc_threshold 0 -flags +cgop \
  -c:a aac -b:a 128k -flags:a +bitexact -f mpegts "$out"
