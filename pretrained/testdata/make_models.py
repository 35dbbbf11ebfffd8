#!/usr/bin/env python3
"""Makes the models of this folder, inputs for them, and what the libraries
that they belong to compute with them.

usage: make_models.py [--out DIR]      writes everything, beside itself unless told where
       make_models.py --check-hf DIR   embeds images/ and the texts with the CLIPModel of a folder
       make_models.py --check-onnx DIR runs the ONNX files of a folder

README.md has the versions of the packages. Two runs write the same bytes. The
models are small and random: no vector is zero and no norm is one, so that a
tensor that is left out shows. Each is saved and opened again by its library,
in float32 whatever the file holds, and all vectors are of unit length.

expected.json
  versions       of the libraries
  images         the files of images/, in the order of all arrays
  sounds         the files of sounds/, in the order of all arrays
  texts          in the order of all arrays
  models         by folder:
    classes      of the model, the tokenizer and the processor that were used
    same         the folder that has the same numbers, in place of all else
    pixels       the file of pixels/ with what the processor makes of the images
    white        see below
    logit_scale  a logarithm, and logit_bias, where the model has them
    ids          the ids of each text as the library feeds them, but without the
                 padding that a causal model does not see
    file_ids     those that tokenizer.json alone gives, where its library has a
                 tokenizer of its own
    equal_ids    three rows of ids made up for the text tower

expected.safetensors, by "FOLDER/NAME"; E is the size of an embedding
  images         [images, E], from the files
  texts          [texts, E], of ids
  sounds         [sounds, E], from the files
  equal_images   [3, E], of the arrays equal/pixel_values [3, 3, 32, 32]
  equal_texts    [3, E], of equal_ids
  equal_sounds   [3, E], of the values x[b, m, t] = sin(0.01 (m+1) (t+1) + b) / 2
                 in row b, band m, frame t, rounded to float32 from float64
  logmel         of the sounds as they are fed: whisper [sounds, 20, 150] (every
                 fourth of 80 bands, the first 150 of 3000 frames), ast [sounds,
                 100, 32] (all frames, every fourth of 128 bands)
  logmel_mean    [sounds, 20]: whisper's, the mean of the other 2850 frames

pixels/NAME.png holds what a processor makes of every image before it is
normalised, 8 bits a channel, one below the other: image i is rows 32i to
32i+31. Files are opened as transformers' load_image does: turned upright by
EXIF, then converted to RGB by Pillow, which drops transparency and takes grey of
16 bits above 255 for white. All of the processors that are used here resize with
Pillow. Those of transformers 5 lay what is transparent over white when they are
given the file as Pillow opens it: "white" lists these files, pixels/clip-white.png
and clip/white_images [files, E] have what comes of them.
"""
import argparse, gzip, io, json, math, os, re, shutil, struct, sys, wave, zlib

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
SIZE, PATCH = 32, 8

CORPUS = [
    "the quick brown fox jumps over the lazy dog", "a photo of a cat", "a photo of a dog on the grass",
    "two large blue squares to the right of three tiny green rings", "a small red circle on the left of a dark background",
    "the striped scene shows one huge amber bar", "an old man is reading a newspaper in the park",
    "people walking along the beach at sunset", "a bowl of fruit with apples and oranges on a wooden table",
    "the sound of rain and thunder in the night", "i'm sure we've seen it's there and they'll say he'd don't",
    "der schnelle braune fuchs springt über den faulen hund", "zwei große vögel fliegen über die straße",
    "le cœur a ses raisons que la raison ne connaît point", "el niño comió piñas en la mañana", "naïve café résumé façade",
    "быстрая коричневая лиса прыгает через ленивую собаку", "素早い茶色の狐がのろまな犬を飛び越える", "快速的棕色狐狸跳过懒狗",
    "الثعلب البني السريع يقفز فوق الكلب الكسول", "तेज भूरी लोमड़ी आलसी कुत्ते पर कूदती है", "สวัสดีชาวโลก",
    "in 2024 there were 1234 of them for 50 euros each, about 3.5 percent", "a dog, a cat, and a bird: all on one roof!",
    "grinning face 😀 family 👩‍👩‍👧 flag 🇩🇪", "what is it? (nobody knows) see example.org/page?q=1&r=2",
] * 4

