#!/usr/bin/env python3
"""Makes the images of this folder and pixels.json, what Python makes of them.

usage: make_images.py   (pip install pillow numpy torch torchvision transformers; writes beside itself)

Of an image "decoded" is the upright image as RGB, alpha over white, every
fifth pixel; "dropped", of PNGs, is that by convert("RGB"); "cropped" is the
decoded image with the shorter side brought to 16 by Pillow's bicubic filter and
the centre cut out, as CLIP's preprocessing does.

A fit is what torchvision or transformers make of the image pattern(w, h):
"pixels" are those of both diagonals, from the left.
"""
import json, os, struct, zlib
import numpy as np, PIL
from PIL import Image, ImageOps
from torchvision import transforms
from transformers import CLIPImageProcessor
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

HERE = os.path.dirname(os.path.abspath(__file__))


def pattern(w, h):
    y, x = np.mgrid[0:h, 0:w]
    return Image.fromarray(np.stack([x * 4 % 256, y * 7 % 256, x * y % 256], -1).astype(np.uint8))


def png(name, depth, color, samples, chunks=()):
    """Writes a PNG of samples [h, w, channels] of 16 bits, which Pillow does not."""
    h, w = samples.shape[:2]
    rows = samples.astype(">u2").reshape(h, -1).view(np.uint8)
    data = zlib.compress(np.concatenate([np.zeros((h, 1), np.uint8), rows], 1).tobytes(), 9)
    with open(os.path.join(HERE, name), "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n")
        for kind, body in [(b"IHDR", struct.pack(">IIBBBBB", w, h, depth, color, 0, 0, 0)), *chunks, (b"IDAT", data), (b"IEND", b"")]:
            f.write(struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)))


y, x = np.mgrid[0:33, 0:57]
base = pattern(57, 33)
rgb = np.asarray(base)
alpha = ((x * 9 + y * 3) % 256).astype(np.uint8)
rgba = Image.fromarray(np.dstack([rgb, alpha]))
made = {
    "rgb.png": base, "rgba.png": rgba, "gray.png": base.convert("L"), "graya.png": rgba.convert("LA"),
    "palette.png": base.quantize(16), "bits.png": base.convert("1"),
    "gray16.png": Image.fromarray((rgb[:, :, 1].astype(np.uint16) * 257)),
    "one.png": base.crop((5, 5, 6, 6)), "column.png": base.crop((0, 0, 1, 7)),
    "lossless.webp": base, "image.bmp": base, "image.tiff": base, "image.gif": base.quantize(16), "image.jpg": base,
    "progressive.jpg": base, "cmyk.jpg": base.convert("CMYK"),
}
pal = base.quantize(16)
pal.info["transparency"] = 3
made["transparent.png"] = pal
for name, im in made.items():
    kw = {}
    if name == "lossless.webp":
        kw = dict(lossless=True)
    if name.endswith(".jpg"):
        kw = dict(quality=95, subsampling=0, progressive=name.startswith("prog"))
    if name == "transparent.png":
        kw = dict(transparency=3)
    im.save(os.path.join(HERE, name), **kw)
small = base.resize((20, 12))
for name, im, kw in [
    ("palette_trns.png", small.quantize(8), dict(transparency=bytes([0, 255, 128, 7, 255, 64, 0, 200]))),
    ("rgb_trns.png", base.crop((0, 0, 20, 12)), dict(transparency=(20, 14, 10))),
    ("gray_trns.png", base.crop((0, 0, 20, 12)).convert("L"), dict(transparency=25)),
]:
    im.save(os.path.join(HERE, name), **kw)
    made[name] = None
y, x = np.mgrid[0:12, 0:20]
deep = np.stack([x * 3000, y * 5000, x * y * 250, (x * 3276 + y * 11) % 65536], -1)
png("gray16_low.png", 16, 0, x[:, :, None] * 25)
png("rgb16.png", 16, 2, deep[:, :, :3])
png("graya16.png", 16, 4, deep[:, :, [0, 3]])
png("rgba16.png", 16, 6, deep)
for name in ("gray16_low.png", "rgb16.png", "graya16.png", "rgba16.png"):
    made[name] = None
