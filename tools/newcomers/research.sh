#!/usr/bin/env bash
# A researcher with a training script of her own: a third of the cost, tuned with her data, the original as teacher.
source "$(dirname "$0")/steps.sh"
begin demo,tune "$@"
step python research.py train checkpoint.pt
step graphprune explain research.py:make blocks.0
step graphprune shrink research.py:make --weights checkpoint.pt --macs 0.33 \
  --calibration research.py:batches --evaluate research.py:accuracy -o slim
step graphprune tune slim --teacher research.py:make --weights checkpoint.pt --data research.py:batches --epochs 2 -o tuned
step graphprune verify tuned --model research.py:make --weights checkpoint.pt
step python research.py deployed tuned
finish
