"""OpenCLIP's model of one of the presets clip-*, and what both scripts need."""
import json
import sys
import time


def read(path):
    """A preset as (preset, arguments of open_clip's CLIP)."""
    with open(path, encoding="utf-8") as file:
        preset = json.load(file)
    image, text = preset["modalities"]["image"], preset["modalities"]["text"]
    if (image["pool"], text["pool"], text["causal"]) != ("class", "last", True):
        raise SystemExit(f"{path}: not a model that OpenCLIP has")
    v = {**preset["trunk"], **image.get("trunk", {})}
    t = {**preset["trunk"], **text.get("trunk", {})}
    return preset, dict(
        embed_dim=preset["trunk"]["embed"],
        vision_cfg=dict(
            image_size=image["input"]["size"], patch_size=image["input"]["patch"], width=v["width"],
            layers=v["layers"], head_width=v["width"] // v["heads"], mlp_ratio=v["hidden"] / v["width"]),
        text_cfg=dict(
            context_length=text["input"]["length"], vocab_size=text["input"]["vocab"], width=t["width"],
            layers=t["layers"], heads=t["heads"], mlp_ratio=t["hidden"] / t["width"]))


def peak_mb():
    """The greatest resident memory of this process so far, in MB of 2^20 bytes."""
    with open("/proc/self/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0


def times(run, seconds, warmup, least):
    """What run returns, for about so many seconds and at least so often, after a warm-up."""
    for _ in range(warmup):
        run()
    found, began = [], time.perf_counter()
    while len(found) < least or time.perf_counter() - began < seconds:
        found.append(run())
    return found


def say(**answer):
    print(json.dumps(answer), flush=True)


def questions():
    """The numbers of seconds that stand on the lines of standard input."""
    for line in sys.stdin:
        yield float(line)
