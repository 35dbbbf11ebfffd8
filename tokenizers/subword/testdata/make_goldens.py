#!/usr/bin/env python3
"""Makes the fixtures of this folder with the Python library tokenizers.

usage: make_goldens.py   (pip install tokenizers transformers sentencepiece; writes beside itself)

Each NAME.json is a small tokenizer, trained here on the texts below unless it
is there (training does not give the same file twice), and ids.json holds the ids that it gives for every text of the list, with and
without special tokens around them. trained.json, written by the Go test
`go test -run TestTrained -update`, is read back the same way. clip/ holds the
vocabulary of clip.json as the files that a CLIP model has; its ids, and the
parts of its tokenizer.json but for the model, are those of CLIPTokenizer.
"""
import json, os, string, re, tempfile
import sentencepiece, tokenizers
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Tokenizer, Regex, models, normalizers, pre_tokenizers, processors, trainers, AddedToken

HERE = os.path.dirname(os.path.abspath(__file__))

CORPUS = [
    "The quick brown fox jumps over the lazy dog.", "a small red circle on the left of a dark background",
    "two large blue squares to the right of three tiny green rings", "the striped scene shows one huge amber bar",
    "Der schnelle braune Fuchs springt über den faulen Hund.", "Zwei große Vögel fliegen über die Straße.",
    "Le cœur a ses raisons que la raison ne connaît point.", "El niño comió piñas en la mañana.",
    "Быстрая коричневая лиса прыгает через ленивую собаку.", "素早い茶色の狐がのろまな犬を飛び越える。",
    "快速的棕色狐狸跳过懒狗", "تقفز الثعلب البني السريع فوق الكلب الكسول", "तेज भूरी लोमड़ी आलसी कुत्ते पर कूदती है",
    "I'm sure we've seen it's 1234 times; they'll say 'no'.", "e-mail: someone@example.org, http://example.org/?q=1&r=2",
    "grinning face 😀 family 👩‍👩‍👧 flag 🇩🇪", "naïve café résumé façade", "int main(void) { return 0; }",
] * 4

TEXTS = [
    "", " ", "   ", "\t\n", "a", "A", "Hello, World!", "  leading and trailing  ", "two  spaces   three",
    "The quick brown fox", "a small red circle", "UPPER lower MiXeD", "I'm they'll we've it's don't 'tis",
    "I'M THEY'LL", "1234 12.5 3,000 ½ ² Ⅷ ٣", "über Straße groß ﬁ", "naïve café résumé", "e\u0301 a\u030a o\u0308",
    "İstanbul ıI", "ΑΒΓ ς Σ", "Быстрая лиса", "素早い狐", "快速的棕色狐狸", "한국어 문장", "สวัสดี", "تقفز الثعلب", "तेज भूरी",
    "😀", "👩‍👩‍👧", "🇩🇪🇫🇷", "👍🏽 ok", "a😀b", "\u200b zero\u200bwidth", "\ufeffbom", "nbsp\u00a0here", "line\r\nbreak\rand\u2028sep",
    "control \x00\x01\x7f chars", "\ufffd", "<start> inside <end>", "[CLS] text [SEP] [MASK]", "<|startoftext|> x <|endoftext|>",
    "<s>hi</s>", "foo<mask> bar", "foo <mask>bar", "x_y __init__ snake_case", "C++ && || != <= -> ...", "—–-“”‘’…", "a.b,c;d:e!f?",
    "$100 €5 £3 ¥7", "tab\tseparated\tvalues", "a" * 120, "ab" * 60, "verylongwordwithoutanyspaces" * 5,
    "The lazy dog. " * 30, "𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "\U000e0041tag", "ﷺ", "ǅ ǆ Ǆ", "\u0345\u0301", "mixed 日本語 and English",
    "▁already▁here", "##ing un##", "</w> a</w>",
    "<|STARTOFTEXT|>! !<|EndOfText|>?", "Ａ１ ｆｕｌｌ　ｗｉｄｔｈ", "ﬁnal ﬀ ①②", "cr\r\nlf", "e\u0301\u0302 a\u0302 o\u0302\u0308\u0301",
    "\u200bstart end\u200b", "internationalization", "Быстрая коричневая лиса прыгает", "ленивую", "ab cd qed",
]