TEXTS = [
    "", " ", " \t\n ", "a", "a photo of a cat", "A Photo of a DOG!", "two  spaces   between", " leading and trailing ",
    "tab\there\nline\r\nend", "naïve café résumé", "nai\u0308ve cafe\u0301 re\u0301sume\u0301", "Zwei große Vögel fliegen über die Straße",
    "İstanbul ıI ẞ", "ΑΣ Σίσυφος ς", "Быстрая коричневая лиса", "素早い茶色の狐が犬を飛び越える", "快速的棕色狐狸跳过懒狗", "한국어 문장",
    "\u1112\u1161\u11ab\u1100\u116e\u11a8", "الثعلب البني السريع", "سلام\u200cعلیکم", "สวัสดีชาวโลก", "तेज भूरी लोमड़ी",
    "😀", "a family 👩\u200d👩\u200d👧 and 👍🏽", "flags 🇩🇪🇫🇷🇯🇵", "❤️ and ❤", "1234567890 12.5 3,000 ½ ² Ⅷ ٣", "$100 €5 £3 ¥7 50%",
    "I'm they'll we've it's don't he'd", "I'M THEY'LL 'TIS", "&lt;b&gt;bold&lt;/b&gt; &amp; &quot;x&quot; &amp;eacute;", "<b>bold</b> <br/> and/or",
    "control \x00\x01\x1f\x7f\x85 chars", "\u200bzero\u200bwidth\ufeff so\u00adft", "nbsp\u00a0here\u3000wide\u2028sep", "\ufffd bad",
    "<|startoftext|> inside <|endoftext|> behind it", "a<|ENDOFTEXT|>b <|StartOfText|>", "[CLS] text [SEP] [MASK] [PAD] [UNK]",
    "<s>hi</s> <unk> <pad> x", "ﬁ ﬂ ﷺ Ａ１ ①", "“quotes” — dashes… ‘x’", "snake_case __init__ a-b a.b,c;d:e!f?", "▁already▁here ##ing </w> a</w>",
    "x\u0302u\u0308\u0304 Z\u0351\u036b\u0343", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𓀀 \U0010ffff", "schÃ¶n âœ” donâ€™t", "the quick brown fox jumps over the lazy dog. " * 12,
    "a " * 74 + "a", "a " * 75 + "a", "supercalifragilistic" * 8,
    # what OpenCLIP's and SigLIP's own tokenizers clean
    "it’s ‘a’ „dog“ “cat” ʻokina ŉ", "ĳs Ǆ ǅ ǆ ﬀ ﬃ ﬄ ﬅ ﬆ æ œ", "ｆｕｌｌ　ｗｉｄｔｈ！ ﾊﾞｽ ￥５ ﾡ", "caf&eacute; &amp;amp;lt; &EACUTE;COLE &szlig;&SZLIG; &nTILDE;",
    "a < b &amp;amp; c &amp;lt; d", "a &amp;lt; b\nc < d &amp;lt; e\n&amp;lt; f", "&copy 2024 &notit; &not &unknown; &;& &nLt; &semi;",
    "&#65;&#x42;&#X43; &#68 &#150; &#0; &#x80; &#xd800; &#x110000; &#11; &#xfffe; &#; &#x;", "&#99999999999999999999; &#59; &#1a;",
    "one\r\ntwo\rthree\u2028four\u2029five\x0bsix\x0cseven", "byte\ufeff order \ufeff\ufeffmarks", "\x1b[31mred\x1b[0m \x1b[1;32mgreen\x1b[m \x1b[3", "\x1c\x1d\x1e a\x1fb",
    "\x91quoted\x92 \x93here\x94 \x96 \x81", "Ð¿Ñ€Ð¸Ð²ÐµÑ‚", "cafÃƒÂ© Ã¼ber", "“schÃ¶n” 😀 donâ€™t", "æ—¥æœ¬èªž ðŸ˜€", "CAFÉ® SEÑOR’S", "\u206a\ufffc\ufff9text\ufffb",
    "<start_of_text> inside <end_of_text> behind", "!<end_of_text> <END_OF_TEXT>x", "a </s> b<unk>c </S> \u2581d\u2581", "</s>", "ΟΔΟΣ. ΟΔΟΣΑ Σ ΣΑΣ\u0301 'Σ'", "x'ſ it'S",
    "e\u0301e\u0323\u0302 \u212b \u2126 \u1e9b\u0323",
]


# Inputs.

def random(*names):
    """The generator of a name."""
    return np.random.default_rng(zlib.crc32("/".join(names).encode()))


def picture(name, w, h):
    """A colour image [h, w, 3] of waves and squares."""
    r = random("image", name)
    y, x = np.mgrid[0:h, 0:w].astype(np.float64)
    channels = []
    for _ in range(3):
        a, b, p = r.uniform(-3, 3), r.uniform(-3, 3), r.uniform(0, 6)
        channels.append(128 + 70 * np.sin(0.05 * (a * x + b * y) + p) + r.uniform(-1, 1) * 60 * ((x // 7 + y // 5) % 2))
    return np.clip(np.stack(channels, -1), 0, 255).astype(np.uint8)


def write_png16(path, values):
    """Writes an image of 16 bits [h, w, 3 or 4], which Pillow cannot."""
    h, w, channels = values.shape
    rows = b"".join(b"\0" + values[i].astype(">u2").tobytes() for i in range(h))
    with open(path, "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n")
        for kind, data in [
            (b"IHDR", struct.pack(">IIBBBBB", w, h, 16, {3: 2, 4: 6}[channels], 0, 0, 0)), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""),
        ]:
            f.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))


