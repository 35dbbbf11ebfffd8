#!/usr/bin/env python3
"""Makes lengths.json: how long the English names of the emoji are in CLIP's tokens.

usage: lengths.py [--packages DIR]

The names are those of docs/emoji.md: every emoji of the list but the tones of
skin, named by CLDR. A name's length is what open_clip's SimpleTokenizer makes
of it, with the start and the end token. The packages are fetched with `npm
pack` into DIR unless they are there; `mmtrain data emoji` leaves them in
OUT/packages. Needs the environment of requirements.txt and npm.
"""
import argparse
import collections
import importlib.metadata
import json
import os
import re
import subprocess
import tarfile

from open_clip.tokenizer import SimpleTokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
LIST = "emoji-datasource-google"
# Names of single emoji are in the first; they stand where both have one.
NAMES = {"cldr-annotations-full": "annotations", "cldr-annotations-derived-full": "annotationsDerived"}


def versions():
    """The versions that the recipe reads, by package."""
    source = open(os.path.join(ROOT, "datasets", "emoji", "packages.go"), encoding="utf-8").read()
    found = dict(re.findall(r'^\t"([a-z-]+)":\s+"([0-9.]+)",$', source, re.M))
    return {name: found[name] for name in (LIST, *NAMES)}


def read(folder, name, version, path):
    """The JSON file at a path of a package."""
    archive = os.path.join(folder, f"{name}-{version}.tgz")
    if not os.path.exists(archive):
        os.makedirs(folder, exist_ok=True)
        subprocess.run(["npm", "pack", "--loglevel=error", "--pack-destination", folder, f"{name}@{version}"],
                       check=True, stdout=subprocess.DEVNULL)
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isfile() and member.name.split("/", 1)[-1] == path:  # the first folder's name varies
                return json.load(tar.extractfile(member))
    raise SystemExit(f"{archive}: no {path} (delete the file to fetch it again)")


def captions(folder, packages):
    """The English names of the emoji."""
    names = {}
    for package, key in NAMES.items():
        file = read(folder, package, packages[package], f"{key}/en/annotations.json")
        for emoji, entry in file[key]["annotations"].items():
            if entry.get("tts"):
                names.setdefault(emoji, " ".join(entry["tts"][0].split()))
    found = []
    for entry in read(folder, LIST, packages[LIST], "emoji.json"):
        emoji = "".join(chr(int(p, 16)) for p in entry["unified"].split("-") if p.upper() != "FE0F")
        if entry["category"] != "Component" and emoji in names:
            found.append(names[emoji])
    return found


parser = argparse.ArgumentParser()
parser.add_argument("--packages", default=os.path.join(ROOT, "bench", "packages"))
args = parser.parse_args()
packages = versions()
tokenizer = SimpleTokenizer()
texts = captions(args.packages, packages)
lengths = collections.Counter(len(tokenizer.encode(text)) + 2 for text in texts)
with open(os.path.join(HERE, "lengths.json"), "w", encoding="utf-8") as out:
    json.dump({
        "source": "English names of the emoji, by lengths.py",
        "packages": packages,
        "tokenizer": "SimpleTokenizer of open_clip_torch " + importlib.metadata.version("open_clip_torch"),
        "texts": len(texts),
        "mean": round(sum(n * k for n, k in lengths.items()) / len(texts), 3),
        "lengths": {str(n): lengths[n] for n in sorted(lengths)},
    }, out, indent=1)
    out.write("\n")
