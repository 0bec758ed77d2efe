#!/bin/sh
# Makes the clip that the benchmark, the demo and the end-to-end tests share: 1280x720, 25 fps,
# closed GOPs of 2 s, B-frames, AAC stereo; textured and moving, neither flat nor noise (a
# camera that wanders over a fractal, under ffmpeg's own test picture).
#
# usage: clip.sh OUT_DIR [SECONDS]
# Writes OUT_DIR/clip.ts (30 s) and OUT_DIR/seg_0.ts ... (2 s each), unless they are there.
# The hash of the 30 s clip's decoded frames is in clip.sha256, beside this script: it is the
# same on every processor. swscale's fast paths round as the instructions do that it finds, so
# the one conversion of colours is exact; x264 chooses by them, too, unless it is told not to.
set -eu
out=$1
seconds=${2:-30}
mkdir -p "$out"

if [ ! -e "$out/clip.ts" ]; then
  ffmpeg -hide_banner -loglevel error -nostdin -y \
    -f lavfi -i "mandelbrot=size=1920x1080:rate=25:start_scale=0.4:maxiter=600" \
    -f lavfi -i "testsrc2=size=1280x720:rate=25" \
    -f lavfi -i "sine=frequency=330:sample_rate=48000:beep_factor=3" \
    -filter_complex "[0:v]trim=end_frame=1,scale=flags=accurate_rnd+bitexact,format=yuv420p,\
loop=loop=-1:size=1,setpts=N/25/TB,\
crop=1280:720:'320+300*sin(t*0.9)':'180+170*cos(t*0.7)'[a];[1:v]format=yuv420p[b];\
[a][b]blend=all_mode=average[v];[2:a]aformat=channel_layouts=stereo[s]" \
    -map "[v]" -map "[s]" -t "$seconds" -threads 1 \
    -c:v libx264 -preset veryfast -crf 25 -x264-params cpu-independent=1 \
    -bf 2 -g 50 -keyint_min 50 -sc_threshold 0 -flags +cgop \
    -c:a aac -b:a 128k -flags:a +bitexact -f mpegts "$out/clip.ts.new"
  mv "$out/clip.ts.new" "$out/clip.ts"
  rm -f "$out"/seg_*.ts
fi
if [ ! -e "$out/seg_0.ts" ]; then
  ffmpeg -hide_banner -loglevel error -nostdin -y -i "$out/clip.ts" -c copy -copyts \
    -muxdelay 0 -muxpreload 0 -f segment -segment_time 2 -segment_format mpegts "$out/new_%d.ts"
  for segment in "$out"/new_*.ts; do
    mv "$segment" "$out/seg_${segment##*/new_}"
  done
fi
