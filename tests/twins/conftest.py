"""One thread for the networks: with more, each waits for the slowest wherever other processes share the cores."""

import torch

torch.set_num_threads(1)
