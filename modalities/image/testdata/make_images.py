#!/usr/bin/env python3
"""Makes the images of this folder and pixels.json, what Pillow makes of them.

usage: make_images.py   (pip install pillow numpy; writes beside itself)

"decoded" is the upright image as RGB, alpha over white; "cropped" is that with
the shorter side brought to 16 by Pillow's bicubic filter and the centre cut
out, as CLIP's preprocessing does.
"""
import json, os
import numpy as np, PIL
from PIL import Image, ImageOps

HERE = os.path.dirname(os.path.abspath(__file__))
y, x = np.mgrid[0:33, 0:57]
rgb = np.stack([x * 4, y * 7, (x * y) % 256], -1).astype(np.uint8)
alpha = ((x * 9 + y * 3) % 256).astype(np.uint8)
base = Image.fromarray(rgb)
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
pixels = {}
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
for o in range(1, 9):
    exif = Image.Exif()
    exif[0x0112] = o
    name = "exif%d.jpg" % o
    small.save(os.path.join(HERE, name), quality=95, subsampling=0, exif=exif)
    made[name] = None
for name in made:
    im = ImageOps.exif_transpose(Image.open(os.path.join(HERE, name)))
    if im.mode == "I;16":
        im = Image.fromarray((np.asarray(im) >> 8).astype(np.uint8))
    if im.mode in ("LA", "P", "RGBA", "PA"):
        im = im.convert("RGBA")
        im = Image.alpha_composite(Image.new("RGBA", im.size, "white"), im)
    im = im.convert("RGB")
    w, h = im.size
    size = (16, 16 * h // w) if w < h else (16 * w // h, 16)
    cut = im.resize(size, Image.BICUBIC)
    left, top = round((cut.width - 16) / 2), round((cut.height - 16) / 2)
    cut = cut.crop((left, top, left + 16, top + 16))
    pixels[name] = dict(size=[w, h], decoded=np.asarray(im)[::5, ::5].ravel().tolist(), cropped=np.asarray(cut).ravel().tolist())
with open(os.path.join(HERE, "pixels.json"), "w") as f:
    json.dump(dict(pillow=PIL.__version__, images=pixels), f, separators=(",", ":"))
    f.write("\n")
