"""Embeds with sentence-transformers what its input asks for.

usage: sentences.py MODEL THREADS

Writes a line of JSON with versions when it is ready. Reads lines of JSON, each
{"texts": [...], "batch": N}, and answers each with {"seconds": of embedding them,
"embeddings": [[...], ...]}.
"""
import json, os, sys, time

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
import torch, sentence_transformers, transformers

torch.set_num_threads(int(sys.argv[2]))
model = sentence_transformers.SentenceTransformer(sys.argv[1], device="cpu")
print(json.dumps({"sentence-transformers": sentence_transformers.__version__, "transformers": transformers.__version__, "torch": torch.__version__}), flush=True)
for line in sys.stdin:
    ask = json.loads(line)
    start = time.perf_counter()
    z = model.encode(ask["texts"], batch_size=ask["batch"], normalize_embeddings=True, show_progress_bar=False)
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "embeddings": [[float(v) for v in row] for row in z]}), flush=True)