for o in range(1, 9):
    exif = Image.Exif()
    exif[0x0112] = o
    for name in ("exif%d.jpg" % o, "exif%d.png" % o):
        if name.endswith(".jpg") or o == 6:
            small.save(os.path.join(HERE, name), quality=95, subsampling=0, exif=exif)
            made[name] = None
pixels = {}
for name in made:
    im = ImageOps.exif_transpose(Image.open(os.path.join(HERE, name)))
    dropped = im.convert("RGB")
    if im.mode == "I;16":
        im = Image.fromarray((np.asarray(im) >> 8).astype(np.uint8))
    if im.mode in ("LA", "P", "RGBA", "PA") or "transparency" in im.info:
        im = im.convert("RGBA")
        im = Image.alpha_composite(Image.new("RGBA", im.size, "white"), im)
    im = im.convert("RGB")
    w, h = im.size
    size = (16, 16 * h // w) if w < h else (16 * w // h, 16)
    cut = im.resize(size, Image.BICUBIC)
    left, top = round((cut.width - 16) / 2), round((cut.height - 16) / 2)
    cut = cut.crop((left, top, left + 16, top + 16))
    pixels[name] = dict(size=[w, h], decoded=np.asarray(im)[::5, ::5].ravel().tolist(), cropped=np.asarray(cut).ravel().tolist())
    if name.endswith(".png"):
        pixels[name]["dropped"] = np.asarray(dropped)[::5, ::5].ravel().tolist()

SIZE = 6
FILTERS = dict(bicubic=Image.BICUBIC, bilinear=Image.BILINEAR, lanczos=Image.LANCZOS)
fits = []


def fit(w, h, resize, kind, name):
    im, by = pattern(w, h), FILTERS[name]
    plain = dict(resample=by, do_rescale=False, do_normalize=False)
    if kind == "squash":
        out = ViTImageProcessorPil(size=dict(height=SIZE, width=SIZE), **plain)(im)["pixel_values"][0].transpose(1, 2, 0)
    elif kind == "crop_floor":
        # Where the image is smaller than the square the two of transformers differ.
        of = CLIPImageProcessorPil if resize >= SIZE else CLIPImageProcessor
        out = of(size=dict(shortest_edge=resize), crop_size=dict(height=SIZE, width=SIZE), **plain)(im)["pixel_values"][0]
        out = np.asarray(out).transpose(1, 2, 0)
    else:
        mode = getattr(transforms.InterpolationMode, name.upper())
        out = np.asarray(transforms.Compose([transforms.Resize(resize, mode), transforms.CenterCrop(SIZE)])(im))
    i = np.arange(SIZE)
    out = np.concatenate([out[i, i], out[SIZE - 1 - i, i]]).astype(int)
    fits.append(dict(w=w, h=h, resize=resize, fit=kind, filter=name, pixels=out.ravel().tolist()))


sides = [(60, 1), (1, 60), (61, 1), (1, 61), (57, 33), (33, 57), (40, 40), (7, 100), (100, 7), (9, 13), (64, 48), (31, 30), (5, 4), (200, 3), (3, 2)]
for n, (w, h) in enumerate(sides):
    for resize in (SIZE, SIZE + 1, SIZE + 3):
        for kind in ("crop", "crop_floor"):
            fit(w, h, resize, kind, list(FILTERS)[(n + resize) % 3])
    for name in FILTERS:
        fit(w, h, SIZE, "squash", name)
for w, h in [(40, 40), (41, 57), (57, 41), (80, 20), (20, 90)]:
    for resize in (3, 4):
        for kind in ("crop", "crop_floor"):
            fit(w, h, resize, kind, "bilinear")
with open(os.path.join(HERE, "pixels.json"), "w") as f:
    json.dump(dict(pillow=PIL.__version__, images=pixels, size=SIZE, fits=fits), f, separators=(",", ":"))
    f.write("\n")
