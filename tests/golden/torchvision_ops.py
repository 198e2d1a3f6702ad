"""Write `torchvision-ops.npz`: results of torchvision's operators, in an environment that has torchvision.

python tests/golden/torchvision_ops.py
"""

import json
from pathlib import Path

import numpy as np
import torch
import torchvision
from torchvision.ops import batched_nms, roi_align

TARGET = Path(__file__).with_name("torchvision-ops.npz")
REGIONS = {"7-at-4": (7, 1 / 4), "14-at-8": (14, 1 / 8), "7-at-32": (7, 1 / 32)}


def boxes(count: int, generator: torch.Generator, side: float) -> torch.Tensor:
    """Return boxes near an image of 160×128 pixels, N 4."""
    corner = torch.rand(count, 2, generator=generator) * torch.tensor([150.0, 118.0]) - 5
    return torch.cat([corner, corner + 1 + side * torch.rand(count, 2, generator=generator)], dim=1)


def main() -> None:
    """Write the arrays, and the settings beside them."""
    generator = torch.Generator().manual_seed(0)
    found = {
        "nms.boxes": boxes(400, generator, 60),
        "nms.scores": torch.rand(400, generator=generator),
        "nms.groups": torch.randint(3, (400,), generator=generator),
        "roi.boxes": boxes(12, generator, 120),
        "roi.features": torch.randn(2, 32, 40, generator=generator),
    }
    given = (found["nms.boxes"], found["nms.scores"], found["nms.groups"])
    for threshold in (0.3, 0.5, 0.7):
        found[f"nms.kept-{threshold}"] = batched_nms(*given, threshold)
    for name, (side, scale) in REGIONS.items():
        arguments = (found["roi.features"][None], [found["roi.boxes"]], side, scale)
        found[f"roi.{name}"] = roi_align(*arguments, sampling_ratio=0, aligned=True)
    np.savez_compressed(TARGET, **{name: tensor.numpy() for name, tensor in found.items()})
    facts = {"torchvision": torchvision.__version__, "torch": torch.__version__, "roi_align": REGIONS}
    TARGET.with_suffix(".json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main()
