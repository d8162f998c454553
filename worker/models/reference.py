#!/usr/bin/env python3
"""Computes with other people's code what the tests compare ours with: Python's onnxruntime and the tokenizer's own library, one text at a time,
without padding, pooled and scored by numpy. It shares nothing with the worker but the models' files.

    python3 -m pip install onnxruntime==1.28.0 tokenizers==0.23.2 numpy pillow==13.0.0
    python3 worker/models/fetch.py
    python3 worker/models/reference.py [CACHE]      # writes tests/contract/runtime/reference/* and ocr/1/characters.txt
"""

import json
import os
import pathlib
import sys

import numpy
import onnxruntime
from PIL import Image, ImageDraw, ImageFont
from tokenizers import Tokenizer

FOLDER = pathlib.Path(__file__).resolve().parent
TO = FOLDER.parent.parent / "tests/contract/runtime/reference"
CACHE = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("SIDING_CACHE", pathlib.Path.home() / ".cache/siding"))

TEXTS = [
    "This is an example sentence",
    "The weather is lovely today.",
    "It's so sunny outside!",
    "He drove to the stadium.",
    "",
    "Größe, naïveté, 東京 and a 🚂 in one line; don't panic.",
    "A siding is the track where slow trains wait while fast ones pass. " * 4,
    "Nothing accepted is ever lost, and callers watch every job live. " * 30,
]
NOTES = [
    "The worker has recovered, this is great!",
    "The job failed.",
    "The queue is slow and the model crashed; terrible.",
    "Job 17 on the worker",
    "Great work is done, but a job is lost",
]
LINE = "Siding 2026: no job lost"


def session(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def tokenizer(path, tokens_max):
    found = Tokenizer.from_file(str(path))
    found.no_padding()
    found.enable_truncation(max_length=tokens_max)
    return found


def minilm(folder):
    """As sentence-transformers does it: the mean of the tokens' vectors, divided by its length."""
    model, reader = session(folder / "model.onnx"), tokenizer(folder / "tokenizer.json", 256)
    rows = {"texts": TEXTS, "tokens": [], "truncated": [], "embeddings": []}
    for text in TEXTS:
        read = reader.encode(text)
        ids = numpy.array([read.ids], dtype=numpy.int64)
        (hidden,) = model.run(
            ["last_hidden_state"], {"input_ids": ids, "attention_mask": numpy.ones_like(ids), "token_type_ids": numpy.zeros_like(ids)}
        )
        mean = hidden[0].astype(numpy.float64).mean(axis=0)
        rows["embeddings"].append([round(float(number), 7) for number in mean / numpy.linalg.norm(mean)])
        rows["tokens"].append(len(read.ids))
        rows["truncated"].append(bool(read.overflowing))
    return rows


def tone(folder):
    model, reader = session(folder / "model.onnx"), tokenizer(folder / "tokenizer.json", 64)
    labels = ["negative", "neutral", "positive"]
    rows = {"texts": NOTES, "tokens": [], "classifications": []}
    for text in NOTES:
        ids = numpy.array([reader.encode(text).ids], dtype=numpy.int64)
        (logits,) = model.run(None, {"ids": ids, "mask": numpy.ones_like(ids)})
        powers = numpy.exp(logits[0].astype(numpy.float64))
        scores = sorted(zip(labels, powers / powers.sum()), key=lambda pair: -pair[1])
        rows["tokens"].append(ids.shape[1])
        rows["classifications"].append([{"label": label, "score": round(float(score), 7)} for label, score in scores])
    return rows


def ocr(folder):
    """Draws a line of text, reads it, and keeps the picture and the characters."""
    font = ImageFont.load_default(size=30)
    width = int(font.getlength(LINE)) + 24
    picture = Image.new("L", (width, 48), 255)
    ImageDraw.Draw(picture).text((12, 6), LINE, fill=0, font=font)
    picture.save(TO / "line.pgm")
    model = session(folder / "model.onnx")
    characters = model.get_modelmeta().custom_metadata_map["character"].splitlines()
    (FOLDER / "ocr/1/characters.txt").write_text("\n".join(characters) + "\n", encoding="utf-8")
    grey = numpy.asarray(picture, dtype=numpy.float32) / 127.5 - 1
    (scores,) = model.run(None, {"x": numpy.stack([grey] * 3)[None]})
    best = [int(place) for place in scores[0].argmax(axis=1)]
    # Without repeats, then without "none": what is left is the text.
    kept = [place for index, place in enumerate(best) if place != (best[index - 1] if index else 0) and place != 0]
    read = "".join([*characters, " "][place - 1] for place in kept)
    return {"drawn": LINE, "read": read, "best": best, "scores": [round(float(score), 6) for score in scores[0].max(axis=1)]}


def write(name, value):
    """One line for each row: differences can be read."""
    fields = []
    for key, rows in value.items():
        shown = [json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in (rows if isinstance(rows, list) else [])]
        long = any(len(row) > 20 for row in shown)
        shown = "[\n" + ",\n".join(shown) + "]" if long else json.dumps(rows, ensure_ascii=False, separators=(",", ":"))
        fields.append(f"{json.dumps(key)}: {shown}")
    (TO / f"{name}.json").write_text("{" + ",\n".join(fields) + "}\n", encoding="utf-8")


def main():
    TO.mkdir(parents=True, exist_ok=True)
    for name, compute in [("minilm", minilm), ("tone", tone), ("ocr", ocr)]:
        write(name, compute(CACHE / "models" / name / "1"))
        print(TO / f"{name}.json")


if __name__ == "__main__":
    main()
