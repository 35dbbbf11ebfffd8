#!/usr/bin/env python3
"""Times training steps of OpenCLIP on one batch of random samples of full length.

usage: train_openclip.py PRESET.json [--fused] [--threads N]

OpenCLIP's CLIP and ClipLoss, PyTorch's AdamW, float32. When it is ready it
prints a line of JSON; then for each line with a number of seconds it measures
for so long and prints the median step, and waits again.
"""
import argparse
import math
import statistics
import time

import openclip

parser = argparse.ArgumentParser()
parser.add_argument("preset")
parser.add_argument("--fused", action="store_true", help="AdamW(fused=True), which OpenCLIP's own loop leaves off")
parser.add_argument("--threads", type=int, default=2)
args = parser.parse_args()

import open_clip
import torch
from open_clip.model import CLIP

import_mb = openclip.peak_mb()
torch.set_num_threads(args.threads)
torch.manual_seed(0)
preset, shape = openclip.read(args.preset)
train = preset["train"]
model = CLIP(output_dict=True, **shape)
model.train()
# As OpenCLIP's trainer: neither vectors nor the temperature decay.
decays = [p for name, p in model.named_parameters() if p.ndim >= 2 and "ln" not in name and "bias" not in name]
others = [p for name, p in model.named_parameters() if p.ndim < 2 or "ln" in name or "bias" in name]
optimizer = torch.optim.AdamW(
    [{"params": others, "weight_decay": 0.0}, {"params": decays, "weight_decay": train["decay"]}],
    lr=train["lr"], betas=(train["beta1"], train["beta2"]), eps=train["eps"], fused=True if args.fused else None)
loss_of = open_clip.ClipLoss()

batch, v, t = train["batch"], shape["vision_cfg"], shape["text_cfg"]
rng = torch.Generator().manual_seed(1)
images = torch.randn(batch, 3, v["image_size"], v["image_size"], generator=rng)
texts = torch.randint(1, t["vocab_size"] - 2, (batch, t["context_length"]), generator=rng)
texts[:, 0] = t["vocab_size"] - 2
texts[:, -1] = t["vocab_size"] - 1  # the end of a text is the largest id, where OpenCLIP pools


def step():
    began = time.perf_counter()
    optimizer.zero_grad(set_to_none=True)
    loss = loss_of(**model(images, texts))
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        model.logit_scale.clamp_(0, math.log(100))
    return time.perf_counter() - began


openclip.times(step, 0, warmup=0, least=1)
openclip.say(params=sum(p.numel() for p in model.parameters()), import_mb=import_mb,
             versions={"torch": torch.__version__, "open_clip": open_clip.__version__})
for seconds in openclip.questions():
    found = openclip.times(step, seconds, warmup=1, least=3)
    openclip.say(batch=batch, step_s=statistics.median(found), steps=len(found), peak_rss_mb=openclip.peak_mb())