def make_images(out):
    from PIL import Image
    os.makedirs(out)

    def save(name, im, **kw):
        im.save(os.path.join(out, name + ".png"), optimize=True, **kw)

    def rgb(name, w, h):
        return Image.fromarray(picture(name, w, h))

    def alpha(w, h):
        y, x = np.mgrid[0:h, 0:w]
        return ((x * 9 + y * 5) % 256).astype(np.uint8)

    def deep(name, w, h):
        low = random("low", name).integers(0, 256, (h, w, 3))
        return picture(name, w, h).astype(np.uint16) * 256 + low.astype(np.uint16)

    save("bits", rgb("bits", 41, 29).convert("1"))
    save("gray", rgb("gray", 37, 53).convert("L"))
    save("gray_trns", rgb("gray_trns", 50, 36).convert("L"), transparency=128)
    save("gray_alpha", Image.fromarray(np.dstack([picture("gray_alpha", 45, 33)[:, :, 0], alpha(45, 33)])))
    save("gray16", Image.fromarray(deep("gray16", 40, 44)[:, :, 1].copy()))
    save("gray16_low", Image.fromarray(picture("gray16_low", 44, 35)[:, :, 1].astype(np.uint16) * 2))
    save("palette", rgb("palette", 51, 38).quantize(64))
    save("palette4", rgb("palette4", 38, 40).quantize(4))
    save("palette_trns", rgb("palette_trns", 43, 47).quantize(32), transparency=bytes(range(0, 256, 8)))
    save("rgb", rgb("rgb", 60, 40))
    save("rgb_trns", rgb("rgb_trns", 33, 47), transparency=tuple(int(v) for v in picture("rgb_trns", 33, 47)[3, 4]))
    save("rgba", Image.fromarray(np.dstack([picture("rgba", 47, 35), alpha(47, 35)])))
    write_png16(os.path.join(out, "rgb16.png"), deep("rgb16", 35, 44))
    write_png16(os.path.join(out, "rgba16.png"), np.dstack([deep("rgba16", 39, 31), alpha(39, 31).astype(np.uint16) * 257]))
    for o in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = o
        save("exif%d" % o, rgb("exif", 26, 17), exif=exif)
    for name, w, h in [
        ("size_1x1", 1, 1), ("size_23x1", 23, 1), ("size_1x31", 1, 31), ("size_9x90", 9, 90), ("size_90x9", 90, 9), ("size_5x3", 5, 3),
        ("size_32x32", 32, 32), ("size_33x32", 33, 32), ("size_32x35", 32, 35), ("size_37x32", 37, 32), ("size_61x67", 61, 67),
        ("size_90x71", 90, 71), ("size_79x83", 79, 83),
    ]:
        save(name, rgb(name, w, h))


def make_sounds(out):
    os.makedirs(out)
    for name, seconds in [("long", 1.3), ("short", 0.7)]:
        t = np.arange(round(seconds * 16000)) / 16000
        x = 0.3 * np.sin(2 * np.pi * (200 + 1500 * t) * t) + 0.2 * np.sin(2 * np.pi * 3100 * t) * (t % 0.25 < 0.1)
        x += 0.02 * random("sound", name).standard_normal(len(t)) + 0.01
        with wave.open(os.path.join(out, name + ".wav"), "wb") as f:
            f.setnchannels(1)
            f.setsampwidth(2)
            f.setframerate(16000)
            f.writeframes(np.round(x * 32767).astype("<i2").tobytes())


def read_sound(path):
    """The samples of a file as float32 from -1 to 1."""
    with wave.open(path) as f:
        return np.frombuffer(f.readframes(f.getnframes()), "<i2").astype(np.float32) / 32768


def read_image(path):
    """An image as RGB, without transparency."""
    from transformers.image_utils import load_image
    im = load_image(path)
    im.info.pop("transparency", None)  # which Pillow leaves where one colour is transparent
    return im


def formula(bands, frames):
    """The made-up input of audio towers, [3, bands, frames]."""
    b, m, t = np.ogrid[0:3, 1:bands + 1, 1:frames + 1]
    return (np.sin(0.01 * m * t + b) / 2).astype(np.float32)


# Weights.

def fill(folder, model):
    """Gives every parameter values that depend on its name alone."""
    import torch
    with torch.no_grad():
        for name, p in model.named_parameters():
            x = random(folder, name).standard_normal(p.shape)
            if name == "logit_scale":
                x = 0 * x + 2.31
            elif name == "logit_bias":
                x = 0 * x - 7.25
            elif "encoder.embed_positions" in name:  # Whisper's are waves
                x = p.numpy() + 0.1 * x
            elif p.dim() == 1:
                x = name.endswith("weight") + 0.25 * x
            elif re.search(r"(token|pos|word|probe)[a-z_]*(\.weight)?$", name):
                x = 0.5 * x
            else:
                x = (1.3 if p.dim() == 2 else 4) * x / math.sqrt(np.prod(p.shape[1:]))
            p.copy_(torch.from_numpy(np.asarray(x)).reshape(p.shape))
    return model.eval()


# Tokenizers.

CLIP_PATTERN = r"""'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""


def train_clip():
    """A vocabulary in the order of CLIP's, and its merges: bytes, bytes that end a
    word, what each merge makes, start, end."""
    from open_clip.tokenizer import bytes_to_unicode
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
    t = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    t.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(CLIP_PATTERN), behavior="removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokens = list(bytes_to_unicode().values())
    tokens += [b + "</w>" for b in tokens]
    # The trainer breaks ties by ids, and those that are not special are given in
    # an order that changes from run to run.
    t.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=640, special_tokens=tokens, end_of_word_suffix="</w>"))
    merges = [tuple(m) for m in json.loads(t.to_str())["model"]["merges"]]
    tokens += ["".join(m) for m in merges] + ["<|startoftext|>", "<|endoftext|>"]
    vocab = {token: i for i, token in enumerate(tokens)}
    assert len(vocab) == len(tokens)
    return vocab, merges


def clip_file(vocab, merges):
    """A tokenizer.json as published folders of CLIP have it."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    t = Tokenizer(models.BPE(vocab, merges, unk_token="<|endoftext|>", continuing_subword_prefix="", end_of_word_suffix="</w>", fuse_unk=False))
    t.add_special_tokens([AddedToken("<|startoftext|>", normalized=True), AddedToken("<|endoftext|>", normalized=False)])
    t.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(CLIP_PATTERN), behavior="removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    t.post_processor = processors.RobertaProcessing(
        ("<|endoftext|>", vocab["<|endoftext|>"]), ("<|startoftext|>", vocab["<|startoftext|>"]), trim_offsets=False, add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    return t


