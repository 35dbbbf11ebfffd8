#!/usr/bin/env python3
"""Times embedding by OpenCLIP or ONNX Runtime with random weights.

usage: embed_peers.py PRESET.json --backend openclip|ort [--onnx DIR] [--threads N]
       embed_peers.py PRESET.json --export --onnx DIR      (once, before --backend ort)

Images and captions of 8 tokens with their start and end, alone and in batches
of 32; both backends compute every position of the context. When it is ready
it prints a line of JSON; then for each line with a number of seconds it
measures each kind of batch for so long and prints the medians, and waits
again.
"""
import argparse
import os
import statistics
import time

import numpy as np

import openclip

CAPTION = 8

parser = argparse.ArgumentParser()
parser.add_argument("preset")
parser.add_argument("--backend", choices=["openclip", "ort"], default="openclip")
parser.add_argument("--export", action="store_true", help="write the ONNX files and hold them against OpenCLIP")
parser.add_argument("--onnx", default="", help="folder of the ONNX files")
parser.add_argument("--threads", type=int, default=2)
args = parser.parse_args()
preset, shape = openclip.read(args.preset)
size, context, vocab = (shape["vision_cfg"]["image_size"], shape["text_cfg"]["context_length"],
                        shape["text_cfg"]["vocab_size"])
rng = np.random.default_rng(0)


def samples(modality, n):
    """A batch: images [n, 3, size, size] or ids [n, context]."""
    if modality == "image":
        return rng.standard_normal((n, 3, size, size)).astype(np.float32)
    ids = np.zeros((n, context), np.int64)
    ids[:, 0] = vocab - 2
    ids[:, 1:1 + CAPTION] = rng.integers(1, vocab - 2, (n, CAPTION))
    ids[:, 1 + CAPTION] = vocab - 1
    return ids


def make_model():
    import torch
    from open_clip.model import CLIP

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    return CLIP(**shape).eval()


def onnx_file(modality):
    return os.path.join(args.onnx, modality + ".onnx")


def export():
    import onnxruntime
    import torch

    class Tower(torch.nn.Module):
        def __init__(self, model, encode):
            super().__init__()
            self.model, self.encode = model, encode

        def forward(self, x):
            return getattr(self.model, self.encode)(x, normalize=True)

    model = make_model()
    batch = torch.export.Dim("batch", min=1, max=4096)
    os.makedirs(args.onnx, exist_ok=True)
    for modality in ("image", "text"):
        tower = Tower(model, "encode_" + modality).eval()
        x = torch.from_numpy(samples(modality, 2))
        partial = onnx_file(modality) + ".part"
        torch.onnx.export(tower, (x,), partial, input_names=["x"], output_names=["z"], dynamic_shapes=({0: batch},),
                          dynamo=True, external_data=False, verbose=False)
        session = onnxruntime.InferenceSession(partial, providers=["CPUExecutionProvider"])
        with torch.no_grad():
            off = float(np.abs(session.run(None, {"x": x.numpy()})[0] - tower(x).numpy()).max())
        if not off < 1e-4:
            raise SystemExit(f"{partial}: differs from OpenCLIP by {off:.2g}")
        os.replace(partial, onnx_file(modality))


def openclip_backend():
    """(embed by modality, versions) of OpenCLIP."""
    import open_clip
    import torch

    model = make_model()

    def embed(encode):
        def run(x):
            with torch.inference_mode():
                return encode(torch.from_numpy(x), normalize=True)
        return run

    return ({"image": embed(model.encode_image), "text": embed(model.encode_text)},
            {"torch": torch.__version__, "open_clip": open_clip.__version__})


def ort_backend():
    """(embed by modality, versions) of ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL

    def embed(modality):
        session = onnxruntime.InferenceSession(onnx_file(modality), options, providers=["CPUExecutionProvider"])
        return lambda x: session.run(None, {"x": x})

    return {m: embed(m) for m in ("image", "text")}, {"onnxruntime": onnxruntime.__version__}


def measure(embed, modality, n, seconds):
    x = samples(modality, n)

    def run():
        began = time.perf_counter()
        embed[modality](x)
        return time.perf_counter() - began

    found = openclip.times(run, seconds, warmup=2, least=5)
    p50 = statistics.median(found)
    return dict(modality=modality, batch=n, p50_ms=1e3 * p50, per_s=n / p50, runs=len(found))


if args.export:
    export()
    raise SystemExit
embed, versions = openclip_backend() if args.backend == "openclip" else ort_backend()
openclip.say(versions=versions)
for seconds in openclip.questions():
    rows = [measure(embed, modality, n, seconds) for modality in ("image", "text") for n in (1, 32)]
    openclip.say(rows=rows, peak_rss_mb=openclip.peak_mb())
