"""Compare the networks of the paper with its baselines: `python -m bench.models.baselines`.

The baselines are timm's DeiT, Swin and ResNet-50, our PVT-S, since timm has only its second version, and a Swin-T whose
relative positions are replaced by the paper's PEG (Swin-T + CPVT). All have random weights and run in PyTorch, in turns
of one process. FLOPs are multiply-adds; those of timm's networks are counted like ours. Writes
`docs/benchmarks/baselines.json`.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec

import click
import torch
from torch import Tensor, nn

from bench import environments
from bench.models.cells import turns
from bench.result import Result, Row, quick_option
from tools.documents import ROOT
from twins.network.cost import count
from twins.network.heads.classify import Classifier
from twins.network.layers import PositionConv
from twins.network.variants import VARIANTS, Family

SIZE, CLASSES = 224, 1000


@dataclass(frozen=True)
class Contestant:
    """A network, and what the paper's Table 1 says of it: top-1 in percent, and images a second on a V100."""

    name: str
    build: Callable[[], nn.Module]
    top1: float | None = None
    v100: int | None = None


def ours(variant: str) -> nn.Module:
    """Return a network of this project."""
    return Classifier(VARIANTS[variant], Family(), CLASSES)


def timm(name: str) -> nn.Module:
    """Return a network of timm."""
    from bench.rivals.timm_networks import create_model  # late: only some environments have timm

    network: nn.Module = create_model(name, pretrained=False, num_classes=CLASSES)
    return network


class SwinPeg(nn.Module):
    """The paper's PEG over a map of Swin, B H W C."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.peg = PositionConv(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape."""
        size = (x.shape[1], x.shape[2])
        return self.peg(x.flatten(1, 2), size).unflatten(1, size)


def swin_with_peg() -> nn.Module:
    """Return Swin-T with a PEG after the first block of each stage and without relative positions (Swin-T + CPVT)."""
    network = timm("swin_tiny_patch4_window7_224")
    for stage in network.layers:  # type: ignore[union-attr]
        first, *others = stage.blocks
        for block in (first, *others):
            heads, tokens = block.attn.num_heads, block.attn.window_area
            del block.attn.relative_position_bias_table
            block.attn.register_buffer("no_bias", torch.zeros(1, heads, tokens, tokens), persistent=False)
            block.attn._get_rel_pos_bias = partial(getattr, block.attn, "no_bias")
        stage.blocks = nn.Sequential(first, SwinPeg(first.dim), *others)
    return network


CONTESTANTS = (
    Contestant("PCPVT-S", partial(ours, "pcpvt_small"), 81.2, 815),
    Contestant("PCPVT-B", partial(ours, "pcpvt_base"), 82.7, 525),
    Contestant("PCPVT-L", partial(ours, "pcpvt_large"), 83.1, 367),
    Contestant("SVT-S", partial(ours, "svt_small"), 81.7, 1059),
    Contestant("SVT-B", partial(ours, "svt_base"), 83.2, 469),
    Contestant("SVT-L", partial(ours, "svt_large"), 83.7, 288),
    Contestant("PVT-S", partial(ours, "pvt_small"), 79.8, 820),
    Contestant("DeiT-S", partial(timm, "deit_small_patch16_224"), None, 437),
    Contestant("DeiT-B", partial(timm, "deit_base_patch16_224"), None, 292),
    Contestant("Swin-T", partial(timm, "swin_tiny_patch4_window7_224"), 81.3, 766),
    Contestant("Swin-S", partial(timm, "swin_small_patch4_window7_224"), 83.0, 444),
    Contestant("Swin-B", partial(timm, "swin_base_patch4_window7_224"), 83.3, 275),
    Contestant("Swin-T + CPVT", swin_with_peg, 81.2),
    Contestant("ResNet-50", partial(timm, "resnet50")),
)


def measured(contestants: Sequence[Contestant], batch: int, seconds: float) -> Iterator[Row]:
    """Yield a row for each network. All take turns in one process."""
    x = torch.zeros(batch, 3, SIZE, SIZE)
    networks = {each.name: each.build().eval() for each in contestants}
    with torch.inference_mode():
        took = turns({name: partial(network, x) for name, network in networks.items()}, seconds)
    for each in contestants:
        with torch.device("meta"):
            hollow = each.build().eval()
            found = count(hollow, partial(hollow, torch.zeros(1, 3, SIZE, SIZE)))
        yield {
            "table": "baselines",
            "network": each.name,
            "parameters, M": found.parameters / 1e6,
            "FLOPs, G": found.multiply_adds / 1e9,
            "batch": batch,
            "images/s": batch / took[each.name],
            "top-1, paper": each.top1,
            "images/s on a V100, paper": each.v100,
        }


@click.command()
@quick_option
def main(*, quick: bool) -> None:
    """Measure all networks and print them."""
    if find_spec("timm") is None:
        for name in (environments.RUNTIMES, environments.OURS):
            environments.create(name)
        command = [environments.python(environments.OURS), "-m", "bench.models.baselines", *["--quick"] * quick]
        sys.exit(subprocess.run(command, cwd=ROOT, check=False).returncode)
    batch, seconds = (1, 1.0) if quick else (8, 300.0)
    result = Result("baselines", list(measured(CONTESTANTS, batch, seconds)), versions={"timm": version("timm")})
    result.show()
    result.save(quick=quick)


if __name__ == "__main__":
    main()