def simple_tokenizer(merges):
    """OpenCLIP's tokenizer with these merges."""
    from open_clip.tokenizer import SimpleTokenizer
    lines = "\n".join(["#version: 0.2"] + [" ".join(m) for m in merges])
    return SimpleTokenizer(bpe_path=io.BytesIO(gzip.compress(lines.encode(), mtime=0)), context_length=77)


def train_siglip():
    """A SentencePiece model in the layout of SigLIP's, as bytes."""
    import string
    import sentencepiece
    plain = [re.sub(r"\s+", " ", s.translate(str.maketrans("", "", string.punctuation))).strip() for s in CORPUS]
    writer = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(plain), model_writer=writer, vocab_size=420, model_type="unigram", pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
        normalization_rule_name="identity", character_coverage=1.0, hard_vocab_limit=False, num_threads=1, minloglevel=2)
    return writer.getvalue()


def siglip_file(spm):
    """A tokenizer.json as Google's folders of SigLIP have it."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    t = Tokenizer(models.Unigram([(spm.id_to_piece(i), spm.get_score(i)) for i in range(spm.get_piece_size())], 2, False))
    t.add_special_tokens([AddedToken(s, lstrip=True, rstrip=True, normalized=False, special=True) for s in ("</s>", "<unk>")])
    t.normalizer = normalizers.Sequence([
        normalizers.Lowercase(), normalizers.Replace(Regex(r"""[!"\#\$%\&'\(\)\*\+,\-\.:;=\?@\[\\\]\^_`\{\|\}\~]"""), ""),
        normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()])
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    t.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)])
    t.decoder = decoders.Metaspace(prepend_scheme="always")
    return t


def train_bert():
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
    t = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    t.normalizer = normalizers.BertNormalizer()
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    letters = sorted(set(t.normalizer.normalize_str("".join(CORPUS))) - {" "})
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + ["##" + c for c in letters]  # as in train_clip
    t.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=400, special_tokens=special))
    return t.get_vocab()


# Expected values.

class Expected:
    """Collects what expected.json and expected.safetensors hold."""

    def __init__(self, out):
        import torch
        self.out, self.arrays, self.models, self.pixels = out, {}, {}, {}
        os.makedirs(os.path.join(out, "pixels"))
        self.images = sorted(os.listdir(os.path.join(out, "images")))
        self.sounds = sorted(os.listdir(os.path.join(out, "sounds")))
        self.pictures = [read_image(os.path.join(out, "images", name)) for name in self.images]
        self.samples = [read_sound(os.path.join(out, "sounds", name)) for name in self.sounds]
        self.equal = random("equal").standard_normal((3, 3, SIZE, SIZE)).astype(np.float32)
        self.arrays["equal/pixel_values"] = self.equal
        self.torch = torch

    def add(self, folder, name, rows):
        """Keeps the rows of an array at unit length."""
        x = rows.detach().numpy().astype(np.float64)
        self.arrays[folder + "/" + name] = (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)

    def add_pixels(self, folder, values, mean, std):
        """Keeps normalised images [n, 3, H, W] as pictures."""
        from PIL import Image
        pixels = unnormalised(values, mean, std)
        same = [name for name, of in self.pixels.items() if np.array_equal(of, pixels)]
        self.models[folder]["pixels"] = (same + [folder])[0]
        if not same:
            self.pixels[folder] = pixels
            Image.fromarray(pixels).save(os.path.join(self.out, "pixels", folder + ".png"), optimize=True)

    def add_white(self, folder, embed, processor):
        """Runs a processor of transformers on the files with transparency."""
        from PIL import Image, ImageOps
        opened = {name: ImageOps.exif_transpose(Image.open(os.path.join(self.out, "images", name))) for name in self.images}
        opened = {name: im for name, im in opened.items() if im.has_transparency_data}
        values = self.torch.cat([processor(images=[im], return_tensors="pt")["pixel_values"] for im in opened.values()])
        pixels = unnormalised(values, processor.image_mean, processor.image_std)
        Image.fromarray(pixels).save(os.path.join(self.out, "pixels", folder + "-white.png"), optimize=True)
        self.models[folder]["white"] = list(opened)
        self.add(folder, "white_images", embed(values))

    def add_images(self, folder, embed, processor):
        """Runs a processor of transformers and embeds what it makes."""
        values = self.torch.cat([processor(images=[im], return_tensors="pt")["pixel_values"] for im in self.pictures])
        self.add_pixels(folder, values, processor.image_mean, processor.image_std)
        self.add(folder, "images", embed(values))
        self.add(folder, "equal_images", embed(self.torch.from_numpy(self.equal)))

    def embed_ids(self, embed, ids):
        return self.torch.cat([embed(self.torch.tensor([row])) for row in ids])

    def add_texts(self, folder, embed, ids, lengths, before, after, low, high):
        """Embeds ids, and made-up ids from low to high of these lengths."""
        r = random("equal", folder)
        equal = [before + r.integers(low, high, n - len(before) - len(after)).tolist() + after for n in lengths]
        self.add(folder, "texts", self.embed_ids(embed, ids))
        self.add(folder, "equal_texts", self.embed_ids(embed, equal))
        self.models[folder].update(ids=ids, equal_ids=equal)

    def note(self, folder, *used, model=None, **more):
        self.models[folder] = {"classes": [type(u).__name__ for u in used], **more}
        for name in ("logit_scale", "logit_bias"):
            p = getattr(model, name, None)
            if p is not None:
                self.models[folder][name] = p.item()

    def write(self, versions):
        import safetensors.numpy
        safetensors.numpy.save_file(dict(sorted(self.arrays.items())), os.path.join(self.out, "expected.safetensors"))
        write_json(os.path.join(self.out, "expected.json"), dict(
            versions=versions, images=self.images, sounds=self.sounds, texts=TEXTS, models=dict(sorted(self.models.items()))))