def byte_level():
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=600, special_tokens=["<s>", "<pad>", "</s>", "<unk>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    t.add_special_tokens([AddedToken("<mask>", lstrip=True, rstrip=False, normalized=False)])
    t.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False)
    return t


def clip():
    t = Tokenizer(models.BPE(unk_token="<|endoftext|>", end_of_word_suffix="</w>", continuing_subword_prefix="", fuse_unk=False))
    t.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(r"""'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""), behavior="removed", invert=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False)])
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    t.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=900, initial_alphabet=alphabet, end_of_word_suffix="</w>", special_tokens=["<|startoftext|>", "<|endoftext|>"]))
    # CLIP's vocabulary has every byte with and without the suffix
    data = json.loads(t.to_str())
    vocab = data["model"]["vocab"]
    for a in alphabet:
        for s in (a, a + "</w>"):
            vocab.setdefault(s, len(vocab))
    t = Tokenizer.from_str(json.dumps(data))
    t.post_processor = processors.RobertaProcessing(("<|endoftext|>", 1), ("<|startoftext|>", 0), trim_offsets=False, add_prefix_space=False)
    return t


def bert():
    t = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    t.normalizer = normalizers.BertNormalizer(lowercase=True)
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=500, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]))
    t.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return t


def unigram():
    t = Tokenizer(models.Unigram())
    t.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    t.pre_tokenizer = pre_tokenizers.Metaspace()
    t.train_from_iterator(CORPUS, trainers.UnigramTrainer(vocab_size=400, special_tokens=["<s>", "</s>", "<unk>"], unk_token="<unk>"))
    t.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)])
    return t


def charsmap(rules):
    """Compiles replacements, as a SentencePiece model carries them."""
    with tempfile.TemporaryDirectory() as d:
        with open(os.path.join(d, "rules.tsv"), "w") as f:
            for a, b in rules:
                f.write("%s\t%s\n" % (" ".join("%X" % ord(c) for c in a), " ".join("%X" % ord(c) for c in b)))
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(CORPUS), model_prefix=os.path.join(d, "m"), vocab_size=200, minloglevel=2,
            normalization_rule_tsv=os.path.join(d, "rules.tsv"))
        m = sentencepiece_model_pb2.ModelProto()
        with open(os.path.join(d, "m.model"), "rb") as f:
            m.ParseFromString(f.read())
    return m.normalizer_spec.precompiled_charsmap


# Some of what SentencePiece's own rules replace, and a word.
RULES = [(chr(0xff01 + i), chr(0x21 + i)) for i in range(94)] + [
    ("\t", " "), ("\n", " "), ("\r", " "), ("\u3000", " "), ("\u00a0", " "), ("\u200b", ""), ("\ufeff", ""), ("\x7f", ""),
    ("ﬁ", "fi"), ("ﬀ", "ff"), ("①", "1"), ("②", "2"), ("½", "1⁄2"), ("²", "2"), ("Ⅷ", "VIII"), ("…", "..."), ("ﷺ", "صلى الله"),
    ("e\u0301", "é"), ("a\u030a", "å"), ("o\u0308", "ö"), ("a\u0302", "â"), ("a\u0302\u0301", "ấ"), ("qed", "quod erat demonstrandum"),
]


def pieces():
    """Returns a vocabulary of the corpus's characters and of parts of its words, with scores that compete."""
    words = sorted({"▁" + w for line in CORPUS for w in re.sub(r"\W", " ", line.lower()).split()})
    parts = sorted({c for w in words for c in w if c not in "zqй"} | {
        w[i:j] for n, w in enumerate(words) for i in range(len(w)) for j in range(i + 2, len(w) + 1)
        if (i * 7 + j * 5 + n * 3) % 13 == 0 or (i == 0 and j == len(w) and n % 3 == 0)})
    return [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)] + [
        (s, round(-9 - n * 7919 % 501 / 100 + 0.6 * len(s), 4)) for n, s in enumerate(parts)]


