#!/usr/bin/env python3
"""Writes what the stepped models must answer, computed by loops of plain Python around onnxruntime; names with the package's own code.

    python3 -m pip install onnxruntime==1.28.0 numpy arabic-name-romanizer==0.2.0
    python3 worker/models/reference_stepped.py CACHE/models    # writes tests/contract/runtime/reference/stepped.json
"""

import json
import math
import pathlib
import sys

import numpy
import onnxruntime

MODELS = pathlib.Path(sys.argv[1])
TARGET = pathlib.Path(__file__).resolve().parents[2] / "tests/contract/runtime/reference/stepped.json"


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    return onnxruntime.InferenceSession(str(MODELS / path), options, providers=["CPUExecutionProvider"])


def speech(seconds, rate):
    """A second of silence, then something like a voice: harmonics of 120 Hz under three formants, four syllables a second."""
    at = numpy.arange(int(seconds * rate)) / rate
    signal = numpy.zeros(len(at))
    for harmonic in range(1, 26):
        hertz = 120 * harmonic
        weight = sum(math.exp(-(((hertz - formant) / 150) ** 2)) for formant in (600, 1200, 2500)) + 0.02
        signal += weight * numpy.sin(2 * math.pi * hertz * at + 3 * harmonic * numpy.sin(2 * math.pi * 3 * at) / harmonic)
    syllables = numpy.sin(math.pi * 4 * at) ** 2
    return numpy.where(at < 1, 0, 0.1 * signal * syllables).astype(numpy.float32)


def silero():
    run = session("silero-vad/1/model.onnx")
    sound = speech(3, 16000)
    state, before, chances = numpy.zeros((2, 1, 128), numpy.float32), numpy.zeros(64, numpy.float32), []
    for start in range(0, len(sound), 512):
        chunk = numpy.pad(sound[start : start + 512], (0, max(0, start + 512 - len(sound))))
        window = numpy.concatenate([before, chunk])[None]
        chance, state = run.run(["output", "stateN"], {"input": window, "sr": numpy.array(16000), "state": state})
        before = chunk[-64:]
        chances.append(float(chance[0, 0]))
    return chances


def basic_pitch():
    """The windows and the unwrapping of basic_pitch/inference.py. A4 for a second, then C5 with E5."""
    run = session("basic-pitch/1/model.onnx")
    at = numpy.arange(int(2.5 * 22050)) / 22050
    tone = lambda hertz: sum(numpy.sin(2 * math.pi * hertz * n * at) / n for n in (1, 2, 3))
    sound = numpy.where(at < 1, tone(440), tone(523.25) + tone(659.25)).astype(numpy.float32) * numpy.float32(0.2)
    padded = numpy.concatenate([numpy.zeros(3840, numpy.float32), sound])
    notes = []
    for start in range(0, len(padded), 43844 - 7680):
        window = padded[start : start + 43844]
        window = numpy.pad(window, (0, 43844 - len(window)))[None, :, None]
        notes.append(run.run(["StatefulPartitionedCall:1"], {"serving_default_input_2:0": window})[0][:, 15:-15, :])
    frames = numpy.concatenate([note[0] for note in notes])[: len(sound) * 86 // 22050]
    # All of it would be large: the frames, and how much each key sounds over all of them.
    return {"frames": len(frames), "keys": [float(key) for key in frames.sum(axis=0)]}


def romanizer():
    from arabic_name_romanizer.inference import OnnxModel
    import arabic_name_romanizer

    folder = pathlib.Path(arabic_name_romanizer.__file__).parent / "resources"
    # The best one at each letter: a beam of one. The prior re-orders candidates, of which there is one.
    model = OnnxModel(folder, beam_width=1)
    names = ["محمد", "فاطمة", "يوسف", "عبدالرحمن", "خديجة"]
    return [{"text": name, "is": model.transliterate_units([name], None, 1)[0][0][0]} for name in names]


GOLDEN, MASK = 0x9E3779B97F4A7C15, (1 << 64) - 1


def mix(bits):
    bits = (bits ^ (bits >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> numpy.uint64(31))


def even(seed, stream, places):
    one = lambda number: numpy.array([number & MASK], numpy.uint64)
    key = mix(one(seed) ^ mix(one(stream + GOLDEN)))
    return (mix(key + places.astype(numpy.uint64) * one(GOLDEN)) >> numpy.uint64(11)).astype(numpy.float64) / (1 << 53)


def normal(seed, stream, count):
    places = numpy.arange(count)
    radius = numpy.sqrt(-2 * numpy.log(1 - even(seed, stream, 2 * places)))
    return (radius * numpy.cos(2 * math.pi * even(seed, stream, 2 * places + 1))).astype(numpy.float32)


def terrain(steps=3, seed=42):
    run = session("terrain/1/model.onnx")
    x = numpy.zeros((1, 1, 128, 128), numpy.float32)
    for step in range(steps):
        sigma = 80 if step == 0 else (80 ** (1 / 7) + step / (steps - 1) * (0.8 ** (1 / 7) - 80 ** (1 / 7))) ** 7
        x = x + numpy.float32(sigma) * normal(seed, 64 * step, x.size).reshape(x.shape)
        given = {"noisy": x, "sigma": numpy.array([sigma], numpy.float32), "difficulty": numpy.array([0.7], numpy.float32)}
        x = run.run(["denoised"], given)[0]
    # Every eighth height of every eighth row.
    return {"seed": seed, "steps": steps, "difficulty": 0.7, "every_eighth": [float(height) for height in x[0, 0, ::8, ::8].ravel()]}


def babble(prompt=b"Once upon a time", count=24):
    """Without a cache: all tokens from the beginning for each new one."""
    run = session("babble/1/model.onnx")
    tokens = list(prompt)
    empty = numpy.zeros((2, 1, 2, 0, 16), numpy.float32)
    for _ in range(count):
        logits = run.run(["logits"], {"tokens": numpy.array([tokens]), "past_key": empty, "past_value": empty})[0][0]
        tokens.append(int(logits.argmax()))
    return {"text": prompt.decode(), "tokens": tokens[len(prompt) :]}


def main():
    reference = {
        "silero-vad": silero(),
        "basic-pitch": basic_pitch(),
        "romanizer": romanizer(),
        "terrain": terrain(),
        "babble": babble(),
    }
    lines = [f"  {json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in reference.items()]
    TARGET.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