def write_json(path, value, **kw):
    with open(path, "w", encoding="utf-8") as f:
        json.dump(value, f, **(kw or dict(separators=(",", ":"))))
        f.write("\n")


def unnormalised(values, mean, std):
    """The pixels [32 n, 32, 3] of normalised images [n, 3, 32, 32]."""
    x = (values.numpy().astype(np.float64) * np.reshape(std, (3, 1, 1)) + np.reshape(mean, (3, 1, 1))) * 255
    assert np.abs(x - np.round(x)).max() < 0.01 and x.shape[2:] == (SIZE, SIZE)
    return np.round(x).astype(np.uint8).transpose(0, 2, 3, 1).reshape(-1, SIZE, 3)


def features(output):
    """The embedding that get_image_features and its like return."""
    return output.pooler_output if hasattr(output, "pooler_output") else output


# Models, one function a folder or a family.

def make_clip(out, e, vocab, merges):
    import torch
    from transformers import CLIPConfig, CLIPModel, CLIPTokenizer
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    start, end = vocab["<|startoftext|>"], vocab["<|endoftext|>"]
    # The text_config of the first conversions says 2, which is not the end.
    for folder, act, layers, ids in [
        ("clip", "quick_gelu", 2, dict(bos_token_id=start, eos_token_id=end, pad_token_id=end)),
        ("clip-bf16", "gelu", 3, dict(bos_token_id=0, eos_token_id=2, pad_token_id=1)),
    ]:
        at = os.path.join(out, folder)
        tower = dict(hidden_act=act, projection_dim=24)
        model = fill(folder, CLIPModel(CLIPConfig(
            projection_dim=24,
            vision_config=dict(tower, hidden_size=40, intermediate_size=64, num_hidden_layers=layers, num_attention_heads=5, image_size=SIZE, patch_size=PATCH),
            text_config=dict(tower, **ids, hidden_size=32, intermediate_size=72, num_hidden_layers=2, num_attention_heads=4, vocab_size=len(vocab)))))
        tokenizer = CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=77)
        if folder == "clip":
            model.save_pretrained(at, max_shard_size="150KB")
            tokenizer.save_pretrained(at)
            CLIPImageProcessorPil(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE}).save_pretrained(at)
        else:
            model.bfloat16().save_pretrained(at)
            tokenizer.save_pretrained(at)
            os.remove(os.path.join(at, "tokenizer.json"))
            tokenizer.backend_tokenizer.model.save(at)
            # as the first conversions of OpenAI's models have it, but for the sizes
            write_json(os.path.join(at, "preprocessor_config.json"), dict(
                crop_size=SIZE, do_center_crop=True, do_normalize=True, do_resize=True, feature_extractor_type="CLIPFeatureExtractor",
                image_mean=[0.48145466, 0.4578275, 0.40821073], image_std=[0.26862954, 0.26130258, 0.27577711], resample=3, size=SIZE + 5), indent=2)
        check_clip(out, folder, e, start, end)


def check_clip(out, folder, e, start, end):
    at = os.path.join(out, folder)
    model, tokenizer, processor = hf_clip(at)
    e.note(folder, model, tokenizer, processor, model=model)

    def embed(values):
        return features(model.get_image_features(pixel_values=values))
    e.add_images(folder, embed, processor)
    if folder == "clip":
        e.add_white(folder, embed, processor)
    ids = [tokenizer(text, truncation=True, max_length=77)["input_ids"] for text in TEXTS]
    e.add_texts(folder, lambda x: features(model.get_text_features(input_ids=x)), ids, (5, 31, 77), [start], [end], 0, start)


def hf_clip(at):
    """A folder's CLIPModel in float32, its tokenizer and its processor."""
    import torch
    from transformers import CLIPModel, CLIPTokenizer
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    model, info = CLIPModel.from_pretrained(at, dtype=torch.float32, output_loading_info=True)
    wrong = {k: sorted(map(str, v)) for k, v in info.items() if v}
    if wrong:
        raise SystemExit(f"{at}: {wrong}")
    return model.eval(), CLIPTokenizer.from_pretrained(at), CLIPImageProcessorPil.from_pretrained(at)


