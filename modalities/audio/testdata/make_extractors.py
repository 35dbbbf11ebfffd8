#!/usr/bin/env python3
"""Makes extractors.json: the first convolutions of Whisper and of AST over what
transformers' feature extractors make of a short signal, for one filter each.

usage: make_extractors.py   (pip install numpy torch transformers; writes beside itself)
"""
import json, os
import numpy as np, torch
from torch.nn.functional import conv1d, conv2d
from transformers import ASTFeatureExtractor, WhisperFeatureExtractor

# As in tokenizers/logmel/testdata/make_logmel.py.
i = np.arange(6400)
x = ((i * i % 8191 - 4095 + 4 * (np.abs(i * 37 % 4096 - 2048) - 1024)) / 16384).astype(np.float32)


def weight(*shape):
    n = int(np.prod(shape))
    return torch.tensor((np.arange(n) * 7919 % 101 - 50) / 1000, dtype=torch.float32).reshape(shape)


spec = torch.tensor(WhisperFeatureExtractor(feature_size=80, chunk_length=1)(x, sampling_rate=16000)["input_features"])
whisper = conv1d(spec, weight(1, 80, 3), padding=1)[0]
spec = torch.tensor(np.asarray(ASTFeatureExtractor(max_length=64)(x, sampling_rate=16000)["input_values"]))
ast = conv2d(spec[:, None].transpose(2, 3), weight(1, 1, 16, 16), stride=(10, 10))[0, 0]
short = torch.tensor(np.asarray(ASTFeatureExtractor(max_length=30)(x, sampling_rate=16000)["input_values"]))
cut = conv2d(short[:, None].transpose(2, 3), weight(1, 1, 16, 16), stride=(10, 10))[0, 0]
rows = lambda t: [[round(float(v), 5) for v in row] for row in t]
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "extractors.json"), "w") as f:
    json.dump(dict(samples=len(x), whisper=rows(whisper), ast=rows(ast), cut=rows(cut)), f, separators=(",", ":"))
    f.write("\n")
