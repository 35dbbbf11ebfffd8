#!/usr/bin/env python3
"""Embeds with the CLIPModel of a folder, through transformers' Auto classes.

usage: embed_clip.py DIR

Prints {"images": [[...]], "texts": [[...]], "ids": [[...]], "logit_scale": x} for
the images and texts of pretrained/testdata, in the order of its expected.json;
the vectors are of unit length. It needs what that folder's make_models.py needs.
"""
import json, os, sys

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from transformers import AutoModel, AutoTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

FIXTURES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../pretrained/testdata")
sys.path.insert(0, FIXTURES)
sys.dont_write_bytecode = True
import make_models

torch.set_grad_enabled(False)
at = sys.argv[1]
model, info = AutoModel.from_pretrained(at, dtype=torch.float32, output_loading_info=True)
wrong = {k: sorted(map(str, v)) for k, v in info.items() if v}
if wrong:
    raise SystemExit(f"{at}: {wrong}")
tokenizer, processor = AutoTokenizer.from_pretrained(at), CLIPImageProcessorPil.from_pretrained(at)
images = os.path.join(FIXTURES, "images")
pixels = torch.cat([
    processor(images=[make_models.read_image(os.path.join(images, name))], return_tensors="pt")["pixel_values"]
    for name in sorted(os.listdir(images))])
# One padded batch: the tower pools at each text's end token.
batch = tokenizer(make_models.TEXTS, truncation=True, padding=True, return_tensors="pt")


def rows(x):
    return torch.nn.functional.normalize(make_models.features(x), dim=-1).tolist()


json.dump(dict(
    images=rows(model.get_image_features(pixel_values=pixels)), texts=rows(model.get_text_features(**batch)),
    ids=[tokenizer(text, truncation=True)["input_ids"] for text in make_models.TEXTS],
    logit_scale=model.logit_scale.item()), sys.stdout)
print()