def make_openclip(out, e, vocab, merges):
    import pathlib
    import open_clip, safetensors.torch, torch
    from open_clip.push_to_hf_hub import save_config_for_hf
    from tokenizers import Tokenizer
    simple = simple_tokenizer(merges)
    start, end = vocab["<|startoftext|>"], vocab["<|endoftext|>"]
    assert (simple.vocab_size, simple.sot_token_id, simple.eot_token_id) == (len(vocab), start, end)
    for folder, quick in [("openclip", True), ("openclip-gelu", False)]:
        at = pathlib.Path(out, folder)
        at.mkdir()
        config = dict(
            embed_dim=24, quick_gelu=True,
            vision_cfg=dict(image_size=SIZE, layers=2, width=32, head_width=16, patch_size=PATCH, mlp_ratio=2.0),
            text_cfg=dict(context_length=77, vocab_size=len(vocab), width=24, heads=3, layers=2))
        if not quick:
            del config["quick_gelu"], config["vision_cfg"]["mlp_ratio"]
            config["vision_cfg"].update(width=16, head_width=8)
        model = fill(folder, open_clip.CLIP(**config))
        model.visual.image_mean, model.visual.image_std = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
        tensors = {k: v if quick else v.half() for k, v in model.state_dict().items()}
        safetensors.torch.save_file({k: v.contiguous() for k, v in tensors.items()}, at / "open_clip_model.safetensors")
        save_config_for_hf(model, at / "open_clip_config.json", config)
        clip_file(vocab, merges).save(str(at / "tokenizer.json"))
        if not quick:
            alone = pathlib.Path(out, "openclip-json")
            alone.mkdir()
            write_json(alone / "model.json", config, indent=4)
            shutil.copy(at / "open_clip_model.safetensors", alone / "model.safetensors")
            e.note("openclip-json", model, same=folder)

        model, _, transform = open_clip.create_model_and_transforms("local-dir:" + str(at))
        model.eval()
        e.note(folder, model, simple, transform, model=model)
        values = torch.stack([transform(im) for im in e.pictures])
        e.add_pixels(folder, values, open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
        e.add(folder, "images", model.encode_image(values))
        e.add(folder, "equal_images", model.encode_image(torch.from_numpy(e.equal)))

        def embed(ids):  # always of the whole context; what stands behind the end is not seen
            return model.encode_text(torch.nn.functional.pad(ids, (0, 77 - ids.shape[1])))
        ids = [row[:row.argmax() + 1].tolist() for row in simple(TEXTS)]
        e.add_texts(folder, embed, ids, (5, 31, 77), [start], [end], 0, start)
        tokenizer = Tokenizer.from_file(str(at / "tokenizer.json"))
        tokenizer.enable_truncation(77)
        e.models[folder]["file_ids"] = [tokenizer.encode(text).ids for text in TEXTS]


def make_siglip(out, e):
    import sentencepiece, torch
    from tokenizers import Tokenizer
    from transformers import SiglipConfig, SiglipModel, SiglipTokenizer
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
    folder, length = "siglip", 24
    at = os.path.join(out, folder)
    os.makedirs(at)
    data = train_siglip()
    with open(os.path.join(at, "spiece.model"), "wb") as f:
        f.write(data)
    spm = sentencepiece.SentencePieceProcessor(model_proto=data)
    model = fill(folder, SiglipModel(SiglipConfig(
        vision_config=dict(hidden_size=32, intermediate_size=56, num_hidden_layers=2, num_attention_heads=2, image_size=SIZE, patch_size=PATCH),
        text_config=dict(hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=3, projection_size=32,
                         vocab_size=spm.get_piece_size(), max_position_embeddings=length))))
    model.save_pretrained(at)
    SiglipTokenizer(os.path.join(at, "spiece.model"), model_max_length=length, model_input_names=["input_ids"]).save_pretrained(at)
    siglip_file(spm).save(os.path.join(at, "tokenizer.json"))
    SiglipImageProcessorPil(size={"height": SIZE, "width": SIZE}).save_pretrained(at)

    model = SiglipModel.from_pretrained(at, dtype=torch.float32).eval()
    tokenizer = SiglipTokenizer.from_pretrained(at)
    processor = SiglipImageProcessorPil.from_pretrained(at)
    e.note(folder, model, tokenizer, processor, model=model)
    e.add_images(folder, lambda x: features(model.get_image_features(pixel_values=x)), processor)

    def embed(ids):
        return features(model.get_text_features(input_ids=ids))
    ids = [tokenizer(text, padding="max_length", truncation=True, max_length=length)["input_ids"] for text in TEXTS]
    e.add_texts(folder, embed, ids, (length,) * 3, [], [1], 2, spm.get_piece_size())
    file = Tokenizer.from_file(os.path.join(at, "tokenizer.json"))
    file.enable_truncation(length)
    file.enable_padding(length=length, pad_id=1, pad_token="</s>")
    e.models[folder]["file_ids"] = [file.encode(text).ids for text in TEXTS]


def make_vit(out, e):
    import torch
    from transformers import ViTConfig, ViTForImageClassification, ViTModel
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil
    for folder, make, width in [
        ("vit", lambda c: ViTModel(c, add_pooling_layer=False), 24), ("vit-pooler", ViTModel, 16), ("vit-classifier", ViTForImageClassification, 16),
    ]:
        at = os.path.join(out, folder)
        fill(folder, make(ViTConfig(
            hidden_size=width, intermediate_size=72, num_hidden_layers=2, num_attention_heads=2, image_size=SIZE, patch_size=PATCH,
        ))).save_pretrained(at)
        ViTImageProcessorPil(size={"height": SIZE, "width": SIZE}).save_pretrained(at)
        model = ViTModel.from_pretrained(at, dtype=torch.float32, add_pooling_layer=False).eval()
        processor = ViTImageProcessorPil.from_pretrained(at)
        e.note(folder, model, processor)
        e.add_images(folder, lambda x: model(pixel_values=x).last_hidden_state[:, 0], processor)


def make_timm(out, e):
    import timm, torch
    folder = "timm"
    at = os.path.join(out, folder)
    args = dict(img_size=SIZE, patch_size=PATCH, embed_dim=32, depth=2, num_heads=2, mlp_ratio=2.5)
    model = fill(folder, timm.create_model("vit_tiny_patch16_224", num_classes=3, **args))
    timm.models.save_for_hf(model, at, model_args=args, safe_serialization=True, data_config=dict(crop_pct=0.9))
    model = timm.create_model("local-dir:" + at, pretrained=True, num_classes=0).eval()
    settings = timm.data.resolve_data_config(model=model)
    transform = timm.data.create_transform(**settings, is_training=False)
    assert settings["crop_pct"] == 0.9
    e.note(folder, model, transform)
    values = torch.stack([transform(im) for im in e.pictures])
    e.add_pixels(folder, values, settings["mean"], settings["std"])
    for name, x in [("images", values), ("equal_images", torch.from_numpy(e.equal))]:
        y = model(x)
        assert torch.equal(y, model.forward_head(model.forward_features(x), pre_logits=True))
        e.add(folder, name, y)


def make_sentences(out, e):
    """minilm/ has the files of published folders, minilm-cls/ those that the
    library writes now."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules
    from transformers import BertConfig, BertModel, BertTokenizer
    vocab = train_bert()
    for folder, width, length, pool in [("minilm", 32, 32, "mean"), ("minilm-cls", 16, 24, "cls")]:
        at, parts = os.path.join(out, folder), os.path.join(out, folder + "-parts")
        fill(folder, BertModel(BertConfig(
            vocab_size=len(vocab), hidden_size=width, intermediate_size=64, num_hidden_layers=2, num_attention_heads=width // 8,
            max_position_embeddings=64))).save_pretrained(parts)
        BertTokenizer(vocab=vocab, model_max_length=64).save_pretrained(parts)
        SentenceTransformer(device="cpu", modules=[
            modules.Transformer(parts, max_seq_length=length), modules.Pooling(width, pool), modules.Normalize()]).save(at, create_model_card=False)
        shutil.rmtree(parts)
        if folder == "minilm":
            publish(at, width, length)

        model = SentenceTransformer(at, device="cpu").eval()
        assert model.max_seq_length == length
        e.note(folder, model, model[0].model, model.tokenizer)

        def embed(ids):
            batch = dict(input_ids=ids, attention_mask=torch.ones_like(ids), token_type_ids=torch.zeros_like(ids))
            return model(batch)["sentence_embedding"]
        ids = [model.preprocess([text])["input_ids"][0].tolist() for text in TEXTS]
        e.add_texts(folder, embed, ids, (5, 17, length), [2], [3], 5, len(vocab))
        together = model.encode(TEXTS, batch_size=8)
        assert np.abs(together - e.arrays[folder + "/texts"]).max() < 1e-5


def publish(at, width, length):
    """Writes the settings of a folder of sentence-transformers as its older
    versions do, in which most models are published."""
    parts = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    write_json(os.path.join(at, "modules.json"), [
        dict(idx=i, name=str(i), path=path, type="sentence_transformers.models." + kind) for i, (path, kind) in enumerate(parts)], indent=2)
    write_json(os.path.join(at, "sentence_bert_config.json"), dict(max_seq_length=length, do_lower_case=False), indent=2)
    modes = {mode: mode == "mean_tokens" for mode in ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens")}
    write_json(os.path.join(at, "1_Pooling", "config.json"), dict(
        word_embedding_dimension=width, **{"pooling_mode_" + mode: on for mode, on in modes.items()}), indent=2)
    shutil.rmtree(os.path.join(at, "2_Normalize"), ignore_errors=True)
    path = os.path.join(at, "tokenizer_config.json")
    with open(path, encoding="utf-8") as f:
        config = json.load(f)
    write_json(path, dict(config, model_max_length=64), indent=2)


def make_whisper(out, e):
    import torch
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration, WhisperModel
    folder = "whisper"
    at = os.path.join(out, folder)
    model = fill(folder, WhisperForConditionalGeneration(WhisperConfig(
        vocab_size=8, d_model=24, encoder_layers=2, encoder_attention_heads=3, encoder_ffn_dim=64, decoder_layers=1, decoder_attention_heads=2,
        decoder_ffn_dim=8, max_target_positions=4, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=3,
        suppress_tokens=None, begin_suppress_tokens=None)))
    model.half().save_pretrained(at)
    WhisperFeatureExtractor().save_pretrained(at)

    encoder = WhisperModel.from_pretrained(at, dtype=torch.float32).eval().encoder
    extractor = WhisperFeatureExtractor.from_pretrained(at)
    e.note(folder, encoder, extractor)
    x = extractor(e.samples, sampling_rate=16000, return_tensors="pt")["input_features"]
    e.arrays["whisper/logmel"] = x[:, ::4, :150].contiguous().numpy()
    e.arrays["whisper/logmel_mean"] = x[:, ::4, 150:].double().mean(-1).float().numpy()
    e.add(folder, "sounds", encoder(x).last_hidden_state.mean(1))
    e.add(folder, "equal_sounds", encoder(torch.from_numpy(formula(80, 3000))).last_hidden_state.mean(1))


def make_ast(out, e):
    import torch
    from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification, ASTModel
    folder, frames = "ast", 100
    at = os.path.join(out, folder)
    fill(folder, ASTForAudioClassification(ASTConfig(
        hidden_size=24, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, max_length=frames, num_labels=3))).save_pretrained(at)
    ASTFeatureExtractor(max_length=frames).save_pretrained(at)

    model = ASTModel.from_pretrained(at, dtype=torch.float32).eval()
    extractor = ASTFeatureExtractor.from_pretrained(at)
    e.note(folder, model, extractor)
    x = torch.tensor(np.stack(extractor(e.samples, sampling_rate=16000)["input_values"]), dtype=torch.float32)
    e.arrays["ast/logmel"] = x[:, :, ::4].contiguous().numpy()
    e.add(folder, "sounds", model(input_values=x).pooler_output)
    e.add(folder, "equal_sounds", model(input_values=torch.from_numpy(formula(128, frames)).transpose(1, 2)).pooler_output)


def make_clap(out, e):
    from transformers import ClapConfig
    ClapConfig().save_pretrained(os.path.join(out, "clap"))


MADE = [
    "ast", "clap", "clip", "clip-bf16", "images", "minilm", "minilm-cls", "openclip", "openclip-gelu", "openclip-json", "pixels", "siglip", "sounds", "timm",
    "vit", "vit-classifier", "vit-pooler", "whisper",
]


def make(out):
    import torch, transformers
    from importlib.metadata import version
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    for folder in MADE:
        shutil.rmtree(os.path.join(out, folder), ignore_errors=True)
    os.makedirs(out, exist_ok=True)
    make_images(os.path.join(out, "images"))
    make_sounds(os.path.join(out, "sounds"))
    e = Expected(out)
    vocab, merges = train_clip()
    make_clip(out, e, vocab, merges)
    make_openclip(out, e, vocab, merges)
    make_siglip(out, e)
    make_vit(out, e)
    make_timm(out, e)
    make_sentences(out, e)
    make_whisper(out, e)
    make_ast(out, e)
    make_clap(out, e)
    e.write({p: version(p) for p in (
        "numpy", "open_clip_torch", "pillow", "safetensors", "sentence-transformers", "sentencepiece", "timm", "tokenizers", "torch", "torchvision", "transformers")})


# Checks of what this project writes.

def check_hf(at):
    """Prints {"images": [[...]], "texts": [[...]], "ids": [[...]], "logit_scale": x}
    of a folder's CLIPModel, in the order of expected.json; the vectors are of
    unit length. A tensor that is missing or not known ends it."""
    import torch
    torch.set_grad_enabled(False)
    model, tokenizer, processor = hf_clip(at)
    images = os.path.join(HERE, "images")
    pictures = [read_image(os.path.join(images, name)) for name in sorted(os.listdir(images))]
    values = torch.cat([processor(images=[im], return_tensors="pt")["pixel_values"] for im in pictures])
    length = model.config.text_config.max_position_embeddings
    ids = [tokenizer(text, truncation=True, max_length=length)["input_ids"] for text in TEXTS]

    def rows(x):
        return torch.nn.functional.normalize(x, dim=-1).tolist()
    json.dump(dict(
        images=rows(features(model.get_image_features(pixel_values=values))),
        texts=rows(torch.cat([features(model.get_text_features(input_ids=torch.tensor([row]))) for row in ids])),
        ids=ids, logit_scale=model.logit_scale.item()), sys.stdout)
    print()


def check_onnx(at):
    """Runs image.onnx, text.onnx and audio.onnx on the tensors of
    inputs.safetensors. A tensor "text/ids" is the input "ids" of text.onnx;
    "text.2/ids" is too, in a run of its own. Integers may lie there as floats.
    Prints {RUN: {OUTPUT: {"shape": [...], "values": [...]}}}."""
    import onnxruntime
    from safetensors.numpy import load_file
    types = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(int32)": np.int32}
    runs, sessions, answer = {}, {}, {}
    for name, x in load_file(os.path.join(at, "inputs.safetensors")).items():
        run, name = name.split("/", 1)
        runs.setdefault(run, {})[name] = x
    for run, inputs in sorted(runs.items()):
        file = run.split(".")[0] + ".onnx"
        if file not in sessions:
            sessions[file] = onnxruntime.InferenceSession(os.path.join(at, file), providers=["CPUExecutionProvider"])
        wanted = {i.name: types[i.type] for i in sessions[file].get_inputs()}
        outputs = sessions[file].run(None, {name: x.astype(wanted[name]) for name, x in inputs.items()})
        answer[run] = {
            o.name: {"shape": list(x.shape), "values": x.ravel().tolist()} for o, x in zip(sessions[file].get_outputs(), outputs)}
    json.dump(answer, sys.stdout)
    print()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1].split("\n\n")[0])
    parser.add_argument("--out", default=HERE)
    parser.add_argument("--check-hf")
    parser.add_argument("--check-onnx")
    a = parser.parse_args()
    if a.check_hf:
        check_hf(a.check_hf)
    elif a.check_onnx:
        check_onnx(a.check_onnx)
    else:
        make(os.path.abspath(a.out))
