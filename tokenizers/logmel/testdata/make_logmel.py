#!/usr/bin/env python3
"""Makes logmel.json: librosa's log-mel spectrograms of a short signal, and
extractors.json: those of transformers' feature extractors for Whisper and AST.

usage: make_logmel.py   (pip install librosa transformers torch; writes beside itself)
"""
import json, os
import librosa, numpy as np
from transformers import ASTFeatureExtractor, WhisperFeatureExtractor

HERE = os.path.dirname(os.path.abspath(__file__))

n, rate = 2000, 8000
t = np.arange(n) / rate
x = 0.5 * np.sin(2 * np.pi * 440 * t) + 0.2 * np.sin(2 * np.pi * (300 + 900 * t) * t) + 0.01 * np.cos(np.arange(n) ** 2 % 101)
x = x.astype(np.float32)
cases = []
for o in [dict(window=256, fft=256, hop=80, mels=32, fmin=60, fmax=4000, htk=False),
          dict(window=200, fft=256, hop=100, mels=20, fmin=0, fmax=3800, htk=True),
          dict(window=400, fft=512, hop=160, mels=40, fmin=50, fmax=4000, htk=False)]:
    power = np.abs(librosa.stft(x.astype(np.float64), n_fft=o["fft"], hop_length=o["hop"], win_length=o["window"],
                                window="hann", center=True, pad_mode="reflect")) ** 2
    bank = librosa.filters.mel(sr=rate, n_fft=o["fft"], n_mels=o["mels"], fmin=o["fmin"], fmax=o["fmax"],
                               htk=o["htk"], norm=None if o["htk"] else "slaney", dtype=np.float64)
    frames = -(-n // o["hop"])
    spec = np.log(1e-6 + bank @ power)[:, :frames]
    cases.append(dict(o, frames=frames, spec=[[round(float(v), 6) for v in row] for row in spec[::3]]))
with open(os.path.join(HERE, "logmel.json"), "w") as f:
    json.dump(dict(librosa=librosa.__version__, rate=rate, samples=[round(float(v), 7) for v in x], cases=cases), f, separators=(",", ":"))
    f.write("\n")


# The extractors have 16 kHz. The signal is of fractions that float32 holds, so
# that a test can make the same: a chirp of noise and a triangle.
i = np.arange(6400)
x = ((i * i % 8191 - 4095 + 4 * (np.abs(i * 37 % 4096 - 2048) - 1024)) / 16384).astype(np.float32)
whisper = WhisperFeatureExtractor(feature_size=80, chunk_length=1)(x, sampling_rate=16000)["input_features"][0]
whisper = 4 * whisper.astype(np.float64) - 4
ast = ASTFeatureExtractor(num_mel_bins=128, max_length=64, do_normalize=False)(x, sampling_rate=16000)["input_values"][0]
ast = np.asarray(ast).T
assert not ast[:, 38:].any()
rows = lambda spec: [[round(float(v), 5) for v in row] for row in spec[::9]]
with open(os.path.join(HERE, "extractors.json"), "w") as f:
    json.dump(dict(samples=len(x), whisper=rows(whisper), ast=rows(ast[:, :38])), f, separators=(",", ":"))
    f.write("\n")