def siglip():
    t = Tokenizer(models.Unigram(pieces(), unk_id=2))
    t.normalizer = normalizers.Sequence([
        normalizers.Precompiled(charsmap(RULES)), normalizers.Lowercase(),
        normalizers.Replace(Regex("[" + re.escape(string.punctuation) + "]"), ""),
        normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()])
    t.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=True)
    t.add_special_tokens([AddedToken(s, lstrip=True, rstrip=True, normalized=False) for s in ("</s>", "<unk>")])
    t.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)])
    return t


def t5():
    t = siglip()
    t.normalizer = normalizers.Sequence([
        normalizers.Precompiled(charsmap(RULES)), normalizers.Strip(left=False, right=True), normalizers.Replace(Regex(" {2,}"), "▁")])
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=True)])
    return t


def modern():
    """Has what ModernBERT's file has: added tokens that are not special, and truncation and padding."""
    t = byte_level()
    t.normalizer = normalizers.NFC()
    t.add_tokens([AddedToken(s, normalized=n) for s, n in [
        ("   ", True), ("  ", True), ("|||EMAIL_ADDRESS|||", False), ("[unused0]", False), ("Café", True)]])
    t.add_special_tokens([AddedToken("[MASK]", lstrip=True, normalized=False), "[CLS]", "[SEP]"])
    t.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[(s, t.token_to_id(s)) for s in ("[CLS]", "[SEP]")])
    t.enable_truncation(max_length=20)
    t.enable_padding(length=20, pad_id=1, pad_token="<pad>")
    return t


def clip_folder():
    from transformers import CLIPTokenizer

    with open(os.path.join(HERE, "clip.json"), encoding="utf-8") as f:
        model = json.load(f)["model"]
    os.makedirs(os.path.join(HERE, "clip"), exist_ok=True)
    vocab, merges = os.path.join(HERE, "clip", "vocab.json"), os.path.join(HERE, "clip", "merges.txt")
    with open(vocab, "w", encoding="utf-8") as f:
        json.dump(model["vocab"], f, ensure_ascii=False)
    with open(merges, "w", encoding="utf-8") as f:
        f.write("#version: 0.2\n" + "".join(" ".join(m) + "\n" for m in model["merges"]))
    return CLIPTokenizer(vocab=vocab, merges=merges).backend_tokenizer


ids = {"version": tokenizers.__version__, "texts": TEXTS, "ids": {}, "plain": {}}
made = {
    "byte_level": byte_level, "clip": clip, "bert": bert, "unigram": unigram, "siglip": siglip, "t5": t5, "modern": modern,
    "clip_folder": clip_folder,
}
for name, make in made.items():
    path = os.path.join(HERE, name + ".json")
    if name == "clip_folder":
        t = make()
        ids["clip_parts"] = {k: v for k, v in json.loads(t.to_str()).items() if k != "model"}
    elif os.path.exists(path):
        t = Tokenizer.from_file(path)
    else:
        t = make()
        with open(path, "w", encoding="utf-8") as f:
            f.write(t.to_str())
    t.no_truncation()
    t.no_padding()
    ids["ids"][name] = [t.encode(x).ids for x in TEXTS]
    ids["plain"][name] = [t.encode(x, add_special_tokens=False).ids for x in TEXTS]
path = os.path.join(HERE, "trained.json")
if os.path.exists(path):
    t = Tokenizer.from_file(path)
    ids["ids"]["trained"] = [t.encode(x).ids for x in TEXTS]
with open(os.path.join(HERE, "ids.json"), "w", encoding="utf-8") as f:
    json.dump(ids, f, ensure_ascii=True, separators=(",", ":"))
    f.write("\n")
