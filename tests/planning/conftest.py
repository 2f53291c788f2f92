"""Tiny tensors gain nothing from a second thread."""

import torch

torch.set_num_threads(1)
