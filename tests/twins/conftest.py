"""Run networks in one thread, since several threads wait for each other where processes share the cores."""

import torch

torch.set_num_threads(1)
