#!/bin/sh
# The benchmark's baseline: one ffmpeg, one decode, split, scale, four x264 encoders at medium,
# bitrate = maxrate = bufsize, keyframes every 2 s, audio copied.
#
# usage: baseline.sh CLIP OUT_DIR THREADS
# THREADS: "own" leaves them to ffmpeg, or "DECODE E720 E480 E360 E240" sets them.
set -eu
clip=$1 out=$2
mkdir -p "$out"
if [ "$3" = own ]; then
  decode= a= b= c= d= filters=
else
  set -- $3
  decode="-threads $1" a="-threads $2" b="-threads $3" c="-threads $4" d="-threads $5"
  filters="-filter_complex_threads 1"
fi
x264="-c:v libx264 -preset medium -force_key_frames expr:gte(t,n_forced*2) -c:a copy -f mpegts"
# shellcheck disable=SC2086
exec ffmpeg -hide_banner -loglevel error -nostdin -y $decode $filters -i "$clip" -filter_complex \
  "[0:v]split=4[i1][i2][i3][i4];[i1]null[v1];[i2]scale=854:480:flags=bicubic[v2];\
[i3]scale=640:360:flags=bicubic[v3];[i4]scale=426:240:flags=bicubic[v4]" \
  -map "[v1]" -map 0:a $x264 $a -b:v 4000k -maxrate 4000k -bufsize 4000k "$out/720.ts" \
  -map "[v2]" -map 0:a $x264 $b -b:v 1600k -maxrate 1600k -bufsize 1600k "$out/480.ts" \
  -map "[v3]" -map 0:a $x264 $c -b:v 1200k -maxrate 1200k -bufsize 1200k "$out/360.ts" \
  -map "[v4]" -map 0:a $x264 $d -b:v 600k -maxrate 600k -bufsize 600k "$out/240.ts"
