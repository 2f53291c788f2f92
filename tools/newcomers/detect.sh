#!/usr/bin/env bash
# A vision engineer: a detector of torchvision's at half of its cost, which finds boxes through the code it always had.
source "$(dirname "$0")/steps.sh"
begin demo "$@"
step python detect.py train detector.pt
step graphprune inspect detect.py:network --protect 'detector.head*'
step graphprune shrink detect.py:network --weights detector.pt --macs 0.5 --graft \
  --calibration detect.py:batches --evaluate detect.py:found -o slim
step graphprune verify slim --model detect.py:network --weights detector.pt
step python detect.py deployed slim detector.pt
finish
