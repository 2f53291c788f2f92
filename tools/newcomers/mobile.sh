#!/usr/bin/env bash
# A mobile engineer: a classifier of torchvision's that takes two fifths of the time in onnxruntime.
source "$(dirname "$0")/steps.sh"
begin demo "$@"
step python mobile.py train classifier.pt
step graphprune inspect mobile.py:make
step graphprune shrink mobile.py:make --weights classifier.pt --latency 0.4 \
  --calibration mobile.py:images --evaluate mobile.py:accuracy -o slim
step graphprune verify slim --model mobile.py:make --weights classifier.pt
step python mobile.py deployed slim
finish
