#!/usr/bin/env python3
"""Makes probe.json: unit vectors of four classes that overlap, and what
scikit-learn makes of them by logistic regression and by nearest neighbours.

usage: make_probe.py   (pip install scikit-learn; writes beside itself)
"""

import json
import pathlib

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

CLASSES, DIM, TRAIN, TEST = 4, 6, 90, 60

rng = np.random.default_rng(1)
centres = rng.normal(size=(CLASSES, DIM))


def draw(n):
    y = np.arange(n) % CLASSES
    x = centres[y] + rng.normal(size=(n, DIM))
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    return x, y


def rounded(a):
    return [float(f"{v:.9g}") for v in np.asarray(a).ravel()]


train, train_y = draw(TRAIN)
test, test_y = draw(TEST)
out = {
    "classes": CLASSES, "dim": DIM,
    "train": rounded(train), "train_labels": train_y.tolist(),
    "test": rounded(test), "test_labels": test_y.tolist(),
    "logistic": [], "neighbours": [],
}
for l2 in [1e-2, 1e-3, 1e-4]:
    model = LogisticRegression(C=1 / (TRAIN * l2), tol=1e-10, max_iter=100000)
    model.fit(train.astype(np.float64), train_y)
    out["logistic"].append({
        "l2": l2,
        "w": rounded(model.coef_), "b": rounded(model.intercept_),
        "top1": model.score(test.astype(np.float64), test_y),
    })
for k in [1, 5, 20]:
    model = KNeighborsClassifier(
        k, metric="cosine", algorithm="brute", weights=lambda d: np.exp((1 - d) / 0.07))
    model.fit(train.astype(np.float64), train_y)
    out["neighbours"].append({"k": k, "labels": model.predict(test.astype(np.float64)).tolist()})
pathlib.Path(__file__).with_name("probe.json").write_text(json.dumps(out) + "\n")
