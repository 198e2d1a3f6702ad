"""The page of the plan: its arithmetic, and the names that it tells operators to look at."""

import re
from itertools import pairwise

import pytest
import yaml

from service import metric_series
from tools import scale
from tools.documents import ROOT, SCALE
from tools.tables import metric_rows

TEXT = SCALE.read_text("utf-8")
RULES = yaml.safe_load((ROOT / "docker" / "prometheus" / "rules" / "alerts.yml").read_text("utf-8"))
ALERTS = {rule["alert"] for group in RULES["groups"] for rule in group["rules"]}


def test_every_metric_of_the_page_exists():
    names = {name.strip("`") for name, *_ in metric_rows()}
    found = set(re.findall(r"\btwins_[a-z]+_[a-z_]+\b", TEXT)) - {"twins_svt_nano", "twins_svt_small"}
    assert len(found) > 5
    assert not found - names


def test_every_alert_of_the_page_exists():
    found = set(re.findall(r"\bTwins[A-Z]\w+", TEXT))
    assert found
    assert not found - ALERTS


def test_every_stage_of_the_page_exists():
    found = set(re.findall(r"`(decode_queue|decode|queue|infer|preprocess)`", TEXT))
    assert found <= set(metric_series.STAGES) | {stage.removesuffix("_s") for stage in metric_series.STAGES}


@pytest.mark.parametrize(("amount", "needed"), [(0.3, 3), (1.0, 3), (2.0, 3), (2.1, 6), (1000.0, 1500)])
def test_two_zones_carry_the_load_of_three(amount, needed):
    assert scale.spared(amount) == needed
    assert needed * 2 / 3 >= amount


def test_the_use_of_what_is_left_after_a_lost_zone_is_the_planned_one():
    gpu = scale.GPUS[0]
    left = scale.gpus(gpu, 1_000_000) * 2 / 3
    assert 1_000_000 / (left * gpu.images_per_s) == pytest.approx(scale.GPU_USE, rel=0.01)


def test_a_faster_gpu_needs_more_cores_in_front_of_it():
    found = [[float(value) for value in scale.decode_row(gpu, scale.encoded())[2:]] for gpu in scale.GPUS]
    assert all(low <= high for slow, fast in pairwise(found) for low, high in zip(slow, fast, strict=True))
